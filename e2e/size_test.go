package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	frameTooBig   = "frame is too big"
	messageTooBig = "message is too big"
)

// offence is what is just legal, and the frame that is not.
type offence struct {
	name  string
	legal []wire.Frame
	bad   wire.Frame
}

// sized is a frame, whole or a fragment, with a payload of so many bytes.
func sized(opcode byte, fin bool, size int) wire.Frame {
	return wire.Frame{Fin: fin, Opcode: opcode, Payload: payload(size)}
}

// announced is the header of a frame of so many bytes.
func announced(opcode byte, fin bool, size uint64) wire.Frame {
	return wire.Frame{Fin: fin, Opcode: opcode, Claim: size}
}

// oversizeFrames are for a maxFrameSize of n bytes. What is no data frame is not meant by it.
func oversizeFrames(n int) []offence {
	const text, binary, next = wire.OpText, wire.OpBinary, wire.OpContinuation
	ping := wire.New(wire.OpPing, payload(125))
	whole, start, end := sized(binary, true, n), sized(text, false, n), sized(next, true, n)
	return []offence{
		{"text", []wire.Frame{sized(text, true, n)}, sized(text, true, n+1)},
		{"binary", []wire.Frame{whole, ping, whole}, sized(binary, true, n+1)},
		{"first fragment", []wire.Frame{whole}, sized(binary, false, n+1)},
		{"middle fragment", []wire.Frame{start, ping}, sized(next, false, n+1)},
		{"last fragment", []wire.Frame{start, sized(next, false, n), ping}, sized(next, true, n+1)},
		{"after fragments", []wire.Frame{start, sized(next, false, n), end}, sized(text, true, n+1)},
		{"after empty ones", []wire.Frame{sized(text, true, 0), sized(binary, false, 0), sized(next, true, 0)}, sized(text, true, n+1)},
	}
}

// oversizeMessages are for a maxMessageSize of n bytes, at least 100.
func oversizeMessages(n int) []offence {
	const text, binary, next = wire.OpText, wire.OpBinary, wire.OpContinuation
	ping := wire.New(wire.OpPing, payload(125))
	empty := sized(next, false, 0)
	half, rest := sized(text, false, n/2), sized(next, true, n-n/2)
	pieces := []wire.Frame{sized(binary, false, n-90)}
	for range 90 {
		pieces = append(pieces, sized(next, false, 1))
	}
	return []offence{
		{"one frame", []wire.Frame{sized(text, true, n)}, sized(text, true, n+1)},
		{"first fragment", []wire.Frame{sized(binary, false, n), sized(next, true, 0)}, sized(binary, false, n+1)},
		{"after fragments", []wire.Frame{half, rest, sized(text, true, n), sized(binary, false, n), empty, sized(next, true, 0), half, rest}, sized(text, true, n+1)},
		{"two fragments", []wire.Frame{half, rest, half}, sized(next, true, n-n/2+1)},
		{"a fragment that is not the last", []wire.Frame{half}, sized(next, false, n-n/2+1)},
		{"one byte after all", []wire.Frame{half, sized(next, false, n-n/2), empty}, sized(next, true, 1)},
		{"with pings between", []wire.Frame{half, ping, rest, ping, half, ping, sized(next, false, n-n/2), ping}, sized(next, false, 1)},
		{"after empty fragments", []wire.Frame{sized(text, false, 0), empty, ping, empty}, sized(next, true, n+1)},
		{"many fragments", pieces, sized(next, true, 1)},
		{"many messages", append(slices.Repeat([]wire.Frame{half, rest}, 3), half), sized(next, true, n)},
	}
}

// sizeLimits are those at which the form of a length changes, and some between, as they are written and in bytes. Those
// from 64 KiB on are larger than what is looked at at a time.
var sizeLimits = map[string]int{
	"124": 124, "125": 125, "126": 126, "1000": 1000, "65535": 65535, "64KiB": 1 << 16, "100000": 100000,
}

// TestMaxFrameSize wants a frame of maxFrameSize passed, and one of a byte more not, not even in part.
func TestMaxFrameSize(t *testing.T) {
	testOversize(t, "maxFrameSize", frameTooBig, oversizeFrames)
}

// TestMaxMessageSize wants that of messages, which are as large as all their fragments together.
func TestMaxMessageSize(t *testing.T) {
	testOversize(t, "maxMessageSize", messageTooBig, oversizeMessages)
}

func testOversize(t *testing.T, key, reason string, rows func(limit int) []offence) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, written := range slices.Sorted(maps.Keys(sizeLimits)) {
			g := newGround(t, e, object{key: written})
			for _, by := range ends {
				for _, row := range rows(sizeLimits[written]) {
					t.Run(written+" "+by+" "+row.name, func(t *testing.T) { g.join(t).exceeds(t, by, row, 1009, reason) })
				}
			}
		}
	})
}

// exceeds wants what is legal passed, and the offender closed with a code and a reason.
func (j *joined) exceeds(t *testing.T, by string, row offence, code int, reason string) {
	t.Helper()
	near, _ := j.from(by)
	if got := j.breaks(t, by, breach{legal: row.legal, bad: near.Encode(row.bad), code: code}); got != reason {
		t.Errorf("the %s is closed for %q, want %q", by, got, reason)
	}
}

// TestMaxSizes has both limits at once, that of messages the larger one or the same, also where messages are compressed:
// what counts is what is on the wire.
func TestMaxSizes(t *testing.T) {
	const text, next = wire.OpText, wire.OpContinuation
	compressed := func(fin bool, size int) wire.Frame { f := sized(text, fin, size); f.RSV = wire.RSV1; return f }
	both, equal := object{"maxFrameSize": 200, "maxMessageSize": 500}, object{"maxFrameSize": 200, "maxMessageSize": 200}
	rows := []struct {
		offence
		config object
		reason string
	}{
		{offence{"frame", []wire.Frame{sized(text, true, 200)}, sized(text, true, 201)}, both, frameTooBig},
		{offence{"fragment", []wire.Frame{sized(text, false, 200)}, sized(next, true, 201)}, both, frameTooBig},
		{offence{"sum", []wire.Frame{sized(text, false, 200), sized(next, false, 200), sized(next, false, 100)}, sized(next, true, 1)}, both, messageTooBig},
		{offence{"small sum", []wire.Frame{sized(text, true, 200), sized(text, false, 200)}, sized(next, true, 1)}, equal, messageTooBig},
		{offence{"compressed frame", []wire.Frame{compressed(true, 200)}, compressed(true, 201)}, both, frameTooBig},
		{offence{"compressed sum", []wire.Frame{compressed(false, 200), sized(next, false, 200), sized(next, false, 100)}, sized(next, true, 1)}, both, messageTooBig},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			line := "Sec-WebSocket-Extensions: permessage-deflate"
			g := newGround(t, e, row.config, line)
			g.offer = []string{line}
			for _, by := range ends {
				t.Run(row.name+" "+by, func(t *testing.T) { g.join(t).exceeds(t, by, row.offence, 1009, row.reason) })
			}
		}
	})
}

// TestOversizeHeader sends no more than the header of a frame that is too big, at once or byte by byte: that is enough.
func TestOversizeHeader(t *testing.T) {
	rows := []struct {
		config object
		legal  []wire.Frame
		header wire.Frame
	}{
		{object{"maxFrameSize": 100}, nil, announced(wire.OpBinary, true, 101)},
		{object{"maxFrameSize": 100}, nil, announced(wire.OpText, true, 5000)},
		{object{"maxFrameSize": "16MiB"}, nil, announced(wire.OpBinary, true, 17<<20)},
		{object{"maxMessageSize": "16MiB"}, nil, announced(wire.OpBinary, false, 1<<62)},
		{object{"maxFrameSize": 100000}, nil, announced(wire.OpBinary, true, 1<<32+70000)}, // legal, cut to 32 bits
		{object{"maxMessageSize": 100000}, nil, announced(wire.OpText, true, 1<<32+70000)},
		{object{"maxMessageSize": "1GiB"}, []wire.Frame{sized(wire.OpText, false, 1)}, announced(wire.OpContinuation, true, 1<<30)},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			g := newGround(t, e, row.config)
			for _, by := range ends {
				for _, bytewise := range []bool{false, true} {
					t.Run(fmt.Sprint(row.config, " ", by, " byte by byte ", bytewise), func(t *testing.T) {
						g.join(t).announces(t, by, row.legal, row.header, bytewise)
					})
				}
			}
		}
	})
}

// announces wants the offender closed for a header, with nothing of it passed on.
func (j *joined) announces(t *testing.T, by string, legal []wire.Frame, header wire.Frame, bytewise bool) {
	t.Helper()
	near, far := j.from(by)
	send(t, near, legal...)
	expect(t, far, near.Encode(legal...))
	spelled := near.Encode(header)
	var cuts []int
	for i := 1; bytewise && i < len(spelled); i++ {
		cuts = append(cuts, i)
	}
	within(t, 0, func() {
		if err := inPieces(near, spelled, cuts...); err != nil {
			t.Fatal(err)
		}
		expectClose(t, near, by == "upstream", 1009)
		expectClose(t, far, by == "client", lost(opposite(by)))
	})
	send(t, far, wire.Close(1000, ""))
	expectEnd(t, far)
	near.Close()
	got := j.expectOutcome(t, "wsfw", 1009, by+": ")
	want, none := trafficOf(near, legal...), traffic{}
	if by == "upstream" {
		want, none = none, want
	}
	if got.FromClient != want || got.FromUpstream != none {
		t.Errorf("the record tells %+v, want %+v and %+v", got, want, none)
	}
}

// TestOversizeWhole has an end send 17 MiB where 16 are allowed, and answer only then: it is heard out, and its answer
// found, so that the session ends in order. What is allowed arrives.
func TestOversizeWhole(t *testing.T) {
	const limit = 16 << 20
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, key := range []string{"maxFrameSize", "maxMessageSize"} {
			g := newGround(t, e, object{key: "16MiB", "closeTimeout": "1m"})
			for _, by := range ends {
				t.Run(key+" "+by, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					legal := near.Encode(wire.Binary(payload(limit)), wire.New(wire.OpPing, nil))
					err := together(
						func() error { _, err := near.Write(legal); return err },
						func() error { return same(far, legal) },
					)
					if err != nil {
						t.Fatal(err)
					}
					sent := make(chan error, 1)
					go func() { sent <- near.Send(wire.Binary(payload(limit+1<<20)), wire.Close(1009, "")) }()
					expectClose(t, near, by == "upstream", 1009)
					expectClose(t, far, by == "client", lost(opposite(by)))
					if err := <-sent; err != nil {
						t.Fatal(err)
					}
					send(t, far, wire.Close(1000, ""))
					expectEnd(t, near)
					expectEnd(t, far)
					j.expectOutcome(t, "wsfw", 1009, by+": ")
				})
			}
		}
	})
}

// TestOversizeEarly has a frame that is too big share a segment with the handshake before it.
func TestOversizeEarly(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), object{"maxFrameSize": 100})
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				early := map[string]string{by: string(sized(wire.OpText, true, 101).Masking(by == "client").Bytes())}
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1")+early["client"])
				upstream, head := server.request(t)
				upstream.send(t, head.switching()+early["upstream"])
				if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("status is %d, want 101", resp.StatusCode)
				}
				codes := map[string]int{by: 1009, opposite(by): lost(opposite(by))}
				for end, conn := range map[string]*peerConn{"client": client, "upstream": upstream} {
					f, err := wire.ReadFrame(conn.in)
					if err != nil {
						t.Fatalf("the %s got no frame: %v", end, err)
					}
					if err := isClose(f, codes[end], end == "upstream"); err != nil {
						t.Errorf("the %s: %v", end, err)
					}
				}
			})
		}
	})
}

// TestOversizeOff wants large frames passed where no limit is set, or it is off.
func TestOversizeOff(t *testing.T) {
	const size = 1 << 20
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, off := range []any{"0", "", 0} {
			g := newGround(t, e, object{"maxFrameSize": off, "maxMessageSize": off, "validate": "frames"})
			for _, by := range ends {
				t.Run(fmt.Sprintf("%T %v %s", off, off, by), func(t *testing.T) {
					g.join(t).passes(t, by, []wire.Frame{sized(wire.OpText, false, size), sized(wire.OpContinuation, true, size)})
				})
			}
		}
	})
}

// TestOversizeUnjudged wants the limits kept also where frames are not judged by RFC 6455.
func TestOversizeUnjudged(t *testing.T) {
	row := offence{"", []wire.Frame{wire.New(0xB, payload(100)), sized(wire.OpText, false, 200), sized(wire.OpContinuation, true, 200)}, sized(wire.OpText, true, 201)}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"maxFrameSize": 200, "validate": "off", "closeTimeout": "500ms"})
		for _, by := range ends {
			t.Run(by, func(t *testing.T) { g.join(t).exceeds(t, by, row, 1009, frameTooBig) })
		}
	})
}

// TestOversizeWhilePingWaits has a ping of the gateway's wait for the end of a frame, behind which comes one that is too
// big: the frame is brought to its end, and of the other nothing comes.
func TestOversizeWhilePingWaits(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, by := range ends {
			g := newGround(t, e, object{"pingInterval": beat.String(), "pingTarget": opposite(by), "maxMessageSize": 300000})
			for _, size := range []int{500, 5000, 299999} {
				t.Run(by+" "+strconv.Itoa(size), func(t *testing.T) { g.join(t).exceedsBehind(t, by, sized(wire.OpText, false, size)) })
			}
		}
	})
}

// exceedsBehind has the named end stop inside a frame for several pings to the other, and then end it and go too far.
func (j *joined) exceedsBehind(t *testing.T, by string, f wire.Frame) {
	t.Helper()
	near, far := j.from(by)
	frame := near.Encode(f)
	half := len(frame) / 2
	in := withoutOwnPings(far, nil)
	if _, err := near.Write(frame[:half]); err != nil {
		t.Fatal(err)
	}
	if err := same(in, frame[:half]); err != nil {
		t.Fatal(err)
	}
	quiet(t, far, 4*beat)
	bad := near.Encode(announced(wire.OpContinuation, true, 1<<20))
	if _, err := near.Write(append(frame[half:len(frame):len(frame)], bad...)); err != nil {
		t.Fatal(err)
	}
	expect(t, far, frame[half:])
	if code, _, err := readToClose(far); err != nil || code != lost(opposite(by)) {
		t.Errorf("the %s was closed with %d (%v), want %d", opposite(by), code, err, lost(opposite(by)))
	}
	if reason := expectClose(t, near, by == "upstream", 1009); reason != messageTooBig {
		t.Errorf("the %s is closed for %q, want %q", by, reason, messageTooBig)
	}
	near.Close()
	far.Close()
	j.expectOutcome(t, "wsfw", 1009, by+": "+messageTooBig)
}

package e2e

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// breach is a frame that breaks RFC 6455, behind frames that do not.
type breach struct {
	name  string
	legal []wire.Frame
	bad   []byte
	code  int // with which whoever sent it is closed
}

// breaches spells the illegal frames of one peer: of a client, which masks, or of a server, which does not.
func breaches(mask bool) []breach {
	start := wire.Frame{Opcode: wire.OpText, Payload: []byte("frag")}
	bits := func(b wire.Frame, rsv byte) wire.Frame { b.RSV = rsv; return b }
	var rows []breach
	add := func(name string, f wire.Frame, legal ...wire.Frame) {
		rows = append(rows, breach{name, legal, f.Masking(mask).Bytes(), 1002})
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		add("reserved bits "+strconv.Itoa(int(rsv)), bits(wire.Text("bits"), rsv))
	}
	for _, opcode := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		add("opcode "+strconv.Itoa(int(opcode)), wire.New(opcode, []byte("code")))
	}
	for _, opcode := range []byte{wire.OpClose, wire.OpPing, wire.OpPong} {
		name := " of opcode " + strconv.Itoa(int(opcode))
		add("fragment"+name, wire.Frame{Opcode: opcode})
		add("126 bytes"+name, wire.New(opcode, make([]byte, 126)))
		add("70000 bytes"+name, wire.New(opcode, make([]byte, 70000)))
		add("long form"+name, wire.Frame{Fin: true, Opcode: opcode, Form: wire.Form16, Payload: []byte{3, 232}})
	}
	binary := func(form wire.Form, claim uint64, size int) wire.Frame {
		return wire.Frame{Fin: true, Opcode: wire.OpBinary, Form: form, Claim: claim, Payload: make([]byte, size)}
	}
	add("no byte in 16 bits", binary(wire.Form16, 0, 0))
	add("125 bytes in 16 bits", binary(wire.Form16, 0, 125))
	add("125 bytes in 64 bits", binary(wire.Form64, 0, 125))
	add("126 bytes in 64 bits", binary(wire.Form64, 0, 126))
	add("65535 bytes in 64 bits", binary(wire.Form64, 0, 65535))
	add("length of 2^63", binary(wire.Form64, 1<<63, 20))
	add("length of 2^64-1", binary(wire.Form64, 1<<64-1, 20))
	add("continuation of nothing", wire.New(wire.OpContinuation, []byte("more")))
	add("fragment of nothing", wire.Frame{Opcode: wire.OpContinuation, Payload: []byte("more")})
	add("continuation after the end", wire.New(wire.OpContinuation, nil), start, wire.New(wire.OpContinuation, nil))
	add("message within a message", wire.Text("new"), start, wire.New(wire.OpPing, nil))
	add("fragment within a message", wire.Frame{Opcode: wire.OpBinary}, start)
	rows = append(rows, breach{"wrong masking", nil, wire.Text("mask").Masking(!mask).Bytes(), 1002})
	rows = append(rows, breach{"wrong masking of a pong", nil, wire.New(wire.OpPong, nil).Masking(!mask).Bytes(), 1002})
	return append(rows, closeBreaches(mask)...)
}

// closeBreaches spells close frames that may not be sent: RFC 6455 section 7.4.
func closeBreaches(mask bool) []breach {
	rows := []breach{{"close with one byte", nil, wire.New(wire.OpClose, []byte{3}).Masking(mask).Bytes(), 1002}}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		f := wire.Close(code, "illegal").Masking(mask)
		rows = append(rows, breach{"close " + strconv.Itoa(code), nil, f.Bytes(), 1002})
	}
	reasons := map[string]string{
		"a lone byte": "\xFF", "cut short": "bye \xE2\x82", "overlong": "\xC0\xAF", "surrogate": "\xED\xA0\x80",
	}
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		f := wire.Close(1000, reasons[name]).Masking(mask)
		rows = append(rows, breach{"close reason " + name, nil, f.Bytes(), 1007})
	}
	return rows
}

// lost is the code for the end that has done nothing wrong.
func lost(other string) int {
	if other == "upstream" {
		return 1001
	}
	return 1014
}

// opposite is the name of the other end.
func opposite(end string) string {
	if end == "client" {
		return "upstream"
	}
	return "client"
}

// startBreaches are starts of frames that are illegal as soon as that has come.
func startBreaches(mask bool) (rows []breach) {
	for size := 120; size <= 125; size++ {
		start := wire.New(wire.OpClose, make([]byte, size)).Masking(!mask).Bytes()[:max(2, size-122)]
		rows = append(rows, breach{"wrong masking of a close of " + strconv.Itoa(size), nil, start, 1002})
	}
	return rows
}

// TestBreach has either end send legal frames and an illegal one at once: the legal ones arrive, of the illegal one
// and what follows it nothing, and each end is closed with its code.
func TestBreach(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		// Short, for nobody finds the answer behind a length that is none.
		g := newGround(t, e, object{"closeTimeout": "500ms"})
		for _, by := range ends {
			for _, row := range append(breaches(by == "client"), startBreaches(by == "client")...) {
				t.Run(by+" "+row.name, func(t *testing.T) { g.join(t).breaks(t, by, row) })
			}
		}
	})
}

// breaks is one row of that. It returns the reason that the offender is told.
func (j *joined) breaks(t *testing.T, by string, row breach) (reason string) {
	t.Helper()
	near, far := j.from(by)
	legal := append([]wire.Frame{wire.Text("before"), wire.New(wire.OpPing, []byte("x"))}, row.legal...)
	sent := append(near.Encode(legal...), row.bad...)
	if _, err := near.Write(append(sent, near.Encode(wire.Text("after"))...)); err != nil {
		t.Fatal(err)
	}
	expect(t, far, near.Encode(legal...))
	expectClose(t, far, by == "client", lost(opposite(by)))
	reason = expectClose(t, near, by == "upstream", row.code)
	send(t, far, wire.Close(1000, ""))
	send(t, near, wire.Close(row.code, ""))
	expectEnd(t, far)
	// What stood behind an illegal length nobody can walk over, so an answer there may not be seen as one.
	expectCut(t, near)
	got := j.expectOutcome(t, "wsfw", row.code, reason)
	want, none := trafficOf(near, legal...), traffic{}
	if by == "upstream" {
		want, none = none, want
	}
	if got.FromClient != want || got.FromUpstream != none {
		t.Errorf("the record tells %+v, want %+v and %+v", got, want, none)
	}
	return reason
}

// TestBreachUnjudged passes the same frames on, to the byte.
func TestBreachUnjudged(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"validate": "off", "closeTimeout": "500ms"})
		for _, by := range ends {
			for _, row := range breaches(by == "client") {
				t.Run(by+" "+row.name, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					sent := append(near.Encode(append(row.legal, wire.Text("before"))...), row.bad...)
					if _, err := near.Write(sent); err != nil {
						t.Fatal(err)
					}
					expect(t, far, sent)
					near.Close()
					far.Close()
					got := j.endingOf(t)
					if passed := got.FromClient.Bytes + got.FromUpstream.Bytes; passed != len(sent) || got.EndedBy == "wsfw" {
						t.Errorf("the record tells %+v, want %d bytes and no fault", got, len(sent))
					}
				})
			}
		}
	})
}

// TestLargestLength has a frame announce half of what an int can tell, which is all that wsfw takes: no sum of offsets may
// overflow.
func TestLargestLength(t *testing.T) {
	largest := wire.Frame{Fin: true, Opcode: wire.OpBinary, Claim: 1 << (strconv.IntSize - 2), Payload: payload(3000)}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"closeTimeout": "500ms"})
		for _, by := range ends {
			behind := map[string][]wire.Frame{"nothing": nil, "text": {wire.Text("before")}, "ping": {wire.New(wire.OpPing, nil)}}
			for name, before := range behind {
				t.Run(by+" after "+name, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					sent := near.Encode(append(before, largest)...)
					if _, err := near.Write(sent); err != nil {
						t.Fatal(err)
					}
					expect(t, far, sent)
					more := payload(100000)
					if _, err := near.Write(more); err != nil {
						t.Fatal(err)
					}
					expect(t, far, more)
					near.Close()
					expectEnd(t, far)
					j.expectOutcome(t, by, 1006, "connection lost")
				})
			}
		}
	})
}

// TestExtensionBits has an extension negotiated: with it reserved bits are legal where it gives them a meaning.
func TestExtensionBits(t *testing.T) {
	text := func(rsv byte) wire.Frame { f := wire.Text("bits"); f.RSV = rsv; return f }
	start := func(rsv byte) wire.Frame { f := text(rsv); f.Fin = false; return f }
	next := func(rsv byte) wire.Frame { f := text(rsv); f.Opcode = wire.OpContinuation; return f }
	ping := func(rsv byte) wire.Frame { f := text(rsv); f.Opcode = wire.OpPing; return f }
	closeFrame := wire.Close(1000, "bits")
	closeFrame.RSV = wire.RSV1
	const deflate, unknown = "permessage-deflate", "x-unknown"
	rows := []struct {
		name, extension string
		legal, bad      []wire.Frame
	}{
		{"compressed message", deflate, []wire.Frame{text(4), text(0)}, nil},
		{"compressed fragments", deflate, []wire.Frame{start(4), ping(0), next(0)}, nil},
		{"second bit", deflate, nil, []wire.Frame{text(2)}},
		{"third bit", deflate, nil, []wire.Frame{text(5)}},
		{"continuation", deflate, []wire.Frame{start(4)}, []wire.Frame{next(4)}},
		{"continuation of a plain message", deflate, []wire.Frame{start(0)}, []wire.Frame{next(4)}},
		{"ping", deflate, nil, []wire.Frame{ping(4)}},
		{"close", deflate, nil, []wire.Frame{closeFrame}},
		{"any bit of any frame", unknown, []wire.Frame{text(7), start(1), ping(2), next(4), ping(7)}, nil},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, extension := range []string{deflate, unknown} {
			line := "Sec-WebSocket-Extensions: " + extension
			g := newGround(t, e, nil, line)
			g.offer = []string{line}
			for _, by := range ends {
				for _, row := range rows {
					if row.extension != extension {
						continue
					}
					t.Run(extension+" "+by+" "+row.name, func(t *testing.T) {
						j := g.join(t)
						near, _ := j.from(by)
						if row.bad == nil {
							j.passes(t, by, row.legal)
						} else {
							j.breaks(t, by, breach{legal: row.legal, bad: near.Encode(row.bad...), code: 1002})
						}
					})
				}
			}
		}
	})
}

// passes wants frames to arrive, and a close handshake to follow them.
func (j *joined) passes(t *testing.T, by string, frames []wire.Frame) {
	t.Helper()
	near, far := j.from(by)
	frames = append(frames, wire.Close(1000, "done"))
	send(t, near, frames...)
	expect(t, far, near.Encode(frames...))
	send(t, far, wire.Close(1000, ""))
	expect(t, near, far.Encode(wire.Close(1000, "")))
	expectEnd(t, near)
	expectEnd(t, far)
	j.expectOutcome(t, by, 1000, "done")
}

// TestBreachWhileReceiving breaks the rules while the other end is in the middle of a large frame: the close frame
// waits for that frame's end. Where the end never comes, there is no close frame.
func TestBreachWhileReceiving(t *testing.T) {
	const closeTimeout = time.Second
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"closeTimeout": closeTimeout.String()})
		for _, by := range ends {
			for _, finishes := range []bool{true, false} {
				t.Run(by+" finished "+strconv.FormatBool(finishes), func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					large := far.Encode(wire.Binary(payload(1 << 20)))
					half := len(large) / 2
					if _, err := far.Write(large[:half]); err != nil {
						t.Fatal(err)
					}
					expect(t, near, large[:half])
					send(t, near, wire.New(0x3, nil))
					expectClose(t, far, by == "client", lost(opposite(by)))
					if !finishes {
						within(t, closeTimeout-100*time.Millisecond, func() { expectCut(t, near) })
						expectCut(t, far)
						j.expectOutcome(t, "wsfw", 1002, by)
						return
					}
					if _, err := far.Write(large[half:]); err != nil {
						t.Fatal(err)
					}
					expect(t, near, large[half:])
					expectClose(t, near, by == "upstream", 1002)
					send(t, near, wire.Close(1002, ""))
					send(t, far, wire.Close(1000, ""))
					expectEnd(t, near)
					expectEnd(t, far)
					j.expectOutcome(t, "wsfw", 1002, by)
				})
			}
		}
	})
}

// TestBreachUnanswered wants the end within closeTimeout when neither end answers.
func TestBreachUnanswered(t *testing.T) {
	const closeTimeout = 400 * time.Millisecond
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"closeTimeout": closeTimeout.String()})
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				within(t, closeTimeout, func() {
					send(t, near, wire.New(0x3, nil))
					expectClose(t, far, by == "client", lost(opposite(by)))
					expectClose(t, near, by == "upstream", 1002)
					expectEnd(t, far)
					expectEnd(t, near)
				})
				j.expectOutcome(t, "wsfw", 1002, by)
			})
		}
	})
}

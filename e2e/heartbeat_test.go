package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// beat is the suite's pingInterval where a case only needs pings to come.
const beat = 50 * time.Millisecond

// ownPing is the length of a gateway's ping. No script has a ping or pong of that length, so it tells them apart.
const ownPing = 16

// isOwnPing reports whether a frame is a ping of the gateway's.
func isOwnPing(f wire.Frame) bool {
	return f.Opcode == wire.OpPing && len(f.Payload) == ownPing
}

// expectPing wants a ping of the gateway's own next, and returns it.
func expectPing(t *testing.T, peer *wire.Peer, toUpstream bool) wire.Frame {
	t.Helper()
	f, err := peer.ReadFrame()
	if err != nil || !isOwnPing(f) || !f.Fin || f.RSV != 0 || f.Masked != toUpstream {
		t.Fatalf("the peer got %v (%v), want a ping of the gateway's, masked=%v", f, err, toUpstream)
	}
	return f
}

// pong answers a ping.
func pong(f wire.Frame) wire.Frame { return wire.New(wire.OpPong, f.Payload) }

// pulse is what a record tells of one side's heartbeat, times in milliseconds.
type pulse struct {
	Pings, Pongs           int
	RTTMin, RTTAvg, RTTMax float64
}

// pulsesOf reads a record's heartbeat, by the names of the sides that are pinged.
func pulsesOf(t *testing.T, record map[string]any) map[string]pulse {
	t.Helper()
	text, err := json.Marshal(record["heartbeat"])
	if err != nil {
		t.Fatal(err)
	}
	var pulses map[string]pulse
	if err := json.Unmarshal(text, &pulses); err != nil {
		t.Fatalf("the heartbeat is %s: %v", text, err)
	}
	return pulses
}

// TestPings wants those ends pinged that pingTarget names, and nobody else: with payloads that differ, under keys that
// differ. Each is answered late, and the record tells how late.
func TestPings(t *testing.T) {
	targets := map[string][]string{"": ends, "both": ends, "client": {"client"}, "upstream": {"upstream"}}
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		for target, pinged := range targets {
			t.Run("target "+target, func(t *testing.T) {
				config := object{"pingInterval": beat.String()}
				if target != "" {
					config["pingTarget"] = target
				}
				j := newGround(t, e, config).join(t)
				for _, end := range pinged {
					near, far := j.from(end)
					answerPings(t, near, end == "upstream")
					if len(pinged) == 1 {
						quiet(t, far, 3*beat)
					}
				}
				near, far := j.from(pinged[len(pinged)-1])
				send(t, near, wire.Text("done"))
				if err := same(withoutOwnPings(far, nil), near.Encode(wire.Text("done"))); err != nil {
					t.Fatal(err) // what comes is behind the last pong
				}
				near.Close()
				far.Close()
				checkPulses(t, pulsesOf(t, j.record(t)), pinged)
			})
		}
	})
}

const (
	answeredPings = 4
	pongDelay     = 20 * time.Millisecond
)

// answerPings has a peer answer some pings after a delay.
func answerPings(t *testing.T, peer *wire.Peer, toUpstream bool) {
	t.Helper()
	var payloads [][]byte
	keys := map[[4]byte]bool{}
	for range answeredPings {
		f := expectPing(t, peer, toUpstream)
		for _, other := range payloads {
			if bytes.Equal(other, f.Payload) {
				t.Errorf("two pings carry %x", other)
			}
		}
		payloads = append(payloads, f.Payload)
		keys[f.Key] = true
		<-time.After(pongDelay)
		send(t, peer, pong(f))
	}
	if toUpstream && (len(keys) != answeredPings || keys[[4]byte{}]) {
		t.Errorf("%d pings were masked under the keys %v", answeredPings, keys)
	}
}

// checkPulses wants the record to tell of the sides that were pinged what they have done. They may have been sent more
// pings than they read.
func checkPulses(t *testing.T, told map[string]pulse, pinged []string) {
	t.Helper()
	if len(told) != len(pinged) {
		t.Errorf("the record tells %+v, want it to tell of %v", told, pinged)
	}
	const delay = float64(pongDelay / time.Millisecond)
	for _, end := range pinged {
		p := told[end]
		ordered := delay <= p.RTTMin && p.RTTMin <= p.RTTAvg && p.RTTAvg <= p.RTTMax
		if p.Pings < answeredPings || p.Pongs != answeredPings || !ordered || p.RTTMax > 5000 {
			t.Errorf("the record tells %+v of the %s, want %d pings answered after %v", p, end, answeredPings, pongDelay)
		}
	}
}

// TestPongsOfOthers wants every ping and pong passed on that the gateway has nothing to do with, however much it is like
// one of its own.
func TestPongsOfOthers(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, object{"pingInterval": beat.String()}).join(t)
		tokens := map[string][]byte{}
		for _, end := range ends {
			near, _ := j.from(end)
			tokens[end] = expectPing(t, near, end == "upstream").Payload
		}
		for _, end := range ends {
			near, far := j.from(end)
			frames := []wire.Frame{
				wire.New(wire.OpPing, []byte("sixteen  bytes 1")),
				wire.New(wire.OpPong, []byte("sixteen  bytes 2")),
				wire.New(wire.OpPong, nil),
				wire.New(wire.OpPong, tokens[opposite(end)]),  // is not for this end to answer
				wire.New(wire.OpPing, tokens[end]),            // is no pong
				wire.New(wire.OpPong, tokens[end][:8]),        // is too short
				wire.New(wire.OpPong, append(tokens[end], 1)), // is too long
			}
			send(t, near, frames...)
			want := near.Encode(frames...)
			got := make([]byte, len(want))
			if n, err := io.ReadFull(withoutOwnPings(far, tokens[opposite(end)]), got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("from %s came %x (%v), want %x", end, got[:n], err, want)
			}
		}
	})
}

// TestPongTaken cuts a pong of the gateway's at every place, among frames that go on: of it nothing does, of them all.
func TestPongTaken(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			t.Run(end, func(t *testing.T) {
				pongTaken(t, newGround(t, e, object{"pingInterval": beat.String(), "pingTarget": end}).join(t), end)
			})
		}
	})
}

// pongTaken answers one ping again and again, for its pong is one of the gateway's each time.
func pongTaken(t *testing.T, j *joined, end string) {
	near, far := j.from(end)
	f := expectPing(t, near, end == "upstream")
	before := []wire.Frame{wire.Text("before"), {Opcode: wire.OpText, Payload: []byte("frag")}}
	after := []wire.Frame{wire.New(wire.OpPong, []byte("other")), wire.New(wire.OpContinuation, []byte("ment"))}
	sent := slices.Concat(near.Encode(before...), near.Encode(pong(f), pong(f)), near.Encode(after...))
	want := near.Encode(append(before, after...)...)
	for cut := range len(sent) {
		if err := inPieces(near, sent, cut); err != nil {
			t.Fatal(err)
		}
		expect(t, far, want)
	}
	near.Close()
	far.Close()
	record := j.record(t)
	sum, _ := record["from"+map[string]string{"client": "Client", "upstream": "Upstream"}[end]].(map[string]any)
	if got := sum["bytes"]; got != float64(len(want)*len(sent)) {
		t.Errorf("the record tells of %v bytes, want %d", got, len(want)*len(sent))
	}
}

// TestPingWaitsForFrame has a frame stop in the middle for several intervals, for so short that the gateway is still busy
// with it, or for so long that it turns to other things, which it does four times a writeTimeout: no ping comes before its
// end, and one does right after it.
func TestPingWaitsForFrame(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			for _, size := range []int{500, 5000, 300000} {
				for name, writeTimeout := range map[string]string{"busy": "30s", "turned": (4 * beat).String()} {
					t.Run(fmt.Sprint(name, " to ", end, " of ", size), func(t *testing.T) {
						j := newGround(t, e, object{"pingInterval": beat.String(), "pingTarget": end, "writeTimeout": writeTimeout}).join(t)
						near, far := j.from(end)
						expectPing(t, near, end == "upstream")
						frame := far.Encode(wire.Frame{Opcode: wire.OpBinary, Payload: payload(size)})
						half := len(frame) / 2
						if _, err := far.Write(frame[:half]); err != nil {
							t.Fatal(err)
						}
						in := withoutOwnPings(near, nil) // one may come before the frame
						got := make([]byte, len(frame))
						if _, err := io.ReadFull(in, got[:half]); err != nil {
							t.Fatal(err)
						}
						quiet(t, near, 4*beat)
						if _, err := far.Write(frame[half:]); err != nil {
							t.Fatal(err)
						}
						expect(t, near, frame[half:])
						within(t, 0, func() { expectPing(t, near, end == "upstream") })
					})
				}
			}
		}
	})
}

// TestHeavyPingWaitsForHugeFrame has a frame pass that takes many intervals: its ping comes right behind it.
func TestHeavyPingWaitsForHugeFrame(t *testing.T) {
	const size = 1 << 30
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			t.Run("to "+end, func(t *testing.T) {
				j := newGround(t, e, object{"pingInterval": beat.String(), "pingTarget": end}).join(t)
				near, far := j.from(end)
				m := newMove(t, far, near, shipment{frames: 1, size: size})
				sent := make(chan error, 1)
				go func() { sent <- m.send() }()
				in := withoutOwnPings(near, nil) // one may come before the frame
				received := crc32.New(crc32.MakeTable(crc32.Castagnoli))
				if n, err := io.CopyBuffer(received, io.LimitReader(in, m.total()), m.landing); n < m.total() {
					t.Fatalf("%d of %d bytes arrive (%v)", n, m.total(), err)
				}
				within(t, 0, func() { expectPing(t, near, end == "upstream") })
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				if received.Sum32() != m.sum.Sum32() {
					t.Error("what arrives is not what was sent")
				}
			})
		}
	})
}

// TestHeavyPingsWhileSaturated has both ends send as fast as they can, large frames and small ones, while both are pinged: all
// that arrives is whole frames, each as it was sent, with a ping between two of them now and then.
func TestHeavyPingsWhileSaturated(t *testing.T) {
	const during = 2 * time.Second
	sizes := map[string]int{"small": 10, "medium": 4000, "large": 200000}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for name, size := range sizes {
			t.Run(name, func(t *testing.T) {
				j := newGround(t, e, object{"pingInterval": beat.String(), "closeTimeout": "30s"}).join(t)
				say := func(peer *wire.Peer, code int) func() error {
					return func() error { return sayUntil(peer, wire.Binary(payload(size)), time.Now().Add(during), code) }
				}
				hear := func(peer *wire.Peer) func() error {
					return func() error { return hearSaturated(peer, payload(size), int(during/beat)) }
				}
				if err := together(say(j.client, 4000), say(j.upstream, 4001), hear(j.client), hear(j.upstream)); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// sayUntil repeats a message until a time, and then closes.
func sayUntil(peer *wire.Peer, message wire.Frame, until time.Time, code int) error {
	text := peer.Encode(message)
	for time.Now().Before(until) {
		if _, err := peer.Write(text); err != nil {
			return err
		}
	}
	return peer.Send(wire.Close(code, ""))
}

// hearSaturated reads messages with this payload and pings until the close frame. A ping may have to wait for a reader that
// has no time, so there may be fewer than were due: a fifth of them must come.
func hearSaturated(peer *wire.Peer, message []byte, due int) error {
	in := bufio.NewReaderSize(peer, 64<<10)
	pings, messages := 0, 0
	for {
		f, err := wire.ReadFrame(in)
		if err != nil {
			return fmt.Errorf("after %d messages and %d pings: %w", messages, pings, err)
		}
		switch {
		case f.Opcode == wire.OpClose:
			if pings < due/5 || messages == 0 {
				return fmt.Errorf("there were %d pings among %d messages, want %d", pings, messages, due/5)
			}
			return nil
		case isOwnPing(f):
			pings++
		case f.Opcode == wire.OpBinary && bytes.Equal(f.Payload, message):
			messages++
		default:
			return fmt.Errorf("after %d messages and %d pings came %v", messages, pings, f)
		}
	}
}

// TestFirstPingsSpread opens sessions at once where there have been none for a while: their first pings come one by one, all
// over the interval, for clients that come back together are not to be pinged together.
func TestFirstPingsSpread(t *testing.T) {
	const (
		interval = 400 * time.Millisecond
		crowd    = 20
	)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"pingInterval": interval.String(), "pingTarget": "client"})
		first := g.join(t)
		for range 2 {
			send(t, first.client, pong(expectPing(t, first.client, false)))
		}
		first.client.Close()
		first.record(t)
		<-time.After(3 * interval) // the spell: nobody is there whom an event could come from

		var sessions []*joined
		for range crowd {
			sessions = append(sessions, g.join(t))
		}
		times := make(chan time.Time)
		for _, j := range sessions {
			go func() {
				if f, err := j.client.ReadFrame(); err != nil || !isOwnPing(f) {
					t.Errorf("a client got %v (%v), want a ping", f, err)
				}
				times <- time.Now()
			}()
		}
		earliest := <-times
		latest := earliest
		for range crowd - 1 {
			latest = <-times
		}
		// Of 20 random times within the interval all are in the same quarter of it once in 10^10.
		if spread := latest.Sub(earliest); spread < interval/4 {
			t.Errorf("%d first pings came within %v, want them all over %v", crowd, spread, interval)
		}
	})
}

// TestPingsBesideUnreadService has one session's service read nothing from the start: another session is pinged all the same.
func TestPingsBesideUnreadService(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		taken := make(chan net.Conn, 2)
		gateway := e.Start(t, engine.Setup{
			Config: object{"pingInterval": beat.String()},
			Service: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				conn, _, err := takeDirectly(rw)
				if err != nil {
					return // and the client gets no 101
				}
				defer conn.Close()
				_ = writeAll(conn, switching(req)) // or the client gets none either
				taken <- conn
				<-req.Context().Done()
			}),
		})
		unread := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		unread.answer(t)
		<-taken
		client, err := wire.Dial(gateway.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		service := <-taken
		service.SetReadDeadline(time.Now().Add(wire.Timeout))
		in := bufio.NewReader(service)
		for range 2 * answeredPings {
			send(t, client, pong(expectPing(t, client, false)))
			if f, err := wire.ReadFrame(in); err != nil || !isOwnPing(f) {
				t.Fatalf("the service got %v (%v), want a ping", f, err)
			}
		}
	})
}

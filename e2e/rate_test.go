package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const tooMany = "too many messages"

// TestMessageRate has a burst that is allowed, and the message that is one too many. A message counts once, and control
// frames do not. Nothing is refilled while the test runs.
func TestMessageRate(t *testing.T) {
	const burst = 5 // one of which is the text that comes before each row
	text, large := wire.Text("text"), wire.Binary(payload(100000))
	ping, pong := wire.New(wire.OpPing, []byte("ping")), wire.New(wire.OpPong, nil)
	start := wire.Frame{Opcode: wire.OpBinary, Payload: []byte("frag")}
	middle := wire.Frame{Opcode: wire.OpContinuation, Payload: []byte("ment")}
	end := wire.New(wire.OpContinuation, nil)
	times := func(n int, frames ...wire.Frame) []wire.Frame { return slices.Repeat(frames, n) }
	rows := []offence{
		{"text", times(burst-1, text), text},
		{"binary", times(burst-1, text), wire.Binary([]byte("binary"))},
		{"no bytes", times(burst-1, wire.Text("")), wire.Text("")},
		{"a first fragment", times(burst-1, text), start},
		{"fragments", times(burst-1, start, middle, ping, middle, end), start},
		{"behind a last fragment", append(times(burst-2, text), start, middle, middle, end), text},
		{"control frames", slices.Concat(times(20, ping, pong), times(burst-1, text), times(20, ping, pong)), text},
		{"large messages", times(burst-1, large), large},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"messageRate": "0.0001", "messageBurst": burst})
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) { g.join(t).exceeds(t, "client", row, 1008, tooMany) })
		}
	})
}

// TestMessageRateDefaults is about the depth that nobody has set: the rate, and one message at least.
func TestMessageRateDefaults(t *testing.T) {
	rows := []struct {
		name  string
		rate  any
		legal []wire.Frame // after a first message
	}{
		{"two a second", 2, []wire.Frame{wire.Text("second")}},
		{"a fraction", 0.01, nil},
		{"more than one", "1.5", nil},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				j := newGround(t, e, object{"messageRate": row.rate}).join(t)
				j.exceeds(t, "client", offence{legal: row.legal, bad: wire.Text("one more")}, 1008, tooMany)
			})
		}
	})
}

// TestMessageRateOfOthers wants those to say what they want whom no limit holds: an upstream, a client where it is off, and
// one where it is as high as can be.
func TestMessageRateOfOthers(t *testing.T) {
	many := slices.Repeat([]wire.Frame{wire.Text("chatter")}, 2000)
	rows := []struct {
		by   string
		rate any
	}{{"upstream", 1}, {"client", 0}, {"client", 1e9}}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			t.Run(fmt.Sprint(row.by, " at ", row.rate), func(t *testing.T) {
				newGround(t, e, object{"messageRate": row.rate, "validate": "frames"}).join(t).passes(t, row.by, many)
			})
		}
	})
}

// TestMessageRateKept has a client that stays just under the rate, with no burst allowed: nothing ever happens to it. It
// waits for each message to arrive, so that to the gateway, too, they are so far apart.
func TestMessageRateKept(t *testing.T) {
	const rate, during = 20, 3 * time.Second
	eachUse(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, object{"messageRate": rate, "messageBurst": 1}).join(t)
		frames := []wire.Frame{
			{Opcode: wire.OpText, Payload: []byte("paced")}, wire.New(wire.OpPing, nil), {Fin: true, Opcode: wire.OpContinuation},
		}
		for start := time.Now(); time.Since(start) < during; <-time.After(time.Second/rate + time.Millisecond) {
			send(t, j.client, frames...)
			expect(t, j.upstream, j.client.Encode(frames...))
		}
		j.passes(t, "client", nil)
	})
}

// TestMessageRateRefills lets a client wait for longer than the whole burst takes to come back: it has that burst again,
// and no more.
func TestMessageRateRefills(t *testing.T) {
	const rate, burst, pause = 2, 3, 2500 * time.Millisecond
	full := slices.Repeat([]wire.Frame{wire.Text("burst")}, burst)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, object{"messageRate": rate, "messageBurst": burst}).join(t)
		send(t, j.client, full...)
		expect(t, j.upstream, j.client.Encode(full...))
		quiet(t, j.upstream, pause)
		send(t, j.client, append(full, wire.Text("one more"))...)
		expect(t, j.upstream, j.client.Encode(full...))
		j.tooFast(t)
	})
}

// tooFast wants a session ended for its client's haste.
func (j *joined) tooFast(t *testing.T) {
	t.Helper()
	expectClose(t, j.upstream, true, 1001)
	if reason := expectClose(t, j.client, false, 1008); reason != tooMany {
		t.Errorf("the client is closed for %q, want %q", reason, tooMany)
	}
	j.client.Close()
	j.upstream.Close()
	j.expectOutcome(t, "wsfw", 1008, "client: "+tooMany)
}

// TestMessageRateExceeded has a client send as fast as it can: what arrives is a burst, and what the rate allows for the
// time that it took.
func TestMessageRateExceeded(t *testing.T) {
	const rate, burst = 200, 100
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		for name, size := range map[string]int{"small": 10, "large": 5000} {
			t.Run(name, func(t *testing.T) {
				start := time.Now()
				j := newGround(t, e, object{"messageRate": rate, "messageBurst": burst}).join(t)
				message := j.client.Encode(wire.Binary(payload(size)))
				go func() {
					for {
						if _, err := j.client.Write(message); err != nil {
							return // the gateway has closed the session
						}
					}
				}()
				passed := 0
				f, err := j.upstream.ReadFrame()
				for ; err == nil && f.Opcode == wire.OpBinary; f, err = j.upstream.ReadFrame() {
					passed++
				}
				if code, _, _ := f.Status(); err != nil || code != 1001 {
					t.Fatalf("after %d messages came %v (%v), want close 1001", passed, f, err)
				}
				if most := burst + int(rate*time.Since(start).Seconds()); passed < burst || passed > most {
					t.Errorf("%d messages passed, want %d to %d", passed, burst, most)
				}
				expectClose(t, j.client, false, 1008)
			})
		}
	})
}

// TestMessageRateApart wants each session to have its own allowance, and one that is pinged nothing taken from it.
func TestMessageRateApart(t *testing.T) {
	const burst = 4
	full := slices.Repeat([]wire.Frame{wire.Text("burst")}, burst)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"messageRate": "0.0001", "messageBurst": burst, "pingInterval": beat.String(), "pingTarget": "client"})
		sessions := []*joined{g.join(t), g.join(t)}
		for _, j := range sessions {
			for range 2 * burst {
				send(t, j.client, pong(expectPing(t, j.client, false)))
			}
			send(t, j.client, full...)
			expect(t, j.upstream, j.client.Encode(full...))
		}
		for _, j := range sessions {
			send(t, j.client, wire.Text("one more"))
			expectClose(t, j.upstream, true, 1001)
			if code, reason, err := readToClose(j.client); err != nil || code != 1008 || reason != tooMany {
				t.Errorf("the client was closed with %d %q (%v), want 1008", code, reason, err)
			}
			j.client.Close()
			j.upstream.Close()
			j.expectOutcome(t, "wsfw", 1008, "client: "+tooMany)
		}
	})
}

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// controlBurst is how many control frames a client may send at once, and controlFlood is more than that and what the
	// time allows that it takes to send them, on a slow machine.
	controlBurst = 1000
	controlFlood = 4000

	tooManyControls = "too many control frames"
)

// controlKinds are control frames that a client may send as it likes, but not as often as it likes.
var controlKinds = map[string][]wire.Frame{
	"pings":             {wire.New(wire.OpPing, nil)},
	"pings with bytes":  {wire.New(wire.OpPing, payload(125))},
	"unsolicited pongs": {wire.New(wire.OpPong, nil)},
	"both":              {wire.New(wire.OpPing, []byte("ping")), wire.New(wire.OpPong, []byte("pong"))},
	"between fragments": {{Opcode: wire.OpContinuation}, wire.New(wire.OpPing, nil)},
}

// strictly are the options under which frames are validated.
var strictly = map[string]object{"by default": nil, "frames": {"validate": "frames"}, "utf8": {"validate": "utf8"}}

// controls are so many frames of a kind, with what has to come before them.
func controls(kind string, count int) []wire.Frame {
	frames := controlKinds[kind]
	all := slices.Repeat(frames, count/len(frames))
	if frames[0].Opcode == wire.OpContinuation {
		all = append([]wire.Frame{{Opcode: wire.OpText}}, slices.Repeat(frames, count)...) // one of two is a control frame
	}
	return all
}

// TestControlFlood has a client send more control frames than any application does: it is told so, and the upstream gets
// those that were allowed.
func TestControlFlood(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for validate, config := range strictly {
			g := newGround(t, e, config)
			for kind := range controlKinds {
				t.Run(validate+"/"+kind, func(t *testing.T) { g.join(t).floods(t, controls(kind, controlFlood)) })
			}
		}
	})
}

// floods has the client send frames of which too many are control frames.
func (j *joined) floods(t *testing.T, frames []wire.Frame) {
	t.Helper()
	var code int
	var reason string
	passed := 0
	err := together(
		func() (err error) { passed, err = j.passedControls(); return err },
		func() error { _ = j.client.Send(frames...); return nil }, // it may be cut off
		func() (err error) { code, reason, err = readToClose(j.client); return err },
	)
	if err != nil {
		t.Fatal(err)
	}
	if code != 1008 || reason != tooManyControls {
		t.Errorf("the client is closed with %d %q, want 1008 %q", code, reason, tooManyControls)
	}
	if passed < controlBurst || passed >= controlFlood {
		t.Errorf("%d control frames passed, want at least %d and not all", passed, controlBurst)
	}
	j.client.Close()
	j.upstream.Close()
	got := j.endingOf(t)
	if got.EndedBy != "wsfw" || got.Code != 1008 || got.Reason != "client: "+tooManyControls {
		t.Errorf("the record tells %+v, want it ended by wsfw with 1008, client: %s", got, tooManyControls)
	}
}

// passedControls reads what the upstream gets, to its close frame: how many control frames there are before it.
func (j *joined) passedControls() (count int, err error) {
	for {
		f, err := j.upstream.ReadFrame()
		if err != nil {
			return count, fmt.Errorf("the upstream is told nothing: %w", err)
		}
		if code, _, ok := f.Status(); ok {
			if code != 1001 {
				return count, fmt.Errorf("the upstream is closed with %v, want 1001", f)
			}
			return count, nil
		}
		if f.Opcode >= wire.OpClose {
			count++
		}
		if count == controlFlood {
			j.client.Close() // and so nobody waits for its close frame
			return count, errors.New("all control frames pass")
		}
	}
}

// TestControlBurst has a client send as many at once as it may, and then messages.
func TestControlBurst(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		for validate, config := range strictly {
			g := newGround(t, e, config)
			for kind := range controlKinds {
				t.Run(validate+"/"+kind, func(t *testing.T) {
					frames := controls(kind, 900)
					if kind == "between fragments" {
						frames = append(frames, wire.New(wire.OpContinuation, nil))
					}
					g.join(t).passesAll(t, "client", append(frames, wire.Text("and on")))
				})
			}
		}
	})
}

// passesAll is passes for more than the kernels keep for those who do not read.
func (j *joined) passesAll(t *testing.T, by string, frames []wire.Frame) {
	t.Helper()
	near, far := j.from(by)
	frames = append(frames, wire.Close(1000, "done"))
	err := together(func() error { return near.Send(frames...) }, func() error { return same(far, near.Encode(frames...)) })
	if err != nil {
		t.Fatal(err)
	}
	send(t, far, wire.Close(1000, ""))
	expect(t, near, far.Encode(wire.Close(1000, "")))
	j.expectOutcome(t, by, 1000, "done")
}

// TestControlFree wants those to send control frames as they like who are not bound: a client where nothing is validated,
// and any upstream.
func TestControlFree(t *testing.T) {
	rows := []struct {
		by     string
		config object
	}{
		{"client", object{"validate": "off", "maxInactivity": "1m"}},
		{"client", object{"validate": "off", "maxFrameSize": "1MiB"}},
		{"upstream", object{"validate": "frames"}},
		{"upstream", object{"validate": "utf8"}},
		{"upstream", object{"validate": "off", "maxInactivity": "1m"}},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			g := newGround(t, e, row.config)
			for _, kind := range []string{"pings", "unsolicited pongs", "both"} {
				t.Run(fmt.Sprint(row.by, " ", row.config, " ", kind), func(t *testing.T) {
					g.join(t).passesAll(t, row.by, controls(kind, 4*controlFlood))
				})
			}
		}
	})
}

// TestControlReplay has a client answer one ping of the gateway's again and again. Those pongs go no further, and count
// all the same.
func TestControlReplay(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for validate, options := range strictly {
			t.Run(validate, func(t *testing.T) {
				config := object{"pingInterval": beat.String(), "pingTarget": "client"}
				for key, value := range options {
					config[key] = value
				}
				j := newGround(t, e, config).join(t)
				replayed := pong(expectPing(t, j.client, false))
				var code int
				var reason string
				err := together(
					func() error {
						_ = j.client.Send(append(slices.Repeat([]wire.Frame{replayed}, controlFlood), wire.Close(4000, "too late"))...)
						return nil
					},
					func() (err error) { code, reason, err = readToClose(j.client); return err },
					func() error { return closedWithout(j.upstream, replayed.Payload) },
				)
				if err != nil || code != 1008 || reason != tooManyControls {
					t.Fatalf("the client is closed with %d %q (%v), want 1008 %q", code, reason, err, tooManyControls)
				}
				j.client.Close()
				j.upstream.Close()
				if got := j.endingOf(t); got.Reason != "client: "+tooManyControls || got.FromClient.Frames < controlBurst {
					t.Errorf("the record tells %+v, want it to count what the gateway has taken out", got)
				}
			})
		}
	})
}

// closedWithout reads to the close frame, and wants nobody's pong on the way.
func closedWithout(peer *wire.Peer, token []byte) error {
	for {
		f, err := peer.ReadFrame()
		if err != nil {
			return err
		}
		if f.Opcode == wire.OpClose {
			return peer.Send(f)
		}
		if f.Opcode == wire.OpPong && bytes.Equal(f.Payload, token) {
			return errors.New("a pong to the gateway goes on to the upstream")
		}
	}
}

// TestControlAbsorbed wants the record to count the pongs that the gateway has taken out.
func TestControlAbsorbed(t *testing.T) {
	const answers = 7
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			t.Run(end, func(t *testing.T) {
				j := newGround(t, e, object{"pingInterval": beat.String(), "pingTarget": end}).join(t)
				near, far := j.from(end)
				answer := pong(expectPing(t, near, end == "upstream"))
				text, bye := wire.Text("done"), wire.Close(1000, "")
				frames := append(slices.Repeat([]wire.Frame{answer}, answers), text, bye)
				send(t, near, frames...)
				expect(t, far, near.Encode(text, bye))
				send(t, far, bye)
				_, _ = io.Copy(io.Discard, near) // pings, perhaps, and the answer
				far.Close()
				got := j.endingOf(t)
				counted := got.FromClient
				if end == "upstream" {
					counted = got.FromUpstream
				}
				if counted.Frames != len(frames) || counted.Messages != 1 {
					t.Errorf("the record tells %+v, want %d frames of the %s's and one message", got, len(frames), end)
				}
			})
		}
	})
}

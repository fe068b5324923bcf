package e2e

import (
	"strconv"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestOversizeUnread has one end send a message that is too big, in pieces and without reading, for longer than
// closeTimeout: its close frame is there when it reads at last.
func TestOversizeUnread(t *testing.T) {
	const closeTimeout, pieces, pause = 800 * time.Millisecond, 40, 40 * time.Millisecond
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				t.Parallel() // it waits most of the time
				j := newGround(t, e, object{"maxMessageSize": "1MiB", "closeTimeout": closeTimeout.String()}).join(t)
				near, far := j.from(by)
				message := near.Encode(wire.Binary(payload(2 << 20)))
				pace := time.NewTicker(pause)
				defer pace.Stop()
				for i := range pieces {
					if _, err := near.Write(message[i*len(message)/pieces : (i+1)*len(message)/pieces]); err != nil {
						t.Fatalf("piece %d: %v", i, err)
					}
					if i == 0 {
						expectClose(t, far, by == "client", lost(opposite(by)))
						send(t, far, wire.Close(1000, ""))
					}
					<-pace.C
				}
				if reason := expectClose(t, near, by == "upstream", 1009); reason != messageTooBig {
					t.Errorf("the %s is closed for %q, want %q", by, reason, messageTooBig)
				}
				send(t, near, wire.Close(1009, ""))
				expectEnd(t, near)
				expectEnd(t, far)
				j.expectOutcome(t, "wsfw", 1009, by)
			})
		}
	})
}

// TestFaultUnread has one end break the rules, go on for a while, and read only when the session is over: its close frame
// is there, and no reset has taken it away.
func TestFaultUnread(t *testing.T) {
	frames := map[string]func() []wire.Frame{
		"illegal":           func() []wire.Frame { return []wire.Frame{wire.New(0x3, nil)} },
		"and goes on":       func() []wire.Frame { return []wire.Frame{wire.New(0x3, nil), wire.Binary(payload(1 << 20))} },
		"and many messages": func() []wire.Frame { return append([]wire.Frame{wire.New(0x3, nil)}, controls("pings", 5000)...) },
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for name, of := range frames {
			for _, by := range ends {
				t.Run(by+" "+name, func(t *testing.T) {
					t.Parallel() // it waits most of the time
					j := newGround(t, e, object{"closeTimeout": shortClose.String()}).join(t)
					near, far := j.from(by)
					send(t, near, of()...)
					expectClose(t, far, by == "client", lost(opposite(by)))
					send(t, far, wire.Close(1000, ""))
					expectEnd(t, far)
					j.expectOutcome(t, "wsfw", 1002, by)
					expectClose(t, near, by == "upstream", 1002)
					expectEnd(t, near)
				})
			}
		}
	})
}

// TestLifetimeInsideFrame has a session's life end while an end is in the middle of a frame: the other one is closed behind
// the frame, and where that does not come to its end, with no close frame.
func TestLifetimeInsideFrame(t *testing.T) {
	lifetime, closeTimeout := pace.Of(500*time.Millisecond), time.Second
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, by := range ends {
			for _, finishes := range []bool{true, false} {
				t.Run(by+" finishes "+strconv.FormatBool(finishes), func(t *testing.T) {
					t.Parallel() // it waits most of the time
					config := object{"maxLifetime": lifetime.String(), "closeTimeout": closeTimeout.String()}
					j := newGround(t, e, config).join(t)
					near, far := j.from(by)
					rest := begun(t, far, near, unfinished{frames: []wire.Frame{wire.Binary(payload(1 << 20))}})
					expectClose(t, near, by == "upstream", 1001)
					if finishes {
						if _, err := near.Write(append(rest, near.Encode(wire.Close(1001, ""))...)); err != nil {
							t.Fatal(err)
						}
						expect(t, far, rest)
						expectClose(t, far, by == "client", 1001)
						send(t, far, wire.Close(1001, ""))
					}
					expectCut(t, far)
					expectCut(t, near)
					j.expectOutcome(t, "wsfw", 1001, "session lifetime reached")
				})
			}
		}
	})
}

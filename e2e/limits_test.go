package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

// idleAfter is the suite's maxInactivity.
const idleAfter = 400 * time.Millisecond

// dismissed wants both ends closed by the gateway with 1001 and this reason, and answers them. Over a stream the client's end
// comes with that of the session.
func (j *joined) dismissed(t *testing.T, reason string) {
	t.Helper()
	for _, end := range ends {
		near, _ := j.from(end)
		if got := expectClose(t, near, end == "upstream", 1001); got != reason {
			t.Errorf("the %s is closed for %q, want %q", end, got, reason)
		}
		send(t, near, wire.Close(1001, ""))
		if j.gateway.HTTP == 0 {
			expectEnd(t, near)
		}
	}
	for _, end := range ends {
		near, _ := j.from(end)
		expectEnd(t, near)
	}
	j.expectOutcome(t, "wsfw", 1001, reason)
}

// TestInactivity wants a session ended that passes no data, from its beginning or after the last message of either end.
func TestInactivity(t *testing.T) {
	eachOverTCP(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"maxInactivity": idleAfter.String()})
		t.Run("from the beginning", func(t *testing.T) {
			start := time.Now()
			j := g.join(t)
			j.inactive(t, start)
		})
		for _, end := range ends {
			t.Run("after a message from "+end, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(end)
				// Longer than a session may be inactive, and never so long without a message.
				pace := time.NewTicker(idleAfter / 4)
				defer pace.Stop()
				var last time.Time
				for range 8 {
					last = time.Now()
					send(t, near, wire.Text("still here"))
					expect(t, far, near.Encode(wire.Text("still here")))
					<-pace.C
				}
				j.inactive(t, last)
			})
		}
	})
}

// inactive wants the session ended for having been inactive since a time.
func (j *joined) inactive(t *testing.T, since time.Time) {
	t.Helper()
	j.dismissed(t, "inactivity timeout")
	if took := time.Since(since); took < idleAfter || took > idleAfter*9/8+pace.Of(time.Second) {
		t.Errorf("it ended after %v, want %v, and an eighth or a second more at the most", took, idleAfter)
	}
}

// TestInactivityOfControlFrames has both ends ping each other all the time: that is no activity. So are the gateway's own pings.
func TestInactivityOfControlFrames(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"maxInactivity": idleAfter.String(), "pingInterval": "100ms"})
		start := time.Now()
		j := g.join(t)
		stop := make(chan struct{})
		chatter := func(peer *wire.Peer) func() error {
			return func() error { return chatterUntil(peer, stop) }
		}
		ended := make(chan error, 1)
		go func() { ended <- together(chatter(j.client), chatter(j.upstream)) }()
		for _, end := range ends {
			near, _ := j.from(end)
			if code, reason, err := readToClose(near); err != nil || code != 1001 || reason != "inactivity timeout" {
				t.Errorf("the %s was closed with %d %q (%v), want 1001", end, code, reason, err)
			}
		}
		close(stop)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < idleAfter || took > idleAfter*9/8+pace.Of(time.Second) {
			t.Errorf("it ended after %v, want %v", took, idleAfter)
		}
		for _, end := range ends {
			near, _ := j.from(end)
			send(t, near, wire.Close(1001, ""))
		}
		j.expectOutcome(t, "wsfw", 1001, "inactivity timeout")
	})
}

// chatterUntil sends pings and pongs until stop.
func chatterUntil(peer *wire.Peer, stop <-chan struct{}) error {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-pace.C:
		}
		if err := peer.Send(wire.New(wire.OpPing, []byte("ping")), wire.New(wire.OpPong, nil)); err != nil {
			return err
		}
	}
}

// TestInactivityOfLargeFrame has one frame pass slowly, for longer than a session may be inactive.
func TestInactivityOfLargeFrame(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"maxInactivity": idleAfter.String()})
		for _, end := range ends {
			for _, size := range []int{2000, 200000} {
				j := g.join(t)
				near, far := j.from(end)
				frame := near.Encode(wire.Binary(payload(size)))
				pace := time.NewTicker(idleAfter / 4)
				var last time.Time
				for part := range 10 {
					last = time.Now()
					piece := frame[part*len(frame)/10 : (part+1)*len(frame)/10]
					if _, err := near.Write(piece); err != nil {
						t.Fatal(err)
					}
					expect(t, far, piece)
					<-pace.C
				}
				pace.Stop()
				j.inactive(t, last)
			}
		}
	})
}

// TestHeavyLifetime wants sessions ended when their time has come, whatever they are at, and not all at the same time.
// Where they are pinged long before, that is seen to from the first ping on.
func TestHeavyLifetime(t *testing.T) {
	const lifetime = 2 * time.Second
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		for name, config := range map[string]object{
			"alone":      {"maxLifetime": lifetime.String()},
			"with pings": {"maxLifetime": lifetime.String(), "pingInterval": "200ms"},
		} {
			t.Run(name, func(t *testing.T) {
				newGround(t, e, config).expectLifetimes(t, lifetime)
			})
		}
	})
}

// expectLifetimes wants sessions that begin together ended after a lifetime, less or more a tenth.
func (g *ground) expectLifetimes(t *testing.T, lifetime time.Duration) {
	t.Helper()
	const sessions = 20
	lasted := make(chan time.Duration)
	for i := range sessions {
		start := time.Now()
		j := g.join(t)
		go func() {
			busy := i%2 == 0
			if err := j.livesOut(busy, "session lifetime reached"); err != nil {
				t.Error(err)
			}
			took := time.Since(start)
			late := lifetime*11/10 + pace.Of(time.Second)
			if busy {
				late += pace.Of(time.Second) // for what has come goes before the close frame
			}
			if took > late {
				t.Errorf("a session lasted %v, want %v at the most", took, late)
			}
			lasted <- took
		}()
	}
	shortest, longest := time.Hour, time.Duration(0)
	for range sessions {
		took := <-lasted
		shortest, longest = min(shortest, took), max(longest, took)
		g.expectOutcome(t, "wsfw", 1001, "session lifetime reached")
	}
	// Of twenty, all lie within a quarter of the spread once in a thousand million times.
	if shortest < lifetime*9/10 || longest-shortest < lifetime/20 {
		t.Errorf("sessions lasted from %v to %v, want %v less and more a tenth", shortest, longest, lifetime)
	}
}

// livesOut has a session idle or busy until the gateway ends it with 1001 and this reason.
func (j *joined) livesOut(busy bool, reason string) error {
	stop := func() {}
	if busy {
		stop = flood(j.client)
	}
	code, why, err := readToClose(j.upstream)
	stop()
	if err != nil || code != 1001 || why != reason {
		return fmt.Errorf("the upstream was closed with %d %q (%w), want 1001 %q", code, why, err, reason)
	}
	if code, why, err = readToClose(j.client); err != nil || code != 1001 || why != reason {
		return fmt.Errorf("the client was closed with %d %q (%w), want 1001 %q", code, why, err, reason)
	}
	return errors.Join(j.client.Send(wire.Close(1001, "")), j.upstream.Send(wire.Close(1001, "")))
}

// readToClose reads to the close frame.
func readToClose(peer *wire.Peer) (code int, reason string, err error) {
	return takeToClose(peer, func(wire.Frame) error { return nil })
}

// takeToClose has take deal with each frame before the close frame.
func takeToClose(peer *wire.Peer, take func(f wire.Frame) error) (code int, reason string, err error) {
	for {
		f, err := peer.ReadFrame()
		if err != nil {
			return 0, "", err
		}
		if f.Opcode == wire.OpClose {
			code, reason, _ = f.Status()
			return code, reason, nil
		}
		if err := take(f); err != nil {
			return 0, "", err
		}
	}
}

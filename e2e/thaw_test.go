package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestThawedGateway has the whole gateway stand still for longer than writeTimeout, as a machine does that is moved or
// suspended. An end that reads all the time goes on getting what the other one sends.
func TestThawedGateway(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, row := range []struct {
			name   string
			engine engine.Engine
			config object
		}{
			{"forward", e, object{}},
			{"inline", engine.Inline{Engine: e}, object{}},
			{"tunnel", e, object{"mode": "tunnel"}},
		} {
			row.config["writeTimeout"] = blockedAfter.String()
			g := newGroundOf(t, row.engine, engine.Setup{Config: row.config, Dedicated: true})
			for _, by := range ends {
				t.Run(row.name+" from the "+by, func(t *testing.T) { g.join(t).thaws(t, by) })
			}
		}
	})
}

// thaws has one end send all the time while the gateway stands still, and goes on, several times.
func (j *joined) thaws(t *testing.T, by string) {
	near, far := j.from(by)
	s := newStream(near)
	ended := s.start(near)
	var arrived atomic.Int64 // messages
	failed := make(chan error, 1)
	go func() { failed <- countMessages(far, s.message, &arrived) }()
	for pauses := range 3 {
		if pauses > 0 {
			standStill(t, j.gateway.Process.Pid, 2*blockedAfter)
		}
		before := arrived.Load()
		await(t, wire.Timeout, func() string {
			if came := arrived.Load() - before; came < 50 && len(failed) == 0 {
				return fmt.Sprintf("after %d pauses %d messages have come, want 50", pauses, came)
			}
			return ""
		})
		if len(failed) > 0 {
			t.Fatalf("after %d pauses: %v", pauses, <-failed)
		}
	}
	near.Close()
	far.Close()
	<-ended
	j.record(t)
}

// countMessages reads nothing but the same message, until that fails.
func countMessages(r io.Reader, message []byte, arrived *atomic.Int64) error {
	got := make([]byte, len(message))
	for {
		if _, err := io.ReadFull(r, got); err != nil {
			return err
		}
		if !bytes.Equal(got, message) {
			return errors.New("other bytes have come than were sent")
		}
		arrived.Add(1)
	}
}

// standStill stops a process for a while.
func standStill(t *testing.T, pid int, pause time.Duration) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(pause)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

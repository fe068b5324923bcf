package wsfw

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func TestDrain(t *testing.T) {
	s := restingSession(limits{drainTimeout: 50 * time.Millisecond})
	s.drain()
	// Like the pump of an idle session, this waits to be woken.
	if _, err := s.toUpstream.from.conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcome.code != closeRestart || s.toUpstream.from.farewell == nil {
		t.Errorf("outcome %+v", s.outcome)
	}
	s.timer.Stop()
}

func TestDrainOver(t *testing.T) {
	s := restingSession(limits{})
	cut(s)
	if s.drain(); s.draining != nil {
		t.Error("a session that is over is going to be ended")
	}
}

// A roster drains those that are on it at the shutdown, and who comes later.
func TestRosterDrains(t *testing.T) {
	shutdown, cancel := context.WithCancel(context.Background())
	r := newRoster(shutdown)
	var sessions []*session
	for i := 0; i < 4; i++ {
		s := restingSession(limits{})
		begin(s, r)
		sessions = append(sessions, s)
	}
	gone := sessions[1]
	end(gone)
	cancel()
	expectDrained(t, sessions[0])
	expectDrained(t, sessions[2])
	expectDrained(t, sessions[3])
	late := restingSession(limits{})
	begin(late, r)
	expectDrained(t, late)
	if gone.draining != nil || len(onRoster(r)) > 0 {
		t.Errorf("%d sessions are left, and one that has gone was drained: %v", len(onRoster(r)), gone.draining != nil)
	}
}

// A client's connection is open until its session's record is written: with the last of them the
// process ends. Here neither end answers, and one stands inside a frame.
func TestDrainedClientIsClosedLast(t *testing.T) {
	half := frame(0x82, make([]byte, 3*smallBuffer), true)
	for name, said := range map[string][]byte{"at rest": nil, "inside a frame": half[:2*smallBuffer]} {
		client, upstream := newScript(said, smallBuffer, true), newScript(nil, 1, true)
		set := newSettings(limits{closeTimeout: 20 * time.Millisecond, writeTimeout: time.Minute})
		v := &upgrade{session: newSession(newSide(clientSide, client), newSide(upstreamSide, upstream), plain, set, nil)}
		shutdown, cancel := context.WithCancel(context.Background())
		r := newRoster(shutdown)
		begin(v.session, r)
		go pump(v.session, v.session.toClient)
		cancel()
		pump(v.session, v.session.toUpstream)
		<-v.session.ended
		end(v.session)
		if client.closed > 0 || upstream.closed == 0 {
			t.Errorf("%s: before the record the client is closed %d times, and the upstream %d times", name, client.closed, upstream.closed)
		}
		giveBack(v)
		if client.closed == 0 {
			t.Errorf("%s: the client's connection is left open", name)
		}
		if want := (outcome{gatewaySide, closeRestart, "service restart"}); v.session.outcome != want {
			t.Errorf("%s: outcome %+v, want %+v", name, v.session.outcome, want)
		}
	}
}

// expectDrained waits for a session to be dismissed, and ends it.
func expectDrained(t *testing.T, s *session) {
	t.Helper()
	if _, err := s.client.conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a session has not been drained: %v", err)
	}
	end(s)
}

package wsfw

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

func TestRosterOf(t *testing.T) {
	var r *roster
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { r = rosterOf(req.Context()) }))
	defer server.Close()
	for i := 0; i < 2; i++ { // being asked has not disturbed the server
		before := r
		resp, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if i > 0 && r != before {
			t.Error("a server has two rosters")
		}
	}
	if r.shutdown.Err() != nil {
		t.Fatal("a live server has been shut down")
	}
	if err := server.Config.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-r.shutdown.Done()
}

// A server may be shutting down when it is first heard of.
func TestRosterOfLate(t *testing.T) {
	server := &http.Server{}
	if err := server.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	if rosterOf(req.Context()).shutdown.Err() != nil {
		t.Error("a request without a server came by one that has been shut down")
	}
	req = req.WithContext(context.WithValue(req.Context(), http.ServerContextKey, server))
	if rosterOf(req.Context()).shutdown.Err() == nil {
		t.Error("a server that has been shut down is taken for a live one")
	}
}

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
	s.closing.Stop()
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
	withdraw(gone)
	cancel()
	expectDrained(t, sessions[0])
	expectDrained(t, sessions[2])
	expectDrained(t, sessions[3])
	late := restingSession(limits{})
	begin(late, r)
	expectDrained(t, late)
	if gone.draining != nil || len(r.sessions) > 0 {
		t.Errorf("%d sessions are left, and one that has gone was drained: %v", len(r.sessions), gone.draining != nil)
	}
}

// A client's connection is open until its session's record is written: with the last of them the
// process ends. Here neither end answers, and one stands inside a frame.
func TestDrainedClientIsClosedLast(t *testing.T) {
	half := frame(0x82, make([]byte, 3*smallBuffer), true)
	for name, said := range map[string][]byte{"at rest": nil, "inside a frame": half[:2*smallBuffer]} {
		client, upstream := newScript(said, smallBuffer, true), newScript(nil, 1, true)
		set := newSettings(limits{closeTimeout: 20 * time.Millisecond, writeTimeout: time.Minute})
		v := &visit{session: newSession(newSide(clientSide, client), newSide(upstreamSide, upstream), plain, set, nil)}
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
		if want := (outcome{gatewaySide, closeRestart, restarting.reason}); v.session.outcome != want {
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

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

func TestShutdownOf(t *testing.T) {
	var shutdown context.Context
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { shutdown = shutdownOf(req.Context()) }))
	defer server.Close()
	for i := 0; i < 2; i++ { // being asked has not disturbed the server
		before := shutdown
		resp, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if i > 0 && shutdown != before {
			t.Error("a server has two shutdowns")
		}
	}
	if shutdown.Err() != nil {
		t.Fatal("a live server has been shut down")
	}
	if err := server.Config.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-shutdown.Done()
}

// A server may be shutting down when it is first heard of.
func TestShutdownOfLate(t *testing.T) {
	server := &http.Server{}
	if err := server.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	if shutdownOf(req.Context()).Err() != nil {
		t.Error("a request without a server came by one that has been shut down")
	}
	req = req.WithContext(context.WithValue(req.Context(), http.ServerContextKey, server))
	if shutdownOf(req.Context()).Err() == nil {
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

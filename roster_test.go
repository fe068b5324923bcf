package wsfw

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
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

// Sessions fill all slots before any has two, and those that begin together are far apart.
func TestRosterSlots(t *testing.T) {
	r := newRoster(context.Background())
	sessions := make([]*session, 3*rosterSlots)
	for i := range sessions {
		sessions[i] = restingSession(limits{})
		begin(sessions[i], r)
		if near := i > 0 && apart(sessions[i], sessions[i-1]) < rosterSlots/4; near || len(r.slots[sessions[i].slot]) != 1+i/rosterSlots {
			t.Fatalf("session %d is in slot %d, of %d, after slot %d", i, sessions[i].slot, len(r.slots[sessions[i].slot]), sessions[i-1].slot)
		}
	}
	for i, gone := range sessions {
		end(gone)
		if left := onRoster(r); len(left) != len(sessions)-i-1 || left[gone] {
			t.Fatalf("%d sessions are left of %d; the one that has gone: %v", len(left), len(sessions)-i-1, left[gone])
		}
	}
}

// apart is how many slots lie between two sessions, the shorter way.
func apart(a, b *session) int {
	d := (a.slot - b.slot + rosterSlots) % rosterSlots
	if d > rosterSlots/2 {
		return rosterSlots - d
	}
	return d
}

// onRoster are the sessions of r.
func onRoster(r *roster) map[*session]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[*session]bool{}
	for _, slot := range r.slots {
		for s := range slot {
			all[s] = true
		}
	}
	return all
}

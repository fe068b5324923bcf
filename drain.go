package wsfw

import (
	"context"
	"errors"
	"math/rand"
	"net"
	"net/http"
	"sync"
	"time"
)

// roster has the sessions of a server, for its shutdown.
type roster struct {
	shutdown context.Context // ends with the server

	mu       sync.Mutex
	sessions []*session // each at its seat
	drained  bool       // they have been, and so is who comes now
}

// rosters has one for each server, as Traefik has one for each entry point. They outlive every
// configuration, and are never taken out, for neither does a server forget the functions that it
// calls at its shutdown.
var (
	rostersMu  sync.Mutex
	rosters    = map[*http.Server]*roster{}
	serverless = &roster{shutdown: context.Background()} // of requests that no server has passed on
)

// newRoster makes one that is drained when shutdown ends. A variable, for an interpreted closure keeps
// the frames of all its callers, and with them the request during which it was made.
var newRoster = func(shutdown context.Context) *roster {
	r := &roster{shutdown: shutdown}
	context.AfterFunc(shutdown, func() {
		defer swallow()
		drainAll(r)
	})
	return r
}

// rosterOf is that of the server by which a request has come in, whose context is ctx.
func rosterOf(ctx context.Context) *roster {
	value := ctx.Value(http.ServerContextKey)
	if value == nil {
		return serverless
	}
	server, ok := value.(*http.Server)
	if !ok {
		return serverless
	}
	rostersMu.Lock()
	r := rosters[server]
	rostersMu.Unlock()
	if r == nil {
		return openRoster(server)
	}
	return r
}

// openRoster is rosterOf for a server that may not have one yet.
func openRoster(server *http.Server) *roster {
	rostersMu.Lock()
	defer rostersMu.Unlock()
	if r := rosters[server]; r != nil {
		return r
	}
	ctx, cancel := context.WithCancel(context.Background())
	server.RegisterOnShutdown(cancel) // a compiled function: see newRoster
	if isShutDown(server) {
		cancel() // it was too late for the other way
	}
	r := newRoster(ctx)
	rosters[server] = r
	return r
}

// withdraw takes a session off its roster, whose last one gets its seat.
func withdraw(s *session) {
	r := s.roster
	r.mu.Lock()
	sessions := r.sessions
	last := len(sessions) - 1
	heir := sessions[last]
	sessions[s.seat] = heir
	heir.seat = s.seat
	sessions[last] = nil
	r.sessions = sessions[:last]
	r.mu.Unlock()
}

// drainAll has all sessions of a roster drained.
func drainAll(r *roster) {
	r.mu.Lock()
	r.drained = true
	sessions := append([]*session(nil), r.sessions...)
	r.mu.Unlock()
	for _, s := range sessions {
		drainOne(s)
	}
}

// drainOne has a session drained. A panic must not keep the others from it.
func drainOne(s *session) {
	defer recovered(s)
	s.drain()
}

// isShutDown asks a server whether it has been shut down. It would serve on one more
// listener otherwise, but this one has no socket and fails at once.
func isShutDown(server *http.Server) bool {
	return errors.Is(server.Serve(&net.TCPListener{}), http.ErrServerClosed)
}

// drain has the session dismissed at a random time within drainTimeout, for clients that are
// all sent away at once all come back at once.
func (s *session) drain() {
	wait := random(s.drainTimeout)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.draining = time.AfterFunc(wait, func() {
		defer recovered(s)
		s.dismiss(restarting)
	})
}

// random is some time from 0 on and below d, 0 where d is.
func random(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rand.Int63n(int64(d)))
}

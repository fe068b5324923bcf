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

// shutdowns has a context for each server, as Traefik has one for each entry point: it ends
// when the server is shut down. They outlive every configuration, and are never taken out,
// for neither does a server forget the functions that it calls at its shutdown.
//
// Those must be compiled ones: an interpreted closure keeps the frames of all its callers, and
// with them the request during which it was made.
var (
	shutdownsMu sync.Mutex // for whoever adds one
	shutdowns   sync.Map   // from *http.Server to context.Context
)

// shutdownOf is the context that ends when the server is shut down by which a request has come in, whose
// context is ctx.
func shutdownOf(ctx context.Context) context.Context {
	server := ctx.Value(http.ServerContextKey)
	known, ok := shutdowns.Load(server)
	if !ok {
		return learnShutdown(server)
	}
	return known.(context.Context)
}

// learnShutdown is shutdownOf for a server that is not known yet, or none.
func learnShutdown(value any) context.Context {
	if value == nil {
		return context.Background()
	}
	server, ok := value.(*http.Server)
	if !ok {
		return context.Background()
	}
	shutdownsMu.Lock()
	defer shutdownsMu.Unlock()
	if known, ok := shutdowns.Load(server); ok {
		return known.(context.Context)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server.RegisterOnShutdown(cancel)
	if isShutDown(server) {
		cancel() // it was too late for the other way
	}
	shutdowns.Store(server, ctx)
	return ctx
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

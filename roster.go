package wsfw

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// roster has the sessions of a server, for its shutdown and for their metronomes. Those that begin together
// are far apart, so that they are not pinged together.
type roster struct {
	shutdown context.Context // ends with the server

	mu      sync.Mutex
	slots   []map[*session]bool
	next    int  // slot
	drained bool // they have been, and so is who comes now
}

const (
	// rosterSlots is how many a roster has, a power of two.
	rosterSlots = 512

	// slotStride is how far a session is from the one before, in slots: the golden ratio's part of them, and
	// odd, so that all have their turn.
	slotStride = 317
)

// rosters has one for each server, as Traefik has one for each entry point. They outlive every
// configuration, and are never taken out, for neither does a server forget the functions that it
// calls at its shutdown.
var (
	rostersMu  sync.Mutex
	rosters    = map[*http.Server]*roster{}
	serverless = newRoster(context.Background()) // of requests that no server has passed on
)

// newRoster makes one that is drained when shutdown ends. A variable, for an interpreted closure keeps
// the frames of all its callers, and with them the request during which it was made.
var newRoster = func(shutdown context.Context) *roster {
	r := &roster{shutdown: shutdown, slots: make([]map[*session]bool, rosterSlots)}
	for i := range r.slots {
		r.slots[i] = map[*session]bool{}
	}
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

// allRosters are those of all servers, and the one of none.
func allRosters() []*roster {
	rostersMu.Lock()
	defer rostersMu.Unlock()
	all := []*roster{serverless}
	for _, r := range rosters {
		all = append(all, r)
	}
	return all
}

// isShutDown asks a server whether it has been shut down. It would serve on one more
// listener otherwise, but this one has no socket and fails at once.
func isShutDown(server *http.Server) bool {
	return errors.Is(server.Serve(&net.TCPListener{}), http.ErrServerClosed)
}

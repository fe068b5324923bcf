package wsfw

import (
	"net"
	"net/http"
	"strings"
	"sync"
)

// places counts the sessions of all middlewares of one name, from the request on.
type places struct {
	all      int
	byClient map[string]int
}

// occupied has the places of each middleware that has sessions, by its name: so reloads, which
// make new middlewares, change nothing in it.
var (
	occupiedMu sync.Mutex
	occupied   = map[string]*places{}
)

// place is one session's.
type place struct {
	name, client string
}

// take gives a session of client its place in the middleware called name, until it is given
// back, or returns why there is none. Sessions count whether there are limits or not, for a
// reload may bring some.
func take(name, client string, l *limits) (*place, *refusal) {
	occupiedMu.Lock()
	defer occupiedMu.Unlock()
	p := occupied[name]
	if p == nil {
		p = &places{byClient: map[string]int{}}
	}
	if l.maxConnections > 0 && p.all >= l.maxConnections {
		return nil, refuseCrowd
	}
	if l.maxPerClient > 0 && p.byClient[client] >= l.maxPerClient {
		return nil, refuseClient
	}
	p.all++
	p.byClient[client]++
	occupied[name] = p
	return &place{name: name, client: client}, nil
}

// giveBack gives a visit's place back, if it has one.
func giveBack(v *visit) {
	if v.place == nil {
		return
	}
	name, client := v.place.name, v.place.client
	occupiedMu.Lock()
	defer occupiedMu.Unlock()
	p := occupied[name]
	p.all--
	p.byClient[client]--
	if p.byClient[client] == 0 {
		delete(p.byClient, client)
	}
	if p.all == 0 {
		delete(occupied, name)
	}
}

// clientOf tells clients apart: by a header of the request, or by their address where it has none.
func clientOf(req *http.Request, header string) string {
	if values := req.Header[header]; len(values) > 0 && header != "" {
		return header + ": " + strings.Join(values, ", ")
	}
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}

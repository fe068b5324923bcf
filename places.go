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
	places       *places
	name, client string
}

// take gives a session of client its place in the middleware called name, until it is given
// back, or returns why there is none. Sessions count whether there are limits or not, for a
// reload may bring some.
func take(name, client string, l *limits) (*place, *refusal) {
	occupiedMu.Lock()
	p := occupied[name]
	if p == nil {
		p = newPlaces(name)
	}
	if l.bounded {
		if refused := refusedBy(p, client, l); refused != nil {
			occupiedMu.Unlock()
			return nil, refused
		}
	}
	p.all++
	p.byClient[client]++
	occupiedMu.Unlock()
	return &place{places: p, name: name, client: client}, nil
}

// newPlaces are those of a middleware that has no session yet. Needs occupiedMu, and a session that
// takes one of them.
func newPlaces(name string) *places {
	p := &places{byClient: map[string]int{}}
	occupied[name] = p
	return p
}

// refusedBy is why limits leave no place for client, or nil. Needs occupiedMu.
func refusedBy(p *places, client string, l *limits) *refusal {
	if l.maxConnections > 0 && p.all >= l.maxConnections {
		return refuseCrowd
	}
	if l.maxPerClient > 0 && p.byClient[client] >= l.maxPerClient {
		return refuseClient
	}
	return nil
}

// giveBack gives a visit's place back, if it has one, and closes what it has left open.
func giveBack(v *visit) {
	if gone := v.place; gone != nil {
		occupiedMu.Lock()
		p := gone.places
		p.all--
		p.byClient[gone.client]--
		if p.byClient[gone.client] == 0 {
			delete(p.byClient, gone.client)
		}
		if p.all == 0 {
			delete(occupied, gone.name)
		}
		occupiedMu.Unlock()
	}
	if v.session == nil {
		hangUp(v)
	} else if v.session.waits {
		closeQuietly(v.session.client)
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

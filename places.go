package wsfw

import (
	"net"
	"net/http"
	"strings"
	"sync"
)

// places counts the sessions of all middlewares of one name, from the request on. Sessions count whether there are
// limits or not, for a reload may bring some.
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

// newPlaces are those of a middleware that has no session yet. Needs occupiedMu, and a session that
// takes one of them.
func newPlaces(name string) *places {
	p := &places{byClient: map[string]int{}}
	occupied[name] = p
	return p
}

// giveBack gives a visit's place back, if it has one, and closes what it has left open.
func giveBack(v *visit) {
	if p := v.places; p != nil {
		guest := v.guest
		occupiedMu.Lock()
		p.all--
		p.byClient[guest]--
		if p.byClient[guest] == 0 {
			delete(p.byClient, guest)
		}
		if p.all == 0 {
			delete(occupied, v.middleware.name)
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

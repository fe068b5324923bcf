package wsfw

import (
	"net/netip"
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

// giveBack gives an upgrade's place back, if it has one, and closes what it has left open.
func giveBack(u *upgrade) {
	if p := u.places; p != nil {
		guest := u.guest
		occupiedMu.Lock()
		p.all--
		p.byClient[guest]--
		if p.byClient[guest] == 0 {
			delete(p.byClient, guest)
		}
		if p.all == 0 {
			delete(occupied, u.middleware.name)
		}
		occupiedMu.Unlock()
	}
	s := u.session
	if s == nil {
		hangUp(u)
	} else if s.arrived.Load() < directions {
		abandonSession(s)
	} else if s.waits {
		closeQuietly(s.client)
	}
}

// abandonSession ends a session whose directions have not both run, for something has panicked before.
func abandonSession(s *session) {
	defer swallow()
	cut(s)
	end(s)
}

// takePlace has a session count, unless there are too many.
func takePlace(u *upgrade, l *limits) *refusal {
	name, guest := u.middleware.name, u.ip
	if guest == "" || l.maxPerClient > 0 {
		guest = clientOf(u, l)
	}
	occupiedMu.Lock()
	p := occupied[name]
	if p == nil {
		p = newPlaces(name)
	}
	if l.bounded {
		refused := full(p, l, guest)
		if refused != nil {
			occupiedMu.Unlock()
			return refused
		}
	}
	p.all++
	p.byClient[guest]++
	occupiedMu.Unlock()
	u.places = p
	u.guest = guest
	return nil
}

// full is why there is no place for a guest, or nil. Needs occupiedMu.
func full(p *places, l *limits, guest string) *refusal {
	if l.maxConnections > 0 && p.all >= l.maxConnections {
		return refuseCrowd
	}
	if l.maxPerClient > 0 && p.byClient[guest] >= l.maxPerClient {
		return refuseClient
	}
	return nil
}

// clientOf tells clients apart: by a header of the request, or by their address where it has none.
func clientOf(u *upgrade, l *limits) string {
	if l.clientHeader != "" {
		if values := u.req.Header[l.clientHeader]; len(values) > 0 {
			return l.clientHeader + ": " + strings.Join(values, ", ")
		}
	}
	if u.ip == "" {
		return u.req.RemoteAddr
	}
	if strings.Contains(u.ip, ":") {
		return network(u.ip)
	}
	return u.ip
}

// network is the /64 of an IPv6 address, for one client has as many addresses as that. An IPv4 address in IPv6's form is
// that address; link-local ones, which share a single network, are told apart.
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.IsLinkLocalUnicast() {
		return ip
	}
	if addr.Is4In6() {
		return addr.Unmap().String()
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return ip
	}
	return prefix.String()
}

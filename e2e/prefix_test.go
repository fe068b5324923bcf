package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// fromHeader is the header by which a request tells where it comes from.
const fromHeader = "X-From"

// comingFrom is a [engine.Setup]'s Wrap: it has requests come from the address, host:port, that they name.
func comingFrom(plugin http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if addr := req.Header.Get(fromHeader); addr != "" {
			req.RemoteAddr = addr
		}
		plugin.ServeHTTP(rw, req)
	})
}

// TestPlacesPerPrefix tells clients apart by their addresses: those of IPv6 by their first 64 bits, for one machine has as
// many addresses of these as it likes.
func TestPlacesPerPrefix(t *testing.T) {
	rows := []struct {
		name     string
		one, two string
		same     bool
	}{
		{"one address", "[2001:db8::1]:1234", "[2001:db8::1]:4321", true},
		{"one /64", "[2001:db8::1]:1234", "[2001:db8::ffff:ffff:ffff:ffff]:1234", true},
		{"one /64, spelled in other ways", "[2001:db8:0:7::1]:1", "[2001:0db8:0000:0007:8000::]:1", true},
		{"the next /64", "[2001:db8::1]:1234", "[2001:db8:0:1::1]:1234", false},
		{"another network", "[2001:db8::1]:1234", "[2001:db9::1]:1234", false},
		{"unique local", "[fd00:1:2:3::1]:1234", "[fd00:1:2:3::2]:1234", true},
		{"IPv4", "192.0.2.1:1234", "192.0.2.1:4321", true},
		{"two of IPv4", "192.0.2.1:1234", "192.0.2.2:1234", false},
		{"IPv4 in IPv6", "192.0.2.1:1234", "[::ffff:192.0.2.1]:1234", true},
		{"IPv4 in IPv6, in hexadecimal", "[::ffff:192.0.2.1]:1234", "[::ffff:c000:201]:1234", true},
		{"two of IPv4 in IPv6", "[::ffff:192.0.2.1]:1234", "[::ffff:192.0.2.2]:1234", false},
		{"link-local", "[fe80::1]:1234", "[fe80::1]:4321", true},
		{"two of link-local", "[fe80::1]:1234", "[fe80::2]:1234", false},
		{"two of link-local, in a zone", "[fe80::1%eth0]:1234", "[fe80::2%eth0]:1234", false},
	}
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		inEachRegime(t, e, regimes, func(t *testing.T, e engine.Engine, r regime) {
			for _, row := range rows {
				t.Run(row.name, func(t *testing.T) {
					h := newService(t)
					setup := r.setup(h.addr(), object{"maxConnectionsPerClient": 1})
					setup.Wrap = comingFrom
					h.gateway = e.Start(t, setup)
					one, two := fmt.Sprint(fromHeader, ": ", row.one), fmt.Sprint(fromHeader, ": ", row.two)
					first := h.enter(t, one)
					h.expectFull(t, http.StatusTooManyRequests, one)
					if !row.same {
						h.enter(t, two)
						return
					}
					h.expectFull(t, http.StatusTooManyRequests, two)
					first.leave()
					h.awaitPlace(t, two)
				})
			}
		})
	})
}

// TestPlacesPerHeader tells clients by a header's value as it is, whatever it looks like.
func TestPlacesPerHeader(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		h := newHouse(t, e, r, object{"maxConnectionsPerClient": 1, "clientHeader": "X-User"})
		h.enter(t, user("2001:db8::1"))
		h.enter(t, user("2001:db8::2"))
		h.expectFull(t, http.StatusTooManyRequests, user("2001:db8::1"))
	})
}

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// mixedPlaces is how many sessions of each version of HTTP there are on one router.
const mixedPlaces = 2

// TestConnectMixed has clients of every version of HTTP on one router at the same time.
func TestConnectMixed(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		mixes(t, e, engine.Setup{Streams: true}, 1, 2, 3)
	})
}

// TestConnectUnasked is about a Traefik that nobody has told to offer an extended CONNECT over HTTP/2. Over HTTP/3 it does so by
// itself.
func TestConnectUnasked(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, e, func(t *testing.T, e engine.Engine) {
			surroundings := engine.Surroundings{NoExtendedConnect: true}
			g := mixes(t, e, engine.Setup{Streams: true, Dedicated: true, Traefik: surroundings}, 1, 3)
			_, err := wire.DialHTTP2(g.gateway.AddrHTTP2)
			if err == nil || !strings.Contains(err.Error(), "extended connect not supported by peer") {
				t.Errorf("a handshake over HTTP/2 ended with %v, want that it is not offered", err)
			}
		})
	})
}

// TestConnectNative is about Traefik by itself, which does not make an upgrade of an extended CONNECT. Over HTTP/2 its proxy
// fails; over HTTP/3 it passes a CONNECT on, to which a server has no session.
func TestConnectNative(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		server := newPageServer(t)
		gateway := e.Start(t, engine.Setup{Streams: true, Next: server.url, Traefik: engine.Surroundings{Native: true}})
		_ = refusedOver(t, gateway.Over(2), http.StatusInternalServerError)
		_ = refusedOver(t, gateway.Over(3), http.StatusMethodNotAllowed)
	})
}

// mixes has clients over these versions of HTTP take all places of one router, which one limit counts, and each other's.
func mixes(t *testing.T, e engine.Engine, setup engine.Setup, versions ...int) *ground {
	t.Helper()
	setup.Config = object{"maxConnections": mixedPlaces * len(versions)}
	g := newGroundOf(t, e, setup)
	joins := func(version int) *mixed {
		client, err := dial(g.gateway.Over(version))
		if err != nil {
			t.Fatalf("a client over HTTP/%d: %v", version, err)
		}
		return &mixed{g.meet(t, client), version}
	}
	var sessions []*mixed
	for range mixedPlaces {
		for _, version := range versions {
			sessions = append(sessions, joins(version))
		}
	}
	for _, size := range echoed {
		for _, s := range sessions {
			passesOver(t, s.client, s.upstream, wire.Binary(payload(size)))
			passesOver(t, s.upstream, s.client, wire.Binary(payload(size)))
		}
	}
	for i, s := range sessions {
		for _, version := range versions {
			_ = refusedOver(t, g.gateway.Over(version), http.StatusServiceUnavailable)
		}
		s.leaves(t)
		next := versions[(i+1)%len(versions)] // takes the place of a client over another version
		sessions[i] = joins(next)
	}
	for _, s := range sessions {
		s.leaves(t)
	}
	return g
}

// mixed is a session over a version of HTTP.
type mixed struct {
	*joined
	version int
}

// leaves ends it, and looks at its record.
func (s *mixed) leaves(t *testing.T) {
	t.Helper()
	closesOver(t, s.client, s.upstream)
	record := s.record(t)
	if want := []string{1: "", 2: "2", 3: "3"}[s.version]; record["code"] != 4001.0 || httpOf(record) != want {
		t.Errorf("the record is %v, want code 4001 and HTTP version %q", record, want)
	}
}

// httpOf is the client's version of HTTP by a record, empty for 1.1.
func httpOf(record map[string]any) string {
	version, _ := record["http"].(string)
	return version
}

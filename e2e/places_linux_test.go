package e2e

import (
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestPlacesPerAddress has clients come from several addresses, as Linux lets them from any that begins with 127. Each
// address has its places, but those who share a header share them wherever they are.
func TestPlacesPerAddress(t *testing.T) {
	const here, there, elsewhere = "127.0.0.2", "127.0.0.3", "127.1.2.3"
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		t.Run("address", func(t *testing.T) {
			h := newHouse(t, e, r, object{"maxConnectionsPerClient": 2})
			for range 2 {
				h.enterFrom(t, here)
				h.enterFrom(t, there)
			}
			h.expectFullFor(t, here)
			h.expectFullFor(t, there, "X-Forwarded-For: "+elsewhere)
			h.enterFrom(t, elsewhere, "X-Forwarded-For: "+here)
		})
		t.Run("header", func(t *testing.T) {
			h := newHouse(t, e, r, object{"maxConnectionsPerClient": 2, "clientHeader": "X-User"})
			h.enterFrom(t, here, user("anna"))
			h.enterFrom(t, there, user("anna"))
			h.expectFullFor(t, elsewhere, user("anna"))
			for range 2 {
				h.enterFrom(t, here)
				h.enterFrom(t, here, user("bert"))
			}
			h.expectFullFor(t, here)
			h.enterFrom(t, there)
		})
	})
}

// enterFrom is enter for a client at an address.
func (h *house) enterFrom(t *testing.T, source string, lines ...string) {
	t.Helper()
	client, err := wire.DialFrom(source, h.gateway.Addr, lines...)
	if err != nil {
		t.Fatalf("there should be a place for %s: %v", source, err)
	}
	h.lodge(t, client)
}

// expectFullFor wants a client at an address to find no place.
func (h *house) expectFullFor(t *testing.T, source string, lines ...string) {
	t.Helper()
	client, err := wire.DialFrom(source, h.gateway.Addr, lines...)
	if err == nil {
		client.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("a client at %s is answered %v, want 429", source, err)
	}
}

package e2e

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// joseTokens is how many tokens a gateway is shown, half of them broken.
const joseTokens = 1000

// TestHeavyTokensOfJose has go-jose mint tokens in all algorithms: those that are good open a session, those that are broken do
// not. Their keys come from a file, with secrets, and from an endpoint, without.
func TestHeavyTokensOfJose(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		m := newMint(t, seed)
		file := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(file, []byte(m.keySet(true)), 0o600); err != nil {
			t.Fatal(err)
		}
		keys := serveText(t, m.keySet(false))
		for name, token := range map[string]object{"jwksFile": {"jwksFile": file}, "jwksUrl": {"jwksUrl": keys}} {
			t.Run(name, func(t *testing.T) {
				g := newGround(t, e, object{"token": token, "sessionLog": "off"})
				for range joseTokens / 2 {
					g.judges(t, m.good(time.Now(), name == "jwksFile"), true)
					g.judges(t, m.broken(time.Now(), name == "jwksFile"), false)
				}
			})
		}
	})
}

// judges wants a token to open a session, or not to.
func (g *ground) judges(t *testing.T, token minted, want bool) {
	t.Helper()
	client, err := wire.Dial(g.gateway.Addr, "Authorization: Bearer "+token.token)
	if got := err == nil; got != want {
		t.Fatalf("admitted is %v, want %v: %s, broken: %q, %s (%v)", got, want, token.algorithm, token.what, token.token, err)
	}
	if err != nil {
		return
	}
	upstream, err := g.server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	upstream.Close()
	client.Close()
}

// serveText runs a server that answers with a text.
func serveText(t *testing.T, text string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, text) }))
	t.Cleanup(server.Close)
	return server.URL
}

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalVite has a page of Vite's in Chromium be told of a change by its server. The page loads itself anew when it is
// served again after a gateway has shut down. Its token is in the query, and the server wants it where there is an origin.
func TestExternalVite(t *testing.T) {
	const subprotocol = "vite-hmr"
	browser := newBrowser(t)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		v := newVite(t)
		s := newSite(t, e, "ws://127.0.0.1:"+v.port, object{
			"nonWebSocket": "pass", "allowedOrigins": "same-host", "protocols": []string{subprotocol, "vite-ping"},
		})
		page := browser.open(t, "http://"+s.addr)
		page.expect(t, "loaded first")
		page.talk(t)
		v.write(t, "second")
		page.expect(t, "updated second")

		page.run(t, "window.isOld = true")
		s.first.Terminate(t)
		expectParting(t, s.first.WaitRecord(t), parting{subprotocol, "wsfw", 1012})
		// Both ends close what was a trial: the server with a code, and the page without one.
		s.expectLeft(t, parting{"vite-ping", "upstream", 1000}, parting{"vite-ping", "client", 1005})
		page.awaitValue(t, "`${window.isOld} ${document.readyState}`", "undefined complete")
		page.expect(t, "loaded second")
		page.talk(t)

		page.close(t)
		s.expectLeft(t, parting{subprotocol, "client", 1001})
	})
}

// talk has the page say something, which it does once it is connected, and wants it to come back.
func (p page) talk(t *testing.T) {
	t.Helper()
	p.run(t, `say("grüße 🌍")`)
	p.expect(t, "said grüße 🌍")
}

// vite is a server of Vite's, and its folder.
type vite struct{ dir, port string }

func newVite(t *testing.T) vite {
	t.Helper()
	v := vite{dir: t.TempDir(), port: freePort(t)}
	if err := os.CopyFS(v.dir, os.DirFS("peers/vite")); err != nil {
		t.Fatal(err)
	}
	told, err := os.ReadFile("peers/told.js")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.dir, "told.js"), told, 0o600); err != nil {
		t.Fatal(err)
	}
	v.write(t, "first")
	command := []string{"node", "peers/node_modules/vite/bin/vite.js", v.dir, "--host", "127.0.0.1", "--port", v.port, "--strictPort"}
	runProgram(t, command, "NO_COLOR=1").await(t, wire.Timeout, "ready in")
	return v
}

// write changes the page's text.
func (v vite) write(t *testing.T, text string) {
	t.Helper()
	module := fmt.Sprintf("export const text = %q;\n", text)
	if err := os.WriteFile(filepath.Join(v.dir, "text.js"), []byte(module), 0o600); err != nil {
		t.Fatal(err)
	}
}

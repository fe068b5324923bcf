package e2e

import (
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// TestConfigPattern has paths that are patterns elsewhere. As a path they match nothing, and nothing would be checked.
func TestConfigPattern(t *testing.T) {
	var mistakes []mistake
	for _, path := range []string{
		"/socket/*", "/*", "/*/socket", "/socket*", "/**", "/{room}", "/rooms/{room}/socket", "/{room:[a-z]+}", "/:room", "/rooms/:room/socket",
		"/a(b|c)", "/a|b", "/socket|/chat", "^/socket$", "/[a-z]+", "/socket/.*", "/socket/.+",
	} {
		mistakes = append(mistakes, checking("path", path).named(path))
	}
	checkMistakes(t, mistakes)
}

// TestConfigPathAccepts has paths that look a little like patterns and are none.
func TestConfigPathAccepts(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for path, inside := range map[string]string{
			"/v1.2/a-b_c~d": "/v1.2/a-b_c~d", "/caf%C3%A9": "/caf%c3%a9", "/café": "/caf%C3%A9", "/a%20b": "/a%20b", "/@me": "/@me", "/": "/any", "": "/any",
		} {
			t.Run(path, func(t *testing.T) {
				gateway := e.Start(t, engine.Setup{Config: object{"path": path}, Next: recorder(t)})
				row{request: raw("GET "+inside+" HTTP/1.1", "Host: chat.example.com"), status: 426}.check(t, gateway)
				if len(path) > 1 {
					row{request: raw("GET /elsewhere HTTP/1.1", "Host: chat.example.com"), status: 200}.check(t, gateway)
				}
			})
		}
	})
}

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// disguised are targets that climb in the eyes of some server or other: one that takes parameters off a segment before
// it looks for dots, takes a backslash for a slash, or decodes twice.
var disguised = []string{
	"/..;/x", "/..;a=b/x", "/.;/x", "/a/..;", "/..%3b/x", "/%2e%2e;/x", "/%2e%2e%3ba/x", "/..%5cx", "/..%5Cx", "/a%5c..%5cb", "/a%5c..",
	"/%5c..", "/..%2fx", "/..%2Fx", "/a%2f..%2fb", "/%252e%252e/x", "/%252E./x", "/.%252e/x", "/..%255cx", "/..%252fx", "/a%252f..%252fb",
}

// harmless are targets that look like those and do not climb.
var harmless = []string{
	"/a;b/c", "/..a/b", "/a../b", "/a..b", "/...", "/.../x", "/a.b;c=..d", "/.well-known/x", "/a%252fb", "/a%5cb", "/a;/b",
}

// TestTargetClimbsDisguised refuses paths that would climb, in whatever disguise, and lets those alone that would not.
func TestTargetClimbsDisguised(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for below, options := range map[string]object{
			"":        {"upstreamPath": "append"},
			"/socket": {"upstreamPath": "append", "path": "/socket"},
		} {
			t.Run("refused below "+below, func(t *testing.T) {
				gateway := forwardTo(t, e, "ws://"+peerDeadAddr(t)+"/ws", options)
				for _, target := range disguised {
					t.Run(target, func(t *testing.T) {
						peerDial(t, gateway, upgrade("GET "+below+target+" HTTP/1.1")).refusal(t, http.StatusBadRequest)
					})
				}
			})
			server := peerListen(t)
			gateway := forwardTo(t, e, server.endpoint()+"/ws", options)
			for _, target := range harmless {
				t.Run(below+target, func(t *testing.T) {
					got := server.head(t, gateway, upgrade("GET "+below+target+" HTTP/1.1")).target()
					if !strings.EqualFold(got, "/ws"+target) { // Traefik writes escapes in capitals
						t.Errorf("it goes to %s, want /ws%s", got, target)
					}
				})
			}
		}
	})
}

// TestTargetNoPath has a client ask for what is no path (RFC 9112 section 3.2.4), which cannot be appended to one. In
// Traefik no router takes it.
func TestTargetNoPath(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		for _, endpoint := range []string{"", "/", "/ws", "/ws/"} {
			t.Run("appended to "+endpoint, func(t *testing.T) {
				gateway := forwardTo(t, e, "ws://"+peerDeadAddr(t)+endpoint, object{"upstreamPath": "append"})
				peerDial(t, gateway, upgrade("GET * HTTP/1.1")).refusal(t, http.StatusBadRequest)
			})
		}
	})
}

// TestTargetSegments has clients ask for long paths: nobody means one of very many segments.
func TestTargetSegments(t *testing.T) {
	const limit = 100
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		options := object{"upstreamPath": "append"}
		gateway := forwardTo(t, e, "ws://"+peerDeadAddr(t), options)
		for name, target := range map[string]string{
			"one too many": strings.Repeat("/a", limit+1), "very many": strings.Repeat("/a", 200_000), "empty ones": strings.Repeat("/", 400_000),
		} {
			t.Run(name, func(t *testing.T) {
				peerDial(t, gateway, upgrade("GET "+target+" HTTP/1.1")).refusal(t, http.StatusBadRequest)
			})
		}
		t.Run("all there may be", func(t *testing.T) {
			server := peerListen(t)
			gateway := forwardTo(t, e, server.endpoint(), options)
			target := strings.Repeat("/a", limit)
			if got := server.head(t, gateway, upgrade("GET "+target+" HTTP/1.1")).target(); got != target {
				t.Errorf("it goes to %s, want %s", got, target)
			}
		})
	})
}

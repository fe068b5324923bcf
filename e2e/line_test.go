package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// longestLine is the length, in bytes, that no line of the log reaches.
	longestLine = 16 << 10

	// controlCharacters has control characters of every range that has any, which a terminal may take for commands.
	controlCharacters = "\a \x1b[31m \x7f \u0080 \u009b31m \u009f"
)

// TestLineLength wants the path in a record cut where it is very long: at its end, between two characters.
func TestLineLength(t *testing.T) {
	const length = 900_000
	rows := map[string]string{
		"ASCII":                   "/" + strings.Repeat("a", length),
		"escaped":                 "/" + strings.Repeat("%C3%A9", length/6),
		"two bytes a character":   "/" + strings.Repeat("é", length/2),
		"the same at odd offsets": "/a" + strings.Repeat("é", length/2),
		"four bytes a character":  "/" + strings.Repeat("🏁", length/4),
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for name, path := range rows {
			t.Run(name, func(t *testing.T) {
				server := peerListen(t)
				gateway := forwardTo(t, e, server.endpoint(), nil)
				client := peerDial(t, gateway, upgrade("GET "+path+" HTTP/1.1"))
				upstream, head := server.request(t)
				upstream.send(t, head.switching())
				if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("status is %d, want 101", resp.StatusCode)
				}
				client.Close()
				checkCut(t, gateway.WaitRecord(t), path)
				if line := gateway.Text(); len(line) >= longestLine {
					t.Errorf("the line is %d bytes long, want less than %d: %.100q", len(line), longestLine, line)
				}
			})
		}
	})
}

// checkCut wants a line to have the beginning of a path, as it was sent or escaped by Traefik, and to tell that there was
// more.
func checkCut(t *testing.T, line object, path string) {
	t.Helper()
	told, _ := line["path"].(string)
	beginning, cut := strings.CutSuffix(told, "…")
	isBeginning := strings.HasPrefix(path, beginning) || strings.HasPrefix((&url.URL{Path: path}).EscapedPath(), beginning)
	if !cut || len(beginning) < 100 || !isBeginning || !utf8.ValidString(beginning) {
		t.Errorf("the line's path has %d bytes and is %.40q…%q, want a beginning of the path, and …", len(told), told, told[max(0, len(told)-20):])
	}
}

// TestLineLengthOfRefusal is TestLineLength for a request that is refused.
func TestLineLengthOfRefusal(t *testing.T) {
	path := "/" + strings.Repeat("a", 900_000)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		gateway := e.Start(t, engine.Setup{Next: "http://" + peerDeadAddr(t)})
		peerDial(t, gateway, upgrade("GET "+path+" HTTP/1.1", "Sec-WebSocket-Version: 8")).refusal(t, http.StatusUpgradeRequired)
		checkCut(t, gateway.Wait(t, refusedMessage), path)
		if line := gateway.Text(); len(line) >= longestLine {
			t.Errorf("the line is %d bytes long, want less than %d: %.100q", len(line), longestLine, line)
		}
	})
}

// TestLineControls wants control characters of a close reason or a path escaped in the log, for it is read in terminals.
func TestLineControls(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			t.Run("reason of "+by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				bye := wire.Close(4000, controlCharacters)
				send(t, near, bye)
				expect(t, far, near.Encode(bye))
				send(t, far, bye)
				expect(t, near, far.Encode(bye))
				expectEnd(t, near)
				j.expectOutcome(t, by, 4000, controlCharacters)
				checkControls(t, g.gateway)
			})
		}
		t.Run("path", func(t *testing.T) {
			server := peerListen(t)
			gateway := forwardTo(t, e, server.endpoint(), nil)
			const path = "/chat/\u0080\u009b31m\u009f" // others do not reach the plugin
			client := peerDial(t, gateway, upgrade("GET "+path+" HTTP/1.1"))
			upstream, head := server.request(t)
			upstream.send(t, head.switching())
			client.answer(t)
			client.Close()
			told, _ := gateway.WaitRecord(t)["path"].(string)
			if got, err := url.PathUnescape(told); err != nil || got != path { // Traefik escapes it
				t.Errorf("the record's path is %q, want %q", told, path)
			}
			checkControls(t, gateway)
		})
	})
}

// TestLineControlsOfRewrittenPath has a middleware before the plugin put control characters into the path, which the
// server would have let no client do.
func TestLineControlsOfRewrittenPath(t *testing.T) {
	path := "/" + strings.ReplaceAll(controlCharacters, " ", "")
	rewrite := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			req.URL.Path, req.URL.RawPath = path, path
			next.ServeHTTP(rw, req)
		})
	}
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := e.Start(t, engine.Setup{Config: object{"upstreamEndpoint": server.endpoint() + "/ws"}, Wrap: rewrite})
		client, _ := server.join(t, gateway)
		client.Close()
		gateway.WaitRecord(t)
		peerDial(t, gateway, upgrade("GET / HTTP/1.1", "!Sec-WebSocket-Key")).refusal(t, http.StatusBadRequest)
		gateway.Wait(t, refusedMessage)
		checkControls(t, gateway)
	})
}

// checkControls wants no control character in the gateway's output but for the ends of lines.
func checkControls(t *testing.T, gateway *engine.Gateway) {
	t.Helper()
	text := gateway.Text()
	isRaw := func(r rune) bool { return r != '\n' && unicode.IsControl(r) }
	if at := strings.IndexFunc(text, isRaw); at >= 0 {
		t.Errorf("the log has a control character at %d: %q", at, text)
	}
	if lines := strings.Count(text, "\n"); lines != len(gateway.Lines()) {
		t.Errorf("the log has %d ends of lines for %d lines", lines, len(gateway.Lines()))
	}
}

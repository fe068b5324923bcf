package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// hintOf is what a line advises, empty where it does not.
func hintOf(line object) string {
	hint, _ := line["hint"].(string)
	return hint
}

// hints counts the lines that advise something.
func hints(gateway *engine.Gateway) (count int) {
	for _, line := range gateway.Lines() {
		if hintOf(line) != "" {
			count++
		}
	}
	return count
}

// writeOneMore has a request refused and waits for the line about it, so that all lines before it are there.
func writeOneMore(t *testing.T, gateway *engine.Gateway) {
	t.Helper()
	peerDial(t, gateway, upgrade("GET / HTTP/1.1", "!Sec-WebSocket-Key")).refusal(t, http.StatusBadRequest)
	gateway.Wait(t, refusedMessage)
}

// TestHintHost is about upstreams that refuse an origin: many compare it with a Host that is not the client's unless
// passHostHeader is set.
func TestHintHost(t *testing.T) {
	const origin = "Origin: https://chat.example.com"
	rows := []struct {
		name    string
		options object
		status  string
		edits   []string
		hints   int
	}{
		{name: "forbidden", status: "403 Forbidden", edits: []string{origin}, hints: 1},
		{name: "forbidden, switched off", options: object{"passHostHeader": false}, status: "403 Forbidden", edits: []string{origin}, hints: 1},
		{name: "forbidden in a tunnel", options: object{"mode": "tunnel"}, status: "403 Forbidden", edits: []string{origin}, hints: 1},
		{name: "no origin", status: "403 Forbidden"},
		{name: "client's host", options: object{"passHostHeader": true}, status: "403 Forbidden", edits: []string{origin}},
		{name: "unauthorized", status: "401 Unauthorized", edits: []string{origin}},
		{name: "not found", status: "404 Not Found", edits: []string{origin}},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				server := peerListen(t)
				gateway := forwardTo(t, e, server.endpoint()+"/hunter2", row.options)
				client := peerDial(t, gateway, upgrade("GET /chat?token=hunter2 HTTP/1.1", row.edits...))
				upstream, _ := server.request(t)
				upstream.send(t, raw("HTTP/1.1 "+row.status, "Content-Length: 0"))
				if resp := client.answer(t); resp.Status != row.status {
					t.Errorf("the client gets %s, want the upstream's %s", resp.Status, row.status)
				}
				if row.hints > 0 {
					line := gateway.Wait(t, "upstream "+server.endpoint()+" answered 403")
					checkLine(t, line, object{"level": "warn", "plugin": "wsfw"})
					if hint := hintOf(line); !strings.Contains(hint, "passHostHeader") {
						t.Errorf("the hint is %q, want one that names passHostHeader", hint)
					}
				}
				writeOneMore(t, gateway)
				if got := hints(gateway); got != row.hints || len(gateway.Lines()) != row.hints+1 {
					t.Errorf("the log has %v, want %d hints and the line about a refusal", gateway.Lines(), row.hints)
				}
				checkSecretLines(t, gateway)
			})
		}
	})
}

// TestHintNoop has no server behind an inline gateway, but what Traefik has for routers that need none. That answers 418
// to everything, and the log tells at the first time.
func TestHintNoop(t *testing.T) {
	teapot := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) })
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		setup := engine.Setup{Config: relayed, Service: teapot}
		if e.Name() == "traefik" {
			setup = engine.Setup{Config: relayed, Next: "http://" + peerDeadAddr(t), Traefik: engine.Surroundings{Internal: "noop@internal"}}
		}
		gateway := e.Start(t, setup)
		for range 3 {
			if resp, body := exchange(t, gateway.Addr, upgrade("GET / HTTP/1.1")); resp.StatusCode != http.StatusTeapot || body != "" {
				t.Fatalf("the answer is %s %q, want the service's 418", resp.Status, body)
			}
		}
		writeOneMore(t, gateway)
		lines := gateway.Lines()
		if got := hints(gateway); got != 1 || !strings.Contains(hintOf(lines[0]), "noop@internal") {
			t.Errorf("the log has %v, want it to begin with the only hint, which names noop@internal", lines)
		}
	})
}

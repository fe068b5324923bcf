package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// refusedMessage is the msg of a line about a request that the plugin has refused.
const refusedMessage = "request refused"

// refusedRow is a request and what the log tells of its refusal.
type refusedRow struct {
	name      string
	start     string   // of the request, as that of [upgrade]
	edits     []string // of the upgrade
	body      string
	status    int
	reason    string
	endpoints bool // only where there is an upstreamEndpoint
}

// refusedRows are of requests with secrets, all of which contain the word "hunter2". The gateway's options are those of
// refusedOptions.
var refusedRows = []refusedRow{
	{name: "no upgrade", edits: []string{"!Upgrade", "!Connection"}, status: 426, reason: "no_upgrade"},
	{name: "other upgrade", edits: []string{"Upgrade: hunter2"}, status: 426, reason: "no_upgrade"},
	{name: "method", start: "POST /chat?token=hunter2 HTTP/1.1", edits: []string{"Content-Length: 0"}, status: 405, reason: "bad_method"},
	{name: "HTTP version", start: "GET /chat?token=hunter2 HTTP/1.0", status: 426, reason: "http_version"},
	{name: "version", edits: []string{"Sec-WebSocket-Version: hunter2"}, status: 426, reason: "bad_version"},
	{name: "key", edits: []string{"Sec-WebSocket-Key: hunter2"}, status: 400, reason: "bad_key"},
	{name: "body", edits: []string{"Content-Length: 7"}, body: "hunter2", status: 400, reason: "has_body"},
	{name: "long offer", edits: offered(strings.Repeat("hunter2, ", 100) + "chat"), status: 400, reason: "too_long"},
	{name: "long offer of many lines", edits: offered(slices.Repeat([]string{"chat"}, 101)...), status: 400, reason: "too_long"},
	{name: "long extensions", edits: []string{"Sec-WebSocket-Extensions: " + strings.Repeat("hunter2, ", 100) + deflate}, status: 400, reason: "too_long"},
	{name: "long path", start: "GET /chat" + strings.Repeat("/a", 100) + "?token=hunter2 HTTP/1.1", status: 400, reason: "too_long"},
	{name: "origin", edits: []string{"Origin: https://hunter2.example.com"}, status: 403, reason: "bad_origin"},
	{name: "subprotocol", edits: offered("hunter2"), status: 400, reason: "no_subprotocol"},
	{name: "path", start: "GET /chat/..%2F?token=hunter2 HTTP/1.1", status: 400, reason: "bad_path", endpoints: true},
}

var refusedOptions = object{"allowedOrigins": []string{"none", "https://app.example.com"}, "protocols": []string{"chat"}}

// TestRefusedLine wants one line for each refusal, with its reason and nothing that is secret.
func TestRefusedLine(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		options := maps.Clone(refusedOptions)
		forwards := !r.checks && !r.inline
		if forwards {
			options["upstreamPath"] = "append"
		}
		gateway := e.Start(t, r.setup(peerDeadAddr(t), options))
		lines := 0
		for _, row := range refusedRows {
			if row.endpoints && !forwards {
				continue
			}
			lines++
			t.Run(row.name, func(t *testing.T) { row.check(t, gateway) })
		}
		if got := gateway.Lines(); len(got) != lines {
			t.Errorf("%d refusals leave %d lines: %v", lines, len(got), got)
		}
		checkSecretLines(t, gateway)
	})
}

func (r refusedRow) check(t *testing.T, gateway *engine.Gateway) {
	start := r.start
	if start == "" {
		start = "GET /chat?token=hunter2 HTTP/1.1"
	}
	edits := append([]string{"Cookie: session=hunter2", "Authorization: Bearer hunter2", "X-Token: hunter2"}, r.edits...)
	client := peerDial(t, gateway, upgrade(start, edits...)+r.body)
	client.refusal(t, r.status)
	_, target, _ := strings.Cut(start, " ")
	path, _, _ := strings.Cut(target, "?")
	checkRefused(t, gateway, client, path, r.status, r.reason)
}

// checkRefused wants the gateway's next line about a refusal to tell of this one.
func checkRefused(t *testing.T, gateway *engine.Gateway, client *peerConn, path string, status int, reason string) {
	t.Helper()
	line := gateway.Wait(t, refusedMessage)
	checkLine(t, line, object{
		"level": "warn", "plugin": "wsfw", "client": client.LocalAddr().String(), "path": path, "status": float64(status), "reason": reason,
	})
	if line["omitted"] != nil {
		t.Errorf("the line tells of others that were left out: %v", line)
	}
}

// checkLine wants a line to have these values, and a time.
func checkLine(t *testing.T, line, want object) {
	t.Helper()
	for name, value := range want {
		if line[name] != value {
			t.Errorf("%s is %v, want %v, in %v", name, line[name], value, line)
		}
	}
	if at, _ := line["time"].(string); at == "" {
		t.Errorf("the line has no time: %v", line)
	}
}

// TestRefusedLineNotOurs wants no line about requests that are for next to answer.
func TestRefusedLineNotOurs(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		next := strings.TrimPrefix(recorder(t), "http://")
		gateway := e.Start(t, r.setup(next, object{"path": "/socket", "nonWebSocket": "pass"}))
		for _, request := range []string{
			raw("GET /socket HTTP/1.1", "Host: chat.example.com"),
			raw("GET /index.html HTTP/1.1", "Host: chat.example.com"),
			upgrade("GET /elsewhere HTTP/1.1", "!Sec-WebSocket-Key"),
		} {
			if resp, body := exchange(t, gateway.Addr, request); resp.Header.Get(nextMark) == "" {
				t.Fatalf("status is %d (%.80q), want next's answer", resp.StatusCode, body)
			}
		}
		client := peerDial(t, gateway, upgrade("GET /socket HTTP/1.1", "!Sec-WebSocket-Key"))
		client.refusal(t, http.StatusBadRequest)
		checkRefused(t, gateway, client, "/socket", 400, "bad_key")
		if lines := gateway.Lines(); len(lines) != 1 {
			t.Errorf("the log has %v, want one line", lines)
		}
	})
}

// TestRefusedLinePlaces wants lines about clients for whom there is no place.
func TestRefusedLinePlaces(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		h := newHouse(t, e, r, twoPlaces)
		h.enter(t, user("anna"))
		refused := func(name string, status int, reason string) {
			t.Helper()
			client := peerDial(t, h.gateway, upgrade("GET /chat?token=hunter2 HTTP/1.1", user(name)))
			client.refusal(t, status)
			checkRefused(t, h.gateway, client, "/chat", status, reason)
		}
		refused("anna", http.StatusTooManyRequests, "too_many_sessions_of_client")
		h.enter(t, user("bert"))
		refused("hunter2", http.StatusServiceUnavailable, "too_many_sessions")
		checkSecretLines(t, h.gateway)
	})
}

// TestRefusedLineRestart wants a line about a client that comes while the server shuts down.
func TestRefusedLineRestart(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		d := newDoor(t)
		setup := r.setup(peerDeadAddr(t), nil)
		setup.Dedicated, setup.Auth = true, d.url
		gateway := e.Start(t, setup)
		client := d.knock(t, gateway, upgrade("GET /chat HTTP/1.1", heldHeader+": yes"))
		gateway.Terminate(t)
		awaitShutdown(t, gateway)
		close(d.open)
		client.refusal(t, http.StatusServiceUnavailable)
		checkRefused(t, gateway, client, "/chat", http.StatusServiceUnavailable, "restarting")
	})
}

// TestRefusedLineLoop has a request come back to the gateway that has sent it to its upstream.
func TestRefusedLineLoop(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		via := server.head(t, gateway, upgrade("GET / HTTP/1.1")).values("Via")
		if len(via) != 1 {
			t.Fatalf("Via is %q at the upstream, want one value", via)
		}
		client := peerDial(t, gateway, upgrade("GET /chat HTTP/1.1", "Via: "+via[0]))
		client.refusal(t, http.StatusLoopDetected)
		checkRefused(t, gateway, client, "/chat", http.StatusLoopDetected, "loop")
	})
}

// TestRefusedLineHidden has a middleware before the plugin hide the connection.
func TestRefusedLineHidden(t *testing.T) {
	eachUseInProcess(t, func(t *testing.T, e engine.Engine) {
		gateway := e.Start(t, engine.Setup{Config: object{"upstreamEndpoint": echo(t)}, Wrap: hide})
		client := peerDial(t, gateway, upgrade("GET /chat HTTP/1.1"))
		client.refusal(t, http.StatusInternalServerError)
		checkRefused(t, gateway, client, "/chat", http.StatusInternalServerError, "not_hijackable")
	})
}

// TestFailedUpstreamLine wants a line about a failed upstream to tell what the client was answered, and no second line.
func TestFailedUpstreamLine(t *testing.T) {
	rows := []struct {
		name    string
		options object
		answer  func(head peerHead) string
		status  int
		reason  string
		inline  bool // false where Traefik's proxy finds it
	}{
		{name: "untrue", answer: func(head peerHead) string { return head.switching("Sec-WebSocket-Accept: mine") }, status: 502, reason: "upstream_failed", inline: true},
		{name: "broken", answer: func(peerHead) string { return "SSH-2.0-OpenSSH_9.6\r\n" }, status: 502, reason: "upstream_failed"},
		{name: "silent", options: object{"upgradeTimeout": "100ms"}, answer: func(peerHead) string { return "" }, status: 504, reason: "upstream_timeout"},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			if isInline(e) && !row.inline {
				continue
			}
			t.Run(row.name, func(t *testing.T) {
				server := peerListen(t)
				gateway := forwardTo(t, e, server.endpoint(), row.options)
				client := peerDial(t, gateway, upgrade("GET /chat?token=hunter2 HTTP/1.1"))
				upstream, head := server.request(t)
				upstream.send(t, row.answer(head))
				client.refusal(t, row.status)
				checkFailed(t, gateway, client, server.endpoint(), row.status, row.reason)
			})
		}
		if !isInline(e) {
			t.Run("unreachable", func(t *testing.T) {
				endpoint := "ws://" + peerDeadAddr(t)
				gateway := forwardTo(t, e, endpoint, nil)
				client := peerDial(t, gateway, upgrade("GET /chat?token=hunter2 HTTP/1.1"))
				client.refusal(t, http.StatusBadGateway)
				checkFailed(t, gateway, client, endpoint, http.StatusBadGateway, "upstream_failed")
			})
		}
	})
}

// checkFailed wants the only line about a failed upstream to tell of this one. A refusal after it, for which there is a
// line of its own, shows that there is no further one.
func checkFailed(t *testing.T, gateway *engine.Gateway, client *peerConn, endpoint string, status int, reason string) {
	t.Helper()
	line := gateway.Wait(t, "upstream "+endpoint+" failed")
	checkLine(t, line, object{
		"level": "error", "plugin": "wsfw", "client": client.LocalAddr().String(), "path": "/chat", "status": float64(status), "reason": reason,
	})
	if cause, _ := line["error"].(string); cause == "" {
		t.Errorf("the line does not tell the cause: %v", line)
	}
	next := peerDial(t, gateway, upgrade("GET /chat HTTP/1.1", "!Sec-WebSocket-Key"))
	next.refusal(t, http.StatusBadRequest)
	checkRefused(t, gateway, next, "/chat", http.StatusBadRequest, "bad_key")
	if lines := gateway.Lines(); len(lines) != 2 {
		text, _ := json.Marshal(lines)
		t.Errorf("the log has %s, want two lines", text)
	}
	checkSecretLines(t, gateway)
}

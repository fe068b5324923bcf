package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// switched opens a session whose upstream answers with these edits, has it echo a frame, and returns the head of the 101
// that the client gets, line by line.
func (u *peerUpstream) switched(t *testing.T, gateway *engine.Gateway, offer []string, edits ...string) peerHead {
	t.Helper()
	client := peerDial(t, gateway, upgrade("GET / HTTP/1.1", offer...))
	upstream, asked := u.request(t)
	upstream.send(t, asked.switching(edits...))
	head := client.readHead(t)
	if !strings.HasPrefix(head[0], "HTTP/1.1 101 ") {
		t.Fatalf("the answer is %q, want 101", head)
	}
	checkEcho(t, client, upstream)
	client.Close()
	upstream.Close()
	return head
}

// plain sends a request without an upgrade through the gateway, and returns the head of its answer.
func (u *peerUpstream) plain(t *testing.T, gateway *engine.Gateway) peerHead {
	t.Helper()
	client := peerDial(t, gateway, raw("GET / HTTP/1.1", "Host: chat.example.com"))
	upstream, _ := u.request(t)
	upstream.send(t, raw("HTTP/1.1 200 OK", "Content-Length: 0"))
	head := client.readHead(t)
	client.Close()
	upstream.Close()
	return head
}

// checkEcho wants a frame of either end's at the other.
func checkEcho(t *testing.T, client, upstream *peerConn) {
	t.Helper()
	upstream.send(t, "\x81\x02hi")
	client.expect(t, "\x81\x02hi")
	const masked = "\x81\x82\x00\x00\x00\x00yo"
	client.send(t, masked)
	upstream.expect(t, masked)
}

// checkLines wants exactly these lines of a head, by name; nil wants none.
func checkLines(t *testing.T, head peerHead, want lines) {
	t.Helper()
	got := http.Header{}
	for name := range want {
		got[http.CanonicalHeaderKey(name)] = head.values(name)
	}
	checkHeader(t, got, want)
}

// only101 is what a 101 to a client has once or not at all, whatever its upstream has said (RFC 9110 sections 7.6.1
// and 8.6, RFC 6455 section 4.2.2).
var only101 = lines{
	"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Content-Length": nil, "Transfer-Encoding": nil, "Keep-Alive": nil,
	"Proxy-Connection": nil, "Proxy-Authenticate": nil, "Proxy-Authorization": nil, "TE": nil, "Trailer": nil, "X-Hop": nil, "X-Other-Hop": nil,
}

// TestSwitchingLines is about what upstreams add to their 101: sessions work, and the client is told nothing that concerns
// one connection only.
func TestSwitchingLines(t *testing.T) {
	rows := map[string][]string{
		"plain":                  nil,
		"content length":         {"Content-Length: 0"},
		"transfer encoding":      {"Transfer-Encoding: chunked"},
		"keep-alive, upgrade":    {"Connection: keep-alive, upgrade", "Keep-Alive: timeout=5, max=100"},
		"doubled lines":          {"Connection: Upgrade", "Connection: Upgrade", "Upgrade: websocket", "Upgrade: websocket"},
		"other words":            {"Connection: UPGRADE", "Upgrade: WebSocket"},
		"what Connection names":  {"Connection: Upgrade, X-Hop", "Connection: x-other-hop", "X-Hop: 1", "X-Other-Hop: 1"},
		"proxies":                {"Proxy-Connection: keep-alive", "Proxy-Authenticate: Basic", "Proxy-Authorization: Basic eDp5"},
		"what a body would have": {"TE: trailers", "Trailer: X-Sum", "Content-Length: 0"},
		"all together":           {"Connection: X-Hop, Upgrade", "Content-Length: 0", "X-Hop: upgrade", "Keep-Alive: timeout=5"},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		for name, edits := range rows {
			t.Run(name, func(t *testing.T) {
				checkLines(t, server.switched(t, gateway, nil, edits...), only101)
			})
		}
	})
}

// TestSwitchingClose is about upstreams that say of their 101 that the connection ends with it, as many do that close it
// by themselves. Traefik's own proxy refuses that, and so there are no such sessions inline.
func TestSwitchingClose(t *testing.T) {
	rows := map[string][]string{
		"close, upgrade":        {"Connection: close, Upgrade"},
		"upgrade, close":        {"Connection: Upgrade, close"},
		"upgrade, then close":   {"Connection: Upgrade", "Connection: close"},
		"close, then upgrade":   {"Connection: close", "Connection: Upgrade"},
		"other words":           {"Connection: CLOSE,UPGRADE"},
		"what Connection names": {"Connection: close, X-Hop, Upgrade", "X-Hop: 1", "Content-Length: 0"},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		for name, edits := range rows {
			t.Run(name, func(t *testing.T) {
				checkLines(t, server.switched(t, gateway, nil, edits...), only101)
			})
		}
	})
}

// TestSwitchingEndToEnd wants the upstream's end-to-end headers to stay, several lines of one name in their order, beside
// those that do not.
func TestSwitchingEndToEnd(t *testing.T) {
	edits := []string{
		"Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; HttpOnly", "Set-Cookie: c=3", "X-Own: first", "X-Own: second",
		"Server: upstream", "Strict-Transport-Security: max-age=1", "Connection: keep-alive, Upgrade, X-Hop", "X-Hop: 1",
		"Content-Length: 0", "Keep-Alive: timeout=5", "Sec-WebSocket-Protocol: superchat",
	}
	want := lines{
		"Set-Cookie": {"a=1; Path=/", "b=2; HttpOnly", "c=3"}, "X-Own": {"first", "second"}, "Server": {"upstream"},
		"Strict-Transport-Security": {"max-age=1"}, "Sec-WebSocket-Protocol": {"superchat"},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		head := server.switched(t, gateway, []string{offeredProtocol}, edits...)
		checkLines(t, head, only101)
		checkLines(t, head, want)
	})
}

// endingAll is a [engine.Setup]'s Wrap: it says of every answer that the connection ends with it, as Traefik's entry points
// do by keepAliveMaxRequests and keepAliveMaxTime.
func endingAll(plugin http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header()["Connection"] = []string{"close"}
		plugin.ServeHTTP(rw, req)
	})
}

// TestSwitchingBehindClose has the server say of every answer that the connection ends with it. A 101 says Upgrade, and
// that alone.
func TestSwitchingBehindClose(t *testing.T) {
	edits := map[string][]string{
		"plain": nil, "headers": {"Set-Cookie: a=1", "X-Own: first"},
		"hop by hop": {"Connection: Upgrade, X-Hop", "X-Hop: 1", "Content-Length: 0"},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		setup := engine.Setup{
			Config: object{"upstreamEndpoint": server.endpoint(), "nonWebSocket": "pass"}, Next: "http://" + server.addr,
		}
		if e.Name() == "traefik" {
			setup.Dedicated, setup.Traefik.EntryPoint = true, map[string]object{"transport": {"keepAliveMaxRequests": 1}}
		} else {
			setup.Wrap = endingAll
		}
		gateway := e.Start(t, setup)
		checkLines(t, server.plain(t, gateway), lines{"Connection": {"close"}}) // or this case shows nothing
		for name, edits := range edits {
			t.Run(name, func(t *testing.T) {
				checkLines(t, server.switched(t, gateway, nil, edits...), only101)
			})
		}
	})
}

package e2e

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// checkComplaint waits for the line about an upstream that failed. It alone tells the cause.
func checkComplaint(t *testing.T, gateway *engine.Gateway, endpoint string) {
	t.Helper()
	line := gateway.Wait(t, "upstream "+endpoint+" failed")
	if cause, _ := line["error"].(string); cause == "" || line["level"] != "error" {
		t.Errorf("the line is no error with its cause: %v", line)
	}
}

func TestUpstreamUnreachable(t *testing.T) {
	// No resolver asks anybody about a label of more than 63 bytes.
	unresolvable := strings.Repeat("a", 64) + ".invalid"
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for name, endpoint := range map[string]string{
			"dead port":                  "ws://" + peerDeadAddr(t),
			"dead port with TLS":         "wss://" + peerDeadAddr(t),
			"unresolvable host":          "ws://" + unresolvable,
			"unresolvable host with TLS": "wss://" + unresolvable,
		} {
			t.Run(name, func(t *testing.T) {
				gateway := forwardTo(t, e, endpoint, nil)
				peerDial(t, gateway, upgrade("GET / HTTP/1.1")).refusal(t, http.StatusBadGateway)
				checkComplaint(t, gateway, endpoint)
			})
		}
	})
}

// TestUpstreamFirst wants no answer to the client before the upstream's.
func TestUpstreamFirst(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		upstream, _ := server.request(t)
		upstream.Close()
		client.refusal(t, http.StatusBadGateway)
		checkComplaint(t, gateway, server.endpoint())
	})
}

func TestUpstreamTimeout(t *testing.T) {
	const short = "100ms"
	for _, stage := range []struct {
		name    string
		scheme  string
		options object
		said    string // by the upstream, before it falls silent
	}{
		{name: "connect", scheme: "wss", options: object{"connectTimeout": short}},
		{name: "answer", scheme: "ws", options: object{"upgradeTimeout": short}},
		{name: "rest of the answer", scheme: "ws", options: object{"upgradeTimeout": short}, said: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web"},
		{name: "answer after an informational one", scheme: "ws", options: object{"upgradeTimeout": short}, said: raw("HTTP/1.1 103 Early Hints")},
	} {
		t.Run(stage.name, func(t *testing.T) {
			engine.Each(t, func(t *testing.T, e engine.Engine) {
				server := peerListen(t)
				gateway := forwardTo(t, e, stage.scheme+"://"+server.addr, stage.options)
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
				upstream := server.accept(t)
				upstream.send(t, stage.said)
				client.refusal(t, http.StatusGatewayTimeout)
				upstream.expectEnd(t)
			})
		})
	}
}

// TestUpstreamClientLeaves wants the upstream's connection closed as soon as the client is gone, not when some
// time-out is over.
func TestUpstreamClientLeaves(t *testing.T) {
	for _, stage := range []struct {
		name   string
		scheme string
		inline bool // false where Traefik's own proxy takes its time
		reach  func(t *testing.T, client, upstream *peerConn)
	}{
		{name: "while TLS is negotiated", scheme: "wss", reach: func(t *testing.T, _, upstream *peerConn) {
			if _, err := upstream.in.ReadByte(); err != nil {
				t.Fatalf("reading the client hello: %v", err)
			}
		}},
		{name: "while the answer is awaited", scheme: "ws", inline: true, reach: func(t *testing.T, _, upstream *peerConn) {
			upstream.readHead(t)
		}},
		{name: "while the answer's body is streamed", scheme: "ws", inline: true, reach: func(t *testing.T, client, upstream *peerConn) {
			upstream.readHead(t)
			upstream.send(t, raw("HTTP/1.1 403 Forbidden", "Content-Length: 10")+"12345")
			client.in = bufio.NewReader(client.answer(t).Body)
			client.expect(t, "12345")
		}},
	} {
		each := engine.Each
		if stage.inline {
			each = eachUse
		}
		t.Run(stage.name, func(t *testing.T) {
			each(t, func(t *testing.T, e engine.Engine) {
				server := peerListen(t)
				gateway := forwardTo(t, e, stage.scheme+"://"+server.addr, object{"connectTimeout": "1m", "upgradeTimeout": "1m"})
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
				upstream := server.accept(t)
				stage.reach(t, client, upstream)
				client.Close()
				upstream.expectEnd(t)
			})
		})
	}
}

// TestUpstreamClientLeavesUnsaid wants no complaint about an upstream that is not to blame.
func TestUpstreamClientLeavesUnsaid(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		upstream, _ := server.request(t)
		client.Close()
		upstream.expectEnd(t)
		client, _ = server.join(t, gateway)
		client.Close()
		gateway.WaitRecord(t)
		if lines := gateway.Lines(); len(lines) != 1 {
			t.Errorf("there is more than the second client's record: %v", lines)
		}
	})
}

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// In these cases every secret, the operator's and the client's, contains the word "hunter2".

// secretGateway runs a gateway with secrets in its configuration.
func secretGateway(t *testing.T, e engine.Engine, endpoint string) *engine.Gateway {
	t.Helper()
	return forwardTo(t, e, endpoint+"/ws?key=hunter2-endpoint", object{
		"headers":        object{"Authorization": "Bearer hunter2-header"},
		"connectTimeout": "200ms",
		"upgradeTimeout": "200ms",
	})
}

// secretRequest is an upgrade with secrets of the client's.
func secretRequest() string {
	return upgrade("GET /chat?token=hunter2-query HTTP/1.1", "Cookie: session=hunter2-cookie", "X-Token: hunter2-token",
		"Authorization: Bearer hunter2-client", "Sec-WebSocket-Protocol: chat")
}

// checkSecretAnswer reads an answer that may hold no secret.
func checkSecretAnswer(t *testing.T, client *peerConn, status int) {
	t.Helper()
	resp := client.answer(t)
	dump, err := httputil.DumpResponse(resp, true)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status || strings.Contains(string(dump), "hunter2") {
		t.Errorf("the answer is not %d or shows a secret:\n%s", status, dump)
	}
}

// checkSecretLines holds all that the gateway has written against the secrets.
func checkSecretLines(t *testing.T, gateway *engine.Gateway) {
	t.Helper()
	text, err := json.Marshal(gateway.Lines())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter2") {
		t.Errorf("the log shows a secret: %s", text)
	}
}

// TestSecretSession is about the record.
func TestSecretSession(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := secretGateway(t, e, server.endpoint())
		client := peerDial(t, gateway, secretRequest())
		upstream, head := server.request(t)
		if got, want := head.target(), "/ws?key=hunter2-endpoint&token=hunter2-query"; got != want {
			t.Errorf("the target is %s, want %s", got, want)
		}
		upstream.send(t, head.switching())
		checkSecretAnswer(t, client, http.StatusSwitchingProtocols)
		client.Close()
		if path := gateway.WaitRecord(t)["path"]; path != "/chat" {
			t.Errorf("the record's path is %q, want /chat", path)
		}
		checkSecretLines(t, gateway)
	})
}

// TestSecretUnreachable is about upstreams of which there is nothing to tell but that they cannot be reached.
func TestSecretUnreachable(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, endpoint := range []string{
			"ws://" + peerDeadAddr(t), "wss://" + peerDeadAddr(t), "ws://" + strings.Repeat("a", 64) + ".invalid",
		} {
			gateway := secretGateway(t, e, endpoint)
			checkSecretAnswer(t, peerDial(t, gateway, secretRequest()), http.StatusBadGateway)
			checkComplaint(t, gateway, endpoint)
			checkSecretLines(t, gateway)
		}
	})
}

// TestSecretAnswers is about upstreams that say something wrong, with what they were asked in it.
func TestSecretAnswers(t *testing.T) {
	rows := []struct {
		name   string
		answer func(head peerHead) string
		status int
	}{
		{name: "echo", status: 502, answer: func(head peerHead) string { return raw(head...) }},
		{name: "echo of the query", status: 502, answer: func(head peerHead) string { return raw("HTTP/1.1 " + head.target()) }},
		{name: "echo in a header", status: 502, answer: func(head peerHead) string { return raw("HTTP/1.1 101 Yes", head.target()) }},
		{name: "echo as accept", status: 502, answer: func(head peerHead) string {
			return head.switching("Sec-WebSocket-Accept: " + head.target())
		}},
		{name: "echo as subprotocol", status: 502, answer: func(head peerHead) string {
			return head.switching("Sec-WebSocket-Protocol: " + head.target())
		}},
		{name: "silence", status: 504, answer: func(peerHead) string { return "" }},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				server := peerListen(t)
				gateway := secretGateway(t, e, server.endpoint())
				client := peerDial(t, gateway, secretRequest())
				upstream, head := server.request(t)
				upstream.send(t, row.answer(head))
				checkSecretAnswer(t, client, row.status)
				checkComplaint(t, gateway, server.endpoint())
				checkSecretLines(t, gateway)
			})
		}
	})
}

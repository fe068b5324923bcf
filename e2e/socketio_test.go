package e2e

import (
	"encoding/hex"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalSocketIO has a client of socket.io come to its server by polling, which is plain requests, and upgrade; talk, be
// kept alive, come back by the same way when a gateway shuts down, and leave.
func TestExternalSocketIO(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server, client := newOutsider("node", "peers/socketio.js"), newOutsider("node", "peers/socketio.js")
		options := object{"path": "/socket.io", "nonWebSocket": "pass"}
		s := newSite(t, e, server.listen(t)+"/socket.io/", options)
		client.start(t, "--connect", "http://"+s.addr)
		expectPollingFirst(t, client)
		client.sayAndHear(t, largeCount)
		client.sayBinary(t, payload(100_000))
		client.expect(t, event{Payload: hex.EncodeToString(payload(100_000))})
		client.awaitKeepAlive(t, eventPing, 2)

		s.first.Terminate(t)
		client.expectClosed(t, 0, "transport close")
		s.expectDrained(t, "")
		expectPollingFirst(t, client)
		// To the server a ping that was due inside the close handshake is an error.
		if e := server.await(t, wire.Timeout, eventClose); e.Reason != "transport close" && e.Reason != "transport error" {
			t.Errorf("the server tells %v, want the transport closed", e)
		}
		client.sayAndHear(t, largeCount)

		client.do(t, object{"do": "close"})
		server.expectClosed(t, 0, "client namespace disconnect")
		s.expectLeft(t, parting{"", "client", 1005}) // for the client says no code
	})
}

// expectPollingFirst wants a client of socket.io to begin by polling, and then to upgrade.
func expectPollingFirst(t *testing.T, client *outsider) {
	t.Helper()
	if e := client.await(t, wire.Timeout, eventOpen, eventUpgrade); e.Kind != eventOpen || e.Text != "polling" {
		t.Fatalf("the client begins with %v", e)
	}
	if e := client.await(t, wire.Timeout, eventUpgrade, eventClose); e.Text != "websocket" {
		t.Fatalf("the client does not upgrade, but tells %v", e)
	}
}

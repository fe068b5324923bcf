package e2e

import (
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalSignalR has Microsoft's client of SignalR come to a hub, by a plain request first, and talk. It comes back by the
// same way when a gateway shuts down, and leaves.
func TestExternalSignalR(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server, client := newOutsider(signalRPeer()), newOutsider("node", "peers/signalr.js")
		options := object{"path": "/hub", "nonWebSocket": "pass", "closeTimeout": "1s"}
		s := newSite(t, e, server.listen(t)+"/hub", options)
		client.visit(t, "http://"+s.addr+"/hub")
		server.arrive(t)
		client.sayAndHear(t, largeCount)
		client.awaitKeepAlive(t, eventPing, 2)

		s.first.Terminate(t)
		client.expectClosed(t, 1012, restartReason)
		s.expectDrained(t, "")
		server.await(t, wire.Timeout, eventEnd)
		client.arrive(t)
		server.arrive(t)
		client.sayAndHear(t, largeCount)

		// The client says that it goes in a message, and closes without a code. The server, which has heard the message, may
		// close first, or drop its connection, or read no further and leave the close frame without an answer: so closeTimeout
		// is short.
		client.do(t, object{"do": "close"})
		server.await(t, wire.Timeout, eventEnd)
		s.expectLeft(t, parting{"", "client", 1005}, parting{"", "upstream", 1000}, parting{"", "upstream", 1006})
	})
}

var signalRPeer = goPeer("signalr")

package e2e

import (
	"encoding/hex"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalPhoenix has Phoenix's client join a channel, and talk. It keeps the session alive, joins again when a gateway
// shuts down, and leaves.
func TestExternalPhoenix(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server, client := newOutsider("node", "peers/phoenix.js"), newOutsider("node", "peers/phoenix.js")
		s := newSite(t, e, server.listen(t)+"/socket/websocket?vsn=2.0.0", nil)
		client.visit(t, "ws://"+s.addr+"/socket")
		client.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largeCount)
		client.sayBinary(t, payload(100_000))
		client.expect(t, event{Payload: hex.EncodeToString(payload(100_000))})
		client.awaitKeepAlive(t, eventPong, 1)

		s.first.Terminate(t)
		client.expectClosed(t, 1012, restartReason)
		server.expectClosed(t, 1001, restartReason)
		s.expectDrained(t, "")
		client.arrive(t)
		client.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largeCount)

		client.close(t, 1000, "the client has heard enough")
		server.expectClosed(t, 1000, "the client has heard enough")
		s.expectLeft(t, parting{"", "client", 1000})
	})
}

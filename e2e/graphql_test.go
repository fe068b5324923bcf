package e2e

import (
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalGraphQL has a client of graphql-ws subscribe at its server, and mutate. The client keeps the session alive, comes
// back with its subscription when a gateway shuts down, and leaves.
func TestExternalGraphQL(t *testing.T) {
	const subprotocol = "graphql-transport-ws"
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server, client := newOutsider("node", "peers/graphql.js"), newOutsider("node", "peers/graphql.js")
		s := newSite(t, e, server.listen(t), object{"protocols": subprotocol})
		client.visit(t, "ws://"+s.addr+"/graphql")
		server.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largeCount)
		client.awaitKeepAlive(t, eventPong, 2)

		s.first.Terminate(t)
		client.expectClosed(t, 1012, restartReason)
		server.expectClosed(t, 1001, restartReason)
		s.expectDrained(t, subprotocol)
		client.arrive(t)
		server.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largeCount)

		client.do(t, object{"do": "close"})
		server.expectClosed(t, 1000, "Normal Closure")
		s.expectLeft(t, parting{subprotocol, "client", 1000})
	})
}

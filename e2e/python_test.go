package e2e

import (
	"encoding/hex"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalPython has a client of Python's websockets talk to a server of it, in compressed messages as that library does by
// itself. The client comes back when the server ends its session or a gateway shuts down.
func TestExternalPython(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server, client := newPython("--echo"), newPython("--again")
		s := newSite(t, e, server.listen(t), nil)
		client.visit(t, "ws://"+s.addr+"/socket")
		client.sayAndHear(t, largeCount)
		client.sayBinary(t, payload(10_000))
		client.expect(t, event{Payload: hex.EncodeToString(payload(10_000))})
		server.close(t, serverBye.code, serverBye.reason)
		client.expectFarewell(t, serverBye.code, serverBye.reason)
		expectDeparture(t, server, serverBye.code, serverBye.reason) // which the client has answered
		expectCompressed(t, s.first.WaitRecord(t), parting{"", "upstream", serverBye.code})

		client.arrive(t)
		client.sayAndHear(t, largeCount)
		s.first.Terminate(t)
		client.expectFarewell(t, 1012, restartReason)
		expectDeparture(t, server, 1001, restartReason)
		expectParting(t, s.first.WaitRecord(t), parting{"", "wsfw", 1012})

		client.arrive(t)
		client.sayAndHear(t, largeCount)
		client.close(t, 4000, "the client has heard enough")
		expectDeparture(t, server, 4000, "the client has heard enough")
		s.expectLeft(t, parting{"", "client", 4000})
	})
}

// expectDeparture wants an end's session to be closed like this, and passes over what was said in it.
func expectDeparture(t *testing.T, end *outsider, code int, reason string) {
	t.Helper()
	end.expectClosed(t, code, reason)
	end.await(t, wire.Timeout, eventEnd)
}

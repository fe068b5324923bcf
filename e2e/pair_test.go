package e2e

import (
	"encoding/hex"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// pair is a client and a server, and what the server tells of close frames: of the client's or the gateway's, and of the answer
// to its own.
type pair struct {
	client, server  func(flags ...string) *outsider
	heard, answered func(said forwardEnd) forwardEnd

	plain   bool // they do not compress messages by themselves
	restart int  // the restartCode that they can take; 0: the default one
}

// What a library makes of a close frame where it tells of it, or answers it.
func whole(said forwardEnd) forwardEnd     { return said }
func codeAlone(said forwardEnd) forwardEnd { return forwardEnd{code: said.code} }
func unheard(forwardEnd) forwardEnd        { return forwardEnd{} }

// converse has the client talk to the server, which sends back what it hears, in compressed messages where their libraries do
// that by themselves. The client comes back when the server ends its session or a gateway shuts down.
func (p pair) converse(t *testing.T) {
	t.Helper()
	options, restart := object{}, 1012
	if p.restart != 0 {
		options["restartCode"], restart = p.restart, p.restart
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server, client := p.server("--echo"), p.client("--again")
		s := newSite(t, e, server.listen(t), options)
		client.visit(t, "ws://"+s.addr+"/socket")
		client.sayAndHear(t, largeCount)
		client.sayBinary(t, payload(10_000))
		client.expect(t, event{Payload: hex.EncodeToString(payload(10_000))})
		server.close(t, serverBye.code, serverBye.reason)
		client.expectFarewell(t, serverBye.code, serverBye.reason)
		expectDeparture(t, server, p.answered(serverBye)) // which the client has answered
		if record := s.first.WaitRecord(t); p.plain {
			expectParting(t, record, parting{"", "upstream", serverBye.code})
		} else {
			expectCompressed(t, record, parting{"", "upstream", serverBye.code})
		}

		client.arrive(t)
		client.sayAndHear(t, largeCount)
		s.first.Terminate(t)
		client.expectFarewell(t, restart, restartReason)
		expectDeparture(t, server, p.heard(forwardEnd{1001, restartReason}))
		expectParting(t, s.first.WaitRecord(t), parting{"", "wsfw", restart})

		client.arrive(t)
		client.sayAndHear(t, largeCount)
		clientBye := forwardEnd{4000, "the client has heard enough"}
		client.close(t, clientBye.code, clientBye.reason)
		expectDeparture(t, server, p.heard(clientBye))
		s.expectLeft(t, parting{"", "client", clientBye.code})
	})
}

// expectDeparture wants an end's session to be closed like this, and passes over what was said in it.
func expectDeparture(t *testing.T, end *outsider, want forwardEnd) {
	t.Helper()
	end.expectClosed(t, want.code, want.reason)
	end.await(t, wire.Timeout, eventEnd)
}

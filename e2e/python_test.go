package e2e

import (
	"encoding/hex"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalPython has a client of Python's websockets talk to a server of it.
func TestExternalPython(t *testing.T) {
	pair{client: onPython("websockets"), server: onPython("websockets"), heard: whole, answered: whole}.converse(t)
}

// TestExternalTornado is the same of tornado.
func TestExternalTornado(t *testing.T) {
	pair{client: onPython("tornado"), server: onPython("tornado"), heard: whole, answered: codeAlone}.converse(t)
}

// TestExternalAiohttp is the same of aiohttp.
func TestExternalAiohttp(t *testing.T) {
	pair{client: onPython("aiohttp"), server: onPython("aiohttp"), heard: whole, answered: unheard}.converse(t)
}

// TestExternalUvicorn is the same of an ASGI application under uvicorn, over websockets, and of websockets' client.
func TestExternalUvicorn(t *testing.T) {
	server := onPython("uvicorn/websockets")
	pair{client: onPython("websockets"), server: server, heard: codeAlone, answered: codeAlone}.converse(t)
}

// TestExternalWsproto is the same of wsproto: a client of it, and uvicorn over it.
func TestExternalWsproto(t *testing.T) {
	server := onPython("uvicorn/wsproto")
	pair{client: onPython("wsproto"), server: server, heard: codeAlone, answered: codeAlone}.converse(t)
}

// onPython makes outsiders on one of the libraries in peers/sessions.
func onPython(library string) func(flags ...string) *outsider {
	return func(flags ...string) *outsider { return newPython(append(flags, "--library", library)...) }
}

// pair is a client and a server, and what the server tells of close frames: of the client's or the gateway's, and of the answer
// to its own.
type pair struct {
	client, server  func(flags ...string) *outsider
	heard, answered func(said forwardEnd) forwardEnd
}

// What a library makes of a close frame where it tells of it, or answers it.
func whole(said forwardEnd) forwardEnd     { return said }
func codeAlone(said forwardEnd) forwardEnd { return forwardEnd{code: said.code} }
func unheard(forwardEnd) forwardEnd        { return forwardEnd{} }

// converse has the client talk to the server, which sends back what it hears, in compressed messages as their libraries do by
// themselves. The client comes back when the server ends its session or a gateway shuts down.
func (p pair) converse(t *testing.T) {
	t.Helper()
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server, client := p.server("--echo"), p.client("--again")
		s := newSite(t, e, server.listen(t), nil)
		client.visit(t, "ws://"+s.addr+"/socket")
		client.sayAndHear(t, largeCount)
		client.sayBinary(t, payload(10_000))
		client.expect(t, event{Payload: hex.EncodeToString(payload(10_000))})
		server.close(t, serverBye.code, serverBye.reason)
		client.expectFarewell(t, serverBye.code, serverBye.reason)
		expectDeparture(t, server, p.answered(serverBye)) // which the client has answered
		expectCompressed(t, s.first.WaitRecord(t), parting{"", "upstream", serverBye.code})

		client.arrive(t)
		client.sayAndHear(t, largeCount)
		s.first.Terminate(t)
		client.expectFarewell(t, 1012, restartReason)
		expectDeparture(t, server, p.heard(forwardEnd{1001, restartReason}))
		expectParting(t, s.first.WaitRecord(t), parting{"", "wsfw", 1012})

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

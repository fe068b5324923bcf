package e2e

import (
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalYjs has two clients of y-websocket share a document by its server. They come back when a gateway shuts down, with
// what has been written meanwhile, and one leaves.
func TestExternalYjs(t *testing.T) {
	const document = "/documents"
	eachUse(t, func(t *testing.T, e engine.Engine) {
		s := newSite(t, e, "ws://127.0.0.1:"+yWebsocket(t)+document, nil)
		writer, reader := newOutsider("node", "peers/yjs.js"), newOutsider("node", "peers/yjs.js")
		clients := []*outsider{writer, reader}
		for _, client := range clients {
			client.visit(t, "ws://"+s.addr+document)
			client.await(t, wire.Timeout, eventSubscribed)
		}
		shareAll(t, writer, reader)
		shareAll(t, reader, writer)
		for _, client := range clients {
			client.awaitKeepAlive(t, eventPing, 2)
		}

		s.first.Terminate(t)
		writer.expectClosed(t, 1012, restartReason)
		writer.say(t, "written meanwhile")
		reader.expectClosed(t, 1012, restartReason)
		for _, client := range clients {
			client.arrive(t)
			s.expectDrained(t, "")
		}
		reader.expect(t, event{Text: "written meanwhile"})
		shareAll(t, writer, reader)

		writer.do(t, object{"do": "close"})
		s.expectLeft(t, parting{"", "client", 1005}) // for the client says no code
	})
}

// shareAll has one client say messages in all sizes of frames, and wants each to come to another one.
func shareAll(t *testing.T, from, to *outsider) {
	t.Helper()
	for _, text := range allSizes(largeCount) {
		from.say(t, text)
		to.expect(t, event{Text: text})
	}
}

// yWebsocket runs y-websocket's server and returns its port.
func yWebsocket(t *testing.T) (port string) {
	t.Helper()
	port = freePort(t)
	command := []string{"node", "peers/node_modules/@y/websocket-server/src/server.js"}
	server := runProgram(t, command, "HOST=127.0.0.1", "PORT="+port)
	server.await(t, wire.Timeout, "running at ")
	return port
}

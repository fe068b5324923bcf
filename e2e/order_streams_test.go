package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// takesWhole are the middlewares that no stream gets by: before the plugin they take requests and answers for whole ones.
var takesWhole = []string{"compress", "buffering"}

// TestOrderStreams is [TestOrder] for sessions on streams.
func TestOrderStreams(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, n := range neighbours(t) {
			if auth, ok := n.middleware["forwardAuth"].(object); ok {
				auth["authRequestHeaders"] = slices.Collect(maps.Keys(n.header)) // see TestOrderStreamsAuth
			}
			for _, p := range places {
				if p.before && slices.Contains(takesWhole, n.name) {
					continue
				}
				for _, u := range uses {
					for _, version := range streamWays {
						t.Run(fmt.Sprintf("%s/%s/%s/http%d", n.name, p.name, u.name, version), func(t *testing.T) {
							server := newBystander(t, (*httptest.Server).Start)
							gateway := n.beside(t, engine.Over{Engine: e, HTTP: version}, p, u, server)
							echoesOver(t, gateway, server, n.header)
						})
					}
				}
			}
		}
	})
}

// TestOrderStreamsAuth has forwardAuth stand before the plugin as it does by itself. It asks its service with all headers of the
// request, to which HTTP/2's :protocol belongs, and no request can have that: Traefik answers 500.
func TestOrderStreamsAuth(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		auth := neighbour{middleware: object{"forwardAuth": object{"address": doorkeeper(t)}}}
		server := newBystander(t, (*httptest.Server).Start)
		gateway := auth.beside(t, engine.Over{Engine: e, HTTP: 2}, places[0], inlineUse, server)
		_ = refusedOver(t, gateway, http.StatusInternalServerError, "X-Token: open")
		echoesOver(t, gateway.Over(3), server, http.Header{"X-Token": {"open"}})
	})
}

// TestOrderStreamsCompress has compress stand before the plugin: it takes a stream for an answer, and compresses that. The
// answer's head goes out with the first bytes, here those of a ping.
func TestOrderStreamsCompress(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, version := range streamWays {
			t.Run(fmt.Sprintf("http%d", version), func(t *testing.T) {
				compress := neighbour{middleware: object{"compress": object{}}}
				server := newBystander(t, (*httptest.Server).Start)
				pinged := use{config: object{"pingInterval": "50ms"}}
				client, err := dial(compress.beside(t, engine.Over{Engine: e, HTTP: version}, places[0], pinged, server), "Accept-Encoding: gzip")
				if err != nil {
					t.Fatal(err)
				}
				client.Close()
				if encoding := client.Header.Get("Content-Encoding"); encoding != "gzip" {
					t.Errorf("Content-Encoding is %q, want gzip", encoding)
				}
			})
		}
	})
}

// echoesOver has a client with these header fields have a session.
func echoesOver(t *testing.T, gateway *engine.Gateway, server *bystander, header http.Header) {
	t.Helper()
	var lines []string
	for name := range header {
		lines = append(lines, name+": "+header.Get(name))
	}
	client, err := dial(gateway, lines...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	<-server.heads
	send(t, client, wire.Text("hello"))
	expect(t, client, wire.Text("hello").Bytes())
	send(t, client, wire.Close(4001, "bye"))
	if end := <-server.ends; end != (forwardEnd{4001, "bye"}) {
		t.Errorf("the server saw %v, want the client's close", end)
	}
}

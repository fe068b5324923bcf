package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// listLimit is how many items a header's list may have.
const listLimit = 100

// listOf is a list of items, of which the last is given and the others are made up.
func listOf(count int, last string) string {
	var items []string
	for i := range count - 1 {
		items = append(items, fmt.Sprintf("x%d", i))
	}
	return strings.Join(append(items, last), ", ")
}

// overLines has a list of items stand in that many lines of a header.
func overLines(name, list string, count int) []string {
	items := strings.Split(list, ", ")
	var edits []string
	for i := range count {
		part := items[i*len(items)/count : (i+1)*len(items)/count]
		edits = append(edits, name+": "+strings.Join(part, ", "))
	}
	return edits
}

// commas are many empty items.
func commas(count int) string { return strings.Repeat(",", count) }

// listUses are gateways that pass upgrades and what they let pass else to a service.
func listUses(t *testing.T, e engine.Engine, behind string) map[string]*engine.Gateway {
	t.Helper()
	pass := object{"nonWebSocket": "pass"}
	return map[string]*engine.Gateway{
		"check":         e.Start(t, engine.Setup{Next: behind}),
		"check, pass":   e.Start(t, engine.Setup{Next: behind, Config: pass}),
		"forward":       forwardTo(t, e, behind, nil),
		"forward, pass": e.Start(t, engine.Setup{Next: behind, Config: object{"upstreamEndpoint": behind, "nonWebSocket": "pass"}}),
		"inline":        engine.Inline{Engine: e}.Start(t, engine.Setup{Next: behind}),
		"inline, pass":  engine.Inline{Engine: e}.Start(t, engine.Setup{Next: behind, Config: pass}),
	}
}

// TestLongLists has clients send lists that nobody means: they are refused, and where plain requests pass, do not pass as
// one of these.
func TestLongLists(t *testing.T) {
	const up, connection = "Upgrade", "Connection"
	const protocol, extensions = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"
	const huge = 900_000 // less than the 1 MiB that net/http and Traefik take
	var rows []row
	add := func(name string, status int, edits ...string) *row {
		rows = append(rows, row{name: name, request: upgrade("GET / HTTP/1.1", edits...), status: status})
		return &rows[len(rows)-1]
	}
	add("all there may be", 200, up+": "+listOf(listLimit, "websocket"), protocol+": "+listOf(listLimit, "chat"), extensions+": "+listOf(listLimit, deflate))
	add("all there may be, connection", 200, connection+": "+listOf(listLimit, "Upgrade"))
	add("upgrade", 400, up+": "+listOf(listLimit+1, "websocket"))
	add("upgrade, the token first", 400, up+": websocket, "+listOf(listLimit, "x"))
	add("upgrade, commas", 400, up+": websocket"+commas(listLimit))
	add("upgrade, commas before it", 400, up+": "+commas(huge)+"websocket")
	add("upgrade, nothing but commas", 400, up+": "+commas(huge))
	// Traefik leaves nothing of Connection but the token upgrade (pkg/middlewares/forwardedheaders).
	add("connection", 400, connection+": "+listOf(listLimit+1, "Upgrade")).except = "traefik"
	add("connection over lines", 400, overLines(connection, listOf(listLimit+1, "Upgrade"), 3)...).except = "traefik"
	add("connection, commas", 400, connection+": Upgrade"+commas(huge)).except = "traefik"
	add("subprotocols", 400, protocol+": "+listOf(listLimit+1, "chat"))
	add("subprotocols over lines", 400, overLines(protocol, listOf(listLimit+1, "chat"), 7)...)
	add("subprotocols, one a line", 400, overLines(protocol, listOf(listLimit+1, "chat"), listLimit+1)...)
	add("subprotocols, commas", 400, protocol+": chat"+commas(huge))
	add("extensions", 400, extensions+": "+listOf(listLimit+1, deflate))
	add("extensions over lines", 400, overLines(extensions, listOf(listLimit+1, deflate), 3)...)
	add("extensions, commas", 400, extensions+": "+deflate+commas(huge))
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for use, gateway := range listUses(t, e, recorder(t)) {
			for _, row := range rows {
				if row.except != e.Name() {
					t.Run(use+"/"+row.name, func(t *testing.T) { row.check(t, gateway) })
				}
			}
		}
	})
}

// TestLongListsOfAnswer has upstreams answer with such lists: that is no true answer, and the next one is.
func TestLongListsOfAnswer(t *testing.T) {
	const huge = 100_000
	repeated := strings.Repeat("permessage-deflate, ", listLimit) + "permessage-deflate"
	rows := map[string][]string{
		"connection":               {"Connection: " + listOf(listLimit+1, "Upgrade")},
		"connection, token first":  {"Connection: Upgrade, " + listOf(listLimit, "x")},
		"connection over lines":    overLines("Connection", listOf(listLimit+1, "Upgrade"), 3),
		"connection, commas":       {"Connection: Upgrade" + commas(huge)},
		"connection, commas first": {"Connection: " + commas(huge) + "Upgrade"},
		"extensions":               {"Sec-WebSocket-Extensions: " + repeated},
		"extensions over lines":    overLines("Sec-WebSocket-Extensions", repeated, listLimit+1),
		"extensions, commas":       {"Sec-WebSocket-Extensions: permessage-deflate" + commas(huge)},
		"extensions, only commas":  {"Sec-WebSocket-Extensions: " + commas(huge)},
		"subprotocol":              {"Sec-WebSocket-Protocol: chat" + strings.Repeat(", chat", listLimit)},
		"subprotocol, commas":      {"Sec-WebSocket-Protocol: chat" + commas(huge)},
		"subprotocol, only commas": {"Sec-WebSocket-Protocol: " + commas(huge)},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		for name, edits := range rows {
			t.Run(name, func(t *testing.T) {
				gateway := forwardTo(t, e, server.endpoint(), nil) // its own, for the log has so many lines a second
				untrue101(name, []string{offeredProtocol, offeredExtension}, edits...).check(t, gateway, server)
				client, upstream := server.join(t, gateway)
				checkEcho(t, client, upstream)
			})
		}
		t.Run("all there may be", func(t *testing.T) {
			gateway := forwardTo(t, e, server.endpoint(), nil)
			head := server.switched(t, gateway, []string{offeredProtocol, offeredExtension}, "Connection: "+listOf(listLimit, "Upgrade"),
				"Sec-WebSocket-Protocol: chat", offeredExtension)
			checkLines(t, head, only101)
		})
	})
}

// TestEmptyOffer is about clients that send a line of Sec-WebSocket-Protocol or Sec-WebSocket-Extensions with nothing in
// it: that offers nothing, whatever else there may be to choose from.
func TestEmptyOffer(t *testing.T) {
	policies := map[string]object{"no policy": nil, "protocols": {"protocols": []string{"chat", "mqtt"}}}
	rows := []offerRow{
		{name: "empty", edits: offered("")},
		{name: "spaces", edits: offered("  \t ")},
		{name: "commas", edits: offered(",", " , ,")},
		{name: "empty lines", edits: offered("", "")},
		{name: "an empty line first", edits: offered("", "chat"), want: lines{"Sec-WebSocket-Protocol": {"chat"}}},
		{name: "an empty line last", edits: offered("chat, mqtt", ""), want: lines{"Sec-WebSocket-Protocol": {"chat", "mqtt"}}},
		{name: "an empty item", edits: offered("chat,,mqtt,"), want: lines{"Sec-WebSocket-Protocol": {"chat", "mqtt"}}},
		{name: "no extension", edits: []string{"Sec-WebSocket-Extensions:"}},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		behind := recorder(t)
		for policy, config := range policies {
			for use, gateway := range map[string]*engine.Gateway{
				"check":   e.Start(t, engine.Setup{Config: config, Next: behind}),
				"forward": forwardTo(t, e, behind, config),
				"inline":  engine.Inline{Engine: e}.Start(t, engine.Setup{Config: config, Next: behind}),
			} {
				for _, row := range rows {
					t.Run(policy+"/"+use+"/"+row.name, func(t *testing.T) { row.checkItems(t, gateway) })
				}
			}
		}
	})
}

// checkItems wants the upgrade let in, with an offer of these items.
func (r offerRow) checkItems(t *testing.T, gateway *engine.Gateway) {
	t.Helper()
	resp, body := exchange(t, gateway.Addr, upgrade("GET / HTTP/1.1", r.edits...))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status is %d (%.80q), want 200", resp.StatusCode, body)
	}
	seen := peerHead(strings.Split(body, "\r\n"))
	for _, name := range []string{"Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
		got := strings.FieldsFunc(strings.Join(seen.items(name), ","), func(r rune) bool { return r == ',' })
		if want := r.want[name]; strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%s is %q, want the items %q", name, got, want)
		}
	}
}

// TestEmptyOfferAnswered has a client that offers nothing in so many words open a session.
func TestEmptyOfferAnswered(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for policy, config := range map[string]object{"no policy": nil, "protocols": {"protocols": []string{"chat"}}} {
			t.Run(policy, func(t *testing.T) {
				server := peerListen(t)
				gateway := forwardTo(t, e, server.endpoint(), config)
				head := server.switched(t, gateway, append(offered(""), "Sec-WebSocket-Extensions:"))
				checkLines(t, head, lines{"Sec-WebSocket-Protocol": nil, "Sec-WebSocket-Extensions": nil})
				head = server.switched(t, gateway, offered("", "chat"), "Sec-WebSocket-Protocol: chat")
				checkLines(t, head, lines{"Sec-WebSocket-Protocol": {"chat"}})
			})
		}
	})
}

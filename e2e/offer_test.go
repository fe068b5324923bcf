package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// offerRow is what a client offers, and what is left of it behind the gateway. Policy is the same whether that is
// an upstream of its own or the router's service.
type offerRow struct {
	name  string
	edits []string
	want  lines
}

// offerTable is rows under one policy; refused are offers that get 400.
type offerTable struct {
	name    string
	policy  object
	rows    []offerRow
	refused map[string][]string
}

func offered(protocols ...string) []string {
	var edits []string
	for _, line := range protocols {
		edits = append(edits, "Sec-WebSocket-Protocol: "+line)
	}
	return edits
}

const deflate = "permessage-deflate; client_max_window_bits"

var offerTables = []offerTable{
	{
		name: "no policy",
		rows: []offerRow{
			{name: "nothing", want: lines{"Sec-WebSocket-Protocol": nil, "Sec-WebSocket-Extensions": nil}},
			{name: "order", edits: offered("superchat, chat, mqtt"), want: lines{"Sec-WebSocket-Protocol": {"superchat", "chat", "mqtt"}}},
			{name: "lines", edits: offered("superchat", "chat,mqtt"), want: lines{"Sec-WebSocket-Protocol": {"superchat", "chat", "mqtt"}}},
			{name: "extension", edits: []string{"Sec-WebSocket-Extensions: " + deflate}, want: lines{"Sec-WebSocket-Extensions": {deflate}}},
			{
				name:  "extensions",
				edits: []string{"Sec-WebSocket-Extensions: " + deflate + ", permessage-deflate", "Sec-WebSocket-Extensions: x-private; a=1"},
				want:  lines{"Sec-WebSocket-Extensions": {deflate, "permessage-deflate", "x-private; a=1"}},
			},
		},
	},
	{
		name:   "protocols",
		policy: object{"protocols": []string{"chat", "mqtt"}},
		rows: []offerRow{
			{name: "nothing", want: lines{"Sec-WebSocket-Protocol": nil}},
			{name: "all", edits: offered("chat, mqtt"), want: lines{"Sec-WebSocket-Protocol": {"chat", "mqtt"}}},
			{name: "client's order", edits: offered("mqtt, superchat, chat"), want: lines{"Sec-WebSocket-Protocol": {"mqtt", "chat"}}},
			{name: "one", edits: offered("superchat,mqtt"), want: lines{"Sec-WebSocket-Protocol": {"mqtt"}}},
			{name: "lines", edits: offered("superchat, mqtt", "x", "chat"), want: lines{"Sec-WebSocket-Protocol": {"mqtt", "chat"}}},
			{
				name:  "extension stays",
				edits: append(offered("superchat, chat"), "Sec-WebSocket-Extensions: "+deflate),
				want:  lines{"Sec-WebSocket-Protocol": {"chat"}, "Sec-WebSocket-Extensions": {deflate}},
			},
		},
		refused: map[string][]string{
			"others": offered("superchat, x"), "other lines": offered("superchat", "x"), "other case": offered("CHAT, Mqtt"), "longer": offered("chat2"),
		},
	},
	{
		name:   "protocols as one string",
		policy: object{"protocols": "chat, mqtt"},
		rows: []offerRow{
			{name: "some", edits: offered("superchat, mqtt, chat"), want: lines{"Sec-WebSocket-Protocol": {"mqtt", "chat"}}},
		},
		refused: map[string][]string{"others": offered("superchat")},
	},
	{
		name:   "compression off",
		policy: object{"compression": "off"},
		rows: []offerRow{
			{name: "nothing", want: lines{"Sec-WebSocket-Extensions": nil}},
			{name: "extension", edits: []string{"Sec-WebSocket-Extensions: " + deflate}, want: lines{"Sec-WebSocket-Extensions": nil}},
			{
				name:  "lines",
				edits: []string{"Sec-WebSocket-Extensions: " + deflate, "Sec-WebSocket-Extensions: permessage-deflate"},
				want:  lines{"Sec-WebSocket-Extensions": nil},
			},
			{
				name:  "protocols stay",
				edits: append(offered("superchat, chat"), "Sec-WebSocket-Extensions: "+deflate),
				want:  lines{"Sec-WebSocket-Protocol": {"superchat", "chat"}, "Sec-WebSocket-Extensions": nil},
			},
		},
	},
	{
		name:   "compression pass",
		policy: object{"compression": "pass"},
		rows: []offerRow{
			{name: "extension", edits: []string{"Sec-WebSocket-Extensions: " + deflate}, want: lines{"Sec-WebSocket-Extensions": {deflate}}},
		},
	},
}

func TestOffer(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		behind := recorder(t)
		for _, table := range offerTables {
			t.Run(table.name+"/check", func(t *testing.T) {
				table.check(t, e.Start(t, engine.Setup{Config: table.policy, Next: behind}))
			})
			t.Run(table.name+"/forward", func(t *testing.T) {
				table.check(t, forwardTo(t, e, behind, table.policy))
			})
			t.Run(table.name+"/inline", func(t *testing.T) {
				table.check(t, engine.Inline{Engine: e}.Start(t, engine.Setup{Config: table.policy, Next: behind}))
			})
		}
	})
}

// items are those of a list: whether it stands in one line or in several is all the same.
func (h peerHead) items(name string) []string {
	var items []string
	for _, line := range h.values(name) {
		for item := range strings.SplitSeq(line, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	return items
}

func (table offerTable) check(t *testing.T, gateway *engine.Gateway) {
	for _, row := range table.rows {
		t.Run(row.name, func(t *testing.T) {
			resp, body := exchange(t, gateway.Addr, upgrade("GET / HTTP/1.1", row.edits...))
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("status is %d (%.80q), want 200", resp.StatusCode, body)
			}
			seen := peerHead(strings.Split(body, "\r\n"))
			for name, want := range row.want {
				if got := seen.items(name); !slices.Equal(got, want) {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
	for name, edits := range table.refused {
		t.Run("refused "+name, func(t *testing.T) {
			peerDial(t, gateway, upgrade("GET / HTTP/1.1", edits...)).refusal(t, http.StatusBadRequest)
		})
	}
}

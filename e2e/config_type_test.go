package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// secretEndpoint is an endpoint that no error may show.
const secretEndpoint = "ws://127.0.0.1:9/?key=hunter2"

// typed has an option with values of a wrong type, each by itself in a forward with more options.
func typed(key string, more object, values ...any) (mistakes []mistake) {
	for i, value := range values {
		mistakes = append(mistakes, mistaken(key, value, more).named(fmt.Sprintf("%s %d of %T", key, i, value)))
	}
	return mistakes
}

// TestConfigType has values of a wrong type. The error names the option, and another mistake beside it.
func TestConfigType(t *testing.T) {
	list, section, nested := []any{"a", "b"}, object{"a": "b"}, []any{[]any{"a"}}
	var mistakes []mistake
	for key, values := range map[string][]any{
		"upstreamEndpoint": {[]any{secretEndpoint}, object{"url": secretEndpoint}},
		"upstreamPath":     {[]any{"append"}, section},
		"nonWebSocket":     {[]any{"pass"}, section},
		"compression":      {[]any{"off"}, section},
		"validate":         {[]any{"utf8"}, section},
		"protocols":        {section, []any{section}},
		"allowedOrigins":   {object{"https://a.example": "https://b.example"}, []any{section}},
		"upstreamRules":    {"X-Tenant", secretEndpoint, section},
		"headers":          {"abc", "Authorization: Bearer hunter2", list, []any{object{"X-Key": "hunter2"}}},
		"passHostHeader":   {"yes", "maybe", "on", 2, list, section},

		"connectTimeout": {true, false, []any{"10s"}, section},
		"closeTimeout":   {true, []any{"10s"}, object{"seconds": 10}},
		"pingInterval":   {true, []any{"10s"}, object{"seconds": 10}},

		"maxFrameSize":            {1.5, true, []any{1024}, section},
		"maxMessageSize":          {1.5, "unlimited", []any{1024}},
		"maxConnections":          {"unlimited", 0.5, true, []any{1}, section},
		"maxConnectionsPerClient": {"ten", 1.5, []any{1}, section},
		"messageRate":             {"50/s", "many", []any{50}, section},
	} {
		mistakes = append(mistakes, typed(key, nil, values...)...)
	}
	mistakes = append(mistakes, typed("messageBurst", object{"messageRate": 10}, 2.5, "ten", true, list)...)
	mistakes = append(mistakes, typed("tls", object{"upstreamEndpoint": "wss://127.0.0.1:9"}, "yes", list, true)...)
	// Traefik takes no file with these.
	for _, key := range []string{"upstreamEndpoint", "protocols", "allowedOrigins", "upstreamRules", "pingInterval"} {
		m := mistaken(key, nested).named(key + " in a list of lists").exceptOn("traefik")
		if key == "upstreamRules" {
			m.keys = []string{key + "[0]"}
		}
		mistakes = append(mistakes, m)
	}
	for i, m := range mistakes {
		mistakes[i] = m.beside("path", "socket")
	}
	checkMistakes(t, mistakes)
}

// TestConfigPathType is TestConfigType of the option that is the other mistake there.
func TestConfigPathType(t *testing.T) {
	var mistakes []mistake
	for _, m := range typed("path", nil, []any{"/a"}, object{"a": "/b"}, true) {
		mistakes = append(mistakes, m.beside("compression", "on"))
	}
	checkMistakes(t, mistakes)
}

// TestConfigPartType has values of a wrong type in rules, headers and the tls options.
func TestConfigPartType(t *testing.T) {
	rule := func(options object) []any { return []any{options} }
	good := func() object { return object{"header": "X-A", "value": "a", "upstreamEndpoint": configEndpoint} }
	with := func(key string, value any) object {
		options := good()
		options[key] = value
		return options
	}
	checkMistakes(t, []mistake{
		mistaken("upstreamRules", []any{"hunter2"}).named("a rule that is a string").at("upstreamRules[0]"),
		mistaken("upstreamRules", []any{1}).named("a rule that is a number").at("upstreamRules[0]"),
		mistaken("upstreamRules", []any{good(), "hunter2"}).named("a second rule that is a string").at("upstreamRules[1]").exceptOn("traefik"), // which drops it
		mistaken("upstreamRules", rule(with("value", []any{"a"}))).named("a rule's value").at("upstreamRules[0].value"),
		mistaken("upstreamRules", rule(with("header", object{"a": "b"}))).named("a rule's header").at("upstreamRules[0].header"),
		mistaken("upstreamRules", rule(with("upstreamEndpoint", []any{secretEndpoint}))).named("a rule's endpoint").at("upstreamRules[0].upstreamEndpoint"),
		mistaken("headers", object{"X-Key": []any{"hunter2"}}).named("a header of a list"),
		mistaken("headers", object{"X-Key": object{"value": "hunter2"}}).named("a header of a section"),
		secureWith(object{"caFile": []any{"/absent.pem"}}, "tls.caFile"),
		secureWith(object{"serverName": object{"a": "b"}}, "tls.serverName"),
		secureWith(object{"minVersion": []any{"1.3"}}, "tls.minVersion"),
		secureWith(object{"insecureSkipVerify": "yes"}, "tls.insecureSkipVerify"),
		secureWith(object{"insecureSkipVerify": []any{true}}, "tls.insecureSkipVerify"),
	})
}

// TestConfigNoNumber has values that are no number where there must be one.
func TestConfigNoNumber(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for key, values := range map[string][]any{
			"messageRate": {"ten", "10/s"}, "messageBurst": {"ten", "2.5"}, "maxConnections": {"ten", "1.5"}, "maxConnectionsPerClient": {"ten", "1e3"},
		} {
			for _, value := range values {
				t.Run(fmt.Sprint(key, " ", value), func(t *testing.T) {
					checkMessage(t, e.Refuses(t, object{"messageRate": 10, key: value}), key)
				})
			}
		}
	})
}

// secureWith is a forward to a wss:// endpoint with tls options of which one is a mistake.
func secureWith(options object, keys ...string) mistake {
	config := object{"upstreamEndpoint": "wss://127.0.0.1:9", "tls": options}
	return mistake{name: keys[0], config: config, keys: keys}
}

// TestConfigTypeForms wants one form of message, with the value and a remedy.
func TestConfigTypeForms(t *testing.T) {
	checkMistakes(t, []mistake{
		checking("maxConnections", "unlimited").saying(`maxConnections is "unlimited", must be a whole number, 0 is off`),
		{
			name: "all at once",
			config: object{
				"maxConnections": "unlimited", "pingIntervall": "10s", "allowedOrigins": []any{"ws://a.example"}, "messageRate": "50/s",
				"upstreamEndpoint": configEndpoint, "passHostHeader": "yes", "headers": "abc", "tls": "yes", "maxFrameSize": 1.5,
			},
			keys: []string{
				"maxConnections", "pingIntervall", "allowedOrigins", "messageRate", "passHostHeader", "headers", "tls", "maxFrameSize",
			},
		},
	})
}

// TestConfigFlag wants a flag understood however it is written.
func TestConfigFlag(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		for want, values := range map[string][]any{
			"chat.example.com": {true, "true", 1, "1"}, server.addr: {false, "false", 0, "0", ""},
		} {
			for _, value := range values {
				t.Run(fmt.Sprintf("%T %v", value, value), func(t *testing.T) {
					gateway := forwardTo(t, e, server.endpoint(), object{"passHostHeader": value})
					head := server.head(t, gateway, upgrade("GET / HTTP/1.1"))
					checkHeader(t, http.Header{"Host": head.values("Host")}, http.Header{"Host": {want}})
				})
			}
		}
	})
}

// TestConfigLists wants lists to hold however they are written: as lists, or as one string with commas, as labels have it.
func TestConfigLists(t *testing.T) {
	const one, two = "https://a.example", "https://b.example"
	var tables []table
	for name, config := range map[string]object{
		"lists":                  {"allowedOrigins": []any{one, two}, "protocols": []any{"mqtt", "chat"}},
		"strings":                {"allowedOrigins": one + "," + two, "protocols": "mqtt,chat"},
		"strings with spaces":    {"allowedOrigins": " " + one + " , " + two, "protocols": "mqtt , chat"},
		"upper case keys":        {"ALLOWEDORIGINS": one + "," + two, "PROTOCOLS": "mqtt,chat"},
		"one item with a string": {"allowedOrigins": []any{one, two}, "protocols": "chat"},
	} {
		chat := "Sec-WebSocket-Protocol: chat"
		tables = append(tables, table{name: name, config: config, rows: []row{
			{name: "first", request: upgrade("GET / HTTP/1.1", "Origin: "+one, chat), status: 200},
			{name: "second", request: upgrade("GET / HTTP/1.1", "Origin: "+two, chat), status: 200},
			{name: "other origin", request: upgrade("GET / HTTP/1.1", "Origin: https://c.example", chat), status: 403},
			{name: "other protocol", request: upgrade("GET / HTTP/1.1", "Origin: "+one, "Sec-WebSocket-Protocol: stomp"), status: 400},
		}})
	}
	run(t, tables)
}

// TestConfigNumbersOfJSON has numbers that Kubernetes has made floats of. Large ones have an exponent where they are
// written out with no care.
func TestConfigNumbersOfJSON(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		t.Run("kept", func(t *testing.T) {
			config := object{
				"maxFrameSize": 1024, "maxMessageSize": 1500, "messageRate": 0.001, "messageBurst": 3, "maxConnections": 2,
				"maxConnectionsPerClient": 1, "clientHeader": "X-User", "validate": "utf8", "connectTimeout": 0,
			}
			limitsHold(t, newGroundOf(t, e, engine.Setup{JSON: true, Config: config}))
		})
		t.Run("large", func(t *testing.T) {
			config := object{
				"upstreamEndpoint": configEndpoint, "maxFrameSize": 1 << 20, "maxMessageSize": 1 << 30, "messageRate": 10000000,
				"messageBurst": 20000000, "maxConnections": 3000000, "maxConnectionsPerClient": 2000000, "restartCode": 1001,
			}
			e.Start(t, engine.Setup{JSON: true, Config: config, Next: "http://" + peerDeadAddr(t)})
		})
	})
}

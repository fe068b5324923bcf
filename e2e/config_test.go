package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// configEndpoint is a good one that is never dialled.
const configEndpoint = "ws://127.0.0.1:9/ws"

// mistake is a configuration that is refused, and the keys that its error names.
type mistake struct {
	name   string
	config object
	keys   []string
}

// mistaken is a good forward with one option that is not.
func mistaken(key string, value any, more ...object) mistake {
	m := mistake{name: key, config: object{"upstreamEndpoint": configEndpoint, key: value}, keys: []string{key}}
	for _, options := range more {
		maps.Copy(m.config, options)
	}
	return m
}

// named gives a mistake a name of its own.
func (m mistake) named(name string) mistake {
	m.name = name
	return m
}

func (m mistake) check(t *testing.T, e engine.Engine) {
	t.Run(m.name, func(t *testing.T) {
		got := e.Refuses(t, m.config)
		for _, key := range m.keys {
			if !strings.Contains(got, key+":") {
				t.Errorf("nothing about %s in: %s", key, got)
			}
		}
	})
}

func checkMistakes(t *testing.T, mistakes []mistake) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, m := range mistakes {
			m.check(t, e)
		}
	})
}

// notBuilt are options that this version does not have: to take them without a word would be to promise them.
var notBuilt = map[string]any{
	"maxFrameSize": "64KiB", "maxMessageSize": "1MiB", "maxConnections": 100, "maxConnectionsPerClient": 10,
	"clientHeader": "X-Real-Ip", "messageRate": 10, "messageBurst": 20,
}

func TestConfigUnknown(t *testing.T) {
	mistakes := []mistake{
		mistaken("upstreamEndpoints", configEndpoint),
		mistaken("subprotocols", "chat"),
		mistaken("TLS12", true),
		{
			name: "in tls", keys: []string{"tls.caFiles", "tls.verify"},
			config: object{"upstreamEndpoint": "wss://127.0.0.1:9", "tls": object{"caFiles": "/ca.pem", "verify": false}},
		},
		{
			name: "in a rule", keys: []string{"upstreamRules[1].values"},
			config: object{"upstreamEndpoint": configEndpoint, "upstreamRules": []object{
				{"header": "X-Tenant", "value": "one", "upstreamEndpoint": configEndpoint},
				{"header": "X-Tenant", "values": "two", "upstreamEndpoint": configEndpoint},
			}},
		},
	}
	for _, key := range slices.Sorted(maps.Keys(notBuilt)) {
		mistakes = append(mistakes, mistaken(key, notBuilt[key]))
	}
	checkMistakes(t, append(mistakes, mistaken("validate", "utf8")))
}

func TestConfigDuration(t *testing.T) {
	var mistakes []mistake
	keys := []string{
		"connectTimeout", "upgradeTimeout", "writeTimeout", "closeTimeout", "drainTimeout",
		"pingInterval", "pongTimeout", "maxInactivity", "maxLifetime",
	}
	for _, key := range keys {
		mistakes = append(mistakes, mistaken(key, "-1s").named(key+" negative"), mistaken(key, 5).named(key+" without a unit"))
	}
	for _, value := range []string{"5", "five", "5 s", "s", "5m30", "1e3s", "-", "1d", "-5", "99999999999s"} {
		mistakes = append(mistakes, mistaken("connectTimeout", value).named("connectTimeout "+value))
	}
	for _, value := range []any{"0", "0s", 0, ""} {
		mistakes = append(mistakes, mistaken("closeTimeout", value).named(fmt.Sprintf("closeTimeout %T %v", value, value)))
	}
	checkMistakes(t, mistakes)
}

// badEndpoints are values that are no endpoint. Each holds a secret, which no message may show.
var badEndpoints = map[string]string{
	"not a URL":          "ws://[::1/?key=hunter2",
	"bad escape":         "ws://127.0.0.1:9/%zz?key=hunter2",
	"no scheme":          "127.0.0.1:9/?key=hunter2",
	"no scheme, a name":  "example.com:9/?key=hunter2",
	"relative":           "/ws?key=hunter2",
	"other scheme":       "ftp://127.0.0.1:9/?key=hunter2",
	"no host":            "ws:///ws?key=hunter2",
	"port only":          "ws://:9/ws?key=hunter2",
	"opaque":             "ws:127.0.0.1:9?key=hunter2",
	"port 0":             "ws://127.0.0.1:0/?key=hunter2",
	"port 65536":         "ws://127.0.0.1:65536/?key=hunter2",
	"port by name":       "ws://127.0.0.1:http/?key=hunter2",
	"user":               "ws://hunter2@127.0.0.1:9/",
	"user and password":  "ws://user:hunter2@127.0.0.1:9/",
	"fragment":           "ws://127.0.0.1:9/#hunter2",
	"space in the query": "ws://127.0.0.1:9/?key=hunter2 a",
	"space in the host":  "ws://127.0.0.1 hunter2:9/",
	"line break":         "ws://127.0.0.1:9/\r\nX-Key: hunter2",
}

func TestConfigEndpoint(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, name := range slices.Sorted(maps.Keys(badEndpoints)) {
			t.Run(name, func(t *testing.T) {
				got := e.Refuses(t, object{"upstreamEndpoint": badEndpoints[name], "upstreamRules": []object{
					{"query": "a", "value": "b", "upstreamEndpoint": badEndpoints[name]},
				}})
				for _, key := range []string{"upstreamEndpoint:", "upstreamRules[0].upstreamEndpoint:"} {
					if !strings.Contains("\n"+got, "\n"+key) {
						t.Errorf("nothing about %s in: %s", key, got)
					}
				}
				if strings.Contains(got, "hunter2") {
					t.Errorf("the message shows a secret: %s", got)
				}
			})
		}
	})
}

// TestConfigTimers has timers that cannot be kept, and those that make no sense together.
func TestConfigTimers(t *testing.T) {
	short := mistaken("pingInterval", "5ms", object{
		"pongTimeout": "9ms", "maxInactivity": "1ms", "maxLifetime": "9999us", "writeTimeout": "1ns",
	}).named("too short")
	short.keys = []string{"pingInterval", "pongTimeout", "maxInactivity", "maxLifetime", "writeTimeout"}
	checkMistakes(t, []mistake{
		short,
		mistaken("maxLifetime", "2000000h").named("too long"),
		mistaken("pongTimeout", "10s").named("pongs without pings"),
		mistaken("pingTarget", "client").named("a target without pings"),
		mistaken("pingTarget", "server", object{"pingInterval": "10s"}),
		mistaken("tunnel", true, object{"pingInterval": "10s"}).named("pings in a tunnel"),
		mistaken("tunnel", true, object{"maxInactivity": "10s"}).named("inactivity of a tunnel"),
		mistaken("tunnel", true, object{"maxLifetime": "10s"}).named("lifetime of a tunnel"),
	})
}

func TestConfigUpstream(t *testing.T) {
	rule := func(options object) mistake {
		m := mistaken("upstreamRules", []object{options})
		m.keys = []string{"upstreamRules[0]"}
		return m
	}
	needy := func(key string, value any) mistake {
		m := mistaken(key, value).named(key + " without an endpoint")
		delete(m.config, "upstreamEndpoint")
		return m
	}
	checkMistakes(t, []mistake{
		rule(object{"value": "a", "upstreamEndpoint": configEndpoint}).named("rule of nothing"),
		rule(object{"header": "X-A", "query": "a", "value": "a", "upstreamEndpoint": configEndpoint}).named("rule of two"),
		rule(object{"header": "X-A", "value": "a"}).named("rule to nowhere"),
		rule(object{"header": "X A", "value": "a", "upstreamEndpoint": configEndpoint}).named("rule of no header name"),
		rule(object{"cookie": "a b", "value": "a", "upstreamEndpoint": configEndpoint}).named("rule of no cookie name"),
		mistaken("upstreamPath", "prefix"),
		mistaken("compression", "on"),
		mistaken("validate", "strict"),
		mistaken("tunnel", true, object{"validate": "frames"}),
		mistaken("tls", object{"serverName": "a"}).named("tls to ws"),
		needy("upstreamPath", "append"),
		needy("upstreamRules", []object{{"header": "X-A", "value": "a", "upstreamEndpoint": configEndpoint}}),
		needy("passHostHeader", true),
		needy("headers", object{"X-A": "a"}),
		needy("tls", object{"insecureSkipVerify": true}),
		needy("tunnel", true),
		needy("pingInterval", "10s"),
		needy("maxInactivity", "10s"),
		needy("maxLifetime", "10s"),
		needy("drainTimeout", "1s"),
	})
}

func TestConfigHeaders(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for name, header := range map[string]object{
			"space in the name":      {"X Key": "hunter2"},
			"colon in the name":      {"X-Key:": "hunter2"},
			"umlaut in the name":     {"X-Schlüssel": "hunter2"},
			"line break in the name": {"X-Key\r\nX-Other": "hunter2"},
			"line feed":              {"X-Key": "hunter2\nX-Other: 1"},
			"carriage return":        {"X-Key": "hunter2\r"},
			"null":                   {"X-Key": "hunter2\x00"},
			"control character":      {"X-Key": "hunter2\x01"},
			"connection":             {"Connection": "hunter2"},
			"upgrade":                {"upgrade": "hunter2"},
			"key":                    {"Sec-WebSocket-Key": "hunter2"},
			"version":                {"sec-websocket-version": "hunter2"},
			"length":                 {"Content-Length": "hunter2"},
			"transfer encoding":      {"Transfer-Encoding": "hunter2"},
		} {
			t.Run(name, func(t *testing.T) {
				got := e.Refuses(t, object{"upstreamEndpoint": configEndpoint, "headers": header})
				if !strings.Contains(got, "headers:") || strings.Contains(got, "hunter2") {
					t.Errorf("the error names no headers or shows the value: %s", got)
				}
			})
		}
	})
}

func TestConfigPolicy(t *testing.T) {
	var mistakes []mistake
	each := func(key string, values ...string) {
		for _, value := range values {
			mistakes = append(mistakes, mistake{name: key + " " + value, config: object{key: value}, keys: []string{key}})
		}
	}
	each("nonWebSocket", "maybe", "426")
	each("compression", "on")
	each("path", "socket", "/a/../b", "/a/./b", "/a//b", "/a?b=c", "/a#b", "/%zz", "/a/%2e%2e", "*", "http://chat.example.com/a")
	for _, origin := range []string{
		"app.example.com", "*", "https://*.*.example.com", "https://a*.example.com", "https://app.*.com", "https://", "https://app.example.com/a",
		"https://app.example.com?a", "https://user@app.example.com", "https://app.example.com:port", "",
	} {
		mistakes = append(mistakes, mistake{
			name: "origin " + origin, config: object{"allowedOrigins": []string{"https://app.example.com", origin}}, keys: []string{"allowedOrigins"},
		})
	}
	for _, protocol := range []string{"chat room", "chat/1", "chät", ""} {
		mistakes = append(mistakes, mistake{
			name: "protocol " + protocol, config: object{"protocols": []string{"mqtt", protocol}}, keys: []string{"protocols"},
		})
	}
	checkMistakes(t, mistakes)
}

func TestConfigTLS(t *testing.T) {
	dir := tlsDir(t.TempDir())
	own := newTLSAuthority(t)
	certFile, keyFile := dir.pair(t, own.client(t))
	otherKey := dir.write(t, "other.pem", keyPEM(t, own.client(t)))
	notPEM := dir.write(t, "not.pem", []byte("hello"))
	var mistakes []mistake
	add := func(name string, options object, keys ...string) {
		mistakes = append(mistakes, mistake{name: name, config: object{"upstreamEndpoint": "wss://127.0.0.1:9", "tls": options}, keys: keys})
	}
	add("no CA file", object{"caFile": string(dir) + "/absent.pem"}, "tls.caFile")
	add("CA file of no certificate", object{"caFile": notPEM}, "tls.caFile")
	add("key without certificate", object{"keyFile": keyFile}, "tls.keyFile")
	add("certificate without key", object{"certFile": certFile}, "tls.keyFile")
	add("no certificate file", object{"certFile": string(dir) + "/absent.pem", "keyFile": keyFile}, "tls.keyFile")
	add("other's key", object{"certFile": certFile, "keyFile": otherKey}, "tls.keyFile")
	for _, version := range []string{"1.1", "TLS 1.2", "13", "1.4"} {
		add("version "+version, object{"minVersion": version}, "tls.minVersion")
	}
	checkMistakes(t, mistakes)
}

// TestConfigTogether wants all of a configuration's mistakes in one error.
func TestConfigTogether(t *testing.T) {
	together := mistake{
		name: "all",
		config: object{
			"nonWebsockets": "pass", "nonWebSocket": "maybe", "path": "socket", "allowedOrigins": []string{"https://*.*.example.com"}, "protocols": []string{"a b"},
			"compression": "on", "upstreamEndpoint": "ws://127.0.0.1:0", "upstreamPath": "prefix", "connectTimeout": "5", "upgradeTimeout": "-1s",
			"writeTimeout": "x", "closeTimeout": "0", "validate": "strict", "tunnel": true, "headers": object{"X A": "b"},
			"upstreamRules": []object{{"header": "a", "value": "b"}, {"cookie": "a", "value": "b", "upstreamEndpoint": "ftp://a", "extra": 1}},
			"tls":           object{"minVersion": "1.0", "caFile": "/absent.pem", "more": 1},
		},
		keys: []string{
			"nonWebsockets", "nonWebSocket", "path", "allowedOrigins", "protocols", "compression", "upstreamEndpoint", "upstreamPath",
			"connectTimeout", "upgradeTimeout", "writeTimeout", "closeTimeout", "validate", "tunnel", "headers", "upstreamRules[0]",
			"upstreamRules[1].upstreamEndpoint", "upstreamRules[1].extra",
		},
	}
	secure := mistake{
		name: "tls",
		config: object{
			"upstreamEndpoint": "wss://127.0.0.1:9",
			"tls":              object{"minVersion": "1.0", "caFile": "/absent.pem", "certFile": "/absent.pem", "more": 1},
		},
		keys: []string{"tls.more", "tls.minVersion", "tls.caFile", "tls.certFile, tls.keyFile"},
	}
	checkMistakes(t, []mistake{together, secure})
}

// TestConfigSpellings is about configurations as Docker labels, environment variables and hasty people write them.
func TestConfigSpellings(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		for name, config := range map[string]object{
			"upper case": {"UPSTREAMENDPOINT": server.endpoint() + "/ws", "PASSHOSTHEADER": true, "PROTOCOLS": []string{"chat"}, "COMPRESSION": "off"},
			"lower case": {"upstreamendpoint": server.endpoint() + "/ws", "passhostheader": true, "protocols": []string{"chat"}, "compression": "off"},
			"strings": {
				"upstreamEndpoint": " " + server.endpoint() + "/ws", "passHostHeader": "true", "tunnel": "false", "protocols": "mqtt, chat",
				"compression": "off", "connectTimeout": "0", "upgradeTimeout": "0s", "writeTimeout": "",
			},
			"numbers": {
				"upstreamEndpoint": server.endpoint() + "/ws", "passHostHeader": 1, "protocols": "chat", "compression": "off", "connectTimeout": 0,
			},
		} {
			t.Run(name, func(t *testing.T) {
				gateway := e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
				head := server.head(t, gateway, upgrade("GET / HTTP/1.1", "Sec-WebSocket-Protocol: superchat, chat", offeredExtension))
				checkHeader(t, http.Header{
					"Host":                     head.values("Host"),
					"Sec-Websocket-Protocol":   head.values("Sec-WebSocket-Protocol"),
					"Sec-Websocket-Extensions": head.values("Sec-WebSocket-Extensions"),
				}, http.Header{
					"Host": {"chat.example.com"}, "Sec-Websocket-Protocol": {"chat"}, "Sec-Websocket-Extensions": nil,
				})
				if head.target() != "/ws" {
					t.Errorf("the target is %s, want /ws", head.target())
				}
			})
		}
	})
}

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// configEndpoint is a good one that is never dialled.
const configEndpoint = "ws://127.0.0.1:9/ws"

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
				checkMessage(t, got, "upstreamEndpoint", "upstreamRules[0].upstreamEndpoint")
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
		inMode("tunnel", "pingInterval", "10s"),
		inMode("tunnel", "maxInactivity", "10s"),
		inMode("tunnel", "maxLifetime", "10s"),
	})
}

// TestConfigSize has values that are no size.
func TestConfigSize(t *testing.T) {
	var mistakes []mistake
	for _, key := range []string{"maxFrameSize", "maxMessageSize"} {
		for _, value := range []any{
			-1, "-1", "-1KiB", "64kb", "64KB", "64K", "64k", "1MB", "1 MiB", "MiB", "1.5MiB", "1,5MiB", "1e3", "0x10", "1MiBs", "KiB1", "big",
			"9223372036854775808", "99999999999999999999", "9999999999GiB", "9007199254740992KiB", "9999999999999999999999GiB",
		} {
			mistakes = append(mistakes, mistaken(key, value).named(fmt.Sprintf("%s %T %v", key, value, value)))
		}
	}
	checkMistakes(t, mistakes)
}

// TestConfigLimits has limits that cannot be kept, and those that make no sense together.
func TestConfigLimits(t *testing.T) {
	each := func(key string, more object, values ...any) (mistakes []mistake) {
		for _, value := range values {
			mistakes = append(mistakes, mistaken(key, value, more).named(fmt.Sprintf("%s %T %v", key, value, value)))
		}
		return mistakes
	}
	mistakes := slices.Concat(
		each("messageRate", nil, -1, "-1", -0.5, "NaN", "Inf", "-Inf", "1e10"),
		each("messageBurst", object{"messageRate": 10}, -1, "-1"),
		each("messageBurst", nil, 5),
		each("maxConnections", nil, -1, "-1"),
		each("maxConnectionsPerClient", nil, -1, "-1"),
		each("clientHeader", object{"maxConnectionsPerClient": 10}, "X Real Ip", "X-Real-Ip:", "X-Schlüssel", "X-Real-Ip, X-User", "X-Real-Ip\r\nX-User"),
		each("clientHeader", nil, "X-Real-Ip"),
		each("clientHeader", object{"maxConnections": 10}, "X-User"),
	)
	for key, value := range map[string]any{"maxFrameSize": "64KiB", "maxMessageSize": "1MiB", "messageRate": 10, "validate": "utf8"} {
		mistakes = append(mistakes, inMode("tunnel", key, value))
	}
	checkMistakes(t, mistakes)
}

// TestConfigAccepts has options that look like mistakes and are none.
func TestConfigAccepts(t *testing.T) {
	endpoint := object{"upstreamEndpoint": configEndpoint}
	rows := map[string]struct{ use, options object }{
		"a message larger than a frame": {endpoint, object{"maxFrameSize": "64KiB", "maxMessageSize": "1MiB"}},
		"a message as large as a frame": {endpoint, object{"maxFrameSize": "1MiB", "maxMessageSize": "1024KiB"}},
		"a frame without a message":     {endpoint, object{"maxFrameSize": "1MiB", "maxMessageSize": 0}},
		"sizes in bytes":                {endpoint, object{"maxFrameSize": 65536, "maxMessageSize": "1048576"}},
		"sizes in each unit":            {endpoint, object{"maxFrameSize": "64KiB", "maxMessageSize": "2GiB"}},
		"limits that are off":           {endpoint, object{"maxFrameSize": 0, "maxMessageSize": "", "messageRate": 0, "maxConnections": 0, "maxConnectionsPerClient": 0}},
		"off in a tunnel":               {endpoint, object{"mode": "tunnel", "maxFrameSize": "0", "maxMessageSize": "0", "messageRate": 0}},
		"places in a tunnel":            {endpoint, object{"mode": "tunnel", "maxConnections": 1, "maxConnectionsPerClient": 1, "clientHeader": "X-User"}},
		"a forward that is named":       {endpoint, object{"mode": "forward", "pingInterval": "10s", "connectTimeout": "1s"}},
		"an inline that is named":       {nil, object{"mode": "inline", "writeTimeout": "1s", "sessionLog": "off"}},
		"a check that is named":         {nil, object{"mode": "check", "allowedOrigins": "any", "pingInterval": "0"}},
		"a mode that is empty":          {nil, object{"mode": ""}},
		"a fraction of a message":       {endpoint, object{"messageRate": 0.25, "messageBurst": 1}},
		"places where it only checks":   {nil, object{"maxConnections": 1, "maxConnectionsPerClient": 1, "clientHeader": "x-user"}},
		"timeouts of an inline session": {nil, object{"validate": "frames", "writeTimeout": "1s", "closeTimeout": "1s", "drainTimeout": "1s"}},
		"inline by each option": {nil, object{
			"pingInterval": "10s", "pongTimeout": "5s", "pingTarget": "client", "maxInactivity": "10s", "maxLifetime": "1h", "maxFrameSize": "1KiB",
			"maxMessageSize": "1KiB", "messageRate": 1, "messageBurst": 2, "validate": "utf8",
		}},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for name, row := range rows {
			t.Run(name, func(t *testing.T) {
				config := maps.Clone(row.options)
				maps.Copy(config, row.use)
				e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
			})
		}
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
	inline := func(key string, value any) mistake {
		m := mistaken(key, value, object{"validate": "frames"}).named(key + " inline")
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
		inMode("tunnel", "validate", "frames"),
		inMode("tunnel", "pingInterval", "10s"),
		inMode("tunnel", "restartCode", 1001),
		inMode("inline", "passHostHeader", true),
		inMode("inline", "upstreamEndpoint", configEndpoint),
		inMode("inline", "upgradeTimeout", "1s"),
		inMode("check", "upstreamEndpoint", configEndpoint),
		inMode("check", "pingInterval", "10s"),
		inMode("check", "validate", "utf8"),
		inMode("check", "sessionLog", "both"),
		mistaken("mode", "relay"),
		mistaken("tunnel", true).saying("mode: tunnel"),
		mistaken("tunnel", "false").saying("leave it out").named("tunnel that is off"),
		checking("mode", "forward").named("forward without an endpoint").saying("upstreamEndpoint"),
		checking("mode", "tunnel").named("tunnel without an endpoint").saying("upstreamEndpoint"),
		mistaken("tls", object{"serverName": "a"}).named("tls to ws"),
		needy("upstreamPath", "append"),
		needy("upstreamRules", []object{{"header": "X-A", "value": "a", "upstreamEndpoint": configEndpoint}}),
		needy("passHostHeader", true),
		needy("headers", object{"X-A": "a"}),
		needy("tls", object{"insecureSkipVerify": true}),
		needy("tunnel", true),
		needy("connectTimeout", "1s"),
		needy("upgradeTimeout", "1s"),
		needy("writeTimeout", "1s"),
		needy("closeTimeout", "1s"),
		needy("drainTimeout", "1s"),
		inline("upstreamPath", "append"),
		inline("upstreamRules", []object{{"header": "X-A", "value": "a", "upstreamEndpoint": configEndpoint}}),
		inline("passHostHeader", true),
		inline("headers", object{"X-A": "a"}),
		inline("tls", object{"insecureSkipVerify": true}),
		inline("tunnel", true),
		inline("connectTimeout", "1s"),
		inline("upgradeTimeout", "1s"),
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
				checkMessage(t, e.Refuses(t, object{"upstreamEndpoint": configEndpoint, "headers": header}), "headers")
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
	add("key without certificate", object{"keyFile": keyFile}, "tls.certFile|tls.keyFile")
	add("certificate without key", object{"certFile": certFile}, "tls.certFile|tls.keyFile")
	add("no certificate file", object{"certFile": string(dir) + "/absent.pem", "keyFile": keyFile}, "tls.certFile|tls.keyFile")
	add("other's key", object{"certFile": certFile, "keyFile": otherKey}, "tls.certFile|tls.keyFile")
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
			"writeTimeout": "x", "closeTimeout": "0", "maxFrameSize": "64kb", "maxMessageSize": "-1", "maxConnections": -1,
			"maxConnectionsPerClient": -1, "messageRate": -1, "messageBurst": -1, "clientHeader": "X A", "validate": "strict", "tunnel": true, "headers": object{"X A": "b"},
			"upstreamRules": []object{{"header": "a", "value": "b"}, {"cookie": "a", "value": "b", "upstreamEndpoint": "ftp://a", "extra": 1}},
			"tls":           object{"minVersion": "1.0", "caFile": "/absent.pem", "more": 1},
		},
		keys: []string{
			"nonWebsockets", "nonWebSocket", "path", "allowedOrigins", "protocols", "compression", "upstreamEndpoint", "upstreamPath",
			"connectTimeout", "upgradeTimeout", "writeTimeout", "closeTimeout", "maxFrameSize", "maxMessageSize", "maxConnections",
			"maxConnectionsPerClient", "messageRate", "messageBurst", "clientHeader", "validate", "headers", "upstreamRules[0]",
			"upstreamRules[1].upstreamEndpoint", "upstreamRules[1].extra",
		},
	}
	secure := mistake{
		name: "tls",
		config: object{
			"upstreamEndpoint": "wss://127.0.0.1:9",
			"tls":              object{"minVersion": "1.0", "caFile": "/absent.pem", "certFile": "/absent.pem", "more": 1},
		},
		keys: []string{"tls.more", "tls.minVersion", "tls.caFile", "tls.certFile|tls.keyFile"},
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
				"upstreamEndpoint": " " + server.endpoint() + "/ws", "passHostHeader": "true", "mode": "forward", "protocols": "mqtt, chat",
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

// TestConfigLimitSpellings wants the limits to hold however they are written.
func TestConfigLimitSpellings(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for name, config := range map[string]object{
			"as in the documentation": {
				"maxFrameSize": "1KiB", "maxMessageSize": "1500", "messageRate": 0.001, "messageBurst": 3, "maxConnections": 2,
				"maxConnectionsPerClient": 1, "clientHeader": "X-User", "validate": "utf8",
			},
			"upper case": {
				"MAXFRAMESIZE": "1KiB", "MAXMESSAGESIZE": "1500", "MESSAGERATE": 0.001, "MESSAGEBURST": 3, "MAXCONNECTIONS": 2,
				"MAXCONNECTIONSPERCLIENT": 1, "CLIENTHEADER": "X-USER", "VALIDATE": "utf8",
			},
			"lower case strings": {
				"maxframesize": "1024", "maxmessagesize": "1500", "messagerate": "0.001", "messageburst": "3", "maxconnections": "2",
				"maxconnectionsperclient": "1", "clientheader": "x-user", "validate": "utf8",
			},
			"numbers": {
				"maxFrameSize": 1024, "maxMessageSize": 1500, "messageRate": 0.001, "messageBurst": 3, "maxConnections": 2,
				"maxConnectionsPerClient": 1, "clientHeader": "X-User", "validate": "utf8",
			},
		} {
			t.Run(name, func(t *testing.T) { limitsHold(t, newGround(t, e, config)) })
		}
	})
}

// limitsHold wants each of the limits of TestConfigLimitSpellings kept.
func limitsHold(t *testing.T, g *ground) {
	h := &house{g.gateway, g.server}
	start := wire.Frame{Opcode: wire.OpText, Payload: make([]byte, 1024)}
	for reason, frames := range map[string][]wire.Frame{
		"client: frame is too big":   {wire.Text("one"), wire.Binary(make([]byte, 1025))},
		"client: message is too big": {wire.Text("one"), start, wire.New(wire.OpContinuation, make([]byte, 477))},
		"client: too many messages":  {wire.Text("one"), wire.Text("two"), wire.Text("three"), wire.Text("four")},
		"client: text is not UTF-8":  {wire.Text("one"), wire.Text("\xFF")},
	} {
		anna := g.meet(t, awaitPlace(t, g.gateway, user("anna")))
		awaitRefusal(t, g.gateway, http.StatusTooManyRequests, user("anna"))
		bert := g.meet(t, awaitPlace(t, g.gateway, user("bert")))
		h.expectFull(t, http.StatusServiceUnavailable, user("carl"))
		last := len(frames) - 1
		send(t, anna.client, frames...)
		expect(t, anna.upstream, anna.client.Encode(frames[:last]...))
		expectClose(t, anna.upstream, true, 1001)
		anna.client.Close()
		anna.upstream.Close()
		if got := g.endingOf(t); got.EndedBy != "wsfw" || got.Reason != reason {
			t.Errorf("the record tells %+v, want %q", got, reason)
		}
		bert.client.Close()
		bert.upstream.Close()
		g.record(t)
	}
}

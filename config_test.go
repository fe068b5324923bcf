package wsfw

import (
	"regexp"
	"sort"
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	s, err := parse(CreateConfig(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if s.forward || s.tunnel || s.passOthers || s.limits.writeTimeout.String() != "30s" || s.limits.closeTimeout.String() != "5s" {
		t.Errorf("defaults %+v", s)
	}
}

// A mode is what is written, and else follows from the other options.
func TestModes(t *testing.T) {
	type mode struct{ forward, inline, tunnel bool }
	cases := []struct {
		options object
		want    mode
	}{
		{object{}, mode{}},
		{object{"mode": ""}, mode{}},
		{object{"mode": "check"}, mode{}},
		{object{"maxConnections": 1}, mode{}},
		{object{"pingInterval": "1s"}, mode{inline: true}},
		{object{"mode": "inline"}, mode{inline: true}},
		{object{"mode": "inline", "drainTimeout": "0"}, mode{inline: true}},
		{object{"upstreamEndpoint": "ws://h"}, mode{forward: true}},
		{object{"mode": "forward", "upstreamEndpoint": "ws://h", "pingInterval": "1s"}, mode{forward: true}},
		{object{"mode": "tunnel", "upstreamEndpoint": "ws://h"}, mode{forward: true, tunnel: true}},
		{object{"Mode": "tunnel", "upstreamEndpoint": "ws://h", "pingInterval": "0"}, mode{forward: true, tunnel: true}},
	}
	for _, c := range cases {
		s, err := parse(&Config{Options: c.options}, "test")
		if err != nil {
			t.Errorf("%v: %v", c.options, err)
		} else if got := (mode{s.forward, s.inline, s.tunnel}); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.options, got, c.want)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	cases := []struct {
		options object
		want    string // the mistakes' keys, sorted
	}{
		{object{"b": 1, "a": 2}, "a b"},
		{object{"nonWebSocket": "ignore"}, "nonWebSocket"},
		{object{"upstreamEndpoint": "wss://h/", "writeTimeout": "-1s"}, "writeTimeout"},
		{object{"upstreamEndpoint": "wss://h/", "writeTimeout": "5"}, "writeTimeout"},
		{object{"upstreamEndpoint": "wss://h/", "closeTimeout": "0"}, "closeTimeout"},
		{object{"upstreamEndpoint": "wss://h/", "pongTimeout": "1s"}, "pongTimeout"},
		{object{"upstreamEndpoint": "wss://h/", "pingTarget": "client"}, "pingTarget"},
		{object{"upstreamEndpoint": "wss://h/", "pingInterval": "1s", "pingTarget": "server"}, "pingTarget"},
		{object{"upstreamEndpoint": "wss://h/", "pingInterval": "9ms", "pongTimeout": "9ms", "maxInactivity": "9ms", "maxLifetime": "1us", "writeTimeout": "1ns"}, "maxInactivity maxLifetime pingInterval pongTimeout writeTimeout"},
		{object{"upstreamEndpoint": "wss://h/", "pingInterval": "2562047h", "pongTimeout": "2562047h", "maxInactivity": "2562047h", "maxLifetime": "2562047h", "writeTimeout": "2562047h"}, "maxInactivity maxLifetime pingInterval pongTimeout writeTimeout"},
		{object{"upstreamEndpoint": "wss://h/", "mode": "tunnel", "pingInterval": "1s", "pongTimeout": "1s", "maxInactivity": "1s", "maxLifetime": "1s"}, "maxInactivity maxLifetime pingInterval pongTimeout"},
		{object{"upstreamEndpoint": "wss://h/", "mode": "tunnel", "restartCode": 1001}, "restartCode"},
		{object{"upstreamEndpoint": "wss://h/", "tunnel": true}, "tunnel"},
		{object{"tunnel": false}, "tunnel"},
		{object{"mode": "relay"}, "mode"},
		{object{"mode": "forward", "headers": object{"a": "b"}}, "mode"},
		{object{"mode": "tunnel"}, "mode"},
		{object{"mode": "inline", "upstreamEndpoint": "wss://h/"}, "upstreamEndpoint"},
		{object{"mode": "inline", "passHostHeader": true}, "passHostHeader"},
		{object{"mode": "check", "upstreamEndpoint": "wss://h/", "pingInterval": "1s", "writeTimeout": "1s"}, "pingInterval upstreamEndpoint writeTimeout"},
		{object{"writeTimeout": "1s", "closeTimeout": "1s", "drainTimeout": "0"}, "closeTimeout drainTimeout writeTimeout"},
		{object{"writeTimeout": "1s", "validate": "utf-8"}, "validate"},
		{object{"maxFrameSize": "64kb", "maxMessageSize": "-1"}, "maxFrameSize maxMessageSize"},
		{object{"maxFrameSize": "9999999999GiB", "maxMessageSize": "1 MiB"}, "maxFrameSize maxMessageSize"},
		{object{"messageBurst": 2}, "messageBurst"},
		{object{"messageRate": -1, "messageBurst": -1}, "messageBurst messageRate"},
		{object{"maxConnections": -1, "maxConnectionsPerClient": -1}, "maxConnections maxConnectionsPerClient"},
		{object{"clientHeader": "a b"}, "clientHeader clientHeader"},
		{object{"upstreamEndpoint": "wss://h/", "closeTimeout": ""}, "closeTimeout"},
		{object{"connectTimeout": "1s", "closeTimeout": "1s"}, "closeTimeout connectTimeout"},
		{object{"path": "socket"}, "path"},
		{object{"path": "/a/../b"}, "path"},
		{object{"path": "/a?b"}, "path"},
		{object{"allowedOrigins": []string{"example.com", "https://*.*.example.com", "https://a/b"}}, "allowedOrigins allowedOrigins allowedOrigins"},
		{object{"protocols": []string{"a b"}}, "protocols"},
		{object{"upstreamEndpoint": "ftp://h"}, "upstreamEndpoint"},
		{object{"upstreamEndpoint": "ws://:80/"}, "upstreamEndpoint"},
		{object{"upstreamEndpoint": "ws://h:0/"}, "upstreamEndpoint"},
		{object{"upstreamEndpoint": "ws://h:80:80/"}, "upstreamEndpoint"},
		{object{"upstreamEndpoint": "ws://u:p@h/#f"}, "upstreamEndpoint upstreamEndpoint"},
		{object{"upstreamPath": "append", "passHostHeader": true, "validate": "frames"}, "passHostHeader upstreamPath"},
		{object{"upstreamEndpoint": "wss://h/", "upstreamRules": []any{object{"header": "A b", "query": "b"}}}, "upstreamRules[0] upstreamRules[0] upstreamRules[0].header upstreamRules[0].value"},
		{object{"upstreamEndpoint": "wss://h/", "headers": object{"connection": "x", "a b": "c", "X": "1\n", "A": "", "a": ""}}, "headers headers headers headers"},
		{object{"upstreamEndpoint": "wss://h/", "tls": object{"minVersion": "1.1", "certFile": "c"}}, "tls.certFile tls.minVersion"},
		{object{"upstreamEndpoint": "wss://h/", "tls": object{"caFile": "/does/not/exist"}}, "tls.caFile"},
		{object{"upstreamEndpoint": "ws://h", "tls": object{"serverName": "a"}}, "tls"},
	}
	for _, c := range cases {
		_, err := parse(&Config{Options: c.options}, "test")
		if err == nil {
			t.Errorf("no mistake found, want %s", c.want)
			continue
		}
		var keys []string
		for _, mistake := range strings.Split(strings.TrimPrefix(err.Error(), "wsfw test: "), "; ") {
			if key := mistaken.FindStringSubmatch(mistake); key != nil {
				keys = append(keys, key[1])
			}
		}
		sort.Strings(keys)
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("mistakes in %s, want %s: %v", got, c.want, err)
		}
	}
}

// What is off, in whatever words, is not on.
func TestIsOn(t *testing.T) {
	for _, value := range []any{nil, "", " ", "0", 0, 0.0, "0s", "0ms", "0h0m0s", "0KiB", "0.0", false, "false", "False", []any{}, object{}} {
		if newOptions(&mistakes{}, "", object{"key": value}).isOn("key") {
			t.Errorf("%T %v is on", value, value)
		}
	}
	for _, value := range []any{"1", 1, 0.5, "10s", "0h1m", "64KiB", true, "off", []any{""}, object{"a": 1}} {
		if !newOptions(&mistakes{}, "", object{"key": value}).isOn("key") {
			t.Errorf("%T %v is off", value, value)
		}
	}
}

// A wildcard whose domain is missing, for a variable was not set, allows nobody.
func TestOriginsWithoutADomain(t *testing.T) {
	for _, value := range []string{"https://*.", "https://*./", "https://*.:8443", "file://*.", "https://*", "http://*"} {
		if rule, remedy := parseOrigin(value); remedy == "" {
			t.Errorf("%s is taken: %+v", value, rule)
		}
	}
	if rule, remedy := parseOrigin("chrome-extension://*"); remedy != "" || allows(rule, origin{"chrome-extension", "a.b", ""}, "") || !allows(rule, origin{"chrome-extension", "abc", ""}, "") {
		t.Errorf("an extension: %+v, %s", rule, remedy)
	}
}

// mistaken finds the key of a mistake.
var mistaken = regexp.MustCompile(`^([A-Za-z0-9.\[\]]+) (?:is|has) `)

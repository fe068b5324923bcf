package wsfw

import (
	"sort"
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	s, err := parse(CreateConfig())
	if err != nil {
		t.Fatal(err)
	}
	if s.forward || s.tunnel || s.passOthers || s.limits.writeTimeout.String() != "30s" || s.limits.closeTimeout.String() != "5s" {
		t.Errorf("defaults %+v", s)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	forward := func(c *Config) { c.UpstreamEndpoint = "wss://h/" }
	cases := []struct {
		change func(*Config)
		want   string // the mistakes' keys, sorted
	}{
		{func(c *Config) { c.Unknown = map[string]any{"b": 1, "a": 2} }, "a b"},
		{func(c *Config) { c.NonWebSocket = "ignore" }, "nonWebSocket"},
		{func(c *Config) { forward(c); c.WriteTimeout = "-1s" }, "writeTimeout"},
		{func(c *Config) { forward(c); c.WriteTimeout = "5" }, "writeTimeout"},
		{func(c *Config) { forward(c); c.CloseTimeout = "0" }, "closeTimeout"},
		{func(c *Config) { forward(c); c.PongTimeout = "1s" }, "pongTimeout"},
		{func(c *Config) { forward(c); c.PingTarget = "client" }, "pingTarget"},
		{func(c *Config) { forward(c); c.PingInterval = "1s"; c.PingTarget = "server" }, "pingTarget"},
		{func(c *Config) {
			forward(c)
			c.PingInterval, c.PongTimeout, c.MaxInactivity = "9ms", "9ms", "9ms"
			c.MaxLifetime, c.WriteTimeout = "1us", "1ns"
		}, "maxInactivity maxLifetime pingInterval pongTimeout writeTimeout"},
		{func(c *Config) {
			forward(c)
			c.PingInterval, c.PongTimeout, c.MaxInactivity = "2562047h", "2562047h", "2562047h"
			c.MaxLifetime, c.WriteTimeout = "2562047h", "2562047h"
		}, "maxInactivity maxLifetime pingInterval pongTimeout writeTimeout"},
		{func(c *Config) {
			forward(c)
			c.Tunnel = true
			c.PingInterval, c.PongTimeout, c.MaxInactivity, c.MaxLifetime = "1s", "1s", "1s", "1s"
		}, "tunnel tunnel tunnel tunnel"},
		{func(c *Config) {
			c.WriteTimeout, c.CloseTimeout, c.DrainTimeout = "1s", "1s", "0"
		}, "closeTimeout drainTimeout writeTimeout"},
		{func(c *Config) { c.WriteTimeout = "1s"; c.Validate = "utf-8" }, "validate"},
		{func(c *Config) { c.MaxFrameSize = "64kb"; c.MaxMessageSize = "-1" }, "maxFrameSize maxMessageSize"},
		{func(c *Config) { c.MaxFrameSize = "9999999999GiB"; c.MaxMessageSize = "1 MiB" }, "maxFrameSize maxMessageSize"},
		{func(c *Config) { c.MessageBurst = 2 }, "messageBurst"},
		{func(c *Config) { c.MessageRate = -1; c.MessageBurst = -1 }, "messageBurst messageRate"},
		{func(c *Config) { c.MaxConnections = -1; c.MaxConnectionsPerClient = -1 }, "maxConnections maxConnectionsPerClient"},
		{func(c *Config) { c.ClientHeader = "a b" }, "clientHeader clientHeader"},
		{func(c *Config) { forward(c); c.CloseTimeout = "" }, "closeTimeout"},
		{func(c *Config) { c.ConnectTimeout = "1s"; c.CloseTimeout = "1s" }, "closeTimeout connectTimeout"},
		{func(c *Config) { c.Path = "socket" }, "path"},
		{func(c *Config) { c.Path = "/a/../b" }, "path"},
		{func(c *Config) { c.Path = "/a?b" }, "path"},
		{func(c *Config) { c.AllowedOrigins = []string{"example.com", "https://*.*.example.com", "https://a/b"} }, "allowedOrigins allowedOrigins allowedOrigins"},
		{func(c *Config) { c.Protocols = []string{"a b"} }, "protocols"},
		{func(c *Config) { c.UpstreamEndpoint = "ftp://h" }, "upstreamEndpoint"},
		{func(c *Config) { c.UpstreamEndpoint = "ws://:80/" }, "upstreamEndpoint"},
		{func(c *Config) { c.UpstreamEndpoint = "ws://h:0/" }, "upstreamEndpoint"},
		{func(c *Config) { c.UpstreamEndpoint = "ws://u:p@h/#f" }, "upstreamEndpoint upstreamEndpoint"},
		{func(c *Config) {
			c.UpstreamPath = "append"
			c.PassHostHeader = true
			c.Tunnel = true
			c.Validate = "frames"
		}, "passHostHeader tunnel tunnel upstreamPath"},
		{func(c *Config) { forward(c); c.UpstreamRules = []UpstreamRule{{Header: "A b", Query: "b"}} }, "upstreamRules[0] upstreamRules[0] upstreamRules[0] upstreamRules[0]"},
		{func(c *Config) {
			forward(c)
			c.Headers = map[string]string{"connection": "x", "a b": "c", "X": "1\n", "A": "", "a": ""}
		}, "headers headers headers headers"},
		{func(c *Config) { forward(c); c.TLS = &TLSConfig{MinVersion: "1.1", CertFile: "c"} }, "tls.certFile, tls.keyFile tls.minVersion"},
		{func(c *Config) { forward(c); c.TLS = &TLSConfig{CAFile: "/does/not/exist"} }, "tls.caFile"},
		{func(c *Config) { c.UpstreamEndpoint = "ws://h"; c.TLS = &TLSConfig{} }, "tls"},
	}
	for _, c := range cases {
		config := CreateConfig()
		c.change(config)
		_, err := parse(config)
		if err == nil {
			t.Errorf("no mistake found, want %s", c.want)
			continue
		}
		var keys []string
		for _, line := range strings.Split(err.Error(), "\n") {
			key, _, _ := strings.Cut(line, ": ")
			keys = append(keys, key)
		}
		sort.Strings(keys)
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("mistakes in %s, want %s: %v", got, c.want, err)
		}
	}
}

package e2e

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

func TestConfigUnknown(t *testing.T) {
	mistakes := []mistake{
		mistaken("upstreamEndpoints", configEndpoint),
		mistaken("subprotocols", "chat"),
		mistaken("TLS12", true),
		mistaken("password", "hunter2"),
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
	checkMistakes(t, mistakes)
}

// TestConfigNearest wants the error about an unknown key to name the option that was meant.
func TestConfigNearest(t *testing.T) {
	var mistakes []mistake
	add := func(key, nearest string, config object) {
		m := mistake{name: key, config: config, keys: []string{key}}
		mistakes = append(mistakes, m.saying(key+" is no option, the nearest one is "+nearest))
	}
	for key, nearest := range map[string]string{
		"subprotocols": "protocols", "upstreamEndpoints": "upstreamEndpoint", "pingIntervall": "pingInterval", "allowedOrigin": "allowedOrigins",
		"maxConnection": "maxConnections", "maxConnectionPerClient": "maxConnectionsPerClient", "passHostHeaders": "passHostHeader",
		"upstream_endpoint": "upstreamEndpoint", "header": "headers", "restartCodes": "restartCode", "sesionLog": "sessionLog",
	} {
		add(key, nearest, object{"upstreamEndpoint": configEndpoint, key: "1"})
	}
	for key, nearest := range map[string]string{"caFiles": "caFile", "certfiles": "certFile", "insecureSkipVerified": "insecureSkipVerify"} {
		add("tls."+key, "tls."+nearest, object{"upstreamEndpoint": "wss://127.0.0.1:9", "tls": object{key: "1"}})
	}
	for key, nearest := range map[string]string{"values": "value", "headers": "header", "upstreamEndpoints": "upstreamEndpoint"} {
		rule := object{"query": "a", "value": "b", "upstreamEndpoint": configEndpoint, key: "1"}
		add("upstreamRules[0]."+key, "upstreamRules[0]."+nearest, object{"upstreamEndpoint": configEndpoint, "upstreamRules": []any{rule}})
	}
	checkMistakes(t, mistakes)
}

// TestConfigNoneNear wants no guess about a key that is like no option.
func TestConfigNoneNear(t *testing.T) {
	guess := regexp.MustCompile(`is no option[^;]*nearest`)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, key := range []string{"frobnicate", "x", "rateLimitByCountry"} {
			t.Run(key, func(t *testing.T) {
				got := e.Refuses(t, object{key: "1"})
				checkMessage(t, got, key)
				if guess.MatchString(got) {
					t.Errorf("a guess is made: %s", got)
				}
			})
		}
	})
}

// TestConfigUnknownValues wants unknown keys found whatever their values are.
func TestConfigUnknownValues(t *testing.T) {
	var mistakes []mistake
	for _, value := range []any{"", 0, false, []any{}, object{}, []any{"a"}, object{"a": "b"}} {
		mistakes = append(mistakes, mistaken("subprotocols", value).named(fmt.Sprintf("%T %v", value, value)))
	}
	checkMistakes(t, mistakes)
}

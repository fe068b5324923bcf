package e2e

import (
	"fmt"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// TestConfigEmpty has options that are there with nothing in them, as a template leaves them whose variable is empty: each
// would let in whom it was to keep out, or lead a session elsewhere.
func TestConfigEmpty(t *testing.T) {
	var mistakes []mistake
	for _, key := range []string{"allowedOrigins", "protocols"} {
		for i, value := range []any{[]any{}, "", " ", ",", []any{""}, []any{" "}, []any{"", ""}} {
			name := fmt.Sprintf("%s %d of %T", key, i, value)
			mistakes = append(mistakes, checking(key, value).named(name), mistaken(key, value).named(name+" in a forward"))
		}
	}
	for i, value := range []any{"", " ", []any{}, []any{""}} {
		name := fmt.Sprintf("upstreamEndpoint %d of %T", i, value)
		mistakes = append(mistakes, checking("upstreamEndpoint", value).named(name),
			checking("upstreamEndpoint", value, object{"validate": "frames"}).named(name+" with an option of a relay"))
	}
	checkMistakes(t, mistakes)
}

// TestConfigNull has the same options with null. Traefik's file provider drops such a key, so there it is none.
func TestConfigNull(t *testing.T) {
	var mistakes []mistake
	for _, key := range []string{"allowedOrigins", "protocols", "upstreamEndpoint"} {
		mistakes = append(mistakes, checking(key, nil).exceptOn("traefik"))
	}
	checkMistakes(t, mistakes)
}

// TestConfigEmptyAccepts has options of which an empty value says that they are not in use. From a file of Traefik's an
// empty section or list arrives as an empty string.
func TestConfigEmptyAccepts(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for name, config := range map[string]object{
			"nothing":  {},
			"headers":  {"upstreamEndpoint": configEndpoint, "headers": object{}},
			"tls":      {"upstreamEndpoint": "wss://127.0.0.1:9", "tls": object{}},
			"rules":    {"upstreamEndpoint": configEndpoint, "upstreamRules": []any{}},
			"numbers":  {"upstreamEndpoint": configEndpoint, "maxConnections": "", "maxConnectionsPerClient": "", "messageRate": "", "messageBurst": ""},
			"flags":    {"upstreamEndpoint": configEndpoint, "passHostHeader": ""},
			"sizes":    {"upstreamEndpoint": configEndpoint, "maxFrameSize": "", "maxMessageSize": ""},
			"timers":   {"upstreamEndpoint": configEndpoint, "pingInterval": "", "pongTimeout": "", "maxInactivity": "", "maxLifetime": "", "connectTimeout": ""},
			"choices":  {"upstreamEndpoint": configEndpoint, "compression": "", "upstreamPath": "", "validate": "", "pingTarget": "", "sessionLog": ""},
			"a header": {"upstreamEndpoint": configEndpoint, "headers": object{"Cookie": ""}},
		} {
			t.Run(name, func(t *testing.T) {
				e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
			})
		}
	})
}

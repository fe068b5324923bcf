package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// eachWay runs a case about what a server gets of a session's request: by Traefik itself, and through the plugin in each use.
func eachWay(t *testing.T, run func(t *testing.T, e engine.Engine, u use)) {
	t.Helper()
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, u := range append([]use{nativeUse}, uses...) {
			t.Run(u.name, func(t *testing.T) { run(t, e, u) })
		}
	})
}

// nativeUse is none: Traefik by itself.
var nativeUse = use{name: "native"}

// onEntryPoint runs a gateway to a server on an entry point with these options.
func (u use) onEntryPoint(t *testing.T, e engine.Engine, server *peerUpstream, options map[string]object) *engine.Gateway {
	t.Helper()
	config := u.before(server.endpoint())
	if u.forward {
		config["upstreamPath"] = "append"
	}
	return e.Start(t, engine.Setup{
		Config: config, Next: "http://" + server.addr, Dedicated: true,
		Traefik: engine.Surroundings{EntryPoint: options, Native: u.name == nativeUse.name},
	})
}

// opens opens a session, and returns what the server has got of its request.
func opens(t *testing.T, gateway *engine.Gateway, server *peerUpstream, request string) peerHead {
	t.Helper()
	client := peerDial(t, gateway, request)
	upstream, head := server.request(t)
	upstream.send(t, head.switching())
	if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status is %d, want 101", resp.StatusCode)
	}
	checkEcho(t, client, upstream)
	return head
}

// refused wants a request to be refused by Traefik.
func refused(t *testing.T, gateway *engine.Gateway, request string) {
	t.Helper()
	if resp := peerDial(t, gateway, request).answer(t); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status is %d, want 400", resp.StatusCode)
	}
}

// isUnknown wants a Traefik of before 3.7 not to start with an option that is new in that, and to say why. It reports whether
// this Traefik is one.
func isUnknown(t *testing.T, option string, entryPoint map[string]object) bool {
	t.Helper()
	binary, err := engine.Binary()
	if err != nil {
		t.Fatal(err)
	}
	version, err := engine.Version(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(version, "v3.6.") {
		return false
	}
	_, p, err := engine.Run(engine.Setup{Traefik: engine.Surroundings{EntryPoint: entryPoint}})
	if err == nil {
		p.Stop()
	}
	if want := "field not found, node: " + option; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Traefik %s starts, or ends with %v, want %q", version, err, want)
	}
	return true
}

// TestEntryPointForwardedFor has Traefik leave X-Forwarded-For as it is, which it tells its own proxy alone: wsfw cannot know, and
// appends the client's address where it forwards.
func TestEntryPointForwardedFor(t *testing.T) {
	const option = "notAppendXForwardedFor"
	entryPoint := map[string]object{"forwardedHeaders": {option: true}}
	rows := []struct {
		name                string
		edits               []string
		want, wantForwarded []string
	}{
		{name: "first proxy", wantForwarded: []string{"127.0.0.1"}},
		{
			name: "behind others", edits: []string{"X-Forwarded-For: 203.0.113.7"},
			want: []string{"203.0.113.7"}, wantForwarded: []string{"203.0.113.7, 127.0.0.1"},
		},
	}
	eachWay(t, func(t *testing.T, e engine.Engine, u use) {
		if isUnknown(t, option, entryPoint) {
			return
		}
		server := peerListen(t)
		gateway := u.onEntryPoint(t, e, server, entryPoint)
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				want := row.want
				if u.forward {
					want = row.wantForwarded
				}
				head := opens(t, gateway, server, upgrade("GET / HTTP/1.1", row.edits...))
				checkLines(t, head, lines{"X-Forwarded-For": want})
			})
		}
	})
}

// TestEntryPointAliasHeaders has clients send headers that some servers take for others, under each of Traefik's strategies.
func TestEntryPointAliasHeaders(t *testing.T) {
	const option = "aliasHeadersStrategy"
	kept := lines{"X_auth_user": {"mallory"}, "X.auth.user": {"mallory"}, "X_forwarded_for": {"203.0.113.7"}, "X-Own": {"mine"}}
	strategies := map[string]lines{
		"keep":   kept,
		"delete": {"X_auth_user": nil, "X.auth.user": nil, "X_forwarded_for": nil, "X-Own": {"mine"}},
		"reject": nil,
	}
	request := upgrade("GET / HTTP/1.1",
		"X_Auth_User: mallory", "X.Auth.User: mallory", "X_Forwarded_For: 203.0.113.7", "X-Own: mine")
	eachWay(t, func(t *testing.T, e engine.Engine, u use) {
		for strategy, want := range strategies {
			t.Run(strategy, func(t *testing.T) {
				entryPoint := map[string]object{"http": {option: strategy}}
				if isUnknown(t, option, entryPoint) {
					return
				}
				server := peerListen(t)
				gateway := u.onEntryPoint(t, e, server, entryPoint)
				if want == nil {
					refused(t, gateway, request)
					return
				}
				checkLines(t, opens(t, gateway, server, request), want)
			})
		}
	})
}

// TestEntryPointEncodedCharacters has Traefik refuse one kind of encoded characters in a path, and let the others through as they
// are.
func TestEntryPointEncodedCharacters(t *testing.T) {
	const allowed = "/a%3Bb%25c%3Fd%23e%5Cf"
	entryPoint := map[string]object{"http": {"encodedCharacters": object{
		"allowEncodedSlash": false, "allowEncodedBackSlash": true, "allowEncodedNullCharacter": true, "allowEncodedSemicolon": true,
		"allowEncodedPercent": true, "allowEncodedQuestionMark": true, "allowEncodedHash": true,
	}}}
	eachWay(t, func(t *testing.T, e engine.Engine, u use) {
		server := peerListen(t)
		gateway := u.onEntryPoint(t, e, server, entryPoint)
		head := opens(t, gateway, server, upgrade("GET "+allowed+" HTTP/1.1"))
		if head.target() != allowed {
			t.Errorf("the server is asked for %q, want %q", head.target(), allowed)
		}
		refused(t, gateway, upgrade("GET /a%2Fb HTTP/1.1"))
	})
}

// TestPluginUnsafe allows the plugin what it does not ask for: Go's unsafe and syscall.
func TestPluginUnsafe(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, u := range uses {
			t.Run(u.name, func(t *testing.T) {
				server := newBystander(t, (*httptest.Server).Start)
				c := newCaller(e.Start(t, engine.Setup{
					Config: u.before(server.url), Next: server.url, Dedicated: true,
					Traefik: engine.Surroundings{Settings: object{"useUnsafe": true}},
				}), nil)
				c.works(t, server, u.records)
			})
		}
	})
}

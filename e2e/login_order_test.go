package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
)

// askingAuth is Traefik's forwardAuth, with the headers that it asks with: others of a stream's request would be its pseudo-header
// fields, which no request can have.
func askingAuth(url string, tells ...string) object {
	return object{"forwardAuth": object{
		"address": url, "authRequestHeaders": []string{"Authorization", "Cookie"}, "authResponseHeaders": tells,
	}}
}

// TestLoginOrderBeforeForwardAuth has the plugin take the token from the query: the forwardAuth behind it gets it in the header that
// it looks at, and nowhere else.
func TestLoginOrderBeforeForwardAuth(t *testing.T) {
	const other = "hunter2-other"
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, mode := range []string{"check", "inline"} {
			t.Run(mode, func(t *testing.T) {
				asked, server := newAuthority(t), peerListen(t)
				setup := setupIn(mode, server.addr, object{"token": object{"from": "query:access_token"}})
				setup.Traefik.After = []object{{"forwardAuth": object{"address": asked.URL}}}
				gateway := e.Start(t, setup)
				client, upstream := welcomed(t, gateway, server, opaque)
				client.Close()
				upstream.Close()
				checkAsked(t, asked, opaque)
				asked.answers("Bearer "+other, http.StatusForbidden)
				if status := peerDial(t, gateway, byToken(other)).answer(t).StatusCode; status != http.StatusForbidden {
					t.Errorf("status is %d where forwardAuth says no, want 403", status)
				}
				checkAsked(t, asked, other)
				checkSecretLines(t, gateway)
			})
		}
	})
}

// checkAsked wants an authority to have been asked once for a token, which stood in the header alone.
func checkAsked(t *testing.T, asked *authority, token string) {
	t.Helper()
	questions := asked.asked("Bearer " + token)
	if len(questions) != 1 {
		t.Fatalf("the authority was asked %d times for the token, want once", len(questions))
	}
	questions[0].Header.Del("Authorization")
	dump, err := httputil.DumpRequest(questions[0], false)
	if err != nil {
		t.Fatal(err)
	}
	checkNoToken(t, "what forwardAuth asks", string(dump), token)
}

// TestLoginOrderBehindForwardAuth has forwardAuth turn a cookie into a token, as proxies for logins do. The plugin behind it has no
// key: it believes exp, and ends the session then.
func TestLoginOrderBehindForwardAuth(t *testing.T) {
	const cookie = "Cookie: session=hunter2-cookie"
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, version := range []int{1, 2, 3} {
			for _, mode := range loginModes {
				over := e
				if version > 1 {
					over = engine.Over{Engine: e, HTTP: version}
				}
				t.Run(fmt.Sprintf("%s over HTTP/%d", mode, version), func(t *testing.T) {
					t.Parallel() // it waits most of the time
					lifetime := pace.Of(2 * time.Second)
					var exp time.Time
					proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
						if "Cookie: "+req.Header.Get("Cookie") != cookie {
							rw.WriteHeader(http.StatusUnauthorized)
							return
						}
						exp = time.Now().Add(lifetime)
						_, token, _ := strings.Cut(expiring(t, exp), ": ")
						rw.Header().Set("Authorization", token)
					}))
					t.Cleanup(proxy.Close)
					around := engine.Surroundings{Before: []object{askingAuth(proxy.URL, "Authorization")}}
					g := newLoginBeside(t, over, mode, object{"token": object{"endSessions": true, "to": ""}}, around)
					if _, err := dial(g.gateway, "Cookie: session=another"); err == nil {
						t.Error("a session is had without a login")
					}
					j := g.enter(t, cookie)
					if got := j.upstream.Header.Values("Authorization"); got != nil {
						t.Errorf("the upstream gets %q, want no token", got)
					}
					j.loggedOut(t, mode, "token expired")
					proxy.Close() // so that exp is not written any more
					if late := time.Since(exp); late < -10*time.Millisecond || late > pace.Of(time.Second) {
						t.Errorf("it ended %v after exp, want a second at most", late)
					}
					checkSecretLines(t, g.gateway)
				})
			}
		}
	})
}

// TestLoginOrderAsksAlike has one service let clients in, by forwardAuth, and tell whether their logins hold, by revalidate. It is
// told the same both times, but for the query.
func TestLoginOrderAsksAlike(t *testing.T) {
	const login = "Bearer " + opaque
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, mode := range loginModes {
			t.Run(mode, func(t *testing.T) {
				t.Parallel() // it waits most of the time
				asked := newAuthority(t)
				auth := object{"forwardAuth": object{"address": asked.URL + "/verify"}}
				around := engine.Surroundings{Before: []object{auth}}
				g := newLoginBeside(t, e, mode, object{"revalidate": object{"url": asked.URL + "/verify", "interval": "1s"}}, around)
				j := g.enter(t, "Authorization: "+login, "Cookie: theme=dark")
				asked.waitAsked(t, login, 2)
				questions := asked.asked(login)
				for _, name := range []string{
					"Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Uri",
				} {
					first, later := questions[0].Header.Get(name), questions[1].Header.Get(name)
					if first != later {
						t.Errorf("forwardAuth says %s %q, and revalidate %q", name, first, later)
					}
				}
				asked.answers(login, http.StatusUnauthorized)
				j.loggedOut(t, mode, "token revoked")
				checkSecretLines(t, g.gateway)
			})
		}
	})
}

// TestLoginOrderBehindBasicAuth has basicAuth say who it is, and a token come in the query: the record has the one, and the upstream
// both.
func TestLoginOrderBehindBasicAuth(t *testing.T) {
	named := object{"basicAuth": object{
		"users": basicAuth["basicAuth"].(object)["users"], "headerField": "X-Told", "removeHeader": true,
	}}
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, mode := range loginModes {
			t.Run(mode, func(t *testing.T) {
				server := peerListen(t)
				setup := setupIn(mode, server.addr, object{"token": object{"from": "query:access_token"}, "userFrom": "header:X-Told"})
				setup.Traefik.Before = []object{named}
				gateway := e.Start(t, setup)
				client := peerDial(t, gateway, upgrade("GET /socket?access_token="+opaque+" HTTP/1.1", basicLine, "X-Told: mallory"))
				upstream, head := server.request(t)
				checkGoesOn(t, head, opaque)
				if got := head.values("X-Told"); len(got) != 1 || got[0] != "alice" {
					t.Errorf("the upstream is told of %q, want alice", got)
				}
				upstream.send(t, head.switching())
				client.answer(t)
				client.Close()
				upstream.Close()
				if relays(mode) && gateway.WaitRecord(t)["user"] != "alice" {
					t.Errorf("the log says %v, want alice", gateway.Lines())
				}
				checkSecretLines(t, gateway)
			})
		}
	})
}

// basicLine is alice's password.
var basicLine = "Authorization: " + credentials.Get("Authorization")

// TestLoginOrderBeforeBasicAuth has the token go on in a header of its own: so Authorization stays the basicAuth's behind the
// plugin, and where it does not, basicAuth lets nobody in.
func TestLoginOrderBeforeBasicAuth(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, mode := range []string{"check", "inline"} {
			t.Run(mode, func(t *testing.T) {
				server := peerListen(t)
				start := func(to string) *engine.Gateway {
					setup := setupIn(mode, server.addr, object{"token": object{"from": "query:access_token", "to": to}})
					setup.Traefik.After = []object{basicAuth}
					return e.Start(t, setup)
				}
				request := upgrade("GET /socket?access_token="+opaque+" HTTP/1.1", basicLine)
				gateway := start("X-Token")
				client := peerDial(t, gateway, request)
				upstream, head := server.request(t)
				for name, want := range map[string]string{"Authorization": credentials.Get("Authorization"), "X-Token": opaque} {
					if got := head.values(name); len(got) != 1 || got[0] != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
				if target := head.target(); target != "/socket" {
					t.Errorf("the target is %s, want it without the token", target)
				}
				upstream.send(t, head.switching())
				if status := client.answer(t).StatusCode; status != http.StatusSwitchingProtocols {
					t.Errorf("status is %d, want 101", status)
				}
				covered := start("Authorization")
				if status := peerDial(t, covered, request).answer(t).StatusCode; status != http.StatusUnauthorized {
					t.Errorf("status is %d where the token takes the password's place, want 401", status)
				}
				checkSecretLines(t, gateway)
				checkSecretLines(t, covered)
			})
		}
	})
}

// TestLoginOrderAccessLog holds Traefik's access log against what is said of it: the query stands there as the client has sent it,
// before any middleware, and subprotocols do not.
func TestLoginOrderAccessLog(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		setup := setupIn("forward", server.addr, object{"token": object{"from": []string{"query:access_token", "protocolAfter:bearer"}}})
		setup.Dedicated, setup.Traefik.AccessLog = true, true
		gateway := e.Start(t, setup)
		for i, request := range []string{byToken("hunter2-query"), upgrade("GET /socket HTTP/1.1", offered("bearer, hunter2-offer")...)} {
			client := peerDial(t, gateway, request)
			upstream, head := server.request(t)
			upstream.send(t, head.switching())
			client.answer(t)
			client.Close()
			upstream.Close()
			gateway.WaitRecord(t)
			var lines []map[string]any
			await(t, soon, func() string {
				if lines = gateway.AccessLog(t); len(lines) <= i {
					return fmt.Sprintf("the access log has %d lines, want %d", len(lines), i+1)
				}
				return ""
			})
			text := fmt.Sprint(lines[i])
			if byQuery := strings.Contains(request, "hunter2-query"); strings.Contains(text, "hunter2") != byQuery {
				t.Errorf("the access log has %s; the token in it: want %v", text, byQuery)
			}
		}
		checkSecretLines(t, gateway)
	})
}

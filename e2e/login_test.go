package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

// unverified is a JWT with these claims, of which nobody but a service before the gateway can tell whether it is genuine.
func unverified(t *testing.T, claims object) string {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return base64URL(`{"alg":"HS256","typ":"JWT"}`) + "." + base64URL(string(text)) + "." + base64URL("hunter2 is no signature")
}

// expiring is a header line with a token that expires at a time.
func expiring(t *testing.T, at time.Time) string {
	t.Helper()
	return "Authorization: Bearer " + unverified(t, object{"exp": float64(at.UnixMilli()) / 1000, "sub": "alice"})
}

// newLogin is a ground in a mode.
func newLogin(t *testing.T, e engine.Engine, mode string, options object) *ground {
	t.Helper()
	return newLoginBeside(t, e, mode, options, engine.Surroundings{})
}

// newLoginBeside is one with more of Traefik around it.
func newLoginBeside(t *testing.T, e engine.Engine, mode string, options object, around engine.Surroundings) *ground {
	t.Helper()
	server, err := wire.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	setup := setupIn(mode, strings.TrimPrefix(server.URL, "ws://"), options)
	setup.Status, setup.Traefik = true, around
	return &ground{gateway: e.Start(t, setup), server: server}
}

// enter opens a session whose end the case itself looks at.
func (g *ground) enter(t *testing.T, lines ...string) *joined {
	t.Helper()
	client, err := dial(g.gateway, lines...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	upstream, err := g.server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() })
	return &joined{ground: g, client: client, upstream: upstream}
}

// loggedOut wants a session ended in the way that a mode has for that: by close frames where there are any.
func (j *joined) loggedOut(t *testing.T, mode, reason string) {
	t.Helper()
	switch mode {
	case "forward", "inline":
		for end, code := range map[string]int{"client": 3000, "upstream": 1001} {
			near, _ := j.from(end)
			if got := expectClose(t, near, end == "upstream", code); got != reason {
				t.Errorf("the %s is closed for %q, want %q", end, got, reason)
			}
			send(t, near, wire.Close(code, ""))
		}
	case "check":
		line := j.gateway.Wait(t, "session cut: "+reason)
		if got, want := line["reason"], strings.ReplaceAll(reason, " ", "_"); got != want {
			t.Errorf("the log says %v, want the reason %s", line, want)
		}
	}
	for _, end := range ends {
		near, _ := j.from(end)
		expectGone(t, near)
	}
	if mode == "check" {
		return
	}
	j.owed++
	code := 3000
	if mode == "tunnel" {
		code = 0
	}
	j.expectOutcome(t, "wsfw", code, reason)
}

// livesOn wants a session to pass data still, and ends it.
func (j *joined) livesOn(t *testing.T, mode string) {
	t.Helper()
	send(t, j.client, wire.Text("still here"))
	expect(t, j.upstream, j.client.Encode(wire.Text("still here")))
	j.client.Close()
	j.upstream.Close()
	if relays(mode) {
		j.owed++
		j.record(t)
	}
}

// expectGone wants the connection to end, in whatever way.
func expectGone(t *testing.T, peer *wire.Peer) {
	t.Helper()
	var late interface{ Timeout() bool }
	if _, err := io.Copy(io.Discard, peer); errors.As(err, &late) && late.Timeout() {
		t.Errorf("the connection is still open: %v", err)
	}
}

// TestLoginExpires wants sessions ended within a second of their token's exp, in every mode.
func TestLoginExpires(t *testing.T) {
	eachLoginMode(t, outlive)
}

// TestHeavyLoginExpiresStreams is TestLoginExpires for clients over HTTP/2 and HTTP/3.
func TestHeavyLoginExpiresStreams(t *testing.T) {
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		for _, version := range streamWays {
			t.Run(fmt.Sprintf("http%d", version), func(t *testing.T) { outlive(t, engine.Over{Engine: e, HTTP: version}, mode) })
		}
	})
}

// outlive has a session whose token expires.
func outlive(t *testing.T, e engine.Engine, mode string) {
	t.Parallel() // it waits most of the time
	g := newLogin(t, e, mode, object{"token": object{"endSessions": true}})
	exp := time.Now().Add(pace.Of(2 * time.Second))
	j := g.enter(t, expiring(t, exp))
	send(t, j.client, wire.Text("hello"))
	expect(t, j.upstream, j.client.Encode(wire.Text("hello")))
	j.loggedOut(t, mode, "token expired")
	if late := time.Since(exp); late < -10*time.Millisecond || late > pace.Of(time.Second) {
		t.Errorf("it ended %v after exp, want a second at most", late)
	}
	checkSecretLines(t, g.gateway)
}

// TestHeavyLoginExpiresInFlight has a peer in full flow, whose data is not read, or read slowly, when the token expires.
func TestHeavyLoginExpiresInFlight(t *testing.T) {
	flows := map[string]func(near, far *wire.Peer) error{
		"not read": func(_, _ *wire.Peer) error { return nil },
		"read":     func(_, far *wire.Peer) error { _, err := io.Copy(io.Discard, far); return err },
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for name, flow := range flows {
			for _, end := range ends {
				t.Run(name+" from "+end, func(t *testing.T) {
					t.Parallel() // it waits most of the time
					g := newGround(t, e, object{"token": object{"endSessions": true}, "closeTimeout": "1m", "writeTimeout": "1m"})
					exp := time.Now().Add(pace.Of(time.Second))
					j := g.enter(t, expiring(t, exp))
					near, far := j.from(end)
					var both sync.WaitGroup
					both.Go(func() { pour(near) })
					both.Go(func() { _ = flow(near, far) })
					j.owed++
					j.expectOutcome(t, "wsfw", 3000, "token expired")
					if late := time.Since(exp); late > pace.Of(time.Second) {
						t.Errorf("it ended %v after exp, want a second at most", late)
					}
					near.Close()
					far.Close()
					both.Wait()
				})
			}
		}
	})
}

// pour sends messages until that fails.
func pour(peer *wire.Peer) {
	message := wire.Text(strings.Repeat("x", 16<<10))
	for {
		if peer.Send(message) != nil {
			return
		}
	}
}

// TestLoginExpired has tokens that have expired before, and some without an end.
func TestLoginExpired(t *testing.T) {
	now := time.Now()
	rows := []struct {
		name, token, refused string
	}{
		{name: "a minute ago", token: unverified(t, object{"exp": now.Add(-time.Minute).Unix()}), refused: "token_expired"},
		{name: "a second ago", token: unverified(t, object{"exp": now.Add(-time.Second).Unix()}), refused: "token_expired"},
		{name: "in an hour", token: unverified(t, object{"exp": now.Add(time.Hour).Unix()})},
		{name: "in a thousand years", token: unverified(t, object{"exp": now.Unix() + 1000*365*24*3600})},
		{name: "never", token: unverified(t, object{"sub": "alice"})},
		{name: "no JWT", token: opaque},
	}
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		server := peerListen(t)
		gateway := e.Start(t, setupIn(mode, server.addr, object{"token": object{"endSessions": true}}))
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1", "Authorization: Bearer "+row.token))
				if row.refused != "" {
					checkTokenRefusal(t, client, gateway, row.refused)
					return
				}
				upstream, head := server.request(t)
				upstream.send(t, head.switching())
				if status := client.answer(t).StatusCode; status != http.StatusSwitchingProtocols {
					t.Errorf("status is %d, want 101", status)
				}
				client.Close()
				upstream.Close()
				if relays(mode) {
					gateway.WaitRecord(t)
				}
			})
		}
	})
}

// authority answers whether logins hold still: what answer has for the Authorization of a request, and 200 for others.
type authority struct {
	*httptest.Server

	mu       sync.Mutex
	answer   map[string]int
	requests []*http.Request
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{answer: map[string]int{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP implements [http.Handler].
func (a *authority) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, req)
	status := a.answer[req.Header.Get("Authorization")]
	if status == 0 {
		status = http.StatusOK
	}
	if status == http.StatusFound {
		rw.Header().Set("Location", "/login")
	}
	rw.WriteHeader(status)
}

// answers has the authority answer for a login by a status from now on.
func (a *authority) answers(login string, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer[login] = status
}

// asked are the requests for a login so far.
func (a *authority) asked(login string) []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	var asked []*http.Request
	for _, req := range a.requests {
		if req.Header.Get("Authorization") == login {
			asked = append(asked, req)
		}
	}
	return asked
}

// waitAsked waits until there have been n requests for a login.
func (a *authority) waitAsked(t *testing.T, login string, n int) {
	t.Helper()
	await(t, pace.Of(20*time.Second), func() string {
		if got := len(a.asked(login)); got < n {
			return fmt.Sprintf("the authority was asked %d times for %s, want %d", got, login, n)
		}
		return ""
	})
}

// TestLoginRevoked has a login end while its session lives: that ends, and those of others go on.
func TestLoginRevoked(t *testing.T) {
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		t.Parallel() // it waits most of the time
		asked := newAuthority(t)
		g := newLogin(t, e, mode, object{"revalidate": object{"url": asked.URL + "/verify?key=hunter2-key", "interval": "1s"}})
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
			t.Run(http.StatusText(status), func(t *testing.T) {
				alice, bob := fmt.Sprint("hunter2-alice-", status), fmt.Sprint("hunter2-bob-", status)
				out := g.enter(t, "Authorization: "+alice)
				stays := g.enter(t, "Authorization: "+bob)
				asked.waitAsked(t, alice, 1)
				asked.answers(alice, status)
				out.loggedOut(t, mode, "token revoked")
				n := len(asked.asked(alice))
				asked.waitAsked(t, bob, len(asked.asked(bob))+3) // two intervals at least
				if got := len(asked.asked(alice)); got != n {
					t.Errorf("the authority is asked for a login without sessions: %d times, want %d", got, n)
				}
				stays.livesOn(t, mode)
			})
		}
		checkSecretLines(t, g.gateway)
	})
}

// TestLoginUnknown has an authority that says neither yes nor no: sessions go on, and the log says why nothing is known.
func TestLoginUnknown(t *testing.T) {
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		t.Parallel() // it waits most of the time
		asked := newAuthority(t)
		g := newLogin(t, e, mode, object{"revalidate": object{"url": asked.URL, "interval": "1s"}})
		for _, status := range []int{http.StatusInternalServerError, http.StatusFound, http.StatusNotFound} {
			t.Run(http.StatusText(status), func(t *testing.T) {
				login := fmt.Sprint("hunter2-", status)
				asked.answers(login, status)
				j := g.enter(t, "Authorization: "+login)
				line := g.unknown(t, float64(status))
				if line["reason"] != "revalidate_failed" || line["hint"] == nil {
					t.Errorf("the log says %v, want a hint", line)
				}
				asked.waitAsked(t, login, 2)
				j.livesOn(t, mode)
			})
		}
		t.Run("down", func(t *testing.T) {
			j := g.enter(t, "Authorization: hunter2-down")
			asked.Close()
			line := g.unknown(t, nil)
			if text := fmt.Sprint(line["error"]); !strings.Contains(text, "refused") || strings.Contains(text, "http://") {
				t.Errorf("the log says %v, want that the connection was refused, and no URL", line)
			}
			send(t, j.client, wire.Text("still here"))
			expect(t, j.upstream, j.client.Encode(wire.Text("still here")))
		})
		checkSecretLines(t, g.gateway)
	})
}

// unknown waits for a line that says why nothing is known of a login: what the authority has answered, or nil.
func (g *ground) unknown(t *testing.T, status any) map[string]any {
	t.Helper()
	for {
		line := g.gateway.Wait(t, "sessions not revalidated")
		if line["status"] == status {
			return line
		}
	}
}

// TestHeavyLoginShared has many sessions of one login, for which there is one request an interval, with what tells who it is.
func TestHeavyLoginShared(t *testing.T) {
	const sessions = 8
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		t.Parallel() // it waits most of the time
		asked := newAuthority(t)
		g := newLogin(t, e, mode, object{"revalidate": object{"url": asked.URL + "/verify", "interval": "2s"}})
		const alice = "Bearer hunter2-alice"
		var all []*joined
		for range sessions {
			all = append(all, g.enter(t, "Authorization: "+alice, "Cookie: a=hunter2", "X-Other: 1"))
		}
		start := time.Now()
		before := len(asked.asked(alice))
		asked.waitAsked(t, alice, before+3)
		if took := time.Since(start); took < 4*time.Second {
			t.Errorf("three requests took %v, want 4 s at least", took)
		}
		req := asked.asked(alice)[0]
		for name, want := range map[string]string{
			"Cookie": "a=hunter2", "X-Other": "", "X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/socket", "X-Forwarded-Proto": "http",
			"X-Forwarded-For": "127.0.0.1", "Sec-WebSocket-Key": "", "Upgrade": "",
		} {
			if got := req.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		asked.answers(alice, http.StatusUnauthorized)
		for _, j := range all {
			j.loggedOut(t, mode, "token revoked")
		}
	})
}

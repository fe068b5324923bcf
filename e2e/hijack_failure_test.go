package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	gorilla "github.com/gorilla/websocket"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// upgrading is a handler that has a library answer.
var upgrading = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
	var upgrader gorilla.Upgrader
	if conn, err := upgrader.Upgrade(rw, req, nil); err == nil { // else Upgrade has answered
		conn.Close()
	}
})

// thrice has a handler try again where it does not succeed, and does not know whether it has.
func thrice(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		for range 3 {
			handler.ServeHTTP(rw, req)
		}
	})
}

// hide is a [engine.Setup]'s Wrap: a middleware whose response writer is nothing but one.
func hide(plugin http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		plugin.ServeHTTP(struct{ http.ResponseWriter }{rw}, req)
	})
}

// TestHijackHidden has a middleware before the plugin hide the connection: the client is told once, whatever the service
// says then, and the log tells what to do.
func TestHijackHidden(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		setups := map[string]engine.Setup{
			"forward":         {Config: object{"upstreamEndpoint": echo(t)}},
			"proxy":           {Config: relayed, Next: echo(t)},
			"library":         {Config: relayed, Service: upgrading},
			"library, thrice": {Config: relayed, Service: thrice(upgrading)},
		}
		for name, setup := range setups {
			setup.Wrap = hide
			t.Run(name, func(t *testing.T) {
				gateway := e.Start(t, setup)
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1", "Connection: Upgrade, close"))
				client.refusal(t, http.StatusInternalServerError)
				if rest, err := io.ReadAll(client.in); err != nil || len(rest) > 0 {
					t.Errorf("after the refusal comes %.200q (%v)", rest, err)
				}
				line := gateway.Wait(t, "client connection not taken over")
				if cause, _ := line["error"].(string); !strings.Contains(cause, "move wsfw before it") {
					t.Errorf("the line is %v, want it to tell to move wsfw", line)
				}
				(&ground{gateway: gateway}).expectNothingLeft(t)
			})
		}
	})
}

// panicking are the places in which a handler may panic. Each gets what is to happen there.
var panicking = []struct {
	name   string
	joins  bool // there is a session
	before func(rw http.ResponseWriter, req *http.Request, explode func())
}{
	{"at once", false, func(_ http.ResponseWriter, _ *http.Request, explode func()) { explode() }},
	{"inside an answer", false, func(rw http.ResponseWriter, _ *http.Request, explode func()) {
		_, _ = io.WriteString(rw, "begun") // the client sees what is missing
		explode()
	}},
	{"with the connection", false, func(rw http.ResponseWriter, _ *http.Request, explode func()) {
		conn, _, err := takeDirectly(rw)
		if err == nil {
			defer conn.Close()
		}
		explode()
	}},
	{"inside a session", true, func(rw http.ResponseWriter, req *http.Request, explode func()) {
		conn, buffered, err := takeDirectly(rw)
		if err == nil {
			defer conn.Close()
			err = writeAll(conn, switching(req), hijackerSays)
		}
		if err == nil {
			_, _ = io.ReadFull(buffered, make([]byte, len(clientSays)))
		}
		explode()
	}},
	{"inside a session that it leaves open", true, func(rw http.ResponseWriter, req *http.Request, explode func()) {
		conn, buffered, err := takeDirectly(rw)
		if err == nil {
			err = writeAll(conn, switching(req), hijackerSays)
		}
		if err == nil {
			_, _ = io.ReadFull(buffered, make([]byte, len(clientSays)))
		}
		explode()
	}},
}

// TestHijackerPanics has the service panic: that reaches whoever has called the plugin as it does without relaying, and
// what there is of a session ends.
func TestHijackerPanics(t *testing.T) {
	abort := func() { panic(http.ErrAbortHandler) }
	explosions := map[string]func(){"abort": abort}
	for _, bomb := range bombs {
		explosions[bomb.name] = bomb.explode
	}
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		for _, place := range panicking {
			for name, explode := range explosions {
				t.Run(name+" "+place.name, func(t *testing.T) {
					service := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { place.before(rw, req, explode) })
					reached := map[string]string{}
					for use, config := range nextUses {
						reached[use] = panicReaching(t, e, engine.Setup{Config: config, Service: service}, place.joins)
					}
					if want := panicOf(explode); reached["inline"] != want || reached["check"] != want {
						t.Errorf("the server gets %v, want the panic %s", reached, want)
					}
				})
			}
		}
	})
}

// panicOf is what is left of a panic.
func panicOf(explode func()) (left string) {
	defer func() { left = describe(recover()) }()
	explode()
	return ""
}

// describe names a panic's value: its type, too, and whether it is the very error that servers look for.
func describe(value any) string {
	err, _ := value.(error)
	return fmt.Sprintf("%T %v, abort: %v", value, value, errors.Is(err, http.ErrAbortHandler))
}

// panicReaching lets a client in to a service that panics, and returns what reaches the server. Where the gateway relays
// a session, that ends in order.
func panicReaching(t *testing.T, e engine.Engine, setup engine.Setup, joins bool) string {
	t.Helper()
	panics := make(chan any, 1)
	setup.Wrap = func(plugin http.Handler) http.Handler { return witness(plugin, panics) }
	gateway := e.Start(t, setup)
	client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
	if joins {
		if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status is %d, want 101", resp.StatusCode)
		}
		client.expect(t, hijackerSays)
		client.send(t, clientSays)
	}
	relays := setup.Config != nil
	if joins && relays {
		client.expect(t, string(wire.Close(1014, "upstream connection lost").Bytes()))
		client.send(t, string(wire.Close(1014, "").Masking(true).Bytes()))
	}
	if !joins || relays { // else the handler may have left its connection open
		client.expectEnd(t)
	}
	g := &ground{gateway: gateway}
	if joins && relays {
		g.owed++
		g.expectOutcome(t, "upstream", 1006, "connection lost")
	}
	g.expectNothingLeft(t)
	return describe(<-panics)
}

// TestNoHijack has the service answer an upgrade by itself, in the ways that handlers do.
func TestNoHijack(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"nothing":      func(http.ResponseWriter, *http.Request) {},
		"status":       func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusConflict) },
		"body":         func(rw http.ResponseWriter, _ *http.Request) { _ = writeAll(rw, "<p>", "Hello", "</p>") },
		"error":        func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "No.", http.StatusForbidden) },
		"status twice": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(403); rw.WriteHeader(200) },
		"hints":        func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(103); http.Error(rw, "No.", 404) },
		"redirect":     func(rw http.ResponseWriter, req *http.Request) { http.Redirect(rw, req, "/login", http.StatusFound) },
		"through a buffer": func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(rw, bufio.NewReader(strings.NewReader("copied")))
		},
		"trailer": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Trailer", "X-Sum")
			_ = writeAll(rw, "sum")
			rw.Header().Set("X-Sum", "3")
			rw.Header().Set(http.TrailerPrefix+"X-Late", "4")
		},
	}
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		for name, handler := range handlers {
			t.Run(name, func(t *testing.T) {
				got := map[string]string{}
				for use, config := range nextUses {
					gateway := e.Start(t, engine.Setup{Config: config, Service: handler})
					got[use] = ask(t, gateway, func() {}).loosely().String()
					if lines := gateway.Lines(); len(lines) > 0 {
						t.Errorf("%s: the log has %v", use, lines)
					}
				}
				if got["inline"] != got["check"] {
					t.Errorf("the client gets\n%s, without relaying\n%s", got["inline"], got["check"])
				}
			})
		}
	})
}

// TestHijackAfterRetry has a middleware between the plugin and two proxies try the second where the first fails.
func TestHijackAfterRetry(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		server, err := wire.Listen()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		dead, alive := proxyTo(t, "ws://"+peerDeadAddr(t)), proxyTo(t, server.URL)
		gateway := e.Start(t, engine.Setup{Config: relayed, Service: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			dead.ServeHTTP(unsaid{header: http.Header{}}, req)
			alive.ServeHTTP(rw, req)
		})})
		j := (&ground{gateway: gateway, server: server}).join(t)
		converse(t, []*joined{j})
		j.client.Close()
		if record := j.record(t); record["upstream"] != server.URL {
			t.Errorf("the record tells of the upstream %v, want %s", record["upstream"], server.URL)
		}
	})
}

// proxyTo is the proxy to a ws:// URL.
func proxyTo(t *testing.T, url string) http.Handler {
	t.Helper()
	proxy, err := engine.Proxy("http" + strings.TrimPrefix(url, "ws"))
	if err != nil {
		t.Fatal(err)
	}
	return proxy
}

// unsaid is a response writer that keeps an answer from the client.
type unsaid struct{ header http.Header }

// Header implements [http.ResponseWriter].
func (u unsaid) Header() http.Header { return u.header }

// WriteHeader implements [http.ResponseWriter].
func (u unsaid) WriteHeader(int) {}

// Write implements [http.ResponseWriter].
func (u unsaid) Write(b []byte) (int, error) { return len(b), nil }

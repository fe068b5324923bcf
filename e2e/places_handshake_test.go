package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// inn is a service that holds requests up, and then answers them in one way or another.
type inn struct {
	addr    string
	held    chan struct{} // one for each request that is held up
	release chan struct{} // one for each that may go on
}

// innWay is the header that names the way. Without it a request is not held up.
const innWay = "X-Way"

func newInn(t *testing.T) *inn {
	t.Helper()
	i := &inn{held: make(chan struct{}), release: make(chan struct{})}
	server := httptest.NewServer(i)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	i.addr = server.Listener.Addr().String()
	return i
}

// ServeHTTP implements [http.Handler].
func (i *inn) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	way := req.Header.Get(innWay)
	if way != "" {
		i.held <- struct{}{}
		select {
		case <-i.release:
		case <-req.Context().Done():
			return
		}
	}
	accept := wire.Accept(req.Header.Get("Sec-WebSocket-Key"))
	switch way {
	case "page":
		_, _ = io.WriteString(rw, "a page")
		return
	case "not found":
		rw.Header().Set("Connection", "close") // lest a request that fails is repeated
		http.NotFound(rw, req)
		return
	case "broken off":
		_, _ = io.WriteString(rw, "begun")
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "untrue":
		accept = wire.Accept("another key")
	}
	conn, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return // the client sees no answer
	}
	defer conn.Close()
	if way != "closed" {
		_, _ = io.WriteString(conn, peerHead(nil).switching("Sec-WebSocket-Accept: "+accept))
		_, _ = io.Copy(io.Discard, conn)
	}
}

// hold sends a request, and returns once the service holds it up.
func (i *inn) hold(t *testing.T, gateway *engine.Gateway, request string) *peerConn {
	t.Helper()
	client := peerDial(t, gateway, request)
	select {
	case <-i.held:
	case <-time.After(wire.Timeout):
		t.Fatal("the service is not asked")
	}
	return client
}

// TestPlacesInHandshake has sessions in their handshake: they have their place from its beginning, and lose it when
// nothing comes of it.
func TestPlacesInHandshake(t *testing.T) {
	ways := map[string]int{"not found": 404, "broken off": 200, "untrue": 502, "closed": 502, "client leaves": 0}
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		for way, status := range ways {
			if way == "untrue" && r.checks {
				continue // for nobody sees that
			}
			t.Run(way, func(t *testing.T) {
				i := newInn(t)
				gateway := e.Start(t, r.setup(i.addr, twoPlaces))
				anna := i.hold(t, gateway, upgrade("GET /socket HTTP/1.1", user("anna"), innWay+": "+way))
				expectFull(t, gateway, "/socket", http.StatusTooManyRequests, user("anna"))
				defer awaitPlace(t, gateway, user("bert")).Close()
				expectFull(t, gateway, "/socket", http.StatusServiceUnavailable, user("carl"))
				if status > 0 {
					i.release <- struct{}{}
					if resp := anna.answer(t); resp.StatusCode != status {
						t.Errorf("status is %d, want %d", resp.StatusCode, status)
					}
				}
				anna.Close()
				defer awaitPlace(t, gateway, user("anna")).Close()
				expectFull(t, gateway, "/socket", http.StatusServiceUnavailable, user("carl"))
			})
		}
	})
}

// TestPlacesOfUnreachable wants places free again where the upstream cannot be reached, or says nothing in time.
func TestPlacesOfUnreachable(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		mute := peerListen(t)
		for status, endpoint := range map[int]string{502: "ws://" + peerDeadAddr(t), 504: mute.endpoint()} {
			t.Run(fmt.Sprint(status), func(t *testing.T) {
				gateway := forwardTo(t, e, endpoint, object{"maxConnections": 1, "upgradeTimeout": "50ms"})
				for range 3 {
					await(t, settleTimeout, func() string {
						resp, _ := exchange(t, gateway.Addr, upgrade("GET / HTTP/1.1"))
						if resp.StatusCode == status {
							return ""
						}
						return "the answer is " + resp.Status
					})
				}
			})
		}
	})
}

// TestPlacesOfOthers wants what is no upgrade, or none that policy allows, to take no place, and to need none.
func TestPlacesOfOthers(t *testing.T) {
	page := raw("GET / HTTP/1.1", "Host: chat.example.com", innWay+": page")
	policy := object{"maxConnections": 1, "maxConnectionsPerClient": 1, "nonWebSocket": "pass", "allowedOrigins": []string{"none"}}
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		i := newInn(t)
		gateway := e.Start(t, r.setup(i.addr, policy))
		before := i.hold(t, gateway, page)
		for status, edit := range map[int]string{403: "Origin: https://evil.example.com", 400: "!Sec-WebSocket-Key", 426: "Sec-WebSocket-Version: 8"} {
			if resp, _ := exchange(t, gateway.Addr, upgrade("GET / HTTP/1.1", edit)); resp.StatusCode != status {
				t.Errorf("%q is answered by %s, want %d", edit, resp.Status, status)
			}
		}
		client, err := wire.Dial(gateway.Addr)
		if err != nil {
			t.Fatalf("there should be a place: %v", err)
		}
		defer client.Close()
		for _, other := range []*peerConn{before, i.hold(t, gateway, page)} {
			i.release <- struct{}{}
			if resp := other.answer(t); resp.StatusCode != http.StatusOK {
				t.Errorf("a request that is no upgrade is answered by %s, want 200", resp.Status)
			}
		}
	})
}

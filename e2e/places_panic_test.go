package e2e

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestPlacesInPanic wants places free again after a panic in a session, or in its handshake.
func TestPlacesInPanic(t *testing.T) {
	explode := bombs[0].explode
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		inEachRegime(t, e, regimes[:2], func(t *testing.T, e engine.Engine, r regime) {
			h, conns := newService(t), make(chan *mined, 10)
			var inHandshake atomic.Bool
			setup := r.setup(h.addr(), twoPlaces)
			setup.Wrap = wrapInMines(func(c *mined) {
				if inHandshake.Load() {
					c.inWrite.Store(&explode)
				}
				conns <- c
			})
			h.gateway = e.Start(t, setup)
			for _, by := range ends {
				t.Run("from "+by, func(t *testing.T) {
					anna := h.awaitPlace(t, user("anna"))
					conn := <-conns
					bert := h.awaitPlace(t, user("bert"))
					<-conns
					h.expectFull(t, http.StatusServiceUnavailable, user("carl"))
					anna.explode(t, conn, by, explode)
					h.expectReturn(t).leave()
					<-conns
					bert.leave()
				})
			}
			t.Run("in the handshake", func(t *testing.T) {
				h.awaitPlace(t, user("bert"))
				<-conns
				inHandshake.Store(true)
				await(t, settleTimeout, func() string { // she is refused while those who have left linger
					client, err := wire.Dial(h.gateway.Addr, user("anna"))
					if err == nil {
						client.Close()
						t.Fatal("the client is answered, and nothing explodes")
					}
					select {
					case <-conns:
						return ""
					default:
						return err.Error()
					}
				})
				inHandshake.Store(false)
				upstream, err := h.server.Accept()
				if err != nil {
					t.Fatal(err)
				}
				upstream.Close()
				h.expectReturn(t)
			})
		})
	})
}

// TestPlacesInPanicOfNext has next panic, before it answers or once its session is over: the place is free again.
func TestPlacesInPanicOfNext(t *testing.T) {
	service := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Header.Get(innWay) != "" {
			panic(http.ErrAbortHandler)
		}
		conn, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return // the client sees no answer
		}
		accept := wire.Accept(req.Header.Get("Sec-WebSocket-Key"))
		_, _ = io.WriteString(conn, peerHead(nil).switching("Sec-WebSocket-Accept: "+accept))
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
		panic(http.ErrAbortHandler)
	})
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		for name, validate := range map[string]string{"inline": "frames", "check": ""} {
			gateway := e.Start(t, engine.Setup{Config: object{"maxConnections": 1, "validate": validate}, Service: service})
			t.Run(name, func(t *testing.T) { panicsInNext(t, gateway) })
		}
	})
}

func panicsInNext(t *testing.T, gateway *engine.Gateway) {
	for range 3 {
		client := awaitPlace(t, gateway)
		expectFull(t, gateway, "/socket", http.StatusServiceUnavailable)
		client.Close()
	}
	for range 3 {
		await(t, settleTimeout, func() string {
			client := peerDial(t, gateway, upgrade("GET /socket HTTP/1.1", innWay+": none"))
			if resp, err := http.ReadResponse(client.in, nil); err == nil {
				return "next is not asked: " + resp.Status
			}
			return ""
		})
	}
	awaitPlace(t, gateway).Close()
}

// explode has the session explode in the pump from the named end.
func (l lodger) explode(t *testing.T, conn *mined, by string, explode func()) {
	t.Helper()
	if by == "client" {
		conn.inRead.Store(&explode)
		send(t, l.client, wire.Text("boom"))
	} else {
		conn.inWrite.Store(&explode)
		send(t, l.upstream, wire.Text("boom"))
	}
}

package e2e

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// bombs are what may go off inside a connection, with what the log has to say of it.
var bombs = []struct {
	name    string
	explode func()
	said    string
}{
	{"string", func() { panic("a string") }, "a string"},
	{"error", func() { panic(errors.New("an error")) }, "an error"},
	{"runtime error", func() { none := []int{}; none[len(ends)]++ }, "runtime error: index out of range [2] with length 0"},
}

// mined is a client's connection that explodes on demand.
type mined struct {
	*net.TCPConn
	inRead, inWrite atomic.Pointer[func()]
}

// Read explodes once something has arrived, as code that looks at it would.
func (c *mined) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if explode := c.inRead.Load(); explode != nil {
		(*explode)()
	}
	return n, err
}

// Write explodes before it has written anything.
func (c *mined) Write(b []byte) (int, error) {
	if explode := c.inWrite.Load(); explode != nil {
		(*explode)()
	}
	return c.TCPConn.Write(b)
}

// ReadFrom and WriteTo leave no way around Read and Write.
func (c *mined) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }

// WriteTo is said above.
func (c *mined) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{c}) }

// wrapInMines is a [engine.Setup]'s Wrap; every connection goes to the channel before the plugin gets it.
func wrapInMines(lay func(*mined)) func(http.Handler) http.Handler {
	return func(plugin http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			plugin.ServeHTTP(&hijackable{rw, func(conn net.Conn) net.Conn {
				c := &mined{TCPConn: conn.(*net.TCPConn)}
				lay(c)
				return c
			}}, req)
		})
	}
}

// TestPanicInPump wants a panic to end the session that it happens in, with a word in the log, and no other one.
func TestPanicInPump(t *testing.T) {
	eachUseInProcess(t, func(t *testing.T, e engine.Engine) {
		for name, options := range map[string]object{"frames": nil, "tunnel": {"mode": "tunnel"}} {
			if canUse(e, options) {
				t.Run(name, func(t *testing.T) { panicsInPump(t, e, options) })
			}
		}
	})
}

func panicsInPump(t *testing.T, e engine.Engine, options object) {
	conns := make(chan *mined, 1)
	s := newGroundOf(t, e, engine.Setup{Config: options, Wrap: wrapInMines(func(c *mined) { conns <- c })})
	var others []*joined
	for range 3 {
		others = append(others, s.join(t))
		<-conns
	}
	for _, by := range ends {
		for _, bomb := range bombs {
			t.Run(bomb.name+" while relaying from "+by, func(t *testing.T) {
				converse(t, others)
				s.join(t).blowUp(t, <-conns, by, bomb.explode)
				s.checkFailed(t, bomb.said)
				converse(t, others)
			})
		}
	}
}

// checkFailed wants a record of the session, and a line that tells the cause.
func (g *ground) checkFailed(t *testing.T, said string) {
	t.Helper()
	record := g.record(t)
	if record["endedBy"] != "wsfw" || record["reason"] != "internal error" {
		t.Errorf("the record tells %v, want the session ended by wsfw, internal error", record)
	}
	line := g.gateway.Wait(t, "session failed")
	if cause, _ := line["error"].(string); cause != said || line["level"] != "error" {
		t.Errorf("the line is %v, want an error: %s", line, said)
	}
}

// blowUp explodes in the pump from the named end, and wants both connections closed.
func (j *joined) blowUp(t *testing.T, conn *mined, by string, explode func()) {
	t.Helper()
	converse(t, []*joined{j})
	if by == "client" {
		conn.inRead.Store(&explode)
	} else {
		conn.inWrite.Store(&explode)
	}
	near, _ := j.from(by)
	send(t, near, wire.Text("boom"))
	expectCut(t, j.client)
	expectCut(t, j.upstream)
}

// converse sends a message each way through every session.
func converse(t *testing.T, sessions []*joined) {
	t.Helper()
	for _, j := range sessions {
		for _, by := range ends {
			near, far := j.from(by)
			send(t, near, wire.Text("from "+by))
			expect(t, far, near.Encode(wire.Text("from "+by)))
		}
	}
}

// TestPanicInPing has a connection explode when its idle session is pinged: that session ends, and all others that are
// pinged at the same pace go on being so.
func TestPanicInPing(t *testing.T) {
	for _, bomb := range bombs {
		t.Run(bomb.name, func(t *testing.T) {
			eachUseInProcess(t, func(t *testing.T, e engine.Engine) {
				conns := make(chan *mined, 1)
				s := newGroundOf(t, e, engine.Setup{
					Config: object{"pingInterval": beat.String(), "pingTarget": "client"},
					Wrap:   wrapInMines(func(c *mined) { conns <- c }),
				})
				other := s.join(t)
				<-conns
				doomed := s.join(t)
				(<-conns).inWrite.Store(&bomb.explode)
				_, _ = io.Copy(io.Discard, doomed.client) // whatever pings it had before
				expectCut(t, doomed.upstream)
				s.checkFailed(t, bomb.said)
				for range 5 {
					send(t, other.client, pong(expectPing(t, other.client, false)))
				}
			})
		})
	}
}

// TestPanicInHandshake has the connection explode when the client is answered 101: nothing may be left open.
func TestPanicInHandshake(t *testing.T) {
	for _, bomb := range bombs {
		t.Run(bomb.name, func(t *testing.T) {
			eachUseInProcess(t, func(t *testing.T, e engine.Engine) {
				conns := make(chan *mined, 1)
				s := newGroundOf(t, e, engine.Setup{Wrap: wrapInMines(func(c *mined) {
					c.inWrite.Store(&bomb.explode)
					conns <- c
				})})
				client := peerDial(t, s.gateway, upgrade("GET / HTTP/1.1"))
				upstream, err := s.server.Accept()
				if err != nil {
					t.Fatal(err)
				}
				expectCut(t, upstream)
				client.expectEnd(t)
				// Not left to the garbage collector, which would close it some day, too.
				if err := (<-conns).Close(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("closing the client's connection once more tells %v, want that it is closed", err)
				}
				await(t, settleTimeout, func() string { return excess("stacks of the plugin", ofPlugin(goroutines(t, s.gateway)), 0) })
			})
		})
	}
}

// TestPanicOfNext has next abort an answer that it has begun, as Traefik's proxy does when a service breaks off: that
// reaches the server as it is, and the client sees the answer broken off.
func TestPanicOfNext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, "begun")
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	requests := map[string]string{"upgrade": upgrade("GET / HTTP/1.1"), "other request": raw("GET / HTTP/1.1", "Host: chat.example.com")}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for use, config := range nextUses {
			options := object{"nonWebSocket": "pass"}
			maps.Copy(options, config)
			setup := engine.Setup{Config: options, Next: server.URL}
			panics := make(chan any, 1)
			if e.Name() != "traefik" {
				setup.Wrap = func(plugin http.Handler) http.Handler { return witness(plugin, panics) }
			}
			gateway := e.Start(t, setup)
			for name, request := range requests {
				t.Run(use+" "+name, func(t *testing.T) {
					client := peerDial(t, gateway, request)
					body, err := io.ReadAll(client.answer(t).Body)
					if string(body) != "begun" || !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("the answer's body is %q (%v), want it broken off", body, err)
					}
					if e.Name() == "traefik" {
						return
					}
					if got := <-panics; got != any(http.ErrAbortHandler) {
						t.Errorf("the panic that reaches the server is %v (%T), want http.ErrAbortHandler itself", got, got)
					}
				})
			}
		}
	})
}

// witness tells what a handler panics with, nil where it does not.
func witness(handler http.Handler, panics chan<- any) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		defer func() {
			r := recover()
			panics <- r
			if r != nil {
				panic(r)
			}
		}()
		handler.ServeHTTP(rw, req)
	})
}

package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// secureName is what a TLS entry point's certificate is for.
const secureName = "chat.example.com"

// newSecure runs a gateway whose clients speak TLS, and returns one of these.
func newSecure(t *testing.T, e engine.Engine, setup engine.Setup) *caller {
	t.Helper()
	authority := newTLSAuthority(t)
	certFile, keyFile := tlsDir(t.TempDir()).pair(t, authority.server(t, secureName))
	setup.Traefik.TLS = true
	setup.Traefik.Certificates = []object{{"certFile": certFile, "keyFile": keyFile}}
	c := newCaller(e.Start(t, setup), nil)
	c.tls = &tls.Config{RootCAs: authority.pool(), ServerName: secureName}
	return c
}

// TestEntryPointTLS has clients speak TLS: sessions over HTTP/1.1, plain requests over that and HTTP/2.
func TestEntryPointTLS(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, u := range uses {
			t.Run(u.name, func(t *testing.T) {
				server := newBystander(t, (*httptest.Server).Start)
				c := newSecure(t, e, engine.Setup{Config: u.before(server.url), Next: server.url})
				c.works(t, server, u.records)
				c.http2 = true
				c.plainWorks(t)
				if resp, _ := c.plain(t); resp.ProtoMajor != 2 {
					t.Errorf("the answer is %s, want HTTP/2", resp.Proto)
				}
			})
		}
	})
}

// TestEntryPointHTTP2 has clients ask for sessions over HTTP/2, which Traefik does not offer: neither by the headers of
// HTTP/1.1 (RFC 9113 section 8.2.2) nor by an extended CONNECT (RFC 8441).
func TestEntryPointHTTP2(t *testing.T) {
	get := []string{":method", "GET", ":scheme", "https", ":path", "/socket", ":authority", secureName}
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, u := range uses {
			t.Run(u.name, func(t *testing.T) {
				config := u.before("ws://" + peerDeadAddr(t))
				config["nonWebSocket"] = "reject"
				c := newSecure(t, e, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
				c.http2 = true
				transport := c.transport()
				t.Cleanup(transport.CloseIdleConnections)
				checkRefusalHTTP2(t, transport, http.MethodGet, c.url("http", "/plain"))

				kind, payload := c.http2Answer(t, append(get, "connection", "Upgrade", "upgrade", "websocket",
					"sec-websocket-version", "13", "sec-websocket-key", sampleKey))
				if kind != http2Headers || payload[0] != http2Status400 {
					t.Errorf("HTTP/1.1's headers are answered with frame %d, %q, want status 400", kind, payload)
				}
				kind, payload = c.http2Answer(t, append([]string{":method", "CONNECT", ":protocol", "websocket"}, get[2:]...))
				if kind != http2Reset || string(payload) != http2ProtocolError {
					t.Errorf("an extended CONNECT is answered with frame %d, %q, want a protocol error", kind, payload)
				}
			})
		}
	})
}

// RFC 9113, and RFC 7541 for the status.
const (
	http2Headers       = 0x1
	http2Reset         = 0x3
	http2Settings      = 0x4
	http2EndOfBoth     = 0x5  // of the headers and of the stream
	http2Status400     = 0x8C // an entry of HPACK's static table
	http2ProtocolError = "\x00\x00\x00\x01"
)

// http2Answer sends a request, names and values by turns, and returns the first frame of its answer.
func (c *caller) http2Answer(t *testing.T, fields []string) (kind byte, payload []byte) {
	t.Helper()
	config := c.tls.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", c.gateway.Addr, config)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeerConn(t, conn)
	var block []byte
	for i, text := range fields {
		if i%2 == 0 {
			block = append(block, 0) // a literal field that is not indexed
		}
		block = append(append(block, byte(len(text))), text...)
	}
	p.send(t, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	p.send(t, http2Frame(http2Settings, 0, 0, nil)+http2Frame(http2Headers, http2EndOfBoth, 1, block))
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(p.in, head); err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(p.in, payload); err != nil {
			t.Fatal(err)
		}
		if head[8] == 1 { // the request's stream
			return head[3], payload
		}
	}
}

// http2Frame is a frame of up to 64 KiB.
func http2Frame(kind, flags, stream byte, payload []byte) string {
	return string([]byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, stream}) + string(payload)
}

// relaying are the uses with sessions that the plugin can end.
var relaying = []use{forwardUse, inlineUse}

// TestEntryPointTLSDrain shuts Traefik down under a session over TLS.
func TestEntryPointTLSDrain(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, u := range relaying {
			t.Run(u.name, func(t *testing.T) {
				server := newBystander(t, (*httptest.Server).Start)
				config := u.before(server.url)
				config["drainTimeout"] = "0"
				c := newSecure(t, e, engine.Setup{Config: config, Next: server.url, Dedicated: true})
				client, _ := c.join(t)
				<-server.heads
				talk(t, client)
				start := time.Now()
				c.gateway.Terminate(t)
				_, _, err := client.hear()
				if got, want := client.ended(err), (forwardEnd{1012, restartReason}); got != want {
					t.Errorf("the client saw %v, want %v", got, want)
				}
				if got, want := <-server.ends, (forwardEnd{1001, restartReason}); got != want {
					t.Errorf("the server saw %v, want %v", got, want)
				}
				c.recorded(t, server, true, "wsfw", forwardEnd{code: 1012})
				awaitExit(t, c.gateway, start)
			})
		}
	})
}

// TestEntryPointTLSVanish has clients go without a close frame, with TLS's alert and without.
func TestEntryPointTLSVanish(t *testing.T) {
	vanish := map[string]func(conn *gorilla.Conn) error{
		"alert": func(conn *gorilla.Conn) error { return conn.NetConn().Close() },
		"cut":   func(conn *gorilla.Conn) error { return conn.NetConn().(*tls.Conn).NetConn().Close() },
	}
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, u := range relaying {
			for how, leave := range vanish {
				t.Run(u.name+"/"+how, func(t *testing.T) {
					server := newBystander(t, (*httptest.Server).Start)
					c := newSecure(t, e, engine.Setup{Config: u.before(server.url), Next: server.url})
					client, _ := c.join(t)
					<-server.heads
					talk(t, client)
					if err := leave(client.conn); err != nil {
						t.Fatal(err)
					}
					if got := <-server.ends; got.code != gorilla.CloseAbnormalClosure {
						t.Errorf("the server saw %v, want the end of the stream", got)
					}
					c.recorded(t, server, true, "client", forwardEnd{code: gorilla.CloseAbnormalClosure})
				})
			}
		}
	})
}

// TestEntryPointAccessLog wants one line for each session, as Traefik writes it by itself: how long it was.
func TestEntryPointAccessLog(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		native := use{name: "native"}
		for _, u := range append([]use{native}, uses...) {
			t.Run(u.name, func(t *testing.T) {
				server := newBystander(t, (*httptest.Server).Start)
				c := newCaller(e.Start(t, engine.Setup{
					Config: u.before(server.url), Next: server.url, Dedicated: true,
					Traefik: engine.Surroundings{AccessLog: true, Native: u.name == native.name},
				}), nil)
				asked := time.Now()
				client, _ := c.join(t)
				joined := time.Now()
				<-server.heads
				for time.Since(joined) < 200*time.Millisecond {
					talk(t, client)
				}
				least := time.Since(joined)
				server.dismiss(client)
				c.logged(t, 1)
				most := time.Since(asked)
				c.plainWorks(t)
				lines := c.logged(t, 2)
				// Traefik has no status for a connection that has been taken over.
				session, plain := lines[0], lines[1]
				if session["RequestPath"] != "/socket" || session["DownstreamStatus"] != 0.0 {
					t.Errorf("of a session the access log tells %v", session)
				}
				if took := time.Duration(session["Duration"].(float64)); took < least || took > most {
					t.Errorf("the access log has a session take %v, which took from %v to %v", took, least, most)
				}
				if plain["RequestPath"] != "/plain" || plain["DownstreamStatus"] != 200.0 {
					t.Errorf("of a plain request the access log tells %v", plain)
				}
			})
		}
	})
}

// logged waits until the access log has this many lines, and wants no more.
func (c *caller) logged(t *testing.T, requests int) (lines []object) {
	t.Helper()
	await(t, soon, func() string {
		if lines = c.gateway.AccessLog(t); len(lines) != requests {
			return fmt.Sprintf("the access log has %d lines, want %d: %v", len(lines), requests, lines)
		}
		return ""
	})
	return lines
}

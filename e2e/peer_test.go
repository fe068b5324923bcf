package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// peerConn is one end of a connection, on which the case itself spells every byte: a client, or what an upstream has
// accepted.
type peerConn struct {
	net.Conn
	in *bufio.Reader
}

func newPeerConn(t *testing.T, conn net.Conn) *peerConn {
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(rawTimeout))
	return &peerConn{Conn: conn, in: bufio.NewReader(conn)}
}

// peerDial sends a request to the gateway and leaves its answer to be read.
func peerDial(t *testing.T, gateway *engine.Gateway, request string) *peerConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", gateway.Addr, rawTimeout)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeerConn(t, conn)
	p.send(t, request)
	return p
}

func (p *peerConn) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		t.Fatalf("sending: %v", err)
	}
}

// answer reads the head of an answer. Its body, or the first frames, are left to be read.
func (p *peerConn) answer(t *testing.T) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(p.in, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp
}

// final reads the head of an answer that is not informational.
func (p *peerConn) final(t *testing.T) *http.Response {
	t.Helper()
	for {
		if resp := p.answer(t); resp.StatusCode >= http.StatusOK || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp
		}
	}
}

// answerOf reads the head of an answer of a gateway of the engine's: informational ones come before it where Traefik's
// proxy passes them on, and none where the gateway forwards.
func (p *peerConn) answerOf(t *testing.T, e engine.Engine) *http.Response {
	t.Helper()
	if isInline(e) {
		return p.final(t)
	}
	return p.answer(t)
}

// refusal reads an answer of the gateway's own and holds it to its form.
func (p *peerConn) refusal(t *testing.T, status int) {
	t.Helper()
	resp := p.answer(t)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer's body: %v", err)
	}
	if resp.StatusCode != status {
		t.Fatalf("status is %d (%.80q), want %d", resp.StatusCode, body, status)
	}
	checkSentence(t, resp, string(body))
}

// expect reads as many bytes as want has.
func (p *peerConn) expect(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(p.in, got); err != nil {
		t.Fatalf("got %d of %d bytes: %v", n, len(want), err)
	}
	if string(got) != want {
		t.Fatalf("got %d bytes that differ from those sent (%.80q, want %.80q)", len(got), got, want)
	}
}

// expectEnd wants the connection closed by the other end, whatever that has said before.
func (p *peerConn) expectEnd(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, p.in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still open")
	}
}

// readHead reads the head of a request or an answer.
func (p *peerConn) readHead(t *testing.T) peerHead {
	t.Helper()
	var head peerHead
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			t.Fatalf("reading a head: %v", err)
		}
		if line == "\r\n" {
			return head
		}
		head = append(head, strings.TrimSuffix(line, "\r\n"))
	}
}

// peerHead is the head of a request or an answer as it arrived, line by line.
type peerHead []string

// target is the request target, verbatim.
func (h peerHead) target() string {
	_, rest, _ := strings.Cut(h[0], " ")
	target, _, _ := strings.Cut(rest, " ")
	return target
}

// values are those of a header, one for each of its lines.
func (h peerHead) values(name string) []string {
	var values []string
	for _, line := range h[1:] {
		if names(line, name) {
			_, value, _ := strings.Cut(line, ":")
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// switching spells a valid 101 to the request, with edits as those of [upgrade].
func (h peerHead) switching(edits ...string) string {
	const accept = "Sec-WebSocket-Accept"
	all := append([]string{"!Host", "!Sec-WebSocket-Key", "!Sec-WebSocket-Version"}, edits...)
	if !slices.ContainsFunc(edits, func(edit string) bool { return names(edit, accept) }) {
		all = append(all, accept+": "+wire.Accept(strings.Join(h.values("Sec-WebSocket-Key"), "")))
	}
	return upgrade("HTTP/1.1 101 Switching Protocols", all...)
}

// peerUpstream is an upstream that takes connections, and says what the case spells.
type peerUpstream struct {
	listener *net.TCPListener
	addr     string
	tls      *tls.Config // nil: no TLS
}

func peerListen(t *testing.T) *peerUpstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return &peerUpstream{listener: listener.(*net.TCPListener), addr: listener.Addr().String()}
}

// endpoint is the upstream's URL, with no path.
func (u *peerUpstream) endpoint() string {
	if u.tls != nil {
		return "wss://" + u.addr
	}
	return "ws://" + u.addr
}

// accept takes the next connection.
func (u *peerUpstream) accept(t *testing.T) *peerConn {
	t.Helper()
	u.listener.SetDeadline(time.Now().Add(rawTimeout))
	conn, err := u.listener.Accept()
	if err != nil {
		t.Fatalf("the upstream is not dialled: %v", err)
	}
	if u.tls != nil {
		conn = tls.Server(conn, u.tls)
	}
	return newPeerConn(t, conn)
}

// request takes the next connection and reads the head of its request.
func (u *peerUpstream) request(t *testing.T) (*peerConn, peerHead) {
	t.Helper()
	p := u.accept(t)
	return p, p.readHead(t)
}

// head sends a request to the gateway, and returns what the upstream gets of it.
func (u *peerUpstream) head(t *testing.T, gateway *engine.Gateway, request string) peerHead {
	t.Helper()
	client := peerDial(t, gateway, request)
	upstream, head := u.request(t)
	upstream.send(t, raw("HTTP/1.1 404 Not Found", "Content-Length: 0"))
	client.answer(t)
	return head
}

// join opens a session between the case's own client and upstream.
func (u *peerUpstream) join(t *testing.T, gateway *engine.Gateway) (client, upstream *peerConn) {
	t.Helper()
	client = peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
	upstream, head := u.request(t)
	upstream.send(t, head.switching())
	if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status is %d, want 101", resp.StatusCode)
	}
	return client, upstream
}

// forwardTo runs a gateway to an endpoint, with more options.
func forwardTo(t *testing.T, e engine.Engine, endpoint string, options object) *engine.Gateway {
	t.Helper()
	config := object{"upstreamEndpoint": endpoint}
	maps.Copy(config, options)
	return e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
}

// peerDeadAddr is an address on which nobody listens and, while the test runs, nobody will: a client's own.
func peerDeadAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

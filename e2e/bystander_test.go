package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
)

// bystander is a server for both kinds of requests. It answers plain ones at length, and says of any what it has got.
type bystander struct {
	url string

	// heads gets the header of each session's request.
	heads chan http.Header

	// ends gets how each session ended.
	ends chan forwardEnd

	server *httptest.Server
	latest atomic.Pointer[gorilla.Conn] // session
}

const (
	// serverMark names the server that has answered.
	serverMark = "X-Server"

	// largePlain is worth to be compressed.
	largePlain = 16 << 10
)

// newBystander runs a server that has start begin it.
func newBystander(t *testing.T, start func(*httptest.Server)) *bystander {
	b := &bystander{heads: make(chan http.Header, 1), ends: make(chan forwardEnd, 1)}
	b.server = httptest.NewUnstartedServer(b)
	start(b.server)
	t.Cleanup(b.server.Close)
	b.url = b.server.URL
	return b
}

// die takes the server away, with its latest session.
func (b *bystander) die() {
	b.server.Listener.Close()
	b.server.CloseClientConnections() // but for that session's
	b.latest.Load().NetConn().Close()
}

// addr is the host:port of the server.
func (b *bystander) addr() string {
	_, addr, _ := strings.Cut(b.url, "://")
	return addr
}

// ServeHTTP implements [http.Handler].
func (b *bystander) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	mark := http.Header{serverMark: {b.addr()}}
	if !gorilla.IsWebSocketUpgrade(req) {
		rw.Header().Set(serverMark, b.addr())
		rw.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(rw, "%s %s by %s\n%s", req.Method, req.URL.Path, req.Proto, strings.Repeat("plain ", largePlain/6))
		return
	}
	upgrader := gorilla.Upgrader{EnableCompression: true}
	conn, err := upgrader.Upgrade(rw, req, mark)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(rawTimeout))
	b.latest.Store(conn)
	b.heads <- req.Header
	b.ends <- echoUntilBye(gorillaSpeaker{conn})
}

// dismiss ends the session of a client.
func (b *bystander) dismiss(client gorillaSpeaker) {
	client.bye(1000, "")
	client.quit() // for which Traefik by itself waits
	<-b.ends
}

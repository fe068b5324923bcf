package wire

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// Upstream is a server that answers every handshake with 101 and leaves the rest to the test.
type Upstream struct {
	// URL is its ws:// address.
	URL string

	listener net.Listener
	lines    []string
	joined   chan *Peer
	closed   chan struct{}
}

// Listen starts an upstream on a free port. Lines are further header lines of its answers.
func Listen(lines ...string) (*Upstream, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &Upstream{
		URL:      "ws://" + listener.Addr().String(),
		listener: listener,
		lines:    lines,
		joined:   make(chan *Peer),
		closed:   make(chan struct{}),
	}
	go u.serve()
	return u, nil
}

// Close ends the upstream; peers that Accept has returned stay.
func (u *Upstream) Close() error {
	close(u.closed)
	return u.listener.Close()
}

// Accept returns the next peer after its handshake.
func (u *Upstream) Accept() (*Peer, error) {
	select {
	case peer := <-u.joined:
		return peer, nil
	case <-time.After(Timeout):
		return nil, errors.New("nobody has connected")
	}
}

func (u *Upstream) serve() {
	for {
		conn, err := u.listener.Accept()
		if err != nil {
			return // Close has been called
		}
		go u.welcome(conn)
	}
}

// welcome reads a handshake.
func (u *Upstream) welcome(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(Timeout))
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		conn.Close()
		return
	}
	u.join(conn, in, req.Header)
}

// ServeHTTP takes the connection over from a server that has other answers for other requests.
func (u *Upstream) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	conn, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	conn.SetDeadline(time.Now().Add(Timeout))
	u.join(conn, buffered.Reader, req.Header)
}

// join answers a handshake and hands the peer to Accept.
func (u *Upstream) join(conn net.Conn, in *bufio.Reader, header http.Header) {
	head := append([]string{
		"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: " + Accept(header.Get("Sec-WebSocket-Key")),
	}, u.lines...)
	if _, err := io.WriteString(conn, spell(head)); err != nil {
		conn.Close()
		return
	}
	select {
	case u.joined <- newPeer(conn, in, header, false):
	case <-u.closed:
		conn.Close()
	}
}

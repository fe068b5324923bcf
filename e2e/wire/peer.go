package wire

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/wsfw/wsfw/e2e/pace"
)

// Timeout bounds every handshake, and all reads and writes of a peer that sets no deadline of its own.
var Timeout = pace.Of(20 * time.Second)

// Conn carries a session: a TCP connection, or a stream of HTTP/2 or HTTP/3.
type Conn interface {
	net.Conn

	// CloseWrite ends what this end sends: a FIN, or the stream's end.
	CloseWrite() error

	// Reset ends both directions at once: a RST, or the stream's reset.
	Reset() error

	// SetReadBuffer bounds what this end takes without reading it. A stream has its window for that.
	SetReadBuffer(bytes int) error
}

// tcp is a TCP connection.
type tcp struct{ *net.TCPConn }

// Reset implements [Conn].
func (c tcp) Reset() error { return errors.Join(c.SetLinger(0), c.Close()) }

// Peer is one end of a session, after its handshake.
type Peer struct {
	Conn

	// Header is what the other end sent with its handshake.
	Header http.Header

	masks bool // a client's frames are masked
	in    *bufio.Reader
}

// Read reads what follows the handshake.
func (p *Peer) Read(b []byte) (int, error) { return p.in.Read(b) }

// ReadFrame reads the next frame.
func (p *Peer) ReadFrame() (Frame, error) { return ReadFrame(p.in) }

// Encode is the frames as this peer sends them: masked by a client, not masked by a server.
func (p *Peer) Encode(frames ...Frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.Masking(p.masks).Bytes()...)
	}
	return b
}

// Send writes the frames with one write.
func (p *Peer) Send(frames ...Frame) error {
	_, err := p.Write(p.Encode(frames...))
	return err
}

// newPeer is a peer on a connection whose handshake in has read.
func newPeer(conn net.Conn, in *bufio.Reader, header http.Header, masks bool) *Peer {
	return &Peer{Conn: tcp{conn.(*net.TCPConn)}, Header: header, masks: masks, in: in}
}

// Dial connects to a gateway as a client. Lines are further header lines of its handshake.
func Dial(addr string, lines ...string) (*Peer, error) {
	return DialFrom("", addr, lines...)
}

// DialFrom is Dial with an IP address of this machine's to connect from.
func DialFrom(source, addr string, lines ...string) (*Peer, error) {
	dialer := net.Dialer{Timeout: Timeout}
	if source != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(Timeout))
	in := bufio.NewReader(conn)
	header, err := ask(conn, in, lines)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return newPeer(conn, in, header, true), nil
}

// SampleKey is the Sec-WebSocket-Key of RFC 6455 section 1.3.
const SampleKey = "dGhlIHNhbXBsZSBub25jZQ=="

// ask does a client's handshake.
func ask(conn net.Conn, in *bufio.Reader, lines []string) (http.Header, error) {
	head := append([]string{
		"GET /socket HTTP/1.1", "Host: chat.example.com", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + SampleKey,
	}, lines...)
	if _, err := io.WriteString(conn, spell(head)); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, refusal(resp)
	}
	if got, want := resp.Header.Get("Sec-WebSocket-Accept"), Accept(SampleKey); got != want {
		return nil, fmt.Errorf("Sec-WebSocket-Accept is %q, want %q", got, want)
	}
	return resp.Header, nil
}

// spell is the head of a message: its lines, and the empty one.
func spell(lines []string) string {
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// Accept is the answer to a Sec-WebSocket-Key, RFC 6455 section 4.2.2.
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

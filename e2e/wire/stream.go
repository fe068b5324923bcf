package wire

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/wsfw/wsfw/e2e/pace"
)

// Carrier is a connection of HTTP/2 or HTTP/3 to a gateway. Its streams are sessions (RFC 8441, RFC 9220).
type Carrier interface {
	// Dial opens a session on a stream of its own. Lines are further header fields of its handshake. One whose name the
	// handshake has already takes that one's place, and leaves it out where it has no value; so can pseudo-header fields
	// be had, such as ":path: /other". An answer other than 200 is a [Refusal].
	Dial(lines ...string) (*Peer, error)

	// Close ends the connection with all its streams.
	Close() error
}

// DialHTTP2 connects to a gateway as a client whose connection has one stream. Lines are those of [Carrier.Dial].
func DialHTTP2(addr string, lines ...string) (*Peer, error) {
	return dialAlone(ConnectHTTP2, addr, lines)
}

// DialHTTP3 is DialHTTP2 over QUIC.
func DialHTTP3(addr string, lines ...string) (*Peer, error) {
	return dialAlone(ConnectHTTP3, addr, lines)
}

// dialAlone has the connection end with its only stream.
func dialAlone(connect func(addr string) (Carrier, error), addr string, lines []string) (*Peer, error) {
	carrier, err := connect(addr)
	if err != nil {
		return nil, err
	}
	peer, err := carrier.Dial(lines...)
	if err != nil {
		carrier.Close()
		return nil, err
	}
	peer.Conn.(stream).endsWith(carrier)
	return peer, nil
}

// stream is a [Conn] that is not the whole connection.
type stream interface {
	Conn

	// endsWith has the carrier closed soon after the stream, which is not yet in use.
	endsWith(carrier Carrier)
}

const (
	// streamWindow is what a client takes without reading it. It is small, so that one that does not read is soon felt.
	streamWindow = 64 << 10

	// secureName is whom the clients' TLS asks for. They believe every certificate.
	secureName = "chat.example.com"
)

// parting is how long a connection outlives its only stream, lest it take the end of that along.
var parting = pace.Of(time.Second)

// newStreamPeer is a client on a stream that an answer of 200 has opened.
func newStreamPeer(conn stream, header http.Header) *Peer {
	conn.SetDeadline(time.Now().Add(Timeout))
	return &Peer{Conn: conn, Header: header, masks: true, in: bufio.NewReader(conn)}
}

// handshake is what a client asks for a session with, over a stream.
type handshake struct {
	method   string
	protocol string // empty makes a CONNECT an ordinary one
	url      *url.URL
	header   http.Header
}

// newHandshake is RFC 8441 section 5.1's, changed by lines as [Carrier.Dial] tells.
func newHandshake(lines []string) (*handshake, error) {
	fields := http.Header{
		":method": {http.MethodConnect}, ":protocol": {"websocket"}, ":path": {"/socket"}, ":authority": {secureName},
		"Sec-Websocket-Version": {"13"},
	}
	replaced := map[string]bool{}
	for _, line := range lines {
		name, value := field(line)
		if !replaced[name] {
			replaced[name] = true
			delete(fields, name)
		}
		if value != "" {
			fields[name] = append(fields[name], value)
		}
	}
	pseudo := func(name string) string {
		defer delete(fields, name)
		return strings.Join(fields[name], "")
	}
	h := &handshake{method: pseudo(":method"), protocol: pseudo(":protocol"), header: fields}
	target, err := url.Parse("https://" + pseudo(":authority") + pseudo(":path"))
	h.url = target
	return h, err
}

// field is a header line's name, as [http.Header] spells it, and its value.
func field(line string) (name, value string) {
	colon := strings.Index(line[1:], ":") + 1 // a pseudo-header field begins with one
	name, value = line[:colon], strings.TrimSpace(line[colon+1:])
	if name[0] != ':' {
		name = textproto.CanonicalMIMEHeaderKey(name)
	}
	if name == "Host" {
		name = ":authority"
	}
	return name, value
}

// Refusal is the error of a handshake whose answer opens no session.
type Refusal struct {
	Status int
	Header http.Header
	Body   string
}

// Error implements error.
func (r *Refusal) Error() string {
	return fmt.Sprintf("the answer is %d %s", r.Status, http.StatusText(r.Status))
}

// refusal reads the rest of an answer.
func refusal(resp *http.Response) *Refusal {
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // what has come of it is enough
	return &Refusal{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// resetError is the error of a stream that has ended out of order, told as of a TCP connection.
func resetError(err error) error {
	return fmt.Errorf("%w: %w", syscall.ECONNRESET, err)
}

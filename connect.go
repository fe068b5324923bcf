package wsfw

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"time"
)

// A client may ask for a session on a stream of an HTTP/2 or HTTP/3 connection, by an extended CONNECT (RFC 8441, RFC 9220).
// There is no key, no 101 and no connection to take over: the request's body is what the client sends, and the body of the
// answer 200 is what it gets. All else of wsfw, and next, get an upgrade by HTTP/1.1 in its place, and two pipes for the
// connection. Compiled code copies between those and the stream:
//
//	client ── stream ══ session ── upstream

// streamBuffer is how many bytes are copied at a time between a stream and its pipes. A session keeps two of that size.
const streamBuffer = 8 << 10

// stream is a client's stream, and the response writer that next gets for it in the check.
type stream struct {
	http.ResponseWriter
	req     *http.Request      // the CONNECT
	release func() bool        // has the upgrade outlive the stream,
	cancel  context.CancelFunc // until this

	// From when the stream is taken over.
	ends     *pipes
	conn     *streamConn
	sent     chan struct{} // closed when no more comes from the client,
	late     bool          // which was because the server has timed the stream out,
	answered chan struct{} // and when no more goes to it
}

// isConnect reports whether a request asks for a WebSocket by an extended CONNECT. Of that, net/http's server has the protocol
// in a header, and quic-go's in Proto.
func isConnect(req *http.Request) bool {
	if req.Method != http.MethodConnect {
		return false
	}
	protocol := req.Header[":protocol"]
	return req.Proto == "websocket" || req.ProtoMajor == 2 && len(protocol) == 1 && protocol[0] == "websocket"
}

// openStream has an upgrade that came by an extended CONNECT go on as one by HTTP/1.1, with a key of ours. As with that, its
// context ends when the client leaves, but not any more once the stream is taken over: then its pipes end.
func openStream(u *upgrade) {
	t := &stream{ResponseWriter: u.rw, req: u.req}
	ctx, cancel := context.WithCancel(context.WithoutCancel(u.req.Context()))
	t.cancel = cancel
	t.release = context.AfterFunc(u.req.Context(), cancel)
	req := u.req.Clone(ctx)
	req.Method = http.MethodGet
	req.Proto = "HTTP/1.1"
	req.ProtoMajor = 1
	req.ProtoMinor = 1
	req.Body = http.NoBody
	req.ContentLength = 0
	delete(req.Header, ":protocol")
	req.Header["Upgrade"] = []string{"websocket"}
	req.Header["Connection"] = []string{"Upgrade"}
	req.Header[keyHeader] = []string{base64.StdEncoding.EncodeToString(randomBytes(16))}
	u.stream = t
	u.http = strconv.Itoa(t.req.ProtoMajor)
	u.req = req
}

// takeStream has the stream copied to two pipes from here on, and returns the client at their ends.
func takeStream(t *stream) *peer {
	t.release()
	ends, _ := newPipes(nil)
	t.ends = ends
	t.sent = make(chan struct{})
	t.answered = make(chan struct{})
	t.conn = &streamConn{Reader: ends.reads, Writer: ends.writes, standIn: &standIn{ends.reads}, ends: ends}
	go copySent(t)
	go copyAnswer(t)
	return &peer{name: clientPeer, conn: ends.writes, source: ends.reads, reader: ends.reads, pipes: ends}
}

// copySent copies what the client sends, to its end. A stream that is reset ends, too.
func copySent(t *stream) {
	defer close(t.sent)
	defer hangUpOn(t.ends.farWrites)
	defer swallow()
	_, err := io.CopyBuffer(t.ends.farWrites, t.req.Body, make([]byte, streamBuffer))
	t.late = errors.Is(err, os.ErrDeadlineExceeded) // none of the pipes' own: no write to them has a deadline
}

// copyAnswer copies what is for the client, and flushes each piece: net/http's proxy does both without the interpreter.
func copyAnswer(t *stream) {
	defer close(t.answered)
	defer hangUpOn(t.ends.farWrites)
	defer hangUpOn(t.ends.farReads)
	defer swallow()
	var source http.RoundTripper = &answerSource{t}
	var buffers httputil.BufferPool = &streamBuffers{}
	proxy := &httputil.ReverseProxy{
		Director: func(_ *http.Request) {}, Transport: source, FlushInterval: -1, BufferPool: buffers, ErrorLog: noLog,
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	}
	// The proxy is not to know the server: it would panic where the client has gone.
	proxy.ServeHTTP(t.ResponseWriter, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}})
}

// noLog takes what net/http's proxy says of a client that has gone.
var noLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)

// streamBuffers are what net/http's proxy copies with.
type streamBuffers struct{}

// Get implements httputil.BufferPool.
func (*streamBuffers) Get() []byte { return make([]byte, streamBuffer) }

// Put implements httputil.BufferPool.
func (*streamBuffers) Put(_ []byte) {}

// answerSource gives the answer that is written to the pipes, as if a server had sent it: a 101 is a 200 on a stream, whose body
// is what follows.
type answerSource struct{ stream *stream }

// RoundTrip implements http.RoundTripper.
func (s *answerSource) RoundTrip(_ *http.Request) (*http.Response, error) {
	t := s.stream
	reader := bufio.NewReaderSize(t.ends.farReads, hijackReads)
	head, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	header := t.Header() // not before: next may have used it
	for name := range header {
		delete(header, name) // what middlewares have set is in head, too
	}
	if head.StatusCode == http.StatusSwitchingProtocols {
		head.StatusCode = http.StatusOK
		head.ContentLength = -1
		head.Body = io.NopCloser(reader)
		for _, name := range []string{"Upgrade", "Connection", acceptHeader} {
			delete(head.Header, name)
		}
	}
	return head, nil
}

// lingerStream is how long the end of a stream waits for the client's: net/http resets a stream that the client has not ended,
// and Node's client then forgets what it has not read, the close frame among it.
const lingerStream = 250 * time.Millisecond

// endStream closes the pipes, if they are not closed yet, and waits until nothing is copied any more. What had been written to
// them by then is sent, and what the client still sends is not waited for any longer than lingerStream.
func endStream(u *upgrade) {
	t := u.stream
	t.release()
	t.cancel()
	if t.ends == nil {
		return
	}
	closePipes(t.ends)
	<-t.answered
	late := time.AfterFunc(lingerStream, func() {
		defer swallow()
		_ = t.req.Body.Close()
	})
	<-t.sent
	late.Stop()
	if t.late {
		hintReadTimeout(u)
	}
}

// Hijack implements http.Hijacker for next. Reads and writes of what it returns do not pass through us.
func (t *stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if t.ends != nil {
		return nil, nil, http.ErrHijacked
	}
	takeStream(t)
	return streamedConn(t.conn), buffersOf(t.ends.reads, t.ends.writes), nil
}

// streamedConn is a stream's connection as compiled code sees it, which keeps the frame that it is made in.
var streamedConn = func(c *streamConn) net.Conn { return c }

// streamConn is the connection that a stream stands for.
type streamConn struct {
	io.Reader
	io.Writer
	*standIn

	ends *pipes
}

// Close implements net.Conn. What has been written is sent yet.
func (c *streamConn) Close() error {
	closePipes(c.ends)
	return nil
}

// SetDeadline implements net.Conn.
func (c *streamConn) SetDeadline(at time.Time) error {
	return errors.Join(c.ends.reads.SetReadDeadline(at), c.ends.writes.SetWriteDeadline(at))
}

// SetReadDeadline implements net.Conn.
func (c *streamConn) SetReadDeadline(at time.Time) error { return c.ends.reads.SetReadDeadline(at) }

// SetWriteDeadline implements net.Conn.
func (c *streamConn) SetWriteDeadline(at time.Time) error { return c.ends.writes.SetWriteDeadline(at) }

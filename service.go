package wsfw

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Inline, next is what leads to the upstream. It gets a response writer whose connection it takes over for a session, and
// answers with a 101 there. Where that is Traefik's own proxy (net/http's), the connection is a dead end, and the session
// takes the server's connection from the proxy:
//
//	client ── session ── server        the proxy waits in Close until the session has ended
//
// Whatever else takes the connection over gets the far ends of two pipes, one a direction, so that either can end by itself:
//
//	client ── session ══ next ── server

const (
	// flushInterval is how long a part of next's own answer may wait for more: Traefik's own
	// responseForwarding.flushInterval.
	flushInterval = 100 * time.Millisecond

	// answerTimeout is how long next may take to answer once it has taken the connection over: the default of
	// upgradeTimeout, which is for upstreams of wsfw's own.
	answerTimeout = 5 * time.Second

	// lingerTimeout is how long next may go on with what it still has to send upstream when the session has ended.
	lingerTimeout = time.Second

	// Sizes, in bytes, of the buffers that next gets with the connection, and may keep for as long as the session: enough
	// to write a 101; a proxy reads past the other one.
	hijackWrites = 512
	hijackReads  = 16
)

// hijackWriter is the response writer that next gets. What next answers without the client's connection goes to the client
// as it is.
type hijackWriter struct {
	http.ResponseWriter // the client's
	upgrade             *upgrade
	cancel              context.CancelFunc     // of the request that next gets
	trace               *httptrace.ClientTrace // of the same
	returned            bool                   // next has, without a panic
	hijacked            atomic.Bool            // next has taken the connection over
	server              net.Conn               // the latest that Traefik has connected to before that

	// The session's peers, written by Hijack.
	client, upstream *peer
	head             []byte        // next's 101, where it has written that before
	written          *bytes.Buffer // what the proxy writes to a dead end; nil where there is none
	done             chan struct{} // closed when the session over pipes has ended; nil where there are none

	mu        sync.Mutex  // guards the client's writer, and what follows
	failing   bool        // next answers with an error of the server's
	switching bool        // next has written the status 101
	hidden    bool        // the client has been told something else than what next says
	flushing  *time.Timer // flushes the client's writer; nil where there is nothing to flush
}

// connectService has next answer an upgrade, and stays until the session that may come of that has ended: so Traefik, and
// whatever is between, still counts the request. A panic of next's goes on unchanged.
func connectService(u *upgrade) {
	h := &hijackWriter{ResponseWriter: u.rw, upgrade: u}
	h.trace = traceOf(h)
	ctx, cancel := context.WithCancel(httptrace.WithClientTrace(u.req.Context(), h.trace))
	h.cancel = cancel
	u.inline = h
	defer endAnswer(h)
	u.middleware.next.ServeHTTP(h, withOffer(u.req.WithContext(ctx), u.offer))
	h.returned = true
}

// endAnswer, deferred, follows next's end. If next has panicked, it no longer uses a connection that it has taken over;
// when it has returned, others may.
func endAnswer(h *hijackWriter) {
	if h.done != nil {
		if !h.returned {
			abandon(h)
		}
		<-h.done
	}
	if u := h.upgrade; u.session == nil && !u.refused {
		countRefused(u, upstreamAnswered)
	}
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.flushing != nil {
		h.flushing.Stop()
		h.flushing = nil
	}
	if h.switching && h.client == nil {
		h.ResponseWriter.WriteHeader(http.StatusSwitchingProtocols)
	}
}

// traceOf has the upgrade know the server that Traefik has chosen: the last one that it has connected to before the
// connection is taken over. Later ones are those of mirrors. A variable, for the same reason as newRegistry is one.
var traceOf = func(h *hijackWriter) *httptrace.ClientTrace {
	address := ""
	return &httptrace.ClientTrace{
		GetConn: func(hostPort string) { address = hostPort },
		GotConn: func(info httptrace.GotConnInfo) {
			if h.hijacked.Load() {
				return
			}
			h.server = info.Conn
			h.upgrade.upstream = "ws://" + address
			if _, secure := info.Conn.(*tls.Conn); secure {
				h.upgrade.upstream = "wss://" + address
			}
		},
	}
}

// untraced is what a trace tells when the session's server is known. It is not nil, for whoever connects by the same request
// then may have looked already.
var untraced = &httptrace.ClientTrace{GetConn: func(string) {}, GotConn: func(httptrace.GotConnInfo) {}}

// Hijack implements http.Hijacker for next. Reads and writes of what it returns do not pass through us.
func (h *hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client != nil {
		return nil, nil, http.ErrHijacked
	}
	if h.hidden {
		return nil, nil, errNotHijackable
	}
	client := takeClient(h.upgrade)
	if client == nil {
		h.hidden = true
		return nil, nil, errNotHijackable
	}
	h.hijacked.Store(true)
	h.trace.GetConn = untraced.GetConn
	h.trace.GotConn = untraced.GotConn
	h.client = client
	if h.switching {
		h.head = headOf(h.Header())
	}
	if isTCP(h.server) && byProxy() {
		far := newDeadEnd(h)
		return deadEndConn(far), buffersOf(far.Reader, far.Writer), nil
	}
	far := overPipes(h)
	return pipedConn(far), buffersOf(far.Reader, far.Writer), nil
}

// deadEndConn and pipedConn are connections as compiled code sees them, which keeps the frame that they are made in.
var (
	deadEndConn = func(c *deadEnd) net.Conn { return c }
	pipedConn   = func(c *hijackedConn) net.Conn { return c }
)

// buffersOf are those that next gets with its connection. Like that, they call what is embedded there, and no method of
// ours, which would cost each message some 15 µs.
func buffersOf(reader io.Reader, writer io.Writer) *bufio.ReadWriter {
	return &bufio.ReadWriter{Reader: bufio.NewReaderSize(reader, hijackReads), Writer: bufio.NewWriterSize(writer, hijackWrites)}
}

// isTCP reports whether a server's connection is the standard library's, with or without TLS: a read deadline ends its
// reads, and harms no later ones.
func isTCP(conn net.Conn) bool {
	if conn == nil {
		return false
	}
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	_, ok := conn.(*net.TCPConn)
	return ok
}

// WriteHeader implements http.ResponseWriter. A 101 waits for the connection to be taken over.
func (h *hijackWriter) WriteHeader(status int) {
	if h.hidden || h.client != nil {
		return
	}
	if status == http.StatusSwitchingProtocols {
		h.switching = true
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if status < 100 || status > 999 { // net/http would panic
		h.hidden = true
		reportUpstream(h.upgrade, refuseGateway, errNotHTTP)
		countRefused(h.upgrade, refuseGateway.reason)
		answerRefusal(h.ResponseWriter, h.upgrade.req, refuseGateway)
		_ = http.NewResponseController(h.ResponseWriter).Flush() // next may go on for long
		return
	}
	if status == http.StatusTeapot {
		hintNoop(h.upgrade)
	}
	h.failing = status >= http.StatusInternalServerError
	h.ResponseWriter.WriteHeader(status)
	if status >= http.StatusOK {
		flushSoon(h) // net/http does that for informational answers
	}
}

// Write implements http.ResponseWriter.
func (h *hijackWriter) Write(body []byte) (int, error) {
	if h.hidden {
		return len(body), nil
	}
	if h.client != nil {
		return 0, http.ErrHijacked
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n, err := h.ResponseWriter.Write(body)
	flushSoon(h)
	return n, err
}

// flushSoon does what next cannot do through an interpreted writer. As Traefik's proxy it has a body of unknown length,
// which may be a stream, sent at once, and any other in a while. The proxy's own errors have no length either, but a
// middleware may want to try once more instead. Needs h.mu.
func flushSoon(h *hijackWriter) {
	if !h.failing && h.Header().Get("Content-Length") == "" {
		_ = http.NewResponseController(h.ResponseWriter).Flush()
		return
	}
	if h.flushing != nil {
		return
	}
	h.flushing = time.AfterFunc(flushInterval, func() {
		defer func() { _ = recover() }()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.flushing != nil && h.client == nil {
			h.flushing = nil
			_ = http.NewResponseController(h.ResponseWriter).Flush()
		}
	})
}

// joinService hands the answer that next writes, read from source, to the client, and has the session begin, unless it is
// no agreement to one.
func joinService(h *hijackWriter, source io.Reader) {
	u, head := h.upgrade, new(bytes.Buffer)
	all := source
	if h.head != nil {
		all = after(h.head, source)
	}
	reader := bufio.NewReaderSize(io.LimitReader(io.TeeReader(all, head), maxAnswerHeader), hijackWrites)
	answer, err := readAnswer(reader, head) //nolint:bodyclose // the body is read from the connection, which is closed
	_ = h.upstream.source.SetReadDeadline(never)
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		passService(h, io.MultiReader(head, source))
		return
	}
	if err == nil {
		err = verify(u, answer.Header, acceptFor(u.key))
	}
	if err != nil {
		failService(h, err)
		return
	}
	rest := early(reader)
	if h.written != nil {
		rest = append(rest, h.written.Bytes()...)
		*h.written = bytes.Buffer{} // which stays for as long as the session
	}
	if len(rest) > 0 {
		h.upstream.reader = after(rest, h.upstream.source)
	}
	if writeSwitching(u, answer.Header) {
		startSession(u, h.client, h.upstream)
	}
}

// passService hands an answer other than 101 to the client, for as long as the client stays and reads.
func passService(h *hijackWriter, source io.Reader) {
	client, left, buf := h.upgrade.taken, make(chan bool), borrow(&largeBuffers, largeBuffer)
	go watchClient(h, left)
	for {
		n, err := source.Read(*buf)
		if n > 0 {
			_ = client.SetWriteDeadline(time.Now().Add(switchingTimeout))
			_, failed := client.Write((*buf)[:n])
			if failed != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	largeBuffers.Put(buf)
	_ = client.SetReadDeadline(past)
	<-left
}

// watchClient ends next's answer when the client leaves: next then finds its connection closed. left is closed when nobody
// watches any more.
func watchClient(h *hijackWriter, left chan bool) {
	defer swallow()
	defer close(left)
	defer abandon(h)
	_, _ = io.Copy(io.Discard, h.client.reader)
}

// failService answers a client to whom next has not made a session, and logs the cause.
func failService(h *hijackWriter, cause error) {
	r := refuseGateway
	if isTimeout(cause) {
		r = refuseTimeout
	}
	reportUpstream(h.upgrade, r, cause)
	countRefused(h.upgrade, r.reason)
	recorder := httptest.NewRecorder()
	answerRefusal(recorder, h.upgrade.req, r)
	answer := recorder.Result()
	answer.Close = true
	_ = h.upgrade.taken.SetWriteDeadline(time.Now().Add(switchingTimeout))
	_ = answer.Write(h.upgrade.taken)
}

// deadEnd is what Traefik's proxy gets for its client's connection. Nothing comes from it, and what is written to it is
// kept: the 101, and what the server has sent together with that. No more comes from the server, whose reads fail on a
// deadline that has passed, so the proxy closes the dead end. It closes the server's connection only after that, and ends
// no stream to it, for its reads from the dead end fail.
type deadEnd struct {
	io.Reader // blocked
	io.Writer // written
	*standIn

	writer  *hijackWriter
	blocked *io.PipeReader
	closed  atomic.Bool
}

// standIn has the addresses of the client's connection, and nothing that the connections for next have themselves. Each
// method of ours would keep half a KiB for as long as the session.
type standIn struct{ net.Conn }

// newDeadEnd makes a dead end for next, and has the server's connection not be read any more.
func newDeadEnd(h *hijackWriter) *deadEnd {
	_ = h.server.SetReadDeadline(past)
	h.upstream = newPeer(upstreamPeer, h.server)
	h.written = new(bytes.Buffer)
	blocked, _ := io.Pipe()
	return &deadEnd{Reader: blocked, Writer: h.written, standIn: &standIn{h.upgrade.taken}, writer: h, blocked: blocked}
}

// Close implements net.Conn: it is the session between the client and the server, and returns when that has ended.
func (c *deadEnd) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		_ = c.blocked.Close() // ends the proxy's other copying, too
		joinService(c.writer, c.writer.written)
		if c.writer.upgrade.session != nil {
			converse(c.writer.upgrade)
		}
	}
	return nil
}

// pipes is a connection that consists of two pipes, one a direction, so that either can end by itself. What next
// writes comes out of one, and what is written to it goes into the other.
type pipes struct {
	reads, writes       net.Conn // the session's ends,
	farReads, farWrites net.Conn // and next's
	closing             atomic.Bool
	flushed             chan struct{} // closed when next has passed on all that it was given
}

// hijackedConn is next's end of a service, which it takes for the client's connection.
type hijackedConn struct {
	io.Reader // farReads
	io.Writer // farWrites
	*standIn

	pipes *pipes
}

// newPipes makes both ends of a connection that stands for client's.
func newPipes(client net.Conn) (*pipes, *hijackedConn) {
	reads, farWrites := net.Pipe()
	farReads, writes := net.Pipe()
	c := &pipes{reads: reads, writes: writes, farReads: farReads, farWrites: farWrites, flushed: make(chan struct{})}
	return c, &hijackedConn{Reader: farReads, Writer: farWrites, standIn: &standIn{client}, pipes: c}
}

// overPipes makes a connection for next, which has the handler's goroutine: the session gets one of its own.
func overPipes(h *hijackWriter) *hijackedConn {
	near, far := newPipes(h.upgrade.taken)
	h.upstream = &peer{name: upstreamPeer, conn: near.writes, source: near.reads, reader: near.reads, pipes: near}
	h.done = make(chan struct{})
	go converseOverPipes(h)
	return far
}

// converseOverPipes is the session over pipes, from next's answer on.
func converseOverPipes(h *hijackWriter) {
	defer swallow()
	defer endOverPipes(h)
	_ = h.upstream.source.SetReadDeadline(time.Now().Add(answerTimeout))
	joinService(h, h.upstream.source)
	if h.upgrade.session != nil {
		converse(h.upgrade)
	}
}

// endOverPipes, deferred, lets go of the connections. Once next has passed on all that it was given its request is
// cancelled, for which a proxy closes the server's connection.
func endOverPipes(h *hijackWriter) {
	defer close(h.done)
	r := recover()
	closePipes(h.upstream.pipes)
	hangUpOn(h.upgrade.taken)
	<-h.upstream.pipes.flushed
	h.cancel()
	if r != nil {
		h.upgrade.middleware.report("session failed", errors.New(fmt.Sprint(r)))
	}
}

// closePipes closes the session's end. It does not wait for next.
func closePipes(c *pipes) {
	if c.closing.CompareAndSwap(false, true) {
		_ = c.reads.Close()
		_ = c.writes.SetWriteDeadline(past)
		go flush(c)
	}
}

// abandon closes next's end for it, where it has one.
func abandon(h *hijackWriter) {
	if h.done != nil {
		_ = h.upstream.pipes.farWrites.Close()
		_ = h.upstream.pipes.farReads.Close()
	}
}

// flush ends what next reads once it has passed on what it was given: an empty write comes back when it is there to read
// more.
func flush(c *pipes) {
	defer swallow()
	defer close(c.flushed)
	// Not a deadline, which a pump that is about to write would undo.
	late := time.AfterFunc(lingerTimeout, func() {
		defer func() { _ = recover() }()
		_ = c.writes.Close()
	})
	_ = c.writes.SetWriteDeadline(time.Time{})
	_, _ = c.writes.Write(nil)
	_ = c.writes.Close()
	late.Stop()
}

// Close implements net.Conn. A proxy closes its client's connection when its server has nothing more to say, and the
// server's right after that. So this comes back only when there is nothing more to be said to the server either, such as
// the answer to its close frame.
func (c *hijackedConn) Close() error {
	_ = c.pipes.farWrites.Close()
	<-c.pipes.flushed
	return c.pipes.farReads.Close()
}

// SetDeadline implements net.Conn.
func (c *hijackedConn) SetDeadline(t time.Time) error {
	_ = c.pipes.farReads.SetReadDeadline(t)
	return c.pipes.farWrites.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *hijackedConn) SetReadDeadline(t time.Time) error {
	return c.pipes.farReads.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *hijackedConn) SetWriteDeadline(t time.Time) error {
	return c.pipes.farWrites.SetWriteDeadline(t)
}

// mostFrames is how much of a stack is looked at: more than there are from Hijack to what has called it.
const mostFrames = 48

// takers has, by the return addresses of a stack, whether that is the proxy's: from [mostFrames]uintptr to bool. There are
// as many as there are ways through the middlewares behind wsfw. To write the stack out takes ten times as long.
var takers sync.Map

// byProxy reports whether it is Traefik's proxy that takes the connection over.
func byProxy() bool {
	var frames [mostFrames]uintptr
	runtime.Callers(0, frames[:])
	known, ok := takers.Load(frames)
	if ok {
		return known.(bool)
	}
	yes := leadsToProxy(string(debug.Stack()))
	takers.Store(frames, yes)
	return yes
}

// leadsToProxy reports whether a stack, from Hijack on, leads to net/http's proxy: its server is the one that its transport
// has connected to last. Another plugin between it and us may have put something between its connection and ours: that
// would be a second interpreted function.
func leadsToProxy(stack string) bool {
	ours, _, found := strings.Cut(stack, "net/http/httputil.(*ReverseProxy).handleUpgradeResponse(")
	return found && strings.Count(ours, "yaegi/interp.genFunctionWrapper") <= 1
}

// warmUp is for the first New of the interpreter, which all middlewares share.
var warmUp sync.Once

// warm has compiled code take the values of ours that it calls methods of. Yaegi resolves the types of a method when it is
// first taken as a value, and without a lock: the first upgrades would race for them.
func warm() {
	conn, _ := net.Pipe()
	h := &hijackWriter{ResponseWriter: httptest.NewRecorder(), upgrade: &upgrade{taken: conn}, client: newPeer(clientPeer, conn), server: conn}
	_, _, _ = http.NewResponseController(h).Hijack()
	_ = tls.Client(deadEndConn(newDeadEnd(h)), nil)
	near, far := newPipes(conn)
	_ = tls.Client(pipedConn(far), nil)
	_ = tls.Client(streamedConn(&streamConn{Reader: near.reads, Writer: near.writes, standIn: &standIn{conn}, ends: near}), nil)
}

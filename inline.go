package wsfw

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"text/template"
	"time"
)

// lingerTimeout is how long a service that has lost its session may go on with what it still
// has to send upstream.
const lingerTimeout = time.Second

// flushInterval is how long a part of next's own answer may wait for more: Traefik's own
// responseForwarding.flushInterval.
const flushInterval = 100 * time.Millisecond

// Sizes, in bytes, of the buffers that next gets with the connection, and may keep for as long as the
// session: enough to write a 101; a proxy reads past the other one.
const (
	hijackWriter = 512
	hijackReader = 16
)

// releaseTimeout is how long the proxy may take to leave its server's connection to a session.
const releaseTimeout = time.Second

// takeover is the response writer that next gets for an upgrade that wsfw relays: whoever
// takes the connection over gets the far ends of two pipes, and the session goes between
// these and the client. What next answers without that goes to the client as it is.
type takeover struct {
	http.ResponseWriter // the client's
	visit               *visit

	cancel   context.CancelFunc     // of the request that next gets
	trace    *httptrace.ClientTrace // of the same
	settled  atomic.Bool
	ready    chan struct{} // closed when next has taken the connection over, or returned
	returned chan struct{} // closed when next has returned
	panicked any           // what it has panicked with, if that is closed

	// Written before ready is closed.
	client  net.Conn
	early   []byte   // what the client has sent after its request
	service *service // nil where next has not taken the connection over
	server  net.Conn // of the server that Traefik has chosen, where the session can go there; else nil
	head    []byte   // next's 101, where it has written that before
	hidden  bool     // the connection could not be had: the client has been told

	chosen    atomic.Bool // the server that the session is with is known
	latest    net.Conn    // the latest that Traefik has connected to
	failing   bool        // next answers with an error of the server's
	switching bool        // next has written the status 101
	writing   sync.Mutex  // guards the client's writer
	flushing  *time.Timer // flushes it; nil where there is nothing to flush
}

// between has next answer an upgrade. The takeover has to be finished afterwards, or after the
// session where that has begun one.
//
// next runs in a goroutine of its own, and the session's handler, which Traefik counts, waits.
func between(v *visit, rw http.ResponseWriter, req *http.Request) {
	t := &takeover{ResponseWriter: rw, visit: v, ready: make(chan struct{}), returned: make(chan struct{})}
	v.takeover = t
	t.trace = traceOf(t)
	ctx, cancel := context.WithCancel(httptrace.WithClientTrace(req.Context(), t.trace))
	t.cancel = cancel
	inner := req.WithContext(ctx)
	if v.offer.cut {
		inner = v.offer.onto(inner)
	}
	callNext(t, inner)
	<-t.ready
	if t.service != nil {
		joinNext(v, t, req)
	}
}

// finish lets go of a session's connections, if there are any, waits for next, and panics if it
// has. Once next has passed on all that it was given its request is cancelled, for which a proxy
// closes the upstream's connection. Without a session next has returned already.
func finish(t *takeover) {
	if t.service != nil {
		closeService(t.service)
		_ = t.client.Close()
		<-t.service.flushed
	}
	t.cancel()
	<-t.returned
	if t.panicked != nil {
		raise(t.panicked)
	}
}

// raise panics with what next has panicked with. Compiled code does it, for an interpreted panic has what it
// is given wrapped, and Traefik has to know http.ErrAbortHandler again. Another plugin's is wrapped already.
func raise(cause any) {
	if err, ok := cause.(error); ok {
		template.Must(nil, err)
	}
	if text, ok := cause.(string); ok {
		log.New(io.Discard, "", 0).Panic(text)
	}
	if wrapped, ok := cause.(reflect.Value); ok {
		cause = wrapped.Interface()
	}
	panic(cause)
}

// What outlives between is made in variables, for the same reason as begin is one.

// traceOf has the visit know the server that Traefik has chosen: the last one that it has
// connected to before the connection is taken over. Later ones are those of mirrors.
var traceOf = func(t *takeover) *httptrace.ClientTrace {
	v, address := t.visit, ""
	return &httptrace.ClientTrace{
		GetConn: func(hostPort string) { address = hostPort },
		GotConn: func(info httptrace.GotConnInfo) {
			if t.chosen.Load() {
				return
			}
			t.latest = info.Conn
			v.upstream = "ws://" + address
			if _, secure := info.Conn.(*tls.Conn); secure {
				v.upstream = "wss://" + address
			}
		},
	}
}

// untraced is what a trace tells when the session's server is known. It is not nil, for whoever connects
// by the same request then may have looked already.
var untraced = &httptrace.ClientTrace{GetConn: func(string) {}, GotConn: func(httptrace.GotConnInfo) {}}

// callNext has next answer the request, in a goroutine that is little else: it stays for as long as the
// session, on a stack that has room for all that next calls, Hijack included.
var callNext = func(t *takeover, req *http.Request) {
	go answer(t, req)
}

// answer has next answer the request, and the visit go on when it has.
func answer(t *takeover, req *http.Request) {
	defer answered(t)
	t.visit.middleware.next.ServeHTTP(t, req)
}

// answered, deferred, follows next's end. If next has panicked, it no longer uses a connection that
// it has taken over; when it returns, others may.
func answered(t *takeover) {
	defer returned(t)
	r := recover()
	if r != nil {
		t.panicked = r
		if t.service != nil {
			t.service.abandon()
		}
	}
	settle(t)
	finishAnswer(t)
}

// returned, deferred, ends what next's goroutine does. The client's writer may have panicked, too.
func returned(t *takeover) {
	r := recover()
	if r != nil {
		t.panicked = r
	}
	close(t.returned)
}

// settle lets the session begin, if there is one.
func settle(t *takeover) {
	if t.settled.CompareAndSwap(false, true) {
		close(t.ready)
	}
}

// Hijack implements http.Hijacker for next.
func (t *takeover) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.service != nil {
		return nil, nil, http.ErrHijacked
	}
	if t.hidden {
		return nil, nil, errNotHijackable
	}
	conn, early, err := takeOver(t.ResponseWriter)
	if err != nil {
		t.hide(err)
		return nil, nil, err
	}
	t.chosen.Store(true)
	t.trace.GetConn = untraced.GetConn
	t.trace.GotConn = untraced.GotConn
	if t.switching {
		t.head = headOf(t.Header())
	}
	if byProxy() {
		t.server = t.latest
	}
	near, far := joinService(conn)
	t.client = conn
	t.early = early
	t.service = near
	settle(t)
	// What these call are the pipes themselves: so no read or write of a proxy's passes through us.
	return connOf(far), &bufio.ReadWriter{
		Reader: bufio.NewReaderSize(far.Reader, hijackReader), Writer: bufio.NewWriterSize(far.Writer, hijackWriter),
	}, nil
}

// connOf is the connection as compiled code sees it, which keeps the frame that it is made in.
var connOf = func(c *hijackedConn) net.Conn { return c }

// hide tells the client that its connection could not be had. Needs t.writing.
func (t *takeover) hide(cause error) {
	t.hidden = true
	t.visit.middleware.reportClient(cause)
	refuseHijack.answer(t.ResponseWriter)
}

// WriteHeader implements http.ResponseWriter. A 101 waits for the connection to be taken over.
func (t *takeover) WriteHeader(status int) {
	if t.hidden || t.service != nil {
		return
	}
	if status == http.StatusSwitchingProtocols {
		t.switching = true
		return
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	t.failing = status >= http.StatusInternalServerError
	t.ResponseWriter.WriteHeader(status)
	if status >= http.StatusOK {
		t.flush() // net/http does that for informational answers
	}
}

// Write implements http.ResponseWriter.
func (t *takeover) Write(body []byte) (int, error) {
	if t.hidden {
		return len(body), nil
	}
	if t.service != nil {
		return 0, http.ErrHijacked
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	n, err := t.ResponseWriter.Write(body)
	t.flush()
	return n, err
}

// flush does what next cannot do through an interpreted writer. As Traefik's proxy it has a body
// of unknown length, which may be a stream, sent at once, and any other in a while. The proxy's
// own errors have no length either, but a middleware may want to try once more instead. Needs
// t.writing.
func (t *takeover) flush() {
	if !t.failing && t.Header().Get("Content-Length") == "" {
		_ = http.NewResponseController(t.ResponseWriter).Flush()
		return
	}
	if t.flushing != nil {
		return
	}
	t.flushing = time.AfterFunc(flushInterval, func() {
		defer func() { _ = recover() }()
		t.writing.Lock()
		defer t.writing.Unlock()
		if t.flushing != nil && t.service == nil {
			t.flushing = nil
			_ = http.NewResponseController(t.ResponseWriter).Flush()
		}
	})
}

// finishAnswer finishes next's own answer.
func finishAnswer(t *takeover) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.flushing != nil {
		t.flushing.Stop()
		t.flushing = nil
	}
	if t.switching && t.service == nil {
		t.ResponseWriter.WriteHeader(http.StatusSwitchingProtocols)
	}
}

// joinNext hands next's answer to the client, and joins the connections, unless that is no session.
func joinNext(v *visit, t *takeover, req *http.Request) {
	head := new(bytes.Buffer)
	source := io.LimitReader(t.service.reads, maxAnswerHeader)
	if t.head != nil {
		source = after(t.head, source)
	}
	reader := bufio.NewReaderSize(io.TeeReader(source, head), hijackWriter)
	//nolint:bodyclose // the body is read from the connection, which is closed
	answer, err := readAnswer(reader)
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		passNext(t, head)
		return
	}
	if err == nil {
		err = verify(v, answer.Header, req.Header[keyHeader][0])
	}
	if err != nil {
		failNext(v, t, err)
		return
	}
	var early []byte
	if reader.Buffered() > 0 {
		early = taken(reader)
		head.Truncate(head.Len() - len(early))
	}
	_, err = head.WriteTo(t.client)
	if err == nil {
		v.session = link(v, newSide(clientSide, t.client, t.early), upstreamOf(t, early))
	}
}

// upstreamOf makes a side of the server's connection, or of the service where that is not to be had.
// early is what has come after the 101.
func upstreamOf(t *takeover, early []byte) *side {
	if t.server == nil {
		return serviceSide(t.service, early)
	}
	more, ok := release(t.server, t.service)
	early = append(early, more...)
	if !ok {
		return serviceSide(t.service, early)
	}
	return newSide(upstreamSide, t.server, early)
}

// release has Traefik's proxy leave its server's connection to the session, which then needs none of the
// proxy's goroutines and buffers of 32 KiB, and passes each message on once. early is what the proxy has
// read before. It is not ok where the proxy goes on.
//
// All that the proxy reads from now on comes too late, but for what is buffered already. For that it
// closes its client's connection, where it is held up until the session has ended: so Traefik still
// counts the request, and nobody closes the server's connection.
func release(server net.Conn, c *service) (early []byte, ok bool) {
	_ = server.SetReadDeadline(past)
	_ = c.reads.SetReadDeadline(time.Now().Add(releaseTimeout))
	early, err := io.ReadAll(c.reads)
	_ = server.SetReadDeadline(time.Time{})
	if err != nil {
		_ = c.reads.SetReadDeadline(time.Time{})
		return early, false
	}
	_ = c.farReads.Close() // no end of stream, which the proxy would pass on to its server
	return early, true
}

// byProxy reports whether it is Traefik's proxy that takes the connection over.
func byProxy() bool {
	buf := borrow(&largeBuffers, largeBuffer)
	yes := leadsToProxy((*buf)[:runtime.Stack(*buf, false)])
	largeBuffers.Put(buf)
	return yes
}

// leadsToProxy reports whether a stack, from Hijack on, leads to net/http's proxy: its server is
// the one that its transport has connected to last. Another plugin between it and us may have put
// something between its connection and ours: that would be a second interpreted function.
func leadsToProxy(stack []byte) bool {
	ours, _, found := bytes.Cut(stack, []byte("net/http/httputil.(*ReverseProxy).handleUpgradeResponse("))
	return found && bytes.Count(ours, []byte("yaegi/interp.genFunctionWrapper")) <= 1
}

// passNext hands next's answer other than 101 to the client, of which head has been read.
func passNext(t *takeover, head io.Reader) {
	_, _ = io.Copy(t.client, io.MultiReader(head, t.service.reads))
}

// failNext answers a client to whom next has not made a session, and logs the cause.
func failNext(v *visit, t *takeover, cause error) {
	v.reportUpstream(cause)
	_, _ = t.client.Write(refuseGateway.response())
}

// service is the session's end of the connection to Traefik's service. What the service writes
// comes out of one pipe, and what is written to it goes into another: either direction can end
// by itself.
type service struct {
	reads, writes       net.Conn
	farReads, farWrites net.Conn // the service's ends of the same
	closing             atomic.Bool
	flushed             chan struct{} // closed when the service has passed on all that it was given
}

// hijackedConn is the service's end, which it takes for the client's connection. Reader and
// Writer are embedded, for so compiled code calls theirs: a method of ours would cost each
// message some 15 µs.
type hijackedConn struct {
	io.Reader // reads
	io.Writer // writes
	*standIn

	reads, writes net.Conn
	flushed       chan struct{} // the session's end has nothing more to say
}

// standIn has the addresses of the client's connection, and nothing that hijackedConn has itself. Each
// method of ours would keep half a KiB for as long as the session.
type standIn struct{ net.Conn }

// joinService makes both ends of a connection that stands for client's.
func joinService(client net.Conn) (*service, *hijackedConn) {
	fromService, toSession := net.Pipe()
	fromSession, toService := net.Pipe()
	near := &service{
		reads: fromService, writes: toService, farReads: fromSession, farWrites: toSession, flushed: make(chan struct{}),
	}
	far := &hijackedConn{
		Reader: fromSession, Writer: toSession, standIn: &standIn{client}, reads: fromSession, writes: toSession, flushed: near.flushed,
	}
	return near, far
}

// serviceSide makes a side of the service.
func serviceSide(c *service, early []byte) *side {
	x := newSide(upstreamSide, c.writes, nil)
	x.source = c.reads
	x.reader = c.reads
	if len(early) > 0 {
		x.reader = after(early, c.reads)
	}
	x.service = c
	return x
}

// closeService closes the session's end. It does not wait for the service.
func closeService(c *service) {
	if c.closing.CompareAndSwap(false, true) {
		_ = c.reads.Close()
		_ = c.writes.SetWriteDeadline(past)
		go flush(c)
	}
}

// abandon closes the service's end for it.
func (c *service) abandon() {
	_ = c.farWrites.Close()
	_ = c.farReads.Close()
}

// flush ends what the service reads once it has passed on what it was given: an empty write
// comes back when it is there to read more.
func flush(c *service) {
	defer flushed(c)
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

// flushed, deferred, lets the service go.
func flushed(c *service) {
	_ = recover()
	close(c.flushed)
}

// Close implements net.Conn. A proxy closes its client's connection when its upstream has
// nothing more to say, and the upstream's right after that. So this comes back only when there
// is nothing more to be said to the upstream either, such as the answer to its close frame.
func (c *hijackedConn) Close() error {
	_ = c.writes.Close()
	<-c.flushed
	return c.reads.Close()
}

// SetDeadline implements net.Conn.
func (c *hijackedConn) SetDeadline(t time.Time) error {
	_ = c.reads.SetReadDeadline(t)
	return c.writes.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *hijackedConn) SetReadDeadline(t time.Time) error { return c.reads.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *hijackedConn) SetWriteDeadline(t time.Time) error { return c.writes.SetWriteDeadline(t) }

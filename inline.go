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
	"sync"
	"sync/atomic"
	"text/template"
	"time"
)

// flushInterval is how long a part of next's own answer may wait for more: Traefik's own
// responseForwarding.flushInterval.
const flushInterval = 100 * time.Millisecond

// answerTimeout is how long next may take to answer once it has taken the connection over: the default of upgradeTimeout,
// which is for upstreams of wsfw's own.
const answerTimeout = 5 * time.Second

// Sizes, in bytes, of the buffers that next gets with the connection, and may keep for as long as the
// session: enough to write a 101; a proxy reads past the other one.
const (
	hijackWriter = 512
	hijackReader = 16
)

// takeover is the response writer that next gets for an upgrade that wsfw relays: whoever
// takes the connection over gets the far ends of two pipes, and the session goes between
// these and the client. What next answers without that goes to the client as it is.
type takeover struct {
	http.ResponseWriter // the client's
	upgrade             *upgrade

	cancel   context.CancelFunc     // of the request that next gets
	trace    *httptrace.ClientTrace // of the same
	settled  atomic.Bool
	ready    chan struct{} // closed when next has taken the connection over, or returned
	returned chan struct{} // closed when next has returned
	panicked any           // what it has panicked with, if that is closed

	// Written before ready is closed.
	client  net.Conn
	source  io.Reader // the same, to be read
	service *service  // nil where next has not taken the connection over
	server  net.Conn  // of the server that Traefik has chosen, where the session can go there; else nil
	head    []byte    // next's 101, where it has written that before
	hidden  bool      // the connection could not be had: the client has been told

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
func between(u *upgrade, rw http.ResponseWriter, req *http.Request) {
	t := &takeover{ResponseWriter: rw, upgrade: u, ready: make(chan struct{}), returned: make(chan struct{})}
	u.takeover = t
	t.trace = traceOf(t)
	ctx, cancel := context.WithCancel(httptrace.WithClientTrace(req.Context(), t.trace))
	t.cancel = cancel
	inner := req.WithContext(ctx)
	if u.offer.cut {
		inner = u.offer.onto(inner)
	}
	callNext(t, inner)
	<-t.ready
	if t.service != nil {
		joinNext(u, t)
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

// What outlives between is made in variables, for the same reason as newRegistry is one.

// traceOf has the upgrade know the server that Traefik has chosen: the last one that it has
// connected to before the connection is taken over. Later ones are those of mirrors.
var traceOf = func(t *takeover) *httptrace.ClientTrace {
	u, address := t.upgrade, ""
	return &httptrace.ClientTrace{
		GetConn: func(hostPort string) { address = hostPort },
		GotConn: func(info httptrace.GotConnInfo) {
			if t.chosen.Load() {
				return
			}
			t.latest = info.Conn
			u.upstream = "ws://" + address
			if _, secure := info.Conn.(*tls.Conn); secure {
				u.upstream = "wss://" + address
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

// answer has next answer the request, and the upgrade go on when it has.
func answer(t *takeover, req *http.Request) {
	defer answered(t)
	t.upgrade.middleware.next.ServeHTTP(t, req)
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
	conn, source, err := takeOver(t.ResponseWriter)
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
	t.source = source
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
	reportClient(t.upgrade, refuseHijack, cause)
	refuse(t.upgrade, refuseHijack)
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
	if status < 100 || status > 999 { // net/http would panic
		t.hidden = true
		reportUpstream(t.upgrade, refuseGateway, errNotHTTP)
		answerRefusal(t.ResponseWriter, t.upgrade.req, refuseGateway)
		_ = http.NewResponseController(t.ResponseWriter).Flush() // next may go on for long
		return
	}
	if status == http.StatusTeapot {
		hintNoop(t.upgrade)
	}
	t.failing = status >= http.StatusInternalServerError
	t.ResponseWriter.WriteHeader(status)
	if status >= http.StatusOK {
		t.flush() // net/http does that for informational answers
	}
}

// hintNoop tells, once, of a service that upgrades nothing: noop@internal answers all requests so.
func hintNoop(u *upgrade) {
	if u.middleware.hinted.CompareAndSwap(false, true) {
		line := eventOf(u, http.StatusTeapot, "service_upgrades_nothing", "warn", "the service answered 418")
		line.Hint = "noop@internal upgrades nothing: name a service that does, or set upstreamEndpoint"
		logEvent(line)
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
func joinNext(u *upgrade, t *takeover) {
	head := new(bytes.Buffer)
	limited := &io.LimitedReader{R: t.service.reads, N: maxAnswerHeader}
	if t.head != nil {
		limited.R = after(t.head, t.service.reads)
	}
	_ = t.service.reads.SetReadDeadline(time.Now().Add(answerTimeout))
	reader := bufio.NewReaderSize(limited, hijackWriter)
	//nolint:bodyclose // the body is read from the connection, which is closed
	answer, err := readAnswer(reader, limited, head)
	_ = t.service.reads.SetReadDeadline(never)
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		passNext(t, head)
		return
	}
	if err == nil {
		err = verify(u, answer.Header, acceptFor(u.key))
	}
	if err != nil {
		failNext(u, t, err)
		return
	}
	var rest []byte
	if reader.Buffered() > 0 {
		rest = early(reader)
	}
	_ = t.client.SetWriteDeadline(time.Now().Add(switchingTimeout))
	err = writeSwitching(t.client, u.key, answer.Header)
	_ = t.client.SetWriteDeadline(never)
	if err != nil {
		reportClient(u, refuseGone, err)
	} else {
		near := &peer{name: clientPeer, conn: t.client, source: t.client, reader: t.source}
		startSession(u, near, upstreamOf(t, rest))
	}
}

// passNext hands next's answer other than 101 to the client, of which head has been read, for as long as the client stays
// and reads.
func passNext(t *takeover, head io.Reader) {
	left := make(chan bool)
	go watchClient(t, left)
	source, buf := io.MultiReader(head, t.service.reads), borrow(&largeBuffers, largeBuffer)
	for {
		n, err := source.Read(*buf)
		if n > 0 {
			_ = t.client.SetWriteDeadline(time.Now().Add(switchingTimeout))
			_, failed := t.client.Write((*buf)[:n])
			if failed != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	largeBuffers.Put(buf)
	_ = t.client.SetReadDeadline(past)
	<-left
}

// watchClient ends next's answer when the client leaves: next then finds its connection closed. left is closed when nobody
// watches any more.
func watchClient(t *takeover, left chan bool) {
	defer watched(t, left)
	_, _ = io.Copy(io.Discard, t.source)
}

// watched, deferred, follows watchClient.
func watched(t *takeover, left chan bool) {
	_ = recover()
	t.service.abandon()
	close(left)
}

// failNext answers a client to whom next has not made a session, and logs the cause.
func failNext(u *upgrade, t *takeover, cause error) {
	r := refuseGateway
	if isTimeout(cause) {
		r = refuseTimeout
	}
	reportUpstream(u, r, cause)
	_ = t.client.SetWriteDeadline(time.Now().Add(switchingTimeout))
	_, _ = t.client.Write(r.response())
}

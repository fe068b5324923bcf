// Package wsfw is a Traefik middleware plugin that checks WebSocket upgrades,
// forwards sessions to an upstream, and looks after them until they end.
//
// Traefik does not compile it but interprets it with Yaegi; CONTRIBUTING.md lists
// what that forbids.
package wsfw

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Middleware is wsfw in front of one router's next handler.
type Middleware struct {
	next     http.Handler
	name     string
	settings *settings
	report   func(message string, cause error) // to the log
}

// New makes the middleware called name from config. Its error names every mistake in
// config. It never panics: a panic here would freeze Traefik's dynamic configuration.
// Sessions do not depend on ctx, which Traefik cancels at each reload.
func New(_ context.Context, next http.Handler, config *Config, name string) (handler http.Handler, err error) {
	defer func() {
		if r := recover(); r != nil {
			handler = nil
			err = errors.New("internal error in wsfw: " + fmt.Sprint(r))
		}
	}()
	parsed, err := parse(config)
	if err != nil {
		return nil, err
	}
	warmUp.Do(warm)
	m := &Middleware{next: next, name: name, settings: parsed, report: func(message string, cause error) {
		line := &complaint{Time: timestamp(time.Now()), Level: "error", Plugin: "wsfw", Message: message, Name: name, Cause: cause.Error()}
		logLine(line)
	}}
	if parsed.upstream.tls != nil {
		parsed.upstream.tls.report = m.report
	}
	return m, nil
}

// ServeHTTP checks an upgrade and stays in it until its session has ended, for
// Traefik counts and logs a request for as long as this runs. Requests that are not
// wsfw's go to next with the writer as it came.
//
// While the session lives it is the pump of what comes from the client, and what needs a lot of
// stack before that has a goroutine of its own: a stack that has grown is kept for as long as it
// is in use.
func (m *Middleware) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	v := visitOf(m, req)
	if v == nil {
		m.next.ServeHTTP(rw, req)
		return
	}
	defer giveBack(v)
	receive(v, rw, req)
	s := v.session
	if s == nil {
		depart(v, rw)
		return
	}
	begin(s, v.roster)
	go pump(s, s.toClient)
	pump(s, s.toUpstream)
	<-s.ended
	leave(v)
}

// visitOf begins a client's visit; nil where the request is not wsfw's.
func visitOf(m *Middleware, req *http.Request) *visit {
	rest, ours := below(m.settings.path, req.URL)
	if !ours || m.settings.passOthers && !asksUpgrade(req.Header) {
		return nil
	}
	return &visit{middleware: m, started: time.Now(), client: req.RemoteAddr, rest: rest}
}

// depart ends a visit that has come to no session.
func depart(v *visit, rw http.ResponseWriter) {
	if v.takeover != nil {
		finish(v.takeover)
	} else if v.checked != nil {
		v.middleware.next.ServeHTTP(rw, v.checked)
	}
}

// visit is a client's stay: from the request to the record.
type visit struct {
	middleware  *Middleware
	started     time.Time
	roster      *roster  // of the server's sessions
	client      string   // remote address
	ip          string   // of that, where it has one
	plain       bool     // it asks for the upgrade in plain words
	agreed      bool     // the upstream agrees in plain words
	offer       *offer   // the client's, as far as it stands
	rules       *grammar // of frames, after what is negotiated
	place       *place   // of the session in the count; nil until it has one
	upstream    string   // scheme, host and port
	path        string   // as sent, without the query
	rest        string   // what of it lies below the middleware's
	subprotocol string

	// The connections of a session that may yet come to nothing.
	dialed, taken net.Conn

	// What has come of the request. Where all are nil, it has been answered.
	checked  *http.Request // left to next
	session  *session
	takeover *takeover // inline: has to be finished
}

// receive checks a request, and does the handshakes where there is to be a session.
func receive(v *visit, rw http.ResponseWriter, req *http.Request) {
	await(sendOut(func() { admit(v, rw, req) }))
}

// admit is receive's errand. The functions from here to newSession are large and few, and have what is
// seldom needed done by others: interpreted, a session's opening costs what they have in them.
func admit(v *visit, rw http.ResponseWriter, req *http.Request) {
	m := v.middleware
	set := m.settings
	refused := check(v, set, req)
	if refused != nil {
		refused.answer(rw)
		return
	}
	ctx := req.Context()
	v.roster = rosterOf(ctx)
	if v.roster.shutdown.Err() != nil {
		refuseRestart.answer(rw)
		return
	}
	v.path = v.rest
	if v.rest == "" || len(set.path) > 0 {
		v.path = sentPath(req.URL)
	}
	ip, _, _ := net.SplitHostPort(req.RemoteAddr)
	v.ip = ip
	l, client := set.limits, ip
	if ip == "" || l.clientHeader != "" {
		client = clientOf(req, l.clientHeader)
	}
	v.place, refused = take(m.name, client, l)
	if refused != nil {
		refused.answer(rw)
		return
	}
	if set.forward {
		open(ctx, v, rw, req)
	} else if set.inline {
		between(v, rw, req)
	} else {
		v.checked = v.offer.onto(req)
	}
}

// leave ends a visit whose session has.
func leave(v *visit) {
	end(v.session)
	entry := recordOf(v, v.session)
	logLine(entry)
	if v.takeover != nil {
		finish(v.takeover)
	}
}

// errand is a function that runs in a goroutine of its own.
type errand struct {
	run    func() // called again, it does nothing but panic if it has
	done   chan struct{}
	failed bool // it has panicked, if that is closed
}

// sendOut runs f.
func sendOut(f func()) *errand {
	e := &errand{run: sync.OnceFunc(f), done: make(chan struct{}), failed: true}
	go carryOut(e)
	return e
}

// carryOut runs an errand.
func carryOut(e *errand) {
	defer carriedOut(e)
	e.run()
	e.failed = false
}

// carriedOut, deferred, ends an errand. Its panic is kept for await.
func carriedOut(e *errand) {
	_ = recover()
	close(e.done)
}

// await waits for an errand, and panics as it has.
func await(e *errand) {
	<-e.done
	if e.failed {
		e.run()
	}
}

// open does both handshakes, the upstream's first, and joins the connections. There is no session
// where it has given the client another answer than 101.
func open(ctx context.Context, v *visit, rw http.ResponseWriter, req *http.Request) {
	u := v.middleware.settings.upstream
	e := u.endpoint
	if u.rules != nil {
		e = choose(u, req)
	}
	target, query := e.target, req.URL.RawQuery
	if query != "" || u.appendPath {
		full, ok := targetFor(u, e, v.rest, query)
		if !ok {
			refusePath.answer(rw)
			return
		}
		target = full
	}
	v.upstream = e.label
	var err error
	if e.secure {
		v.dialed, err = dialSecure(ctx, u, e)
	} else {
		v.dialed, err = u.dialer.DialContext(ctx, "tcp", e.address)
	}
	if err != nil {
		failUpstream(v, rw, req, err)
		return
	}
	handshake(ctx, u, v, rw, req, e, target)
}

// handshake is the opening handshake with the upstream, within upgradeTimeout and while ctx lives,
// and then that with the client.
func handshake(ctx context.Context, u *upstream, v *visit, rw http.ResponseWriter, req *http.Request, e *endpoint, target string) {
	conn, key := v.dialed, newKey()
	if u.upgradeTimeout > 0 {
		_ = conn.SetDeadline(time.Now().Add(u.upgradeTimeout))
	}
	release := onDone(ctx, conn)
	limited := io.LimitReader(conn, maxAnswerHeader)
	reader := bufio.NewReaderSize(limited, answerBufferBytes)
	var answer *http.Response
	err := send(u, v, req, e, target, key)
	if err == nil {
		//nolint:bodyclose // the body is read from the connection, which is closed
		answer, err = readAnswer(reader)
	}
	release()
	if err != nil {
		failUpstream(v, rw, req, err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	if answer.StatusCode != http.StatusSwitchingProtocols {
		passOn(ctx, v, rw, answer, limited)
		return
	}
	err = verify(v, answer.Header, key)
	if err != nil {
		failUpstream(v, rw, req, err)
		return
	}
	accept(v, rw, req, answer.Header, reader)
}

// passOn hands an upstream's answer other than 101 to the client, while that waits for it. The answer
// has been read through limited, and its body is longer.
func passOn(ctx context.Context, v *visit, rw http.ResponseWriter, answer *http.Response, limited io.Reader) {
	limited.(*io.LimitedReader).N = unlimited
	release := onDone(ctx, v.dialed)
	defer release()
	pass(rw, answer)
}

// accept takes over the client's connection, answers 101 with what the upstream has agreed to, and
// joins the connections. reader has what came after the upstream's answer.
func accept(v *visit, rw http.ResponseWriter, req *http.Request, agreed http.Header, reader *bufio.Reader) {
	header := rw.Header()
	client, early, err := takeOver(rw)
	if err != nil {
		v.middleware.reportClient(err)
		refuseHijack.answer(rw)
		return
	}
	v.taken = client
	err = switchTo(v, client, header, req.Header[keyHeader][0], agreed)
	if err != nil {
		v.middleware.reportClient(err)
		return
	}
	var pushed []byte
	if reader.Buffered() > 0 {
		pushed = taken(reader)
	}
	v.session = link(v, newSide(clientSide, client, early), newSide(upstreamSide, v.dialed, pushed))
}

// reportClient logs why a client's connection could not be had.
func (m *Middleware) reportClient(cause error) {
	m.report("client connection not taken over", cause)
}

// hangUp closes what connections a visit has without a session.
func hangUp(v *visit) {
	hangUpOn(v.dialed)
	hangUpOn(v.taken)
	if t := v.takeover; t != nil && t.service != nil {
		closeService(t.service)
		hangUpOn(t.client)
	}
}

// hangUpOn closes a connection, if there is one. One that panics must not keep another open.
func hangUpOn(conn net.Conn) {
	defer swallow()
	if conn != nil {
		_ = conn.Close()
	}
}

// link joins two sides whose handshakes are done.
func link(v *visit, client, upstream *side) *session {
	m := v.middleware
	return newSession(client, upstream, v.rules, m.settings, m.report)
}

// failUpstream answers a client whose upstream could not be reached, and logs the cause,
// unless the client has gone and made it fail.
func failUpstream(v *visit, rw http.ResponseWriter, req *http.Request, cause error) {
	if req.Context().Err() != nil {
		refuseGone.answer(rw)
		return
	}
	v.reportUpstream(cause)
	if isTimeout(cause) {
		refuseTimeout.answer(rw)
		return
	}
	refuseGateway.answer(rw)
}

// reportUpstream logs why there is no session with the upstream.
func (v *visit) reportUpstream(cause error) {
	name := v.upstream
	if name == "" {
		name = "of an unknown address" // the service has not told which
	}
	v.middleware.report("upstream "+name+" failed", cause)
}

// Package wsfw is a Traefik middleware plugin that checks WebSocket upgrades,
// forwards sessions to an upstream, and looks after them until they end.
//
// Traefik does not compile it but interprets it with Yaegi; CONTRIBUTING.md lists
// what that forbids.
package wsfw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	v := visitOf(m, rw, req)
	if v == nil {
		return
	}
	defer giveBack(v)
	if receive(v, rw, req) {
		go pump(v.session, v.session.toClient) // from here, for it keeps the frame that it is started in
		pump(v.session, v.session.toUpstream)
		leave(v)
	}
}

// visitOf begins a client's visit. A request that is not wsfw's it leaves to next: then it is nil.
func visitOf(m *Middleware, rw http.ResponseWriter, req *http.Request) *visit {
	if m.settings.selective && !isOurs(m.settings, req) {
		m.next.ServeHTTP(rw, req)
		return nil
	}
	v := new(visit)
	v.middleware = m
	v.started = time.Now()
	v.client = req.RemoteAddr
	v.path = req.URL.EscapedPath()
	if req.URL.RawPath != "" {
		v.path = sentPath(req.URL)
	}
	return v
}

// isOurs reports whether wsfw is to answer a request.
func isOurs(set *settings, req *http.Request) bool {
	_, ours := below(set.path, sentPath(req.URL))
	return ours && (!set.passOthers || asksUpgrade(req.Header))
}

// restOf is what of a visit's path lies below the middleware's.
func restOf(v *visit) string {
	rest, _ := below(v.middleware.settings.path, v.path)
	return rest
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
	plain       bool     // it asks in the usual words, and Traefik has said where it comes from
	agreed      bool     // the upstream agrees in plain words
	chosen      bool     // and has chosen something from the offer
	offer       *offer   // the client's, as far as it stands
	rules       *grammar // of frames, after what is negotiated
	place       *place   // of the session in the count; nil until it has one
	upstream    string   // scheme, host and port
	path        string   // as sent, without the query
	subprotocol string

	// The connections of a session that may yet come to nothing.
	dialed, taken net.Conn

	// What has come of the request. Where all are nil, it has been answered.
	checked  *http.Request // left to next
	session  *session
	takeover *takeover // inline: has to be finished
	panicked any       // what admit has panicked with
}

// receive checks a request, does the handshakes, and has the session begin. It is false where there is none.
// What takes a lot of stack has a goroutine of its own.
func receive(v *visit, rw http.ResponseWriter, req *http.Request) bool {
	done := make(chan struct{})
	go admit(v, rw, req, done)
	<-done
	if v.panicked != nil {
		raise(v.panicked)
	}
	if v.session == nil {
		depart(v, rw)
		return false
	}
	begin(v.session, v.roster)
	return true
}

// admitted, deferred, ends admit. Its panic is kept for receive.
func admitted(v *visit, done chan struct{}) {
	if r := recover(); r != nil {
		v.panicked = r
	}
	close(done)
}

// admit is what receive waits for. The functions from here to newSession are large and few, and have what is
// seldom needed done by others: interpreted, a session's opening costs what they have in them.
func admit(v *visit, rw http.ResponseWriter, req *http.Request, done chan struct{}) {
	defer admitted(v, done)
	m := v.middleware
	set := m.settings
	refused := check(v, set, req)
	if refused != nil {
		refuse(rw, refused)
		return
	}
	ctx := req.Context()
	v.roster = rosterOf(ctx)
	if v.roster.shutdown.Err() != nil {
		refuse(rw, refuseRestart)
		return
	}
	ip, _, _ := net.SplitHostPort(req.RemoteAddr)
	v.ip = ip
	l, client := set.limits, ip
	if ip == "" || l.clientHeader != "" {
		client = clientOf(req, l.clientHeader)
	}
	v.place, refused = take(m.name, client, l)
	if refused != nil {
		refuse(rw, refused)
		return
	}
	if set.forward {
		open(ctx, set.upstream, v, rw, req)
	} else if set.inline {
		between(v, rw, req)
	} else {
		v.checked = v.offer.onto(req)
	}
}

// leave ends a visit when its session does.
func leave(v *visit) {
	<-v.session.ended
	end(v.session)
	entry := recordOf(v, v.session)
	logLine(entry)
	if v.takeover != nil {
		finish(v.takeover)
	}
}

// open does both handshakes, the upstream's first, and joins the connections. There is no session
// where it has given the client another answer than 101.
func open(ctx context.Context, u *upstream, v *visit, rw http.ResponseWriter, req *http.Request) {
	e := u.endpoint
	if u.rules != nil {
		e = choose(u, req)
	}
	target, query := e.target, req.URL.RawQuery
	if query != "" || u.appendPath {
		full, ok := targetFor(u, e, restOf(v), query)
		if !ok {
			refuse(rw, refusePath)
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
	d := deskFor(conn)
	answer, err := noAnswer, send(u, v, req, e, target, key, d.lines)
	if err == nil {
		//nolint:bodyclose // the body is read from the connection, which is closed
		answer, err = http.ReadResponse(d.reader, anyGet)
		if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
			//nolint:bodyclose // as above
			answer, err = finalAnswer(d.reader, answer, err)
		}
	}
	release()
	if err != nil {
		failUpstream(v, rw, req, err)
		return
	}
	_ = conn.SetDeadline(never)
	if answer.StatusCode != http.StatusSwitchingProtocols {
		passOn(ctx, v, rw, answer, d.answer)
		return
	}
	err = verify(v, answer.Header, key)
	if err != nil {
		failUpstream(v, rw, req, err)
		return
	}
	accept(v, rw, req, answer.Header, d)
}

// passOn hands an upstream's answer other than 101 to the client, while that waits for it. The answer
// has been read through limited, and its body is longer.
func passOn(ctx context.Context, v *visit, rw http.ResponseWriter, answer *http.Response, limited *io.LimitedReader) {
	limited.N = unlimited
	release := onDone(ctx, v.dialed)
	defer release()
	pass(rw, answer)
}

// accept takes over the client's connection, answers 101 with what the upstream has agreed to, and
// joins the connections. d has what came after the upstream's answer.
func accept(v *visit, rw http.ResponseWriter, req *http.Request, agreed http.Header, d *desk) {
	header := rw.Header()
	client, source, err := takeOver(rw)
	if err != nil {
		reportClient(v, err)
		refuse(rw, refuseHijack)
		return
	}
	v.taken = client
	err = switchTo(v, client, header, req.Header[keyHeader][0], agreed, d.lines)
	if err != nil {
		reportClient(v, err)
		return
	}
	near := &side{name: clientSide, conn: client, source: client, reader: source}
	far := &side{name: upstreamSide, conn: v.dialed, source: v.dialed, reader: v.dialed}
	if d.reader.Buffered() > 0 {
		far.reader = after(taken(d.reader), v.dialed)
	}
	d.answer.R = nil // whose memory goes with the session
	desks.Put(d)
	m := v.middleware
	v.session = newSession(near, far, v.rules, m.settings, m.report)
}

// reportClient logs why a client's connection could not be had.
func reportClient(v *visit, cause error) {
	v.middleware.report("client connection not taken over", cause)
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

// failUpstream answers a client whose upstream could not be reached, and logs the cause,
// unless the client has gone and made it fail.
func failUpstream(v *visit, rw http.ResponseWriter, req *http.Request, cause error) {
	if req.Context().Err() != nil {
		refuse(rw, refuseGone)
		return
	}
	v.reportUpstream(cause)
	if isTimeout(cause) {
		refuse(rw, refuseTimeout)
		return
	}
	refuse(rw, refuseGateway)
}

// reportUpstream logs why there is no session with the upstream.
func (v *visit) reportUpstream(cause error) {
	name := v.upstream
	if name == "" {
		name = "of an unknown address" // the service has not told which
	}
	v.middleware.report("upstream "+name+" failed", cause)
}

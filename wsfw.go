// Package wsfw is a Traefik middleware plugin that checks WebSocket upgrades, forwards sessions to an upstream, and looks
// after them until they end. The life of a request:
//
//	ServeHTTP ─ not ours ──────────────► next.ServeHTTP
//	    └ admit ─ no ──────────────────► refuse, one log line
//	        └ forward │ service ─ failed ► 502 / 504 / the answer as it came
//	            └ acceptClient (the 101)
//	                └ session: client → upstream   (this goroutine)
//	                           upstream → client   (one more)
//	                └ both have ended: leave, giveBack
//
// Traefik does not compile the plugin but interprets it with Yaegi; docs/interpreter.md has what that forbids.
package wsfw

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Middleware is wsfw in front of one router's next handler.
type Middleware struct {
	next     http.Handler
	name     string
	settings *settings
	report   func(message string, cause error) // to the log
	counts   *counts
	hinted   atomic.Bool // the log has been told that the service upgrades nothing
}

// New makes the middleware called name from config. Its error names every mistake in config. It never panics: a panic
// here would freeze Traefik's dynamic configuration. Sessions do not depend on ctx, which Traefik cancels at each reload.
func New(ctx context.Context, next http.Handler, config *Config, name string) (handler http.Handler, err error) {
	defer func() {
		if r := recover(); r != nil {
			handler = nil
			err = errors.New("wsfw " + name + ": internal error: " + fmt.Sprint(r))
		}
	}()
	parsed, err := parse(config, name)
	if err != nil {
		return nil, err
	}
	warmUp.Do(warm)
	if parsed.status {
		return newStatus(ctx, next, parsed, name), nil
	}
	m := &Middleware{next: next, name: name, settings: parsed, counts: countsOf(name)}
	m.report = func(message string, cause error) {
		logEvent(&eventLine{Level: "error", Message: message, Name: name, Reason: message, Error: cause.Error()})
	}
	if parsed.upstream.tls != nil {
		parsed.upstream.tls.report = m.report
	}
	return m, nil
}

// ServeHTTP checks an upgrade and stays until its session has ended, for Traefik counts and logs a request for as long as
// this runs. Requests that are not wsfw's go to next with the writer as it came.
//
// While the session lives this is the pump of what comes from the client.
func (m *Middleware) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if m.settings.selective && !isOurs(m.settings, req) {
		m.next.ServeHTTP(rw, req)
		return
	}
	u := newUpgrade(m, rw, req)
	defer giveBack(u)
	refused := admit(u, m.settings)
	if refused != nil {
		refuse(u, refused)
	} else if m.settings.forward {
		forward(u, m.settings.upstream)
	} else if m.settings.inline {
		connectService(u)
	} else {
		passOn(u)
	}
	if u.session != nil && u.inline == nil {
		converse(u)
	}
}

// passOn has next serve an upgrade that has passed the check.
func passOn(u *upgrade) {
	writer := u.rw
	if u.stream != nil {
		writer = u.stream
	}
	req := withOffer(u.req, u.offer)
	if u.login != nil {
		passOnLogin(u, writer, req)
		return
	}
	u.middleware.next.ServeHTTP(writer, req)
}

// converse is a session, from its beginning to its record. It has next to nothing in it, for a goroutine keeps the frame
// that it is started in.
func converse(u *upgrade) {
	s := u.session
	go pump(s, s.toClient)
	pump(s, s.toUpstream)
	<-s.ended
	leave(u)
}

// isOurs reports whether wsfw is to answer a request.
func isOurs(set *settings, req *http.Request) bool {
	_, ours := below(set.path, sentPath(req.URL))
	return ours && (!set.passOthers || isConnect(req) || guardUpgrade(req.Header) != refuseNoUpgrade)
}

// upgrade is a client's request for a session, and what has come of it.
type upgrade struct {
	middleware  *Middleware
	rw          http.ResponseWriter
	req         *http.Request
	started     time.Time
	ip          string  // the client's, where its address has one
	path        string  // as sent, without the query
	key         string  // the client's
	offer       *offer  // and what it offers, as far as that stands
	stream      *stream // of HTTP/2 or HTTP/3 that the client asks for a session on; nil where it speaks HTTP/1.1
	http        string  // the version of HTTP that it speaks then, for the record
	server      *server
	refused     bool   // and there is no session
	clientKey   string // by which its session counts; empty until it does
	upstream    string // scheme, host and port
	rules       *frameRules
	subprotocol string

	// The connections of a session that may yet come to nothing.
	dialed, taken net.Conn

	number int    // of the session, once the registry has it
	user   string // who the client is, by the option userFrom
	login  *login // nil where no option asks for one

	inline  *hijackWriter // of next, where that leads to the upstream
	session *session      // that has come of the upgrade
}

// newUpgrade is a request for a session, of which nothing has come yet.
func newUpgrade(m *Middleware, rw http.ResponseWriter, req *http.Request) *upgrade {
	ip, _, _ := net.SplitHostPort(req.RemoteAddr)
	path := req.URL.EscapedPath()
	if req.URL.RawPath != "" {
		path = sentPath(req.URL)
	}
	u := &upgrade{
		middleware: m, rw: rw, req: req, started: time.Now(), ip: ip, path: path, server: serverOf(req.Context()),
	}
	if req.ProtoMajor > 1 && isConnect(req) {
		openStream(u)
	}
	return u
}

// startSession has the session of two peers begin.
func startSession(u *upgrade, client, upstream *peer) {
	m := u.middleware
	u.session = newSession(client, upstream, u.rules, m.settings, m.report)
	begin(u.session, u.server)
	if m.settings.known {
		identify(u)
	}
	register(u)
	if m.settings.logOpening {
		logOpening(u)
	}
}

// identify notes who the client of a session is that has just begun, and has the session end when the client's login does.
func identify(u *upgrade) {
	if header := u.middleware.settings.userFrom; header != "" {
		u.user = userOf(u.req, header)
	}
	if u.login != nil {
		startLogin(u)
	}
}

// leave ends a session whose directions have ended, gives its place back, and logs it. At a drain the line is written before
// the client's connection is closed, with the last of which Traefik exits.
func leave(u *upgrade) {
	s := u.session
	end(s)
	unregister(u)
	if u.login != nil {
		stopInquiry(u)
	}
	givePlaceBack(u)
	if !u.middleware.settings.logEnd {
		return
	}
	logSession(u)
	if s.waits {
		flushLines(output, flushTimeout)
	}
}

// refuse answers a client with a refusal, and logs that.
func refuse(u *upgrade, r *refusal) {
	req := u.req
	if u.stream != nil {
		req = u.stream.req
	}
	answerRefusal(u.rw, req, r)
	countRefused(u, r.reason)
	if r != refuseGone {
		line := eventOf(u, r.status, r.reason, "warn", "request refused")
		if u.login != nil {
			line.Error = u.login.fault
		}
		logEvent(line)
	}
}

// giveBack, deferred, undoes what is left of an upgrade, whatever has happened: its session counts no more, and what it has
// left open is closed.
func giveBack(u *upgrade) {
	if u.clientKey != "" {
		givePlaceBack(u)
	}
	s := u.session
	if s == nil {
		hangUpOn(u.dialed)
		hangUpOn(u.taken)
	} else if s.arrived.Load() < directionCount {
		abandonSession(u)
	} else if s.waits {
		closePeer(s.client)
	}
	if u.stream != nil {
		endStream(u)
	}
}

// givePlaceBack has an upgrade or its session count no more.
func givePlaceBack(u *upgrade) {
	uncountConn(u.middleware.name, u.clientKey)
	u.clientKey = ""
}

// abandonSession ends a session whose directions have not both run, for something has panicked before.
func abandonSession(u *upgrade) {
	defer swallow()
	end(u.session)
	unregister(u)
	if u.login != nil {
		stopInquiry(u)
	}
}

// hangUpOn closes a connection, if there is one. One that panics must not keep another open.
func hangUpOn(conn net.Conn) {
	defer swallow()
	if conn != nil {
		_ = conn.Close()
	}
}

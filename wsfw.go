// Package wsfw is a Traefik middleware plugin that checks WebSocket upgrades,
// forwards sessions to an upstream, and looks after them until they end.
//
// Traefik does not compile it but interprets it with Yaegi; docs/interpreter.md has what that forbids.
package wsfw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Middleware is wsfw in front of one router's next handler.
type Middleware struct {
	next     http.Handler
	name     string
	settings *settings
	report   func(message string, cause error) // to the log
	hinted   atomic.Bool                       // the log has been told that the service upgrades nothing
}

// New makes the middleware called name from config. Its error names every mistake in config. It never panics: a panic
// here would freeze Traefik's dynamic configuration. Sessions do not depend on ctx, which Traefik cancels at each reload.
func New(_ context.Context, next http.Handler, config *Config, name string) (handler http.Handler, err error) {
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
	m := &Middleware{next: next, name: name, settings: parsed}
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
	u := &upgrade{middleware: m, rw: rw, req: req}
	defer giveBack(u)
	admit(u)
	s := u.session
	if s == nil {
		depart(u)
		return
	}
	// From here, for a goroutine keeps the frame that it is started in.
	if s.tunnel {
		go pipe(s, s.toClient)
		pipe(s, s.toUpstream)
	} else {
		go pump(s, s.toClient)
		pump(s, s.toUpstream)
	}
	<-s.ended
	leave(u)
	if u.takeover != nil {
		finish(u.takeover)
	}
}

// isOurs reports whether wsfw is to answer a request.
func isOurs(set *settings, req *http.Request) bool {
	_, ours := below(set.path, sentPath(req.URL))
	return ours && (!set.passOthers || guardUpgrade(req.Header) != refuseNoUpgrade)
}

// upgrade is a client's request for a session, and what has come of it.
type upgrade struct {
	middleware  *Middleware
	rw          http.ResponseWriter
	req         *http.Request
	started     time.Time
	ip          string // the client's, where its address has one
	path        string // as sent, without the query
	key         string // the client's
	offer       *offer // and what it offers, as far as that stands
	around      *roster
	places      *places // where the session counts; nil until it does,
	guest       string  // and whose it is there
	upstream    string  // scheme, host and port
	rules       *grammar
	subprotocol string

	// The connections of a session that may yet come to nothing.
	dialed, taken net.Conn

	// What has come of the request. Where all are nil, it has been answered.
	checked  *http.Request // left to next
	session  *session
	takeover *takeover // inline: has to be finished
}

// admit takes an upgrade to its session, or answers it, or leaves it to next.
func admit(u *upgrade) {
	set, req := u.middleware.settings, u.req
	u.started = time.Now()
	u.path = req.URL.EscapedPath()
	if req.URL.RawPath != "" {
		u.path = sentPath(req.URL)
	}
	u.ip, _, _ = net.SplitHostPort(req.RemoteAddr)
	u.around = rosterOf(req.Context())
	refused := check(u, set)
	if refused == nil && u.around.shutdown.Err() != nil {
		refused = refuseRestart
	}
	if refused == nil {
		refused = takePlace(u, set.limits)
	}
	if refused != nil {
		refuse(u, refused)
		return
	}
	if set.forward {
		forward(u)
	} else if set.inline {
		between(u, u.rw, req)
	} else {
		u.checked = u.offer.onto(req)
	}
}

// startSession has the session of two sides begin.
func startSession(u *upgrade, client, upstream *side) {
	m := u.middleware
	u.session = newSession(client, upstream, u.rules, m.settings, m.report)
	if m.settings.logOpening {
		logOpening(u)
	}
	begin(u.session, u.around)
}

// depart ends an upgrade that has come to no session.
func depart(u *upgrade) {
	if u.takeover != nil {
		finish(u.takeover)
	} else if u.checked != nil {
		u.middleware.next.ServeHTTP(u.rw, u.checked)
	}
}

// leave ends a session whose directions have ended, and logs it. At a drain the line is written before the client's
// connection is closed, with the last of which Traefik exits.
func leave(u *upgrade) {
	s := u.session
	end(s)
	if !u.middleware.settings.logEnd {
		return
	}
	logSession(u)
	if s.waits {
		flushLines(output, flushTimeout)
	}
}

// logOpening logs a session that begins.
func logOpening(u *upgrade) {
	logLine(&openingLine{
		Time: timestamp(time.Now()), Level: "info", Plugin: "wsfw", Message: "websocket session opened", Name: u.middleware.name,
		Client: u.req.RemoteAddr, Upstream: u.upstream, Path: printable(u.path), Subprotocol: loggedSubprotocol(u),
	})
}

// logSession logs a session that has ended.
func logSession(u *upgrade) {
	s, now, path, subprotocol := u.session, time.Now(), u.path, u.subprotocol
	up, down := s.toUpstream, s.toClient
	pulse := s.unpinged
	if s.pinged {
		pulse = pulsesOf(s)
	}
	if len(path) > maxText {
		path = printable(path)
	}
	if subprotocol != "" {
		subprotocol = loggedSubprotocol(u)
	}
	logLine(&sessionLine{
		Time:         now.UTC().Format(timeLayout),
		Level:        "info",
		Plugin:       "wsfw",
		Message:      "websocket session",
		Name:         u.middleware.name,
		Client:       u.req.RemoteAddr,
		Upstream:     u.upstream,
		Path:         path,
		Subprotocol:  subprotocol,
		Duration:     now.Sub(u.started).Round(time.Millisecond).Seconds(),
		FromClient:   traffic{Frames: up.track.frames, Messages: up.track.messages, Bytes: up.bytes},
		FromUpstream: traffic{Frames: down.track.frames, Messages: down.track.messages, Bytes: down.bytes},
		Heartbeat:    pulse,
		EndedBy:      s.outcome.endedBy,
		Code:         s.outcome.code,
		Reason:       s.outcome.reason, // of at most 123 bytes
	})
}

// maxSubprotocol is the longest name of a subprotocol that is logged where protocols does not have it, in bytes.
const maxSubprotocol = 64

// loggedSubprotocol is the session's subprotocol as the log has it. Browsers can send a token only as one, and servers
// choose that: so a name that may be one is withheld, unless protocols has it.
func loggedSubprotocol(u *upgrade) string {
	name := u.subprotocol
	if name == "" || contains(u.middleware.settings.protocols, name) {
		return name
	}
	if len(name) > maxSubprotocol || strings.Contains(name, ".") {
		return "(withheld)"
	}
	return name
}

// refuse answers a client with a refusal, and logs that. A function, for a method takes up a value of the functions that
// call it.
func refuse(u *upgrade, r *refusal) {
	answerRefusal(u.rw, u.req, r)
	if r != refuseGone {
		logEvent(eventOf(u, r.status, r.reason, "warn", "request refused"))
	}
}

// eventOf is a line about an upgrade that is answered with a status, for a reason.
func eventOf(u *upgrade, status int, reason, level, message string) *eventLine {
	return &eventLine{
		Level: level, Message: message, Name: u.middleware.name,
		Client: u.req.RemoteAddr, Path: u.path, Status: status, Reason: reason,
	}
}

// passAnswer hands an upstream's answer other than 101 to the client, while that waits for it. The answer has been read
// through limited, and its body is longer.
func passAnswer(u *upgrade, answer *http.Response, limited *io.LimitedReader) {
	to := u.middleware.settings.upstream
	if answer.StatusCode == http.StatusForbidden && !to.passHost && to.headers["Host"] == nil && u.req.Header["Origin"] != nil {
		hintHost(u)
	}
	limited.N = unlimited
	release := onDone(u.req.Context(), u.dialed)
	defer release()
	pass(u.rw, answer)
}

// hintHost tells why an upstream may have refused a browser.
func hintHost(u *upgrade) {
	line := eventOf(u, http.StatusForbidden, "upstream_forbids", "warn", "upstream "+u.upstream+" answered 403")
	line.Hint = "many servers compare Origin with Host: try passHostHeader: true"
	logEvent(line)
}

// reportClient logs why a client's connection could not be had, or not be written to.
func reportClient(u *upgrade, r *refusal, cause error) {
	line := eventOf(u, r.status, r.reason, "error", "client connection not taken over")
	line.Error = cause.Error()
	logEvent(line)
}

// hangUp closes what connections an upgrade has without a session.
func hangUp(u *upgrade) {
	hangUpOn(u.dialed)
	hangUpOn(u.taken)
	if t := u.takeover; t != nil && t.service != nil {
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

// failUpstream answers a client whose upstream could not be reached, and logs the cause, unless the client has gone and
// made it fail.
func failUpstream(u *upgrade, cause error) {
	if u.req.Context().Err() != nil {
		answerRefusal(u.rw, u.req, refuseGone)
		return
	}
	r := refuseGateway
	if isTimeout(cause) {
		r = refuseTimeout
	}
	reportUpstream(u, r, cause)
	answerRefusal(u.rw, u.req, r)
}

// reportUpstream logs why there is no session with the upstream.
func reportUpstream(u *upgrade, r *refusal, cause error) {
	name := u.upstream
	if name == "" {
		name = "of an unknown address" // the service has not told which
	}
	line := eventOf(u, r.status, r.reason, "error", "upstream "+name+" failed")
	line.Error = cause.Error()
	logEvent(line)
}

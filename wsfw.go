// Package wsfw is a Traefik middleware plugin that checks WebSocket upgrades,
// forwards sessions to an upstream, and looks after them until they end.
//
// Traefik does not compile it but interprets it with Yaegi; CONTRIBUTING.md lists
// what that forbids.
package wsfw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
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

// warmUp is for the first New of the interpreter, which all middlewares share.
var warmUp sync.Once

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
		logLine(complaint{Time: timestamp(), Level: "error", Plugin: "wsfw", Message: message, Name: name, Cause: cause.Error()})
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
	rest, ours := below(m.settings.path, req.URL)
	if !ours || m.settings.passOthers && !asksUpgrade(req.Header) {
		m.next.ServeHTTP(rw, req)
		return
	}
	v := &visit{middleware: m, started: time.Now(), client: req.RemoteAddr}
	defer giveBack(v)
	receive(v, rw, req, rest)
	if v.session != nil {
		begin(v.session, v.shutdown)
		carry(v.session, v.session.toUpstream)
		<-v.session.ended
		leave(v)
	} else if v.takeover != nil {
		v.takeover.finish()
	} else if v.checked != nil {
		m.next.ServeHTTP(rw, v.checked)
	}
}

// visit is a client's stay: from the request to the record.
type visit struct {
	middleware  *Middleware
	started     time.Time
	shutdown    context.Context // ends with the server
	client      string          // remote address
	place       *place          // of the session in the count; nil until it has one
	upstream    string          // scheme, host and port
	path        string          // as sent, without the query
	subprotocol string

	// What has come of the request. Where all are nil, it has been answered.
	checked  *http.Request // left to next
	session  *session
	takeover *takeover // inline: has to be finished
}

// receive checks a request, and does the handshakes where there is to be a session. rest is what
// of its path lies below the middleware's.
func receive(v *visit, rw http.ResponseWriter, req *http.Request, rest string) {
	await(sendOut(func() { admit(v, rw, req, rest) }))
}

// admit is receive's errand.
func admit(v *visit, rw http.ResponseWriter, req *http.Request, rest string) {
	m := v.middleware
	refused, o := m.settings.check(req)
	if refused != nil {
		refused.answer(rw)
		return
	}
	v.shutdown = shutdownOf(req)
	if v.shutdown.Err() != nil {
		refuseRestart.answer(rw)
		return
	}
	v.path = sentPath(req.URL)
	v.place, refused = take(m.name, clientOf(req, m.settings.limits.clientHeader), m.settings.limits)
	if refused != nil {
		refused.answer(rw)
		return
	}
	if m.settings.forward {
		v.session = v.open(rw, req, rest, o)
	} else if m.settings.inline {
		v.session = v.between(rw, req, o)
	} else {
		v.checked = o.onto(req)
	}
}

// leave ends a visit whose session has.
func leave(v *visit) {
	end(v.session)
	v.record(v.session)
	if v.takeover != nil {
		v.takeover.finish()
	}
}

// errand is a function that runs in a goroutine of its own.
type errand struct {
	run  func() // called again, it does nothing but panic if it has
	done chan struct{}
}

// sendOut runs f.
func sendOut(f func()) *errand {
	e := &errand{run: sync.OnceFunc(f), done: make(chan struct{})}
	go carryOut(e)
	return e
}

// carryOut runs an errand. Its panic is kept for await.
func carryOut(e *errand) {
	defer func() { _ = recover() }()
	defer close(e.done)
	e.run()
}

// await waits for an errand, and panics as it has.
func await(e *errand) {
	<-e.done
	e.run()
}

// open does both handshakes, the upstream's first, and joins the connections. It is
// nil where it has given the client another answer than 101.
func (v *visit) open(rw http.ResponseWriter, req *http.Request, rest string, o *offer) *session {
	u := &v.middleware.settings.upstream
	e := u.choose(req)
	target := u.target(e, rest, req.URL.RawQuery)
	if u.appendPath && climbs(rest) || strings.ContainsAny(target, unprintable) {
		refusePath.answer(rw)
		return nil
	}
	v.upstream = e.label
	conn, err := u.dial(req.Context(), e)
	if err != nil {
		v.fail(rw, req, err)
		return nil
	}
	joined := false
	defer func() {
		if !joined {
			_ = conn.Close()
		}
	}()
	key := newKey()
	//nolint:bodyclose // the body is read from conn, which is closed
	answer, reader, err := u.exchange(req.Context(), conn, u.request(req, e, target, key, o))
	if err != nil {
		v.fail(rw, req, err)
		return nil
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		release := onDone(req.Context(), conn)
		defer release()
		pass(rw, answer)
		return nil
	}
	if err := verify(answer.Header, key, o); err != nil {
		v.fail(rw, req, err)
		return nil
	}
	client, early, err := accept(rw, req, answer)
	if err != nil {
		v.middleware.report("client connection not taken over", err)
		if errors.Is(err, errNotHijackable) {
			refuseHijack.answer(rw)
		}
		return nil
	}
	joined = true
	return v.link(newSide(clientSide, client, early), newSide(upstreamSide, conn, taken(reader)), answer.Header)
}

// link joins two sides by the upstream's answer.
func (v *visit) link(client, upstream *side, answer http.Header) *session {
	v.subprotocol = answer.Get(protocolHeader)
	set := v.middleware.settings
	rules := set.rules
	if rules == nil {
		rules = grammarOf(answer, set.checkText)
	}
	return newSession(client, upstream, rules, set, v.middleware.report)
}

// fail answers a client whose upstream could not be reached, and logs the cause,
// unless the client has gone and made it fail.
func (v *visit) fail(rw http.ResponseWriter, req *http.Request, cause error) {
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

// record is the line that each session leaves in the log.
type record struct {
	Time         string  `json:"time"` // of the end, RFC 3339 in UTC
	Level        string  `json:"level"`
	Plugin       string  `json:"plugin"`
	Message      string  `json:"msg"`
	Name         string  `json:"name"` // the middleware's
	Client       string  `json:"client"`
	Upstream     string  `json:"upstream"`
	Path         string  `json:"path"`
	Subprotocol  string  `json:"subprotocol"`
	Duration     float64 `json:"duration"` // seconds, from the request on
	FromClient   traffic `json:"fromClient"`
	FromUpstream traffic `json:"fromUpstream"`
	Heartbeat    *pulses `json:"heartbeat,omitempty"`
	EndedBy      string  `json:"endedBy"` // client, upstream or wsfw
	Code         int     `json:"code,omitempty"`
	Reason       string  `json:"reason"`
}

// traffic is what one side sent and the other got. A tunnel counts bytes only.
type traffic struct {
	Frames   int64 `json:"frames"`
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"` // on the wire, headers included
}

// record writes the line of a session that has ended.
func (v *visit) record(s *session) {
	logLine(record{
		Time:         timestamp(),
		Level:        "info",
		Plugin:       "wsfw",
		Message:      "websocket session",
		Name:         v.middleware.name,
		Client:       v.client,
		Upstream:     v.upstream,
		Path:         v.path,
		Subprotocol:  v.subprotocol,
		Duration:     time.Since(v.started).Round(time.Millisecond).Seconds(),
		FromClient:   s.toUpstream.traffic(),
		FromUpstream: s.toClient.traffic(),
		Heartbeat:    s.pulses(),
		EndedBy:      s.outcome.endedBy,
		Code:         s.outcome.code,
		Reason:       s.outcome.reason,
	})
}

// complaint is a line in the log about something that went wrong.
type complaint struct {
	Time    string `json:"time"`
	Level   string `json:"level"`
	Plugin  string `json:"plugin"`
	Message string `json:"msg"`
	Name    string `json:"name"`
	Cause   string `json:"error"`
}

// timestamp is the present in RFC 3339, UTC, milliseconds.
func timestamp() string {
	return time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// logLine writes entry as one line of JSON to standard output: with one write, so
// that lines of concurrent sessions do not mix, and raw, for what goes through fmt or
// log reaches Traefik's log only at its DEBUG or ERROR level.
func logLine(entry any) {
	line, err := json.Marshal(entry)
	if err != nil {
		return
	}
	_, _ = os.Stdout.Write(append(line, '\n'))
}

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
// While the session lives it is the pump of what comes from the client. What needs a lot of stack before
// that is done by an usher: a stack that has grown is kept for as long as it is in use.
func (m *Middleware) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if m.settings.selective && !isOurs(m.settings, req) {
		m.next.ServeHTTP(rw, req)
		return
	}
	v := newVisit(m, rw, req)
	defer giveBack(v)
	attended(v)
	s := v.session
	if s == nil {
		depart(v)
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
	attended(v)
	if v.takeover != nil {
		finish(v.takeover)
	}
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
func depart(v *visit) {
	if v.takeover != nil {
		finish(v.takeover)
	} else if v.checked != nil {
		v.middleware.next.ServeHTTP(v.rw, v.checked)
	}
}

// newVisit is a visit that has not been attended to yet.
func newVisit(m *Middleware, rw http.ResponseWriter, req *http.Request) *visit {
	return &visit{middleware: m, rw: rw, req: req, done: make(chan bool, 1)}
}

// visit is a client's stay: from the request to the record.
type visit struct {
	middleware  *Middleware
	rw          http.ResponseWriter
	req         *http.Request
	done        chan bool // gets a value whenever an usher is done with it
	started     time.Time
	client      string   // remote address
	ip          string   // of that, where it has one
	plain       bool     // it asks in the usual words, and Traefik has said where it comes from
	agreed      bool     // the upstream agrees in plain words
	chosen      bool     // and has chosen something from the offer
	offer       *offer   // the client's, as far as it stands
	rules       *grammar // of frames, after what is negotiated
	places      *places  // where the session counts; nil until it does,
	guest       string   // and whose it is there
	upstream    string   // scheme, host and port
	path        string   // as sent, without the query
	subprotocol string

	// The connections of a session that may yet come to nothing.
	dialed, taken net.Conn

	// What has come of the request. Where all are nil, it has been answered.
	checked  *http.Request // left to next
	session  *session
	takeover *takeover // inline: has to be finished
	panicked any       // what its usher has panicked with
}

// passOn hands an upstream's answer other than 101 to the client, while that waits for it. The answer
// has been read through limited, and its body is longer.
func passOn(v *visit, answer *http.Response, limited *io.LimitedReader) {
	limited.N = unlimited
	release := onDone(v.req.Context(), v.dialed)
	defer release()
	pass(v.rw, answer)
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
func failUpstream(v *visit, cause error) {
	if v.req.Context().Err() != nil {
		refuse(v.rw, refuseGone)
		return
	}
	v.reportUpstream(cause)
	if isTimeout(cause) {
		refuse(v.rw, refuseTimeout)
		return
	}
	refuse(v.rw, refuseGateway)
}

// reportUpstream logs why there is no session with the upstream.
func (v *visit) reportUpstream(cause error) {
	name := v.upstream
	if name == "" {
		name = "of an unknown address" // the service has not told which
	}
	v.middleware.report("upstream "+name+" failed", cause)
}

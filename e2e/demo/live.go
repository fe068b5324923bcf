package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/wire"
)

// throughInterval is how often a live client pings the upstream through the gateway.
const throughInterval = 500 * time.Millisecond

// The ways that a live session takes, side by side.
const (
	withWsfw    = "wsfw"
	withoutWsfw = "native"
)

// event is something that the page is told of a live session.
type event struct {
	At   float64 `json:"at"`   // in milliseconds, from the session's beginning
	Via  string  `json:"via"`  // the session's way
	Side string  `json:"side"` // client or upstream; wsfw for its record
	Kind string  `json:"kind"` // open, frame, act, gone or record
	Text string  `json:"text,omitempty"`

	Way    string  `json:"way,omitempty"` // of a frame: in or out, seen from its side
	Opcode string  `json:"opcode,omitempty"`
	Size   int     `json:"size"` // of its payload, in bytes
	Code   int     `json:"code,omitempty"`
	Own    bool    `json:"own,omitempty"` // a ping of the client's through to the upstream, or its pong; others are wsfw's
	RTT    float64 `json:"rtt,omitempty"` // of a pong to the client's own ping, in milliseconds

	Line json.RawMessage `json:"line,omitempty"` // the record
}

// live is two equal sessions of which the demo plays both ends, for a browser shows its page neither pings nor pongs, and
// sends no frame that is wrong. One goes through wsfw and one does not.
type live struct {
	id       string
	began    time.Time
	sessions map[string]*session // by way
	events   chan event
	ctx      context.Context // ends with the page's interest
}

// session is the two ends of one.
type session struct {
	client, upstream *end
}

// newSession makes the ends of the session that takes a way.
func (l *live) newSession(via string) *session {
	tell := func(e event) {
		e.Via = via
		l.tell(e)
	}
	return &session{
		client:   &end{side: clientSide, masks: true, tell: tell, ready: make(chan struct{}), over: make(chan struct{}), pings: map[string]time.Time{}},
		upstream: &end{side: upstreamSide, echo: true, tell: tell, ready: make(chan struct{}), over: make(chan struct{})},
	}
}

// end is that of a side.
func (s *session) end(side string) *end {
	if side == clientSide {
		return s.client
	}
	return s.upstream
}

// tell passes an event on to the page.
func (l *live) tell(e event) {
	e.At = milliseconds(time.Since(l.began))
	select {
	case l.events <- e:
	case <-l.ctx.Done():
	}
}

// stage holds the live sessions. It serves their page, and is their upstream.
type stage struct {
	mu       sync.Mutex
	sessions map[string]*live
}

func newStage() *stage { return &stage{sessions: map[string]*live{}} }

func (s *stage) find(id string) *live {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

// enter makes a pair of sessions that leave ends and forgets.
func (s *stage) enter(ctx context.Context) *live {
	l := &live{id: rand.Text(), began: time.Now(), events: make(chan event, 64), ctx: ctx}
	l.sessions = map[string]*session{withWsfw: l.newSession(withWsfw), withoutWsfw: l.newSession(withoutWsfw)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[l.id] = l
	return l
}

func (s *stage) leave(l *live) {
	for _, one := range l.sessions {
		one.client.hangUp()
		one.upstream.hangUp()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, l.id)
}

// upstreamOf is the upstream's end of the session that the request names, of those that take a way.
func (s *stage) upstreamOf(via string) http.HandlerFunc {
	return func(rw http.ResponseWriter, req *http.Request) {
		l := s.find(req.FormValue("session"))
		if l == nil {
			http.Error(rw, "There is no such session.", http.StatusNotFound)
			return
		}
		upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		conn, err := upgrader.Upgrade(rw, req, nil)
		if err != nil {
			return // Upgrade has answered
		}
		defer conn.Close()
		if upstream := l.sessions[via].upstream; upstream.open(conn.NetConn()) {
			upstream.run(conn.NetConn())
		}
	}
}

// watch runs both sessions for as long as the page listens, and streams what happens in them.
func (h *host) watch(rw http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithCancel(req.Context())
	var wait sync.WaitGroup
	l := h.demo.stage.enter(ctx)
	defer func() {
		cancel()
		h.demo.stage.leave(l)
		wait.Wait()
	}()
	wait.Go(func() { h.playThrough(l) })
	wait.Go(func() { h.playNative(l) })
	stream(ctx, rw, l.events)
}

// stream sends events, as server-sent ones, until they end or nobody listens any more.
func stream[T any](ctx context.Context, rw http.ResponseWriter, events <-chan T) {
	rw.Header().Set("Content-Type", "text/event-stream")
	rw.Header().Set("Cache-Control", "no-store")
	for {
		select {
		case e, ok := <-events:
			if !ok || write(rw, e) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// write sends one server-sent event at once.
func write(rw http.ResponseWriter, e any) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(rw, "data: %s\n\n", text); err != nil {
		return err
	}
	return http.NewResponseController(rw).Flush()
}

// playThrough is the client's end of the session through wsfw, from its handshake to the session's record.
func (h *host) playThrough(l *live) {
	address := h.playClient(l, withWsfw, liveRoute.ID)
	if address == "" {
		return
	}
	line, err := h.lines.await(l.ctx, liveRoute.ID, address)
	if err != nil {
		return // the page has left
	}
	<-l.sessions[withWsfw].upstream.over
	l.tell(event{Via: withWsfw, Side: "wsfw", Kind: "record", Line: line})
}

// playNative is the client's end of the session without wsfw.
func (h *host) playNative(l *live) {
	h.playClient(l, withoutWsfw, nativeRoute)
}

// playClient is the client's end of a session, from its handshake to its end. It returns the client's address, or none where
// there was no session.
func (h *host) playClient(l *live, via, route string) string {
	s := l.sessions[via]
	q := question{route: route, suffix: "?session=" + url.QueryEscape(l.id)}
	conn, in, err := q.dial("", h.demo.addr)
	if err != nil {
		l.tell(event{Via: via, Side: clientSide, Kind: "gone", Text: err.Error()})
		return ""
	}
	defer conn.Close()
	if !s.client.open(conn) {
		return "" // the page has left
	}
	select { // the client may have its 101 before the upstream's server has handed over the connection
	case <-s.upstream.ready:
	case <-l.ctx.Done():
		return ""
	}
	l.tell(event{Via: via, Side: clientSide, Kind: "open", Text: l.id})
	ctx, cancel := context.WithCancel(l.ctx)
	var wait sync.WaitGroup
	wait.Go(func() { s.client.beat(ctx) })
	s.client.run(in)
	cancel()
	wait.Wait()
	return conn.LocalAddr().String()
}

// beat pings through the gateway until ctx ends.
func (e *end) beat(ctx context.Context) {
	ticker := time.NewTicker(throughInterval)
	defer ticker.Stop()
	for e.ping() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// perform has one end of both sessions do something: an act, or sending the text that the page gives.
func (h *host) perform(rw http.ResponseWriter, req *http.Request) {
	l := h.demo.stage.find(req.PathValue("session"))
	if l == nil {
		http.Error(rw, errNotOpen.Error(), http.StatusNotFound)
		return
	}
	side, id := req.PathValue("side"), req.PathValue("act")
	for _, a := range append(acts(), sayings(req.FormValue("text"))...) {
		if a.Side != side || a.ID != id {
			continue
		}
		if err := l.perform(a); err != nil {
			http.Error(rw, err.Error(), http.StatusConflict)
		}
		return
	}
	http.Error(rw, "There is no such act.", http.StatusNotFound)
}

// perform does an act in both sessions. The error is that of the one through wsfw; the other may have ended before.
func (l *live) perform(a act) error {
	var failed error
	for _, via := range []string{withWsfw, withoutWsfw} {
		l.tell(event{Via: via, Side: a.Side, Kind: "act", Text: a.Title})
		if err := a.do(l.sessions[via].end(a.Side)); err != nil && via == withWsfw {
			failed = err
		}
	}
	return failed
}

// sayings are the acts of sending a text, one for each side.
func sayings(text string) []act {
	say := act{ID: "say", Title: "Send a text", do: func(e *end) error { return e.send(wire.Text(text)) }}
	return append(ofSide(clientSide, []act{say}), ofSide(upstreamSide, []act{say})...)
}

// about is what the page needs to know of what it can do on one click.
func (h *host) about(rw http.ResponseWriter, _ *http.Request) {
	d := h.demo
	reply(rw, map[string]any{
		"native":  d.native,
		"acts":    acts(),
		"live":    d.live,
		"limit":   d.limit,
		"callers": callers(),
		"crowd":   crowdSize,
		"waits":   restartWaits(),
	})
}

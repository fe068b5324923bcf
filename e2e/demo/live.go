package main

import (
	"bufio"
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

// event is something that the page is told of a live session.
type event struct {
	At   float64 `json:"at"`   // in milliseconds, from the session's beginning
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

// live is one session of which the demo plays both ends, for a browser shows its page neither pings nor pongs, and
// sends no frame that is wrong.
type live struct {
	id       string
	began    time.Time
	client   *end
	upstream *end
	events   chan event
	ctx      context.Context // ends with the page's interest
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

// enter makes a session that leave forgets.
func (s *stage) enter(ctx context.Context) *live {
	l := &live{id: rand.Text(), began: time.Now(), events: make(chan event, 64), ctx: ctx}
	l.client = &end{side: clientSide, masks: true, tell: l.tell, ready: make(chan struct{}), over: make(chan struct{}), pings: map[string]time.Time{}}
	l.upstream = &end{side: upstreamSide, echo: true, tell: l.tell, ready: make(chan struct{}), over: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[l.id] = l
	return l
}

func (s *stage) leave(l *live) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, l.id)
}

// serveUpstream is the upstream's end of the session that the request names.
func (s *stage) serveUpstream(rw http.ResponseWriter, req *http.Request) {
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
	if l.upstream.open(conn.NetConn()) {
		l.upstream.run(conn.NetConn())
	}
}

// watch runs a session for as long as the page listens, and streams what happens in it as server-sent events.
func (h *host) watch(rw http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithCancel(req.Context())
	var wait sync.WaitGroup
	l := h.demo.stage.enter(ctx)
	defer func() {
		cancel()
		l.client.hangUp()
		l.upstream.hangUp()
		h.demo.stage.leave(l)
		wait.Wait()
	}()
	rw.Header().Set("Content-Type", "text/event-stream")
	rw.Header().Set("Cache-Control", "no-store")
	wait.Go(func() { h.playClient(l) })
	for {
		select {
		case e := <-l.events:
			if err := write(rw, e); err != nil {
				return
			}
			if e.Kind == "record" {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// write sends one server-sent event at once.
func write(rw http.ResponseWriter, e event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(rw, "data: %s\n\n", text); err != nil {
		return err
	}
	return http.NewResponseController(rw).Flush()
}

// playClient is the client's end, from its handshake to the session's record.
func (h *host) playClient(l *live) {
	q := question{route: liveRoute.ID, suffix: "?session=" + url.QueryEscape(l.id)}
	conn, _, err := q.send(h.demo.addr)
	if err != nil {
		l.tell(event{Side: clientSide, Kind: "gone", Text: err.Error()})
		return
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil) //nolint:bodyclose // the connection is closed instead
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		l.tell(event{Side: clientSide, Kind: "gone", Text: "the upgrade failed"})
		return
	}
	conn.SetDeadline(time.Time{})
	l.client.open(conn)
	select { // the client may have its 101 before the upstream's server has handed over the connection
	case <-l.upstream.ready:
	case <-l.ctx.Done():
		return
	}
	l.tell(event{Side: clientSide, Kind: "open", Text: l.id})
	ctx, cancel := context.WithCancel(l.ctx)
	var wait sync.WaitGroup
	wait.Go(func() { l.beat(ctx) })
	l.client.run(in)
	cancel()
	wait.Wait()
	line, err := h.lines.await(l.ctx, liveRoute.ID, conn.LocalAddr().String())
	if err != nil {
		return // the page has left
	}
	<-l.upstream.over
	l.tell(event{Side: "wsfw", Kind: "record", Line: line})
}

// beat pings through the gateway until ctx ends.
func (l *live) beat(ctx context.Context) {
	ticker := time.NewTicker(throughInterval)
	defer ticker.Stop()
	for l.client.ping() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// perform has one end of a session do something: an act, or sending the text that the page gives.
func (h *host) perform(rw http.ResponseWriter, req *http.Request) {
	l := h.demo.stage.find(req.PathValue("session"))
	if l == nil {
		http.Error(rw, errNotOpen.Error(), http.StatusNotFound)
		return
	}
	side, id := req.PathValue("side"), req.PathValue("act")
	e := map[string]*end{clientSide: l.client, upstreamSide: l.upstream}[side]
	for _, a := range append(acts(), sayings(req.FormValue("text"))...) {
		if a.Side != side || a.ID != id {
			continue
		}
		l.tell(event{Side: side, Kind: "act", Text: a.Title})
		if err := a.do(e); err != nil {
			http.Error(rw, err.Error(), http.StatusConflict)
		}
		return
	}
	http.Error(rw, "There is no such act.", http.StatusNotFound)
}

// sayings are the acts of sending a text, one for each side.
func sayings(text string) []act {
	say := act{ID: "say", Title: "Send a text", do: func(e *end) error { return e.send(wire.Text(text)) }}
	return append(ofSide(clientSide, []act{say}), ofSide(upstreamSide, []act{say})...)
}

// about is what the page needs to know of live sessions.
func (h *host) about(rw http.ResponseWriter, _ *http.Request) {
	reply(rw, map[string]any{"yaml": h.demo.live.YAML, "acts": acts()})
}

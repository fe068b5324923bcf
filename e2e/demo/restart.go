package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// crowdSize is how many clients are connected at a restart: so many with wsfw, and so many without.
	crowdSize = 12

	// patience is how much longer than graceTimeOut a client waits for the end of its session.
	patience = 20 * time.Second
)

// drainRoute is the middleware of the crowd that a restart sends away.
var drainRoute = scenario{ID: "drain", YAML: `
upstreamEndpoint: ws://PLAIN/echo
drainTimeout: 4s
`}

// restartWaits are what the crowds wait for at a restart, by their way.
func restartWaits() map[string]wait {
	return map[string]wait{
		withWsfw: drainRoute.wait("drainTimeout", "the last close frame"),
		withoutWsfw: {
			Option: "graceTimeOut", Value: graceTimeOut.String(), For: "the old instance's end", MS: milliseconds(graceTimeOut),
		},
	}
}

// restartEvent is something that the page is told of a restart.
type restartEvent struct {
	At     float64 `json:"at"`   // in milliseconds, from the restart's beginning; 0 before
	Kind   string  `json:"kind"` // starting, open, begun, closed, back, summary, done or failed
	Via    string  `json:"via,omitempty"`
	Client int     `json:"client"` // which one of its crowd
	Code   int     `json:"code,omitempty"`
	Spread float64 `json:"spread,omitempty"` // from the first of the crowd to the last, in milliseconds
	Text   string  `json:"text,omitempty"`
}

// restart is one of the gateway, with two crowds connected to it.
type restart struct {
	ctx    context.Context // ends with the page's interest
	events chan restartEvent
	began  time.Time
	crowd  []*member
}

// member is a client of a crowd.
type member struct {
	via    string
	number int
	ask    question
	conn   net.Conn
	in     *bufio.Reader

	// How its session with the old instance has ended.
	at   time.Duration
	code int // 0 for no close frame
}

// errNotEnded is what comes of a session that outlives the instance of the gateway that it goes through.
var errNotEnded = errors.New("a session has not ended with the old instance")

// tell passes an event on to the page.
func (r *restart) tell(e restartEvent) {
	if !r.began.IsZero() {
		e.At = milliseconds(time.Since(r.began))
	}
	select {
	case r.events <- e:
	case <-r.ctx.Done():
	}
}

// restart ends an instance of the gateway while another one serves, and streams what its clients see of that. All is gone when
// it returns.
func (h *host) restart(rw http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithCancel(req.Context())
	r := &restart{ctx: ctx, events: make(chan restartEvent, 64)}
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	wait.Go(func() {
		defer close(r.events)
		if err := r.run(h.demo.replica); err != nil {
			r.tell(restartEvent{Kind: "failed", Text: err.Error()})
		}
	})
	stream(ctx, rw, r.events)
}

// run is the whole restart: two instances, the crowds with the old one, its end, and their return to the new one.
func (r *restart) run(start func(ctx context.Context) (*replica, error)) error {
	r.tell(restartEvent{Kind: "starting"})
	old, err := start(r.ctx)
	if err != nil {
		return err
	}
	defer old.stop()
	next, err := start(r.ctx)
	if err != nil {
		return err
	}
	defer next.stop()
	defer r.disperse()
	if err := r.gather(old.addr); err != nil {
		return err
	}
	r.began = time.Now()
	r.tell(restartEvent{Kind: "begun"})
	old.shutDown()
	if err := r.follow(next.addr); err != nil {
		return err
	}
	for _, via := range []string{withWsfw, withoutWsfw} {
		r.tell(r.summary(via))
	}
	r.tell(restartEvent{Kind: "done"})
	return nil
}

// gather connects both crowds to the instance at addr.
func (r *restart) gather(addr string) error {
	for n := range crowdSize {
		for _, m := range []*member{
			{via: withWsfw, number: n, ask: question{route: drainRoute.ID}},
			{via: withoutWsfw, number: n, ask: question{route: nativeRoute, suffix: "/echo"}},
		} {
			var err error
			if m.conn, m.in, err = m.ask.dial("", addr); err != nil {
				return err
			}
			r.crowd = append(r.crowd, m)
			r.tell(restartEvent{Kind: "open", Via: m.via, Client: n})
		}
	}
	return nil
}

// disperse closes the connections of the crowds.
func (r *restart) disperse() {
	for _, m := range r.crowd {
		m.conn.Close()
	}
}

// follow waits until every client has been sent away and has come back to the instance at next.
func (r *restart) follow(next string) error {
	failed := make([]error, len(r.crowd))
	var wait sync.WaitGroup
	for i, m := range r.crowd {
		wait.Go(func() { failed[i] = r.sendAway(m, next) })
	}
	wait.Wait()
	return errors.Join(failed...)
}

// sendAway waits for the end of a client's session, and has it come back at once.
func (r *restart) sendAway(m *member, next string) error {
	old := m.conn
	old.SetReadDeadline(time.Now().Add(graceTimeOut + patience))
	unwatch := context.AfterFunc(r.ctx, func() { old.SetReadDeadline(time.Now()) })
	defer unwatch()
	code, err := readClose(old, m.in)
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errNotEnded
	}
	m.code, m.at = code, time.Since(r.began)
	old.Close()
	r.tell(restartEvent{Kind: "closed", Via: m.via, Client: m.number, Code: code})
	conn, in, err := m.ask.dial("", next)
	if err != nil {
		return err
	}
	m.conn, m.in = conn, in
	r.tell(restartEvent{Kind: "back", Via: m.via, Client: m.number})
	return nil
}

// readClose reads up to a close frame, which it answers, and returns its code. The error is that of a connection that ends
// without one.
func readClose(conn net.Conn, in *bufio.Reader) (int, error) {
	for {
		f, err := wire.ReadFrame(in)
		if err != nil {
			return 0, err
		}
		if f.Opcode != wire.OpClose {
			continue
		}
		code, _, _ := f.Status()
		_, _ = conn.Write(wire.New(wire.OpClose, f.Payload).Masking(true).Bytes()) // the connection is closed next, anyway
		return code, nil
	}
}

// summary says in words how the sessions of a crowd have ended.
func (r *restart) summary(via string) restartEvent {
	var times []time.Duration
	codes := map[int]int{}
	for _, m := range r.crowd {
		if m.via == via {
			times = append(times, m.at)
			codes[m.code]++
		}
	}
	spread := slices.Max(times) - slices.Min(times)
	e := restartEvent{Kind: "summary", Via: via, Spread: milliseconds(spread)}
	for code, n := range codes {
		switch {
		case n < len(times):
			e.Text = fmt.Sprintf("%d clients were told different things, within %s", len(times), spell(spread))
		case code == 0:
			e.Text = fmt.Sprintf("%d connections were cut within %s, without a close frame", n, spell(spread))
		default:
			e.Code = code
			e.Text = fmt.Sprintf("%d clients were told %d, spread over %s", n, code, spell(spread))
		}
	}
	return e
}

// spell is a duration for people.
func spell(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", max(1, d.Milliseconds()))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

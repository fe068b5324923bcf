package wsfw

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// session is a client and an upstream joined after both handshakes. It owns both
// connections. After begin and end it is over completely: both directions joined, both
// connections closed, no timer left.
type session struct {
	*limits
	tunnel   bool // carried as bytes, not as frames
	started  time.Time
	lifetime time.Duration // when it ends at the latest, since the start
	slot     int           // of the metronome

	toUpstream *flow   // the handler's goroutine
	toClient   *flow   // a goroutine of its own
	flows      []*flow // both

	client, upstream *side
	report           func(message string, cause error) // to the log

	arrived atomic.Int32  // directions that have ended
	ended   chan struct{} // closed when both have
	roster  *roster       // of its server
	seat    int           // there; guarded by roster.mu
	cutting sync.Mutex    // for whoever closes both connections
	isCut   bool          // they are closed; guarded by cutting

	mu       sync.Mutex
	idleBy   time.Duration // when the session has been inactive for too long, since the start
	check    time.Duration // when the next thing may be due,
	calm     time.Duration // and when, once the pongs that are awaited have come
	timer    *time.Timer   // judges the session then; nil where nothing is ever due
	over     bool          // both connections are closed, or about to be
	closing  *time.Timer   // cuts the session when closing takes too long; nil until it closes
	draining *time.Timer   // ends the session in its turn at a shutdown
	waits    bool          // the client's connection is closed last: after the upstream's, and when the record is written
	outcome  outcome       // the first reason to end, which stays
}

// directions is how many a session has.
const directions = 2

// outline is what the sessions of the same settings and grammar begin with. Each has its own copies.
type outline struct {
	tracks    []track // to the upstream, and to the client
	furnished bool    // they need what no two sessions may share
}

// newOutline makes the outline of sessions under rules and limits.
func newOutline(rules *grammar, l *limits) *outline {
	up, down := newTrack(rules, true), newTrack(rules, false)
	up.bound(l)
	down.bound(l)
	return &outline{
		tracks:    []track{*up, *down},
		furnished: l.messageRate > 0 || l.pingInterval > 0 || down.speller != nil,
	}
}

// newSession joins two sides as the settings say. rules is the grammar of their frames;
// report takes what has to be said of a session that fails.
//
// It is one function, and copies what it can, for interpreted calls and steps are what an opening
// handshake is made of.
func newSession(client, upstream *side, rules *grammar, set *settings, report func(string, error)) *session {
	o := set.outlines[rules]
	l, started, tracks := set.limits, time.Now(), append([]track(nil), o.tracks...)
	near := make([]byte, restBuffer)
	far := make([]byte, restBuffer)
	toUpstream := &flow{from: client, to: upstream, started: started, track: &tracks[0], idle: true, buf: near, atRest: near, mask: maskBit, header: 2 + maskSize}
	toClient := &flow{from: upstream, to: client, started: started, track: &tracks[1], idle: true, buf: far, atRest: far, header: 2}
	s := &session{
		limits:     l,
		tunnel:     set.tunnel,
		started:    started,
		lifetime:   forever,
		toUpstream: toUpstream,
		toClient:   toClient,
		flows:      []*flow{toUpstream, toClient},
		report:     report,
		client:     client,
		upstream:   upstream,
		idleBy:     l.patience,
		ended:      make(chan struct{}),
	}
	client.back = upstream
	client.pongBy = forever
	upstream.back = client
	upstream.pongBy = forever
	if l.maxLifetime > 0 {
		s.lifetime = spreadLifetime(l)
	}
	if o.furnished {
		furnish(s)
	}
	return s
}

// furnish gives a session what it needs for itself: a bucket, what checks text, and heartbeats.
func furnish(s *session) {
	meter(s.toUpstream.track, s.limits)
	for _, f := range s.flows {
		if f.track.speller != nil {
			f.track.speller = &speller{}
		}
	}
	if s.pingInterval > 0 && s.pingClient {
		expectPongs(s.toUpstream)
	}
	if s.pingInterval > 0 && s.pingUpstream {
		expectPongs(s.toClient)
	}
}

// expectPongs has f's source pinged, and the pump from it know the pongs.
func expectPongs(f *flow) {
	f.from.heart = newHeartbeat(f.from.name == upstreamSide)
	f.track.token = f.from.heart.token()
	f.from.answered = true
	f.from.quiet = true
}

// begin has the session begin: drained with those of r, or right away where they have been already; judged
// when something is due; pinged. Called once. The caller has both directions pumped, waits for ended, and
// calls end.
func begin(s *session, r *roster) {
	s.roster = r
	r.mu.Lock()
	drained := r.drained
	s.seat = len(r.sessions)
	r.sessions = append(r.sessions, s)
	r.mu.Unlock()
	if drained {
		s.drain()
	}
	if s.timed && !s.tunnel {
		setTimer(s)
	}
	if s.pingInterval > 0 {
		keepBeat(s)
	}
}

// end stops what is left of a session whose directions have ended.
func end(s *session) {
	withdraw(s)
	if s.pingInterval > 0 {
		leaveBeat(s)
	}
	cut(s)
	s.mu.Lock()
	if s.timer != nil || s.closing != nil || s.draining != nil {
		stopTimers(s)
	}
	s.mu.Unlock()
}

// stopTimers stops those that there are. Needs session.mu.
func stopTimers(s *session) {
	for _, timer := range []*time.Timer{s.timer, s.closing, s.draining} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// arrive, deferred, ends a direction, and the session with the last one. A panic ends the session, too.
func arrive(s *session) {
	if r := recover(); r != nil {
		fail(s, r)
	}
	if s.arrived.Add(1) == directions {
		close(s.ended)
	}
}

// recovered, deferred, turns a panic into the end of the session: an unrecovered
// one would end the Traefik process, and so would one in here.
func recovered(s *session) {
	if r := recover(); r != nil {
		fail(s, r)
	}
}

// fail ends the session for a panic's sake.
func fail(s *session, r any) {
	defer func() { _ = recover() }()
	conclude(s, gatewaySide, closeInternal, "internal error")
	cut(s)
	s.report("session failed", errors.New(fmt.Sprint(r)))
}

package wsfw

import (
	"errors"
	"fmt"
	"math/rand"
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

	toUpstream *flow   // the handler's goroutine
	toClient   *flow   // a goroutine of its own
	flows      []*flow // both

	client, upstream *side
	report           func(message string, cause error) // to the log

	arrived   atomic.Int32  // directions that have ended
	ended     chan struct{} // closed when both have
	roster    any           // *roster of its server,
	slot      int           // and where in there
	metronome any           // *metronome where it is pinged, see alarm.session
	cutting   sync.Mutex    // for whoever closes both connections
	isCut     bool          // they are closed; guarded by cutting

	mu       sync.Mutex
	idleBy   time.Duration // when the session has been inactive for too long, since the start
	sent     time.Duration // when its pumps were sent to look first after that
	check    time.Duration // when the next thing may be due,
	calm     time.Duration // and when, once the pongs that are awaited have come
	pinged   bool          // one of its sides has been
	alarm    *alarm        // that goes off then, or at closeBy; nil while nothing is ever due,
	timer    *time.Timer   // and its timer
	over     bool          // both connections are closed, or about to be
	closing  bool          // it has begun to close,
	closeBy  time.Duration // and is cut then, since the start
	draining *time.Timer   // ends the session in its turn at a shutdown
	waits    bool          // the client's connection is closed last: after the upstream's, and when the record is written
	outcome  outcome       // the first reason to end, which stays
}

// directions is how many a session has.
const directions = 2

// outline is what the sessions of the same settings and grammar begin with. Each has its own copies.
type outline struct {
	tracks    []track // to the upstream, and to the client
	spells    bool    // they check text
	furnished bool    // sessions need something for themselves
}

// newOutline makes the outline of sessions under rules and limits.
func newOutline(rules *grammar, l *limits) *outline {
	up, down := newTrack(rules, true), newTrack(rules, false)
	up.bound(l)
	down.bound(l)
	meter(up, l)
	return &outline{
		tracks:    []track{*up, *down},
		spells:    down.speller != nil,
		furnished: down.speller != nil || l.maxLifetime > 0 || l.pingInterval > 0,
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
	tracks[0].opened = started
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
	if o.furnished {
		furnish(s, set, o)
	}
	return s
}

// furnish gives a session what it has for itself: tokens for its pongs, a lifetime, and what checks text. What
// pings need besides comes with the first of them, for many sessions are over by then.
func furnish(s *session, set *settings, o *outline) {
	// One draw for what the client does not see, for each costs a call. What it is sent must not tell it how a pong
	// to our pings to the upstream looks: it could have one made.
	l, draw := s.limits, rand.Uint64()
	if l.pingInterval > 0 {
		s.metronome = set.metronome
		if l.pingClient {
			token := rand.Uint64() | 1
			s.client.token = token
			s.toUpstream.track.token = token
		}
		if l.pingUpstream {
			s.upstream.token = draw | 1
			s.toClient.track.token = draw | 1
		}
	}
	if l.maxLifetime > 0 {
		// Up to a tenth less or more, so that sessions that began together do not end together.
		s.lifetime = l.briefest + time.Duration(draw%l.spread)
	}
	if o.spells {
		s.toUpstream.track.speller = new(speller)
		s.toClient.track.speller = new(speller)
	}
}

// begin has the session begin: drained with those of r, or right away where they have been already; judged
// when something is due; pinged. Called once. The caller has both directions pumped, waits for ended, and
// calls end.
func begin(s *session, r *roster) {
	if s.punctual && !s.tunnel {
		takeAlarm(s)
		plan(s, 0)
	}
	s.roster = r
	r.mu.Lock()
	drained := r.drained
	at := r.next
	r.next = (at + slotStride) & (rosterSlots - 1)
	s.slot = at
	r.slots[at][s] = true
	r.mu.Unlock()
	if drained {
		s.drain()
	}
	if s.metronome != nil {
		keepBeat(s)
	}
}

// end takes a session whose directions have ended off its roster, and stops what is left of it.
func end(s *session) {
	r := s.roster.(*roster)
	r.mu.Lock()
	delete(r.slots[s.slot], s)
	r.mu.Unlock()
	if s.metronome != nil {
		leaveBeat(s)
	}
	s.cutting.Lock()
	if !s.isCut {
		s.mu.Lock()
		s.over = true
		waits := s.waits
		s.mu.Unlock()
		sever(s, waits)
	}
	s.cutting.Unlock()
	if s.alarm != nil || s.draining != nil {
		stopTimers(s)
	}
}

// stopTimers stops those that there are. The session is over, so none is made or set any more.
func stopTimers(s *session) {
	if s.alarm != nil {
		freeAlarm(s.alarm)
	}
	if s.draining != nil {
		s.draining.Stop()
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

package wsfw

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Names of those who can end a session, in the record and in reasons.
const (
	clientPeer   = "client"
	upstreamPeer = "upstream"
	gateway      = "wsfw"
)

// forever is when something is due that is not. Times count from a session's start.
const forever = time.Duration(1<<63 - 1)

// session is a client and an upstream joined after both handshakes. It owns both connections, and closes each once. After
// begin and end it is over completely: both directions joined, both connections closed, nothing scheduled.
type session struct {
	*limits
	tunnel   bool // carried as bytes, not as frames
	started  time.Time
	lifetime time.Duration                     // when it ends at the latest
	report   func(message string, cause error) // to the log

	client, upstream *peer
	toUpstream       *direction   // relayed by the handler's goroutine
	toClient         *direction   // by a goroutine of its own
	directions       []*direction // both

	server  *server       // that the client has come in by
	arrived atomic.Int32  // directions that have ended
	ended   chan struct{} // closed when both have

	// scheduler.mu guards the following.
	enrolled  bool
	startedAt time.Duration // since the scheduler's start
	slot      int           // where it stands,
	turn      int64         // and the tick that it waits for there

	// cutting guards the following.
	cutting sync.Mutex
	isCut   bool // both connections are closed

	// mu guards the following.
	mu        sync.Mutex
	looksAt   time.Duration // when the scheduler looks at it next
	pingBy    time.Duration // when its peers are pinged next
	idleBy    time.Duration // when it has been inactive for too long
	lastData  time.Duration // when data was last seen to come or go, 0 is never
	asked     time.Duration // when its pumps were woken after that, to tell what they know
	drainBy   time.Duration // when it ends for a restart
	closing   bool          // it has begun to close,
	closingAt time.Duration // at this time,
	closeBy   time.Duration // and is cut then,
	cutBy     time.Duration // or then, whatever is in flight: soon after its login has ended
	slow      bool          // a quarter of its time to close is over,
	warned    bool          // or all of it: its pumps at work have been woken
	pinged    bool          // one of its peers has been
	waits     bool          // the client's connection is closed last: after the upstream's, and when the record is written
	over      bool          // both connections are closed, or about to be
	outcome   outcome       // the first reason to end, which stays
}

// directionCount is how many a session has.
const directionCount = 2

// peer is one end of a session. Its connection is read by the pump from it alone, and written by whoever holds writeMu of
// the direction to it; closePeer is for everybody.
type peer struct {
	name   string      // "client" or "upstream"
	conn   net.Conn    // to be written
	source net.Conn    // to be read: conn, unless this is a service
	reader io.Reader   // source, after what it gave together with the handshake
	pipes  *pipes      // that the connection leads to, if that is Traefik's own
	token  uint64      // begins the payload of our pings to it; 0 where it is not pinged
	counts *peerCounts // of all such peers; nil where nothing is counted

	// session.mu guards the following. Times count from the session's start.
	state        closeState
	pendingClose []byte        // a close frame of ours, for the pump to this peer to send
	heart        *heartbeat    // nil until it is pinged first
	pinged       time.Duration // when it was sent the first ping that it has not answered, 0 is none
	pongBy       time.Duration // until when it owes us a sign of life for that
	doubted      bool          // that has been put off for the last time
	pingAt       int64         // bytes passed on to it by then,
	readAt       int64         // and of those, what it has read for sure
	fed          bool          // it has been sent something since the latest ping
	hasRead      bool          // all that it was sent, and so has room for a ping
}

// newPeer makes a peer of conn that has given nothing yet.
func newPeer(name string, conn net.Conn) *peer {
	return &peer{name: name, conn: conn, source: conn, reader: conn}
}

// after reads early and then source.
func after(early []byte, source io.Reader) io.Reader {
	return io.MultiReader(bytes.NewReader(early), source)
}

// sessionTemplate is what the sessions of the same settings and rules begin with. Each has copies of its own.
type sessionTemplate struct {
	parsers    []parser // to the upstream, and to the client
	checksText bool
	furnished  bool // sessions need something for themselves
}

// newSessionTemplate makes the sessionTemplate of sessions under rules and limits.
func newSessionTemplate(rules *frameRules, l *limits) *sessionTemplate {
	up, down := newParser(rules, true), newParser(rules, false)
	bound(up, l)
	bound(down, l)
	return &sessionTemplate{
		parsers:    []parser{*up, *down},
		checksText: down.text != nil,
		furnished:  down.text != nil || l.maxLifetime > 0 || l.pingInterval > 0,
	}
}

// newSession joins two peers as the settings say. rules are those of their frames; report takes what has to be said of a
// session that fails.
//
// It is one function, and copies what it can, for interpreted calls and steps are what an opening handshake is made of.
func newSession(client, upstream *peer, rules *frameRules, set *settings, report func(string, error)) *session {
	t := set.templates[rules]
	l := set.limits
	started := time.Now()
	parsers := append([]parser(nil), t.parsers...)
	up, down := &parsers[0], &parsers[1]
	near := make([]byte, restBuffer)
	far := make([]byte, restBuffer)
	up.opened = started
	toUpstream := &direction{from: client, to: upstream, started: started, parser: up, idle: true, buf: near, atRest: near, readBy: forever, writeBy: forever}
	toClient := &direction{from: upstream, to: client, started: started, parser: down, idle: true, buf: far, atRest: far, readBy: forever, writeBy: forever}
	s := &session{
		limits:     l,
		tunnel:     set.tunnel,
		started:    started,
		lifetime:   forever,
		report:     report,
		client:     client,
		upstream:   upstream,
		toUpstream: toUpstream,
		toClient:   toClient,
		directions: []*direction{toUpstream, toClient},
		ended:      make(chan struct{}),
		pingBy:     forever,
		idleBy:     l.idleLimit,
		drainBy:    forever,
		cutBy:      forever,
	}
	client.pongBy = forever
	upstream.pongBy = forever
	if t.furnished {
		furnish(s, t)
	}
	if set.tunnel { // no frame there ever ends, so nothing of ours goes between two
		up.left = 1
		down.left = 1
	}
	return s
}

// reverse is the other direction.
func reverse(s *session, f *direction) *direction {
	if f == s.toClient {
		return s.toUpstream
	}
	return s.toClient
}

// furnish gives a session what it has for itself: tokens for its pongs, when it is pinged first, a lifetime, and what
// checks text.
func furnish(s *session, t *sessionTemplate) {
	// One draw for what the client does not see, for each costs a call. What it is sent must not tell it how a pong to our
	// pings to the upstream looks: it could have one made.
	l, draw := s.limits, rand.Uint64()
	if l.pingInterval > 0 {
		s.pingBy = time.Duration(draw%uint64(l.pingInterval)) + 1 // so that sessions that began together are not pinged together
		if l.pingClient {
			token := rand.Uint64() | 1
			s.client.token = token
			s.toUpstream.parser.token = token
		}
		if l.pingUpstream {
			s.upstream.token = draw | 1
			s.toClient.parser.token = draw | 1
		}
	}
	if l.maxLifetime > 0 {
		// Up to a tenth less or more, so that sessions that began together do not end together.
		s.lifetime = l.briefest + time.Duration(draw%l.spread)
	}
	if t.checksText {
		s.toUpstream.parser.text = new(utf8Validator)
		s.toClient.parser.text = new(utf8Validator)
	}
}

// begin has the session begin, on a server whose shutdown drains it. Called once. The caller has both directions pumped,
// waits for ended, and calls end.
func begin(s *session, on *server) {
	s.server = on
	enroll(s)
	if on.shutdown.Err() != nil {
		drainSession(s)
	}
}

// end has nothing left of a session whose directions have ended.
func end(s *session) {
	withdraw(s)
	s.cutting.Lock()
	isCut := s.isCut
	s.cutting.Unlock()
	if !isCut {
		cut(s)
	}
}

// arrive, deferred, ends a direction, and the session with the last one. A panic ends the session, too.
func arrive(s *session) {
	if r := recover(); r != nil {
		fail(s, r)
	}
	if s.arrived.Add(1) == directionCount {
		close(s.ended)
	}
}

// recovered, deferred, turns a panic into the end of the session: an unrecovered one would end the Traefik process, and so
// would one in here.
func recovered(s *session) {
	if r := recover(); r != nil {
		fail(s, r)
	}
}

// fail ends the session for a panic's sake.
func fail(s *session, r any) {
	defer swallow()
	conclude(s, gateway, closeInternal, "internal error")
	cut(s)
	s.report("session failed", errors.New(fmt.Sprint(r)))
}

// swallow, deferred, takes a panic that nobody needs to know of.
func swallow() {
	_ = recover()
}

// cut closes both connections, once, and has closed them when it returns. Whoever reads or writes them comes back. A
// client's that is to be closed last is left to giveBack.
func cut(s *session) {
	s.mu.Lock()
	s.over = true
	waits := s.waits
	s.mu.Unlock()
	s.cutting.Lock()
	if !s.isCut {
		s.isCut = true
		closePeer(s.upstream)
		if waits {
			silence(s.client)
		} else {
			closePeer(s.client)
		}
	}
	s.cutting.Unlock()
}

// silence has nobody read or write a peer's connection any more. From here on no deadline of it is moved: see over.
func silence(x *peer) {
	defer swallow()
	_ = x.conn.SetDeadline(past)
	_ = x.source.SetDeadline(past)
}

// closePeer closes a peer's connection; one that panics must not keep the other open.
func closePeer(x *peer) {
	defer swallow()
	if x.pipes != nil {
		closePipes(x.pipes)
		return
	}
	_ = x.conn.Close()
}

// isOver tells whether both connections are closed, or about to be.
func isOver(s *session) bool {
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	return over
}

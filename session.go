package wsfw

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// outcome is how a session ended: who ended it, with which close code and reason.
// The code is closeAbnormal where a side went without a close frame, and 0 where a
// tunnel's end has none.
type outcome struct {
	endedBy string
	code    int
	reason  string
}

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

	carried atomic.Int32  // directions that have not ended
	ended   chan struct{} // closed when both have
	undrain func() bool   // forgets the shutdown
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
	waits    bool          // the client's connection is only half closed until the upstream is done with
	outcome  outcome       // the first reason to end, which stays
}

// outline is what the sessions of the same settings and grammar begin with. Each has its own copies.
type outline struct {
	toUpstream, toClient *track
	furnished            bool // the tracks need what no two sessions may share
}

// newOutline makes the outline of sessions under rules and limits.
func newOutline(rules *grammar, l *limits) *outline {
	o := &outline{toUpstream: newTrack(rules, true), toClient: newTrack(rules, false)}
	o.toUpstream.bound(l)
	o.toClient.bound(l)
	o.furnished = l.messageRate > 0 || l.pingInterval > 0 || o.toClient.speller != nil
	return o
}

// newSession joins two sides as the settings say. rules is the grammar of their frames;
// report takes what has to be said of a session that fails.
//
// It is one function, and copies what it can, for interpreted calls and steps are what an opening
// handshake is made of.
func newSession(client, upstream *side, rules *grammar, set *settings, report func(string, error)) *session {
	o := set.outlines[rules]
	up := *o.toUpstream
	down := *o.toClient
	l, started := set.limits, time.Now()
	toUpstream := &flow{from: client, to: upstream, started: started, track: &up, idle: true, mask: maskBit, header: 2 + maskSize}
	toClient := &flow{from: upstream, to: client, started: started, track: &down, idle: true, header: 2}
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
	upstream.back = client
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
}

// warm goes through what the pumps of a session do, one after the other, with one that has
// ended already. Yaegi resolves the types of a function when it first runs, and without a
// lock: the two pumps of the very first session would race for it.
func warm() {
	conn, peer := net.Pipe()
	_ = peer.Close()
	set := newSettings(limits{
		pingInterval: time.Hour, pingClient: true, pongTimeout: time.Hour, maxInactivity: time.Hour, messageRate: 1, messageBurst: 1,
	})
	s := newSession(newSide(clientSide, conn, nil), newSide(upstreamSide, conn, nil), plainText, set, func(string, error) {})
	s.carried.Store(5)
	carry(s, s.toUpstream) // the client has gone: this ends the session
	carry(s, s.toClient)
	f := s.toUpstream
	rouse(s, f)
	isPong(s, f, controlFrame(opPong, f.from.heart.payload, true))
	_, _ = relay(f, copy(f.buf, controlFrame(opPong, f.from.heart.payload, true)), nil)
	_, _ = relay(f, copy(f.buf, []byte{finBit | opText, maskBit | 1, 0, 0, 0, 0, 'a'}), nil)
	_, _ = bulk(f)
	_, _ = spellOut(f)
	warmTexts(f)
	stamp(s, s.toClient, 1)
	_ = ping(s.client)
	beat(&metronome{due: []*session{s}})
	onTimer(s)
	s.dismiss(restarting)
	s.tunnel = true
	carry(s, s.toUpstream)
	carry(s, s.toClient)
}

// begin has the session begin, and drained when shutdown ends. Called once. It carries what comes
// from the upstream, in a goroutine of its own; the caller carries what comes from the client,
// waits for ended, and calls end.
//
// A variable, for so the frames of the callers, with all that they did for the handshake, are not
// kept by the session's goroutines (see newMetronome).
var begin = func(s *session, shutdown context.Context) {
	s.undrain = context.AfterFunc(shutdown, func() {
		defer recovered(s)
		s.drain()
	})
	startTimer(s)
	if s.pingInterval > 0 {
		keepBeat(s)
	}
	s.carried.Store(int32(len(s.flows)))
	if s.tunnel {
		go pipe(s, s.toClient)
	} else {
		go pump(s, s.toClient)
	}
}

// end stops what is left of a session whose directions have ended.
func end(s *session) {
	s.undrain()
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

// carry takes one direction to its end. A panic in it ends the session and nothing else.
func carry(s *session, f *flow) {
	if s.tunnel {
		pipe(s, f)
	} else {
		pump(s, f)
	}
}

// arrive notes that a direction has come to its end; the last one ends the session.
func arrive(s *session) {
	if s.carried.Add(-1) == 0 {
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

// passClose passes on the close frame at which f's track has ended. The outcome is
// concluded first, for the answer may come before the write returns. Where a close frame
// of ours is meant for the destination, the source has answered that which it was sent.
func (s *session) passClose(f *flow) {
	frame := f.track.closing
	farewell := takeClose(s, f, frame)
	if farewell != nil {
		mark(s, &f.from.closeReceived)
		s.sendClose(f.to, farewell)
		return
	}
	_, err := f.to.conn.Write(frame)
	if err != nil {
		s.unwritable(f, err)
		return
	}
	f.track.frames++
	f.bytes += int64(len(frame))
	mark(s, &f.from.closeReceived, &f.to.closeSent)
}

// takeClose starts the session's end by the close frame of f's source. Where one of ours is meant for
// the other side, it returns that instead.
func takeClose(s *session, f *flow, frame []byte) (farewell []byte) {
	s.mu.Lock()
	farewell = f.to.farewell
	if farewell == nil {
		if s.outcome.endedBy == "" {
			concludeClosed(s, f.from, frame)
		}
		setClosing(s)
	}
	s.mu.Unlock()
	return farewell
}

// concludeClosed gives the session its outcome: x has closed it. Needs session.mu.
func concludeClosed(s *session, x *side, frame []byte) {
	code, reason := closeStatus(frame)
	s.outcome = outcome{endedBy: x.name, code: code, reason: reason}
}

// breach answers a fault of f's source: both sides are told, each by the pump to it. But for
// text, a fault is found before anything of its frame is passed on. Where it is not, the
// destination is left in the middle of a frame, and its connection is closed.
func (s *session) breach(f *flow) {
	fault := f.track.fault
	conclude(s, gatewaySide, fault.code, f.from.name+": "+fault.reason)
	startClosing(s)
	s.leave(f.from, closeFrame(fault.code, fault.reason, f.from.name == upstreamSide))
	if f.track.left > 0 {
		closeQuietly(f.to)
		return
	}
	farewell := s.farewellTo(f.to)
	if farewell == nil {
		farewell = lossFrame(f.to, f.from.name+" "+fault.kind())
	}
	s.sendClose(f.to, farewell)
}

// farewellTo is the close frame of ours that has been left for x, or nil.
func (s *session) farewellTo(x *side) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return x.farewell
}

// unwritable follows up a failed write. A destination that has blocked is cut; one
// that has gone is left to its own pump, which will learn why.
func (s *session) unwritable(f *flow, cause error) {
	if f.track.closing != nil {
		code, reason := closeStatus(f.track.closing)
		conclude(s, f.from.name, code, reason)
		mark(s, &f.from.closeReceived)
	}
	startClosing(s)
	if errors.Is(cause, os.ErrDeadlineExceeded) {
		reason := f.to.name + " write timeout"
		conclude(s, gatewaySide, lossCode(f.from), reason)
		s.leave(f.from, lossFrame(f.from, reason))
		closeQuietly(f.to) // wakes the pump to f.from, too
	}
}

// endOfStream follows up the end of f's source and is the last act of its pump. Where both
// connections are being closed there is nothing left to do.
func (s *session) endOfStream(f *flow) {
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if !over {
		endStream(s, f)
	}
}

// endStream is endOfStream for a session that is not over. A side that goes without a close frame
// has vanished: the client is told, with a code of a gateway; the upstream sees its connection
// close, as it would without wsfw.
func endStream(s *session, f *flow) {
	s.mu.Lock()
	farewell := f.to.farewell
	told := f.to.closeSent
	vanished := !told && farewell == nil && !f.from.closeReceived && !s.over
	s.mu.Unlock()
	if vanished && f.from.name == clientSide {
		conclude(s, clientSide, closeAbnormal, "connection lost")
		cut(s)
		return
	}
	if vanished {
		farewell = loseUpstream(s, f)
	}
	startClosing(s)
	mark(s, &f.from.ended)
	if !told && farewell != nil {
		lastWord(s, f, farewell)
	}
}

// loseUpstream ends the session of an upstream that has vanished. It returns what the client is told.
func loseUpstream(s *session, f *flow) (farewell []byte) {
	conclude(s, upstreamSide, closeAbnormal, "connection lost")
	closeQuietly(f.from) // what the client still says reaches nobody
	return lossFrame(f.to, "upstream connection lost")
}

// lastWord sends a close frame at the end of f's source, unless that has left its
// destination in the middle of a frame.
func lastWord(s *session, f *flow, frame []byte) {
	if f.track.left > 0 {
		cut(s)
		return
	}
	s.sendClose(f.to, frame)
}

// dismiss ends the session by close frames of ours to both sides, unless it is ending
// already. A tunnel has no frames and is cut.
func (s *session) dismiss(d *dismissal) {
	if s.concludeBy(d) && s.tunnel {
		cut(s)
	}
}

// concludeBy gives the session d for its end; false where it has another.
func (s *session) concludeBy(d *dismissal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing != nil || s.over || s.outcome.endedBy != "" {
		return false
	}
	s.outcome = outcome{endedBy: gatewaySide, reason: d.reason}
	setClosing(s)
	if s.tunnel {
		return true
	}
	s.outcome.code = d.toClient
	s.waits = d.clientLast
	if d.lost != nil {
		d.lost.lost = true
	}
	s.entrust(s.client, closeFrame(d.toClient, d.reason, false))
	s.entrust(s.upstream, closeFrame(d.toUpstream, d.reason, true))
	return true
}

// leave gives the pump to x a close frame to send, unless x has one already.
func (s *session) leave(x *side, frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entrust(x, frame)
}

// entrust is leave for whoever holds session.mu.
func (s *session) entrust(x *side, frame []byte) {
	if x.farewell == nil && !x.closeSent {
		x.farewell = frame
		_ = x.back.source.SetReadDeadline(past) // wakes the pump
	}
}

// sendClose writes a close frame to x, which stands between two frames. The error of
// the write is not looked at: what x has to say about it, the pump from x will read.
func (s *session) sendClose(x *side, frame []byte) {
	startClosing(s)
	// The closing timer bounds the write; the rolling deadline may have been missed at rest.
	_ = x.conn.SetWriteDeadline(time.Time{})
	_, _ = x.conn.Write(frame)
	mark(s, &x.closeSent)
}

// mark sets flags of sides. It closes the connection of a side that has been parted with: nothing
// more will be said to it, and nothing more heard. So no peer has to wait for the other's answer.
// The session ends when nothing more is expected of either side.
func mark(s *session, flags ...*bool) {
	s.mu.Lock()
	for _, flag := range flags {
		*flag = true
	}
	c, u, waits := s.client, s.upstream, s.waits
	byeClient := c.closeSent && (c.closeReceived || c.lost)
	byeUpstream := u.closeSent && (u.closeReceived || u.lost)
	settled := (byeClient || c.ended) && (byeUpstream || u.ended)
	s.mu.Unlock()
	if settled {
		cut(s)
		return
	}
	if byeClient && (!waits || !closeWrite(c.conn)) {
		closeQuietly(c)
	}
	if byeUpstream {
		closeQuietly(u)
	}
}

// conclude gives the session its outcome, unless it has one.
func conclude(s *session, endedBy string, code int, reason string) {
	s.mu.Lock()
	if s.outcome.endedBy == "" {
		s.outcome = outcome{endedBy: endedBy, code: code, reason: reason}
	}
	s.mu.Unlock()
}

// startClosing gives the session closeTimeout to come to its end by itself.
func startClosing(s *session) {
	s.mu.Lock()
	setClosing(s)
	s.mu.Unlock()
}

// setClosing is startClosing for whoever holds session.mu.
func setClosing(s *session) {
	if s.closing == nil && !s.over {
		s.closing = closingTimer(s)
	}
}

// closingTimer cuts the session after closeTimeout.
func closingTimer(s *session) *time.Timer {
	return time.AfterFunc(s.closeTimeout, func() {
		defer recovered(s)
		cut(s)
	})
}

// cut closes both connections, once, and has closed them when it returns. Whoever reads
// or writes them comes back.
func cut(s *session) {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.cutting.Lock()
	if !s.isCut {
		s.isCut = true
		closeQuietly(s.upstream)
		closeQuietly(s.client)
	}
	s.cutting.Unlock()
}

// swallow, deferred, takes a panic that nobody needs to know of.
func swallow() {
	_ = recover()
}

// closeQuietly closes a side's connection; one that panics must not keep the other open.
func closeQuietly(x *side) {
	defer swallow()
	if x.service != nil {
		closeService(x.service)
		return
	}
	_ = x.conn.Close()
}

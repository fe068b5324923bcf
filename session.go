package wsfw

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Names of those who can end a session, in the record and in reasons.
const (
	clientSide   = "client"
	upstreamSide = "upstream"
	gatewaySide  = "wsfw"
)

// limits are the bounds of a session. Zero is off, but for closeTimeout.
type limits struct {
	writeTimeout time.Duration // longest time that a side may block a write
	closeTimeout time.Duration // longest wait for what a close frame has to bring about
}

// tick is how often a pump has to look up: a blocked write is found at most this
// much later than writeTimeout says.
func (l limits) tick() time.Duration {
	if l.writeTimeout > 0 && l.writeTimeout < 4*quietTick {
		return l.writeTimeout / 4
	}
	return quietTick
}

// side is one end of a session. Its connection is read only by the pump from it and
// written only by the pump to it; deadlines and Close are for everybody.
type side struct {
	name   string // "client" or "upstream"
	conn   net.Conn
	reader io.Reader // conn, after what it gave together with the handshake

	// Guarded by session.mu.
	closeReceived bool   // it has sent a close frame
	closeSent     bool   // it has been sent a close frame
	ended         bool   // it has nothing more to say: end of stream, reset, or cut
	farewell      []byte // a close frame of ours, for the pump to this side to send
}

// newSide makes a side of conn; early is what conn has already given.
func newSide(name string, conn net.Conn, early []byte) *side {
	s := &side{name: name, conn: conn, reader: conn}
	if len(early) > 0 {
		s.reader = io.MultiReader(bytes.NewReader(early), conn)
	}
	return s
}

// settled reports whether nothing more is expected of the side. Needs session.mu.
func (s *side) settled() bool {
	return s.ended || s.closeSent && s.closeReceived
}

// outcome is how a session ended: who ended it, with which close code and reason.
// The code is closeAbnormal where a side went without a close frame, and 0 where a
// tunnel's end has none.
type outcome struct {
	endedBy string
	code    int
	reason  string
}

// past is a deadline that has been missed: it wakes whoever reads.
var past = time.Unix(1, 0)

// session is a client and an upstream joined after both handshakes. It owns both
// connections. run ends it completely: both directions joined, both connections
// closed, no timer left.
type session struct {
	limits
	toUpstream *flow                             // run's own goroutine
	toClient   *flow                             // a goroutine of its own
	report     func(message string, cause error) // to the log

	directions sync.WaitGroup // that are still carried
	cutting    sync.Once      // closes both connections

	mu      sync.Mutex
	over    bool        // both connections are closed, or about to be
	closing *time.Timer // cuts the session when closing takes too long
	outcome outcome     // the first reason to end, which stays
}

// newSession joins two sides. rules is the grammar of their frames; report takes
// what has to be said of a session that fails.
func newSession(client, upstream *side, rules *grammar, l limits, report func(string, error)) *session {
	return &session{
		limits:     l,
		toUpstream: newFlow(client, upstream, rules, true),
		toClient:   newFlow(upstream, client, rules, false),
		report:     report,
	}
}

// warm carries both directions of a session that has ended already, one after the other.
// Yaegi resolves the types of a function when it first runs, and without a lock: the two
// pumps of the very first session would race for it.
func warm() {
	conn, peer := net.Pipe()
	_ = peer.Close()
	s := newSession(newSide(clientSide, conn, nil), newSide(upstreamSide, conn, nil), plain, limits{}, func(string, error) {})
	s.directions.Add(4)
	s.carry(s.toUpstream, false) // the client has gone: this ends the session
	s.carry(s.toClient, false)
	s.carry(s.toUpstream, true)
	s.carry(s.toClient, true)
}

// run carries the session from its first byte to its end, as bytes where tunnel says
// so, else as frames. Called once.
func (s *session) run(tunnel bool) {
	s.directions.Add(2)
	go s.carry(s.toClient, tunnel)
	s.carry(s.toUpstream, tunnel)
	s.directions.Wait()
	s.cut()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing != nil {
		s.closing.Stop()
	}
}

// carry takes one direction to its end. A panic in it ends the session and nothing else.
func (s *session) carry(f *flow, tunnel bool) {
	defer s.directions.Done()
	defer s.recovered()
	if tunnel {
		s.pipe(f)
	} else {
		s.pump(f)
		restore(f)
	}
}

// recovered, deferred, turns a panic into the end of the session: an unrecovered
// one would end the Traefik process, and so would one in here.
func (s *session) recovered() {
	r := recover()
	if r == nil {
		return
	}
	defer func() { _ = recover() }()
	s.conclude(gatewaySide, closeInternal, "internal error")
	s.cut()
	s.report("session failed", errors.New(fmt.Sprint(r)))
}

// passClose passes on the close frame at which f's track has ended. The outcome is
// concluded first, for the answer may come before the write returns.
func (s *session) passClose(f *flow) {
	frame := f.track.closing
	code, reason := closeStatus(frame)
	s.conclude(f.from.name, code, reason)
	s.startClosing()
	if _, err := f.to.conn.Write(frame); err != nil {
		s.unwritable(f, err)
		return
	}
	f.track.frames++
	f.bytes += int64(len(frame))
	s.mark(&f.from.closeReceived, &f.to.closeSent)
}

// breach answers a fault of f's source: both sides are told, each by the pump to it.
// f stands between two frames, for a fault is found before its frame is passed on.
func (s *session) breach(f *flow) {
	fault := f.track.fault
	s.conclude(gatewaySide, fault.code, f.from.name+": "+fault.reason)
	s.startClosing()
	s.leave(f.from, closeFrame(fault.code, fault.reason, f.from.name == upstreamSide))
	_ = f.to.conn.SetReadDeadline(past) // wakes the pump to f.from
	s.sendClose(f.to, lossFrame(f.to, f.from.name+" protocol error"))
}

// unwritable follows up a failed write. A destination that has blocked is cut; one
// that has gone is left to its own pump, which will learn why.
func (s *session) unwritable(f *flow, cause error) {
	if f.track.closing != nil {
		code, reason := closeStatus(f.track.closing)
		s.conclude(f.from.name, code, reason)
		s.mark(&f.from.closeReceived)
	}
	s.startClosing()
	if errors.Is(cause, os.ErrDeadlineExceeded) {
		reason := f.to.name + " write timeout"
		s.conclude(gatewaySide, lossCode(f.from), reason)
		s.leave(f.from, lossFrame(f.from, reason))
		_ = f.to.conn.Close() // wakes the pump to f.from, too
	}
}

// endOfStream follows up the end of f's source and is the last act of its pump. A
// side that goes without a close frame has vanished: the client is told, with a code
// of a gateway; the upstream sees its connection close, as it would without wsfw.
func (s *session) endOfStream(f *flow) {
	s.mu.Lock()
	farewell := f.to.farewell
	told := f.to.closeSent
	vanished := !told && farewell == nil && !f.from.closeReceived
	s.mu.Unlock()
	if vanished {
		s.conclude(f.from.name, closeAbnormal, "connection lost")
		if f.from.name == clientSide {
			s.cut()
			return
		}
		farewell = lossFrame(f.to, "upstream connection lost")
		_ = f.from.conn.Close() // what the client still says reaches nobody
	}
	s.startClosing()
	s.mark(&f.from.ended)
	if !told && farewell != nil {
		s.lastWord(f, farewell)
	}
}

// lastWord sends a close frame at the end of f's source, unless that has left its
// destination in the middle of a frame.
func (s *session) lastWord(f *flow, frame []byte) {
	if f.track.left > 0 {
		s.cut()
		return
	}
	s.sendClose(f.to, frame)
}

// lossFrame tells x that the other side is lost: the upstream's peer goes away, the
// client's gateway has got no answer (RFC 6455 section 7.4.1 and the IANA registry).
func lossFrame(x *side, reason string) []byte {
	return closeFrame(lossCode(x), reason, x.name == upstreamSide)
}

// lossCode is the close code of lossFrame.
func lossCode(x *side) int {
	if x.name == upstreamSide {
		return closeGoingAway
	}
	return closeBadGateway
}

// leave stores a close frame for the pump to x, unless x has one already.
func (s *session) leave(x *side, frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.farewell == nil && !x.closeSent {
		x.farewell = frame
	}
}

// sendClose writes a close frame to x, which stands between two frames. The error of
// the write is not looked at: what x has to say about it, the pump from x will read.
func (s *session) sendClose(x *side, frame []byte) {
	s.startClosing()
	_, _ = x.conn.Write(frame)
	s.mark(&x.closeSent)
}

// mark sets flags of sides and ends the session when both sides are settled.
func (s *session) mark(flags ...*bool) {
	s.mu.Lock()
	for _, flag := range flags {
		*flag = true
	}
	settled := s.toUpstream.from.settled() && s.toUpstream.to.settled()
	s.mu.Unlock()
	if settled {
		s.cut()
	}
}

// conclude gives the session its outcome, unless it has one.
func (s *session) conclude(endedBy string, code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcome.endedBy == "" {
		s.outcome = outcome{endedBy: endedBy, code: code, reason: reason}
	}
}

// startClosing gives the session closeTimeout to come to its end by itself.
func (s *session) startClosing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing == nil && !s.over {
		s.closing = time.AfterFunc(s.closeTimeout, func() {
			defer s.recovered()
			s.cut()
		})
	}
}

// cut closes both connections, once, and has closed them when it returns. Whoever reads
// or writes them comes back.
func (s *session) cut() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.cutting.Do(func() {
		closeQuietly(s.toUpstream.from.conn)
		closeQuietly(s.toUpstream.to.conn)
	})
}

// closeQuietly closes a connection; one that panics must not keep the other open.
func closeQuietly(conn net.Conn) {
	defer func() { _ = recover() }()
	_ = conn.Close()
}

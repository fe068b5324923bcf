package wsfw

import (
	"errors"
	"os"
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

// passClose passes on the close frame at which f's track has ended. The outcome is
// concluded first, for the answer may come before the write returns. Where a close frame
// of ours is meant for the destination, the source has answered that which it was sent.
func passClose(s *session, f *flow) {
	frame, said := f.track.closing, f.track.said
	farewell := takeClose(s, f, said.code, said.reason)
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

// passUsualClose is passClose, and what follows it, for the end that almost all sessions have: a close frame
// goes on to a side that nothing else is to be sent, and is answered, or is the answer. It takes the fewest steps,
// for an interpreted session's end costs as much as its beginning. It is false where there is more to it.
func passUsualClose(s *session, f *flow) bool {
	x, to, t := f.from, f.to, f.track
	s.mu.Lock()
	if to.farewell != nil || to.closeSent || x.lost || to.lost || s.waits || s.over {
		s.mu.Unlock()
		return false
	}
	x.pinged = 0
	x.pongBy = forever
	if s.outcome.endedBy == "" {
		said := t.said
		s.outcome = outcome{endedBy: x.name, code: said.code, reason: said.reason}
	}
	setClosing(s)
	if s.writeTimeout > 0 {
		_ = to.conn.SetWriteDeadline(time.Now().Add(s.writeTimeout))
	}
	s.mu.Unlock()
	_, err := to.conn.Write(t.closing)
	if err != nil {
		s.unwritable(f, err)
		hearOut(s, f)
		return true
	}
	t.frames++
	f.bytes += int64(len(t.closing))
	s.mu.Lock()
	x.closeReceived = true
	to.closeSent = true
	answered := x.closeSent
	s.mu.Unlock()
	if answered {
		cut(s)
	} else {
		hearOut(s, f)
	}
	return true
}

// takeClose starts the session's end by the close frame of f's source. Where one of ours is meant for
// the other side, it returns that instead.
func takeClose(s *session, f *flow, code int, reason string) (farewell []byte) {
	s.mu.Lock()
	farewell = f.to.farewell
	if farewell == nil {
		if s.outcome.endedBy == "" {
			s.outcome = outcome{endedBy: f.from.name, code: code, reason: reason}
		}
		setClosing(s)
	}
	s.mu.Unlock()
	return farewell
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
		farewell = lossFrame(s, f.to, f.from.name+" "+fault.kind())
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
		said := f.track.said
		conclude(s, f.from.name, said.code, said.reason)
		mark(s, &f.from.closeReceived)
	}
	startClosing(s)
	if errors.Is(cause, os.ErrDeadlineExceeded) && !isOver(s) {
		reason := f.to.name + " write timeout"
		conclude(s, gatewaySide, lossCode(s, f.from), reason)
		s.leave(f.from, lossFrame(s, f.from, reason))
		closeQuietly(f.to) // wakes the pump to f.from, too
	}
}

// endOfStream follows up the end of f's source and is the last act of its pump. A client that goes
// without a close frame has vanished: the upstream sees its connection close, as it would without wsfw. So does a client
// that has sent its close frame, and whose upstream goes without an answer.
func endOfStream(s *session, f *flow) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return // both connections are being closed: there is nothing left to do
	}
	vanished := f.to.farewell == nil && !f.to.closeSent && !f.from.closeReceived
	unheard := f.from.name == clientSide || f.to.closeReceived // nobody is left to be told
	if vanished && s.outcome.endedBy == "" {
		s.outcome = outcome{endedBy: f.from.name, code: closeAbnormal, reason: "connection lost"}
	}
	s.mu.Unlock()
	if vanished && unheard {
		cut(s)
	} else {
		followUp(s, f, vanished)
	}
}

// followUp is endOfStream where there is still something to say. The client of an upstream that has
// vanished is told, with a code of a gateway.
func followUp(s *session, f *flow, vanished bool) {
	s.mu.Lock()
	farewell, told := f.to.farewell, f.to.closeSent
	s.mu.Unlock()
	if vanished {
		closeQuietly(f.from) // what the client still says reaches nobody
		farewell = lossFrame(s, f.to, "upstream connection lost")
	}
	startClosing(s)
	mark(s, &f.from.ended)
	if !told && farewell != nil {
		lastWord(s, f, farewell)
	}
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
	if s.closing || s.over || s.outcome.endedBy != "" {
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
	unhurry(s, x)
	_, _ = x.conn.Write(frame)
	mark(s, &x.closeSent)
}

// unhurry takes the deadline off what is written to x, unless the session is over: closeTimeout
// bounds it, and a rolling deadline may have been missed at rest.
func unhurry(s *session, x *side) {
	s.mu.Lock()
	if !s.over {
		_ = x.conn.SetWriteDeadline(time.Time{})
	}
	s.mu.Unlock()
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
	if s.closing || s.over {
		return
	}
	s.closing = true
	s.closeBy = time.Since(s.started) + s.closeTimeout
	s.check = s.calm // no pong puts the alarm off any more
	if s.alarm == nil {
		takeAlarm(s)
	}
	s.timer.Reset(s.closeTimeout)
}

// cut closes both connections, once, and has closed them when it returns. Whoever reads
// or writes them comes back. A client's that is to be closed last is left to giveBack.
func cut(s *session) {
	s.mu.Lock()
	s.over = true
	waits := s.waits
	s.mu.Unlock()
	s.cutting.Lock()
	if !s.isCut {
		sever(s, waits)
	}
	s.cutting.Unlock()
}

// sever is cut for the first who comes to it. Needs session.cutting.
func sever(s *session, waits bool) {
	s.isCut = true
	if waits {
		closeQuietly(s.upstream)
		silenceQuietly(s.client)
	} else {
		closeBoth(s.upstream, s.client)
	}
}

// silenceQuietly has nobody read or write a side's connection any more. From here on no deadline of it
// is moved: see over.
func silenceQuietly(x *side) {
	defer swallow()
	_ = x.conn.SetDeadline(past)
}

// isOver tells whether both connections are closed, or about to be.
func isOver(s *session) bool {
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	return over
}

// swallow, deferred, takes a panic that nobody needs to know of.
func swallow() {
	_ = recover()
}

// closeBoth closes two sides' connections; one that panics does not keep the other open.
func closeBoth(x, y *side) {
	if x.service != nil {
		closeQuietly(x)
		closeQuietly(y)
		return
	}
	defer swallow()
	defer y.conn.Close()
	_ = x.conn.Close()
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

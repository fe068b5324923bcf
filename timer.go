package wsfw

import "time"

// past is a deadline that has been missed: it wakes whoever reads.
var past = time.Unix(1, 0)

// never is a deadline that there is not.
var never time.Time

// dismissal is why wsfw ends a session by itself, and the codes that it does so with.
type dismissal struct {
	reason               string
	toClient, toUpstream int
	lost                 *side // that no answer is waited for, or nil
	clientLast           bool  // the client's connection is closed last: Traefik exits when there are no more of them
}

var (
	lifetimeReached = &dismissal{"session lifetime reached", closeGoingAway, closeGoingAway, nil, false}
	inactive        = &dismissal{"inactivity timeout", closeGoingAway, closeGoingAway, nil, false}
)

// restarting is the dismissal for a shutdown. A Traefik that shuts down exits as soon as it has no client's connection any
// more, and ends the upstreams' with that.
func restarting(s *session) *dismissal {
	return &dismissal{"service restart", s.restartCode, closeGoingAway, nil, true}
}

// silence is the dismissal for a side that owes us a sign of life.
func silence(s *session, x *side) *dismissal {
	if x.name == clientSide {
		return &dismissal{"client heartbeat timeout", closeGoingAway, closeGoingAway, x, false}
	}
	return &dismissal{"upstream heartbeat timeout", s.upstreamLostCode, closeGoingAway, x, false}
}

// From here on there are functions where there could be methods, and no defer on the way
// of a heartbeat: interpreted, a call of a method costs some five of a function, and either
// allocates every value in the body of what is called.

// onTimer ends the session where that is due, and cuts it when closing takes too long. For a pump at work it
// leaves the end to the pump, which it sends to look up. It re-arms itself, until the session is over.
func onTimer(s *session) {
	end, late := whatIsDue(s)
	if late {
		cut(s)
	} else if end != nil {
		s.dismiss(end)
	}
}

// whatIsDue is the reason to end the session now, or nil, and whether it has taken too long to close. Where
// there is nothing when to ask again is planned.
func whatIsDue(s *session) (end *dismissal, late bool) {
	now := time.Since(s.started)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, false
	}
	if s.closing {
		if now < s.closeBy {
			s.timer.Reset(s.closeBy - now)
		}
		return nil, now >= s.closeBy
	}
	end = reasonToEnd(s, now)
	plan(s, now)
	return end, false
}

// reasonToEnd is the reason to end the session now, or nil. Where only a pump at work can
// know it is sent to look up. Needs session.mu.
func reasonToEnd(s *session, now time.Duration) *dismissal {
	if now >= s.lifetime {
		return lifetimeReached
	}
	if now >= s.idleBy && (haveLooked(s, now) || now >= s.sent+2*s.tick) { // only a write keeps a pump from looking so long
		return inactive
	}
	for _, f := range s.flows {
		if now >= f.from.pongBy && isSilent(s, f, now) {
			return silence(s, f.from)
		}
	}
	return nil
}

// haveLooked reports whether it is known of both pumps what they have passed on until
// idleBy. A pump at work that has not looked up since is sent to. Needs session.mu.
func haveLooked(s *session, now time.Duration) bool {
	if s.sent < s.idleBy {
		s.sent = now
	}
	all := true
	for _, f := range s.flows {
		if !f.idle && f.looked < s.idleBy {
			sendToLook(f)
			all = false
		}
	}
	return all
}

// isSilent reports whether f's source, which owes us a sign of life, is dead. It is listened
// to once more when it is first found to be overdue, so that what came while the whole
// process stood still is heard. Needs session.mu.
func isSilent(s *session, f *flow, now time.Duration) bool {
	if !f.idle && f.looked < now {
		sendToLook(f)
		return false
	}
	if f.from.doubted {
		return true
	}
	f.from.doubted = true
	f.from.pongBy = now + s.doubt
	return false
}

// sendToLook wakes the pump of f. Needs session.mu.
func sendToLook(f *flow) {
	_ = f.from.source.SetReadDeadline(past)
}

// plan has onTimer run when the next thing is due. What is due already waits for the look
// of a pump at work, and comes again if that does not settle it. Needs session.mu.
func plan(s *session, now time.Duration) {
	check := s.lifetime
	if s.idleBy < check {
		check = s.idleBy
	}
	s.calm = check
	if s.client.pongBy < check {
		check = s.client.pongBy
	}
	if s.upstream.pongBy < check {
		check = s.upstream.pongBy
	}
	if check <= now {
		check = now + maxDoubt
	}
	s.check = check
	if s.timer != nil {
		s.timer.Reset(check - now)
	}
}

// look is what a pump does at its start, at every tick while it is at work, and when it is
// woken. It returns the close frame that the pump has to send, if there is one.
func look(s *session, f *flow) (farewell []byte) {
	restore(f)
	end, farewell := glance(s, f)
	if end != nil {
		s.dismiss(end)
		_, farewell = glance(s, f)
	}
	return farewell
}

// glance is look, but leaves it to look to end the session where it finds a reason to.
func glance(s *session, f *flow) (end *dismissal, farewell []byte) {
	now := time.Since(s.started)
	s.mu.Lock()
	defer s.mu.Unlock()
	observe(s, f, now)
	if !s.closing {
		end = reasonToEnd(s, now)
	}
	takeDue(s, f, now)
	schedule(s, f, now)
	return end, f.to.farewell
}

// observe notes what has come and gone since the last look. Needs session.mu.
func observe(s *session, f *flow, now time.Duration) {
	if data := f.bytes - f.track.control; data != f.data {
		f.data = data
		s.idleBy = later(now, s.maxInactivity)
	}
	f.idle = f.bytes == f.passed
	if !f.idle || f.absorbed != f.taken {
		f.passed, f.taken = f.bytes, f.absorbed
		x := f.from
		if x.pinged <= f.looked || x.pinged <= x.heart.answered {
			alive(x)
		} else if x.pongBy < forever {
			// What has come may have come before the ping: life, but no answer yet.
			x.pongBy = now + s.pongTimeout
			x.doubted = false
		}
	}
	f.looked = now
}

// takeDue has the pump ping its destination where that is due and the destination stands
// between two frames. Needs session.mu.
func takeDue(s *session, f *flow, now time.Duration) {
	due := f.due && !s.closing
	f.pinging = due && f.track.left == 0
	f.finishing = due && !f.pinging
	f.due = f.finishing
	if f.finishing {
		f.idle = false // the pump has something to do yet
	}
	if f.pinging {
		stamp(s, f, now)
		plan(s, now)
	}
}

// schedule sets the deadlines of a pump at work: for the next look, and for what it writes
// until then. The write deadline rolls, so only a write that blocks can miss it. A pump at
// rest has none, but for a ping that it has to send. Needs session.mu, which is also held by
// whoever wakes the pump: so no wake is lost.
func schedule(s *session, f *flow, now time.Duration) {
	if s.over {
		return
	}
	var reads, writes time.Time
	if !f.idle {
		reads = s.started.Add(now + s.tick)
	}
	if s.writeTimeout > 0 && (!f.idle || f.pinging) {
		writes = s.started.Add(now + s.writeTimeout + s.tick)
	}
	if f.to.farewell != nil {
		reads = past
	}
	_ = f.from.source.SetReadDeadline(reads)
	_ = f.to.conn.SetWriteDeadline(writes)
}

// rouse takes a pump from rest to work: something has come that is no pong of ours.
func rouse(s *session, f *flow) {
	now := time.Since(s.started)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.idle = false
	f.to.fed = true
	alive(f.from)
	schedule(s, f, now)
	if f.due {
		sendToLook(f) // it was, but had read something already
	}
}

// isPong reports whether what a pump at rest has read, a frame of the length of a pong of
// ours, is one, and notes it.
func isPong(s *session, f *flow, frame []byte) bool {
	x, now := f.from, time.Since(s.started)
	s.mu.Lock()
	h := x.heart
	if h == nil {
		s.mu.Unlock()
		return false
	}
	sent := h.sent
	if isLatest(h, frame) {
		x.owes = false
	} else {
		payload := f.track.answers(frame)
		if payload == nil {
			s.mu.Unlock()
			return false
		}
		sent = sentAt(payload)
	}
	x.pinged = 0
	x.pongBy = forever
	if s.check < s.calm && f.to.pinged == 0 {
		s.check = s.calm
		s.timer.Reset(s.calm - now)
	}
	s.mu.Unlock()
	f.track.frames++
	f.track.controls++
	notePong(h, sent, now)
	return true
}

// alive notes that x owes us nothing. Needs session.mu.
func alive(x *side) {
	x.pinged = 0
	x.pongBy = forever
}

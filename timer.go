package wsfw

import (
	"math/rand"
	"time"
)

// limits are the bounds of a session. Zero is off, but for closeTimeout and drainTimeout.
type limits struct {
	pingInterval  time.Duration
	pingClient    bool
	pingUpstream  bool
	pongTimeout   time.Duration // longest silence of a pinged side
	maxInactivity time.Duration // longest time without a data frame in either direction
	maxLifetime   time.Duration // longest session, before it is spread
	writeTimeout  time.Duration // longest time that a side may block a write
	closeTimeout  time.Duration // longest wait for what a close frame has to bring about
	drainTimeout  time.Duration // over how long closes at a shutdown are spread
}

const (
	// quietTick is how often a pump at work looks up where no option asks for more:
	// often enough to give back the buffer of a session that has gone quiet.
	quietTick = 10 * time.Second

	// forever is when something is due that is not. Times count from a session's start.
	forever = time.Duration(1<<63 - 1)

	// maxDoubt bounds lastChance: as long as a process that has stood still may need to hear what
	// came meanwhile.
	maxDoubt = 250 * time.Millisecond
)

// least is the shortest time that a session can keep.
const least = 10 * time.Millisecond

// limits parses the bounds of a session.
func (m *mistakes) limits(c *Config) limits {
	target := m.oneOf("pingTarget", c.PingTarget, "both", "client", "upstream")
	l := limits{
		pingInterval:  m.period("pingInterval", c.PingInterval),
		pingClient:    target != "upstream",
		pingUpstream:  target != "client",
		pongTimeout:   m.period("pongTimeout", c.PongTimeout),
		maxInactivity: m.period("maxInactivity", c.MaxInactivity),
		maxLifetime:   m.period("maxLifetime", c.MaxLifetime),
		writeTimeout:  m.period("writeTimeout", c.WriteTimeout),
		closeTimeout:  m.duration("closeTimeout", c.CloseTimeout),
		drainTimeout:  m.duration("drainTimeout", c.DrainTimeout),
	}
	if l.closeTimeout == 0 {
		m.add("closeTimeout", "may not be off, for a peer that never answers would never be let go; 5s is the default")
	}
	if l.pingInterval > 0 {
		return l
	}
	if l.pongTimeout > 0 {
		m.add("pongTimeout", "needs pingInterval: a peer that is not pinged may be silent for as long as it likes")
	}
	if target != "both" {
		m.add("pingTarget", "needs pingInterval: without it nobody is pinged")
	}
	return l
}

// period is a duration that a session has to keep, at least one that it can.
func (m *mistakes) period(key, value string) time.Duration {
	d := m.duration(key, value)
	if d > 0 && d < least {
		m.add(key, "is %s, too short to be kept; the shortest is %v, 0 is off", value, least)
	}
	return d
}

// past is a deadline that has been missed: it wakes whoever reads.
var past = time.Unix(1, 0)

// workTick is how often a pump at work has to look up: what it then finds out is at most this
// much older than its option says.
func (l limits) workTick() time.Duration {
	tick := quietTick
	if l.writeTimeout > 0 && l.writeTimeout/4 < tick {
		tick = l.writeTimeout / 4
	}
	if l.maxInactivity > 0 && l.maxInactivity/8 < tick {
		tick = l.maxInactivity / 8
	}
	return tick
}

// lastChance is how long a side that owes a pong is listened to once more before it is given up.
func (l limits) lastChance() time.Duration {
	if l.pongTimeout/8 < maxDoubt {
		return l.pongTimeout / 8
	}
	return maxDoubt
}

// spreadLifetime is maxLifetime for one session: up to a tenth less or more, so that sessions
// that began together do not end together.
func (l limits) spreadLifetime() time.Duration {
	if l.maxLifetime <= 0 {
		return forever
	}
	tenth := int64(l.maxLifetime / 10)
	spread := time.Duration(rand.Int63n(2*tenth + 1))
	if spread > forever-l.maxLifetime {
		return forever
	}
	return l.maxLifetime - time.Duration(tenth) + spread
}

// firstBeat is when a session is first pinged: at a random time in the second half of the
// interval, so that sessions that began together are not pinged together.
func (l limits) firstBeat() time.Duration {
	if l.pingInterval <= 0 {
		return forever
	}
	return l.pingInterval - time.Duration(rand.Int63n(int64(l.pingInterval/2)))
}

// startBeat has those sides pinged that the limits say.
func (s *session) startBeat() {
	first := s.firstBeat()
	s.toUpstream.timing.beat, s.toClient.timing.beat = first, first
	if s.pingInterval > 0 && s.pingClient {
		s.pingSource(s.toUpstream)
	}
	if s.pingInterval > 0 && s.pingUpstream {
		s.pingSource(s.toClient)
	}
}

// pingSource has f's source pinged, and the pump from it know the pongs.
func (s *session) pingSource(f *flow) {
	f.track.token = newToken()
	f.from.heart = heartbeat{token: f.track.token, started: s.started}
}

// timing is when a pump looks up, and what it found when it last did. It belongs to the
// pump. Times count from the session's start.
type timing struct {
	looked   time.Duration // when it last looked up
	heard    time.Duration // when it last found that its source had sent something
	passed   int64         // of flow.bytes, at the last look
	data     int64         // of those, what was no ping or pong
	absorbed int64         // of flow.absorbed, at the last look

	beat     time.Duration // when both sides are pinged next
	due      bool          // a ping to the destination waits for the end of a frame
	pinging  bool          // a ping to the destination is to be sent now
	expected time.Duration // until when the source has to answer the ping of the last beat

	doubted bool          // the source is given its last chance to be heard
	next    time.Duration // when it looks up again,
	calm    time.Duration // and when, once the source has answered
}

// dismissal is why wsfw ends a session by itself, and the codes that it does so with.
type dismissal struct {
	reason               string
	toClient, toUpstream int
	lost                 *side // that no answer is waited for, or nil
}

var (
	lifetimeReached = &dismissal{"session lifetime reached", closeGoingAway, closeGoingAway, nil}
	inactive        = &dismissal{"inactivity timeout", closeGoingAway, closeGoingAway, nil}
	restarting      = &dismissal{"service restart", closeRestart, closeGoingAway, nil}
)

// look is what a pump does at its start, when its time has come, and when it is woken.
// It returns the close frame that the pump has to send, if there is one.
func (s *session) look(f *flow) (farewell []byte) {
	restore(f)
	end, farewell := s.glance(f)
	if end != nil {
		s.dismiss(end)
		_, farewell = s.glance(f)
	}
	return farewell
}

// glance is look, but leaves it to look to end the session where it finds a reason to.
func (s *session) glance(f *flow) (end *dismissal, farewell []byte) {
	now := time.Since(s.started)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe(f, now)
	f.timing.pinging = false
	if s.closing == nil {
		end = s.judge(f, now)
		s.keepBeat(f, now)
	} else {
		f.timing.due = false
	}
	s.schedule(f, now)
	return end, f.to.farewell
}

// observe notes what has come and gone since the last look. Needs session.mu.
func (s *session) observe(f *flow, now time.Duration) {
	t := &f.timing
	if data := f.bytes - f.track.control; data != t.data {
		t.data = data
		s.active = now
	}
	f.idle = f.bytes == t.passed
	if !f.idle || f.absorbed != t.absorbed {
		t.passed, t.absorbed = f.bytes, f.absorbed
		t.heard = now
		t.doubted = false
		// What has come since the last look has come after a ping that is older than that. One
		// that is younger may be unanswered yet.
		if f.from.pinged <= t.looked || f.from.pinged <= f.from.heart.answered {
			f.from.pinged = 0
		}
	}
	t.looked = now
}

// judge is the reason to end the session now, or nil. Needs session.mu.
func (s *session) judge(f *flow, now time.Duration) *dismissal {
	if now >= s.lifetime {
		return lifetimeReached
	}
	if s.maxInactivity > 0 && s.idleSince(f) <= now-s.maxInactivity {
		return inactive
	}
	if now < s.pongDue(f) {
		return nil
	}
	if !f.timing.doubted {
		f.timing.doubted = true
		return nil
	}
	if f.from.name == clientSide {
		return &dismissal{"client heartbeat timeout", closeGoingAway, closeGoingAway, f.from}
	}
	return &dismissal{"upstream heartbeat timeout", closeBadGateway, closeGoingAway, f.from}
}

// idleSince is from when on neither direction has passed on data, as far as f's pump can
// know: the other one, where it is at work, has to look up first. Needs session.mu.
func (s *session) idleSince(f *flow) time.Duration {
	if !f.back.idle && f.back.timing.looked < s.active+s.maxInactivity {
		return forever
	}
	return s.active
}

// pongDue is until when f's source may be silent. Needs session.mu.
func (s *session) pongDue(f *flow) time.Duration {
	if s.pongTimeout <= 0 || f.from.pinged == 0 {
		return forever
	}
	if f.from.pinged > f.timing.heard {
		return f.from.pinged + s.pongTimeout
	}
	return f.timing.heard + s.pongTimeout
}

// keepBeat has the pump ping its destination when that is due and the destination stands
// between two frames. Both pumps keep the same beat, so at each the pump from a side knows
// that the side is being asked. Needs session.mu.
func (s *session) keepBeat(f *flow, now time.Duration) {
	t := &f.timing
	if now >= t.beat {
		t.beat += s.pingInterval
		if t.beat <= now {
			t.beat = now + s.pingInterval
		}
		t.due = f.to.heart.token != nil
		if f.from.heart.token != nil {
			t.expected = now + s.pongTimeout
		}
	}
	if t.due && f.track.left == 0 {
		t.due, t.pinging = false, true
		if f.to.pinged == 0 {
			f.to.pinged = now
		}
	}
}

// schedule sets the pump's deadlines: for the next look, and for what it writes until
// then. The write deadline rolls, so only a write that blocks can miss it. Needs
// session.mu, which is also held by whoever wakes the pump: so no wake is lost.
func (s *session) schedule(f *flow, now time.Duration) {
	t := &f.timing
	next := forever
	if !f.idle {
		next = now + s.tick
	}
	if s.writeTimeout > 0 && (!f.idle || t.due || t.pinging) {
		_ = f.to.conn.SetWriteDeadline(s.started.Add(now + s.writeTimeout + s.tick))
	}
	if s.closing == nil && t.beat < next {
		next = t.beat
	}
	if s.closing == nil && s.lifetime < next {
		next = s.lifetime
	}
	if s.closing == nil && s.maxInactivity > 0 {
		next = s.inactiveBy(now, next)
	}
	t.calm = next
	if s.closing == nil && s.pongTimeout > 0 {
		next = s.silentBy(f, now, next)
	}
	t.next = next
	s.wakeAt(f, next)
}

// inactiveBy is when the session may have been inactive for too long, or next where that
// is sooner. A pump that has just looked in vain leaves it to the other, which is at work.
func (s *session) inactiveBy(now, next time.Duration) time.Duration {
	by := s.active + s.maxInactivity
	if by <= now {
		by = now + s.tick
	}
	if by < next {
		return by
	}
	return next
}

// silentBy is when f's source may have been silent for too long, or next where that is
// sooner.
func (s *session) silentBy(f *flow, now, next time.Duration) time.Duration {
	by := s.pongDue(f)
	if by == forever && f.timing.expected > now {
		by = f.timing.expected
	}
	if f.timing.doubted {
		by = now + s.doubt
	}
	if by < next {
		return by
	}
	return next
}

// wakeAt sets the deadline of f's reads; whoever has something to say to f's destination
// has it wake at once. Needs session.mu.
func (s *session) wakeAt(f *flow, next time.Duration) {
	deadline := time.Time{}
	if f.to.farewell != nil {
		deadline = past
	} else if next < forever {
		deadline = s.started.Add(next)
	}
	_ = f.from.conn.SetReadDeadline(deadline)
}

// rouse takes a pump from rest to work: something has come that is no pong of ours.
func (s *session) rouse(f *flow) {
	now := time.Since(s.started)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.idle = false
	f.alive(now)
	s.schedule(f, now)
}

// answered notes the pong to a ping of ours in a pump at rest, which stays so.
func (s *session) answered(f *flow, payload []byte) {
	f.from.heart.pong(payload)
	now := time.Since(s.started)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.alive(now)
	if f.timing.calm != f.timing.next {
		f.timing.next = f.timing.calm
		s.wakeAt(f, f.timing.calm)
	}
}

// alive notes a sign of life of f's source. Needs session.mu.
func (f *flow) alive(now time.Duration) {
	f.from.pinged = 0
	f.timing.heard = now
	f.timing.expected = 0
	f.timing.doubted = false
}

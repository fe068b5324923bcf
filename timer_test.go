package wsfw

import (
	"testing"
	"time"
)

func TestWorkTick(t *testing.T) {
	cases := []struct {
		l    limits
		want time.Duration
	}{
		{limits{}, quietTick},
		{limits{writeTimeout: 400 * time.Millisecond}, 100 * time.Millisecond},
		{limits{writeTimeout: time.Hour}, quietTick},
		{limits{writeTimeout: 30 * time.Second, maxInactivity: 8 * time.Second}, time.Second},
		{limits{maxInactivity: time.Hour}, quietTick},
	}
	for _, c := range cases {
		if got := c.l.workTick(); got != c.want {
			t.Errorf("%+v: tick %v, want %v", c.l, got, c.want)
		}
	}
}

func TestLifetimeSpreads(t *testing.T) {
	set := newSettings(limits{maxLifetime: time.Hour})
	briefest, longest := forever, time.Duration(0)
	for i := 0; i < 1000; i++ {
		got := newSession(newSide(clientSide, nil), newSide(upstreamSide, nil), plain, set, nil).lifetime
		if got < briefest {
			briefest = got
		}
		if got > longest {
			longest = got
		}
	}
	if briefest < 54*time.Minute || briefest > 55*time.Minute || longest > 66*time.Minute || longest < 65*time.Minute {
		t.Errorf("lifetimes from %v to %v", briefest, longest)
	}
	if newSession(newSide(clientSide, nil), newSide(upstreamSide, nil), plain, newSettings(limits{}), nil).lifetime != forever {
		t.Error("what is off comes some day")
	}
}

func TestLastChance(t *testing.T) {
	for pong, want := range map[time.Duration]time.Duration{
		20 * time.Millisecond: least, time.Second: 125 * time.Millisecond, time.Minute: maxDoubt,
	} {
		if got := (limits{pongTimeout: pong}).lastChance(); got != want {
			t.Errorf("pongTimeout %v: %v, want %v", pong, got, want)
		}
	}
}

// restingSession has begun an hour ago between two silent scripts. Its pumps have looked up
// once, then, and are at rest.
func restingSession(l limits) *session {
	l.closeTimeout = time.Minute
	client, upstream := newScript(nil, 1, true), newScript(nil, 1, true)
	s := newSession(newSide(clientSide, client), newSide(upstreamSide, upstream), plain, newSettings(l), nil)
	for _, f := range s.flows {
		glance(s, f)
	}
	s.started = s.started.Add(-time.Hour)
	s.timer = time.NewTimer(time.Hour)
	return s
}

// ask has x been pinged at a time, and silent since.
func ask(s *session, x *side, at time.Duration) {
	x.heart = newHeartbeat(x)
	x.pinged = at
	x.pongBy = at + s.pongTimeout
}

// isSentToLook is whether the pump of f has been woken.
func isSentToLook(f *flow) bool {
	source := f.from.conn.(*script)
	source.mu.Lock()
	defer source.mu.Unlock()
	return source.late
}

func TestSilenceIsDoubtedFirst(t *testing.T) {
	s := restingSession(limits{pongTimeout: time.Minute})
	ask(s, s.client, 30*time.Minute)
	onTimer(s)
	if s.outcome.reason != "" {
		t.Fatalf("at the first turn the session ends: %+v", s.outcome)
	}
	if wait := s.check - time.Hour; wait <= 0 || wait > maxDoubt+10*time.Second {
		t.Errorf("the next turn is %v away", wait)
	}
	s.check, s.client.pongBy = 0, time.Hour
	onTimer(s)
	if s.outcome.reason != "client heartbeat timeout" || !s.toUpstream.from.lost {
		t.Errorf("at the second turn the session ends: %+v", s.outcome)
	}
	s.timer.Stop()
}

// A pump at work is asked what it knows before its source is given up.
func TestSilenceAtWork(t *testing.T) {
	s := restingSession(limits{pingInterval: 2 * time.Hour, pingUpstream: true, pongTimeout: time.Minute})
	f := s.toClient
	f.idle = false
	ask(s, f.from, 30*time.Minute)
	for i := 0; i < 3; i++ {
		s.check = 0
		if onTimer(s); s.outcome.reason != "" || !isSentToLook(f) {
			t.Fatalf("the session ends: %+v; the pump is sent to look: %v", s.outcome, isSentToLook(f))
		}
	}
	f.looked = 10 * time.Minute
	f.bytes += 10
	if end, _ := glance(s, f); end != nil || f.from.pinged == 0 || f.from.pongBy < time.Hour {
		t.Errorf("after a frame the session ends for %+v, a pong is due at %v", end, f.from.pongBy)
	}
	f.from.pongBy = 40 * time.Minute
	if end, _ := glance(s, f); end != nil {
		t.Errorf("without one, at the first look, it ends for %+v", end)
	}
	f.from.pongBy = 40 * time.Minute
	if end, _ := glance(s, f); end == nil || end.reason != "upstream heartbeat timeout" {
		t.Errorf("at the second look it ends for %+v", end)
	}
}

func TestSignsOfLife(t *testing.T) {
	signs := map[string]func(s *session, f *flow){
		"a message": func(s *session, f *flow) {
			glance(s, f)
			f.bytes += 10
			glance(s, f)
		},
		"a pong at work": func(s *session, f *flow) { f.absorbed++; f.from.heart.answered = time.Hour; glance(s, f) },
		"a pong at rest": func(s *session, f *flow) { isPong(s, f, controlFrame(opPong, f.from.heart.payload, false)) },
		"an early pong at rest": func(s *session, f *flow) {
			early := controlFrame(opPong, f.from.heart.payload, false)
			stamp(s, s.toUpstream, time.Hour)
			isPong(s, f, early)
		},
		"anything at rest": func(s *session, f *flow) { rouse(s, f) },
	}
	for name, sign := range signs {
		t.Run(name, func(t *testing.T) {
			s := restingSession(limits{pingInterval: 2 * time.Hour, pingUpstream: true, pongTimeout: time.Minute})
			f := s.toClient
			stamp(s, s.toUpstream, 30*time.Minute)
			onTimer(s)
			sign(s, f)
			s.check = 0
			if onTimer(s); s.outcome.reason != "" || f.from.pinged != 0 {
				t.Errorf("the session ends: %+v; the ping of %v is unanswered", s.outcome, f.from.pinged)
			}
		})
	}
}

// What came before a ping is no answer to it, but the silence begins after it.
func TestOldFramesAnswerNoPing(t *testing.T) {
	s := restingSession(limits{pingInterval: 2 * time.Hour, pingClient: true, pongTimeout: time.Minute})
	f := s.toUpstream
	ask(s, f.from, time.Hour-time.Second)
	f.bytes += 10
	if end, _ := glance(s, f); end != nil {
		t.Fatalf("the session ends for %+v", end)
	}
	if f.from.pinged == 0 {
		t.Error("a frame from before the ping has answered it")
	}
	f.bytes += 10
	glance(s, f)
	if f.from.pinged != 0 {
		t.Error("a frame from after the ping has not answered it")
	}
}

func TestInactivity(t *testing.T) {
	s := restingSession(limits{maxInactivity: time.Minute})
	// The other direction is at work, perhaps on nothing but pings, and has not looked up.
	s.toClient.idle = false
	s.check = 0
	if onTimer(s); s.outcome.reason != "" || !isSentToLook(s.toClient) {
		t.Errorf("with one direction at work the session ends: %+v", s.outcome)
	}
	s.toClient.bytes, s.toClient.track.control = 6, 6
	if end, _ := glance(s, s.toClient); end != inactive {
		t.Errorf("with nothing but a ping passed on it ends for %+v", end)
	}
	s.toClient.bytes += 3
	if end, _ := glance(s, s.toClient); end != nil {
		t.Errorf("with a message passed on it ends for %+v", end)
	}
}

func TestLifetimeComes(t *testing.T) {
	s := restingSession(limits{maxLifetime: 30 * time.Minute})
	onTimer(s)
	if want := (outcome{gatewaySide, closeGoingAway, "session lifetime reached"}); s.outcome != want {
		t.Errorf("outcome %+v, want %+v", s.outcome, want)
	}
	for _, f := range s.flows {
		if code, reason := saidIn(look(s, f)); code != closeGoingAway || reason != "session lifetime reached" {
			t.Errorf("the %s is to get %d %q", f.to.name, code, reason)
		}
	}
	s.timer.Stop()
}

// Whoever comes second finds the session ending already.
func TestDismissedOnce(t *testing.T) {
	s := restingSession(limits{})
	s.dismiss(restarting(s))
	s.dismiss(inactive)
	if s.outcome.code != closeRestart {
		t.Errorf("outcome %+v", s.outcome)
	}
	if code, _ := saidIn(s.toUpstream.from.farewell); code != closeRestart {
		t.Errorf("the client is to get %d", code)
	}
	s.timer.Stop()
}

// So does whoever comes when a close frame has been noted and is about to be passed on.
func TestDismissedTooLate(t *testing.T) {
	s := restingSession(limits{})
	conclude(s, clientSide, closeNormal, "")
	s.dismiss(restarting(s))
	if s.outcome.endedBy != clientSide || s.client.farewell != nil || s.closing {
		t.Errorf("outcome %+v", s.outcome)
	}
}

// A pump that cannot look up, for its write blocks, does not keep its session from being inactive.
func TestInactivityWhileAWriteBlocks(t *testing.T) {
	s := restingSession(limits{maxInactivity: time.Minute})
	s.toClient.idle = false
	s.toClient.looked = 0
	first := reasonToEnd(s, time.Hour)
	soon := reasonToEnd(s, time.Hour+s.tick)
	if late := reasonToEnd(s, time.Hour+2*s.tick); first != nil || soon != nil || late != inactive {
		t.Errorf("the session ends for %v, then %v, and two ticks later %v", first, soon, late)
	}
}

// A ping that falls due between a read and the pump's waking is not put off.
func TestPingDueBeforeThePumpWakes(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingUpstream: true})
	s.toUpstream.due = true
	rouse(s, s.toUpstream)
	if !isSentToLook(s.toUpstream) {
		t.Error("the pump works on until its next tick")
	}
}

// A service may write nothing: its pump stays at rest.
func TestEmptyReadAtRest(t *testing.T) {
	s := restingSession(limits{})
	f := s.toClient
	if on := attend(s, f, 0, nil); !on || !f.idle || f.small != nil || !f.pen.TryLock() {
		t.Errorf("goes on: %v, at rest: %v, with a buffer for work: %v", on, f.idle, f.small != nil)
	}
}

package wsfw

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// strike has a session pinged, as its metronome does.
func strike(s *session) {
	for m := (&metronome{due: []*session{s}}); len(m.due) > 0; {
		beat(m)
	}
}

func TestBeat(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingClient: true, pongTimeout: time.Minute})
	client, upstream := s.client.conn.(*script), s.upstream.conn.(*script)
	s.client.heart = newHeartbeat(s.client)
	strike(s)
	if got := client.written(); len(got) != 2+pingSize || s.client.heart.pings != 1 || s.client.pinged < time.Hour {
		t.Errorf("the client got %x, pinged at %v", got, s.client.pinged)
	}
	if got := upstream.written(); len(got) > 0 || isSentToLook(s.toUpstream) {
		t.Errorf("the upstream got %x", got)
	}
	if wait := s.check - time.Hour; wait > time.Minute+10*time.Second {
		t.Errorf("the next check is in %v, too late for a pong", wait)
	}
	isPong(s, s.toUpstream, controlFrame(opPong, s.client.heart.payload, true))
	if s.check != s.calm || s.calm != forever {
		t.Errorf("after the pong it is at %v", s.check)
	}
	strike(s)
	if got := client.written(); len(got) != 2*(2+pingSize) {
		t.Errorf("at the next beat the client had got %x", got)
	}
}

// Whoever may block a write is left to its pump.
func TestBeatLeavesToThePump(t *testing.T) {
	reasons := map[string]func(s *session){
		"the first ping":       func(s *session) { s.upstream.heart = nil },
		"a service":            func(s *session) { s.upstream.service = &service{} },
		"a pump at work":       func(s *session) { s.toUpstream.pen.Lock() },
		"a ping not answered":  func(s *session) { s.upstream.owes = true },
		"something sent since": func(s *session) { rouse(s, s.toUpstream) },
	}
	for name, bringAbout := range reasons {
		t.Run(name, func(t *testing.T) {
			s := restingSession(limits{pingInterval: time.Minute, pingUpstream: true})
			s.upstream.heart = newHeartbeat(s.upstream)
			bringAbout(s)
			strike(s)
			if f := s.toUpstream; !f.due || !isSentToLook(f) || f.to.pinged != 0 {
				t.Errorf("due: %v, sent to look: %v, pinged at %v", f.due, isSentToLook(f), f.to.pinged)
			}
		})
	}
}

// A pump at work sends the ping itself, when its destination stands between two frames.
func TestPingWaits(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingUpstream: true})
	f := s.toUpstream
	f.due = true
	f.track.left = 5
	if glance(s, f); f.pinging || !f.finishing || f.idle {
		t.Error("a ping is to be sent inside a frame")
	}
	f.track.left = 0
	if glance(s, f); !f.pinging || f.finishing || f.to.pinged == 0 {
		t.Error("no ping follows the frame")
	}
	if glance(s, f); f.pinging || f.finishing {
		t.Error("it is to be sent twice")
	}
}

// What ends is pinged no more.
func TestBeatOfTheEnding(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingClient: true})
	s.dismiss(restarting(s))
	defer s.timer.Stop()
	s.toClient.due = true
	strike(s)
	glance(s, s.toClient)
	if s.client.heart != nil || s.toClient.pinging {
		t.Error("a session that closes is pinged")
	}
}

// A panic ends its own session, and no other is forgotten.
func TestBeatSurvives(t *testing.T) {
	l := limits{pingInterval: time.Minute, pingClient: true}
	var reports []string
	bad, good := restingSession(l), restingSession(l)
	bad.report = func(message string, cause error) { reports = append(reports, message+": "+cause.Error()) }
	worse := restingSession(l)
	worse.report = bad.report
	bad.client.heart = newHeartbeat(bad.client)
	good.client.heart = newHeartbeat(good.client)
	bad.client.conn.(*script).onWrite = func() { panic("provoked") }
	worse.client.heart = &heartbeat{} // which does for a panic with the lock held
	for m := (&metronome{due: []*session{bad, worse, good}}); len(m.due) > 0; {
		beat(m)
	}
	if len(reports) != 2 || reports[0] != "session failed: provoked" || !bad.over || !worse.over {
		t.Errorf("reports %q, the sessions are over: %v, %v", reports, bad.over, worse.over)
	}
	if !bad.toClient.pen.TryLock() || !worse.toClient.pen.TryLock() {
		t.Error("a pen is lost")
	}
	if good.client.heart.pings != 1 {
		t.Error("the next session was not pinged")
	}
}

// The sessions of an interval have their turn once in it, wherever they came in, and others have not.
func TestTurns(t *testing.T) {
	const interval = 4321 * time.Second
	l := limits{pingInterval: interval, pingClient: true}
	for _, r := range []*roster{serverless, newRosterOfServer(t)} {
		for i := 0; i < 2*rosterSlots; i++ {
			s := restingSession(l)
			begin(s, r)
			defer end(s)
		}
		other := restingSession(limits{pingInterval: 2 * interval, pingClient: true})
		begin(other, r)
		defer end(other)
	}
	for _, turns := range []int{1, 7, 10, rosterSlots} {
		m := &metronome{interval: interval, turns: turns, turn: interval / time.Duration(turns)}
		seen := map[*session]int{}
		// Half a turn after each time, so that a slow machine does not matter.
		for _, step := range []struct{ turn, due int }{
			{0, 1}, {0, 0}, {turns / 2, turns / 2}, {turns - 1, turns - 1 - turns/2}, // all of an interval
			{1000 * turns, turns}, // an interval's at the most
		} {
			m.started = time.Now().Add(-time.Duration(step.turn)*m.turn - m.turn/2)
			got := takeTurns(m)
			if want := 4 * rosterSlots * step.due / turns; len(got) < want-4*turns || len(got) > want+4*turns || step.due == 0 && len(got) > 0 {
				t.Errorf("of %d turns, at %d, there are %d sessions due, want %d", turns, step.turn, len(got), want)
			}
			for _, s := range got {
				seen[s]++
				if s.pingInterval != interval {
					t.Fatal("a session of another interval is due")
				}
			}
		}
		if len(seen) != 4*rosterSlots {
			t.Errorf("of %d turns: %d sessions have been due", turns, len(seen))
		}
		for _, times := range seen {
			if times != 2 {
				t.Fatalf("of %d turns: a session has been due %d times in two intervals", turns, times)
			}
		}
	}
}

// newRosterOfServer is a roster that metronomes go through.
func newRosterOfServer(t *testing.T) *roster {
	t.Helper()
	server, r := &http.Server{}, newRoster(context.Background())
	rostersMu.Lock()
	defer rostersMu.Unlock()
	rosters[server] = r
	t.Cleanup(func() {
		rostersMu.Lock()
		defer rostersMu.Unlock()
		delete(rosters, server)
	})
	return r
}

// A metronome runs for as long as there are sessions, and a turn more.
func TestMetronomeStops(t *testing.T) {
	l := limits{pingInterval: 12345 * time.Hour}
	m := metronomeOf(l.pingInterval)
	first, second := restingSession(l), restingSession(l)
	begin(first, serverless)
	begin(second, serverless)
	end(first)
	takeTurns(m)
	if windUp(m); !m.running || !m.timer.Stop() {
		t.Error("the metronome has stopped before its last session has ended")
	}
	end(second)
	if windUp(m); m.running || m.timer.Stop() || metronomeOf(l.pingInterval) != m {
		t.Error("the metronome goes on for nobody")
	}
	third := restingSession(l)
	if begin(third, serverless); !m.running || !m.timer.Stop() {
		t.Error("it does not run again for a session that comes later")
	}
	end(third)
	windUp(m)
}

// What is due at a session that is pinged is seen to from its first ping on, unless it may come earlier.
func TestAlarmAtTheFirstBeat(t *testing.T) {
	for _, c := range []struct {
		name  string
		l     limits
		first bool
	}{
		{"later", limits{pingInterval: time.Minute, pingClient: true, maxInactivity: 3 * time.Hour}, false},
		{"a pong", limits{pingInterval: time.Minute, pingClient: true, pongTimeout: time.Second}, false},
		{"a lifetime, earlier", limits{pingInterval: time.Hour, pingClient: true, maxLifetime: time.Hour}, true},
		{"inactivity, earlier", limits{pingInterval: 2 * time.Hour, pingClient: true, maxInactivity: 3 * time.Hour}, true},
		{"without pings", limits{maxInactivity: 3 * time.Hour}, true},
	} {
		s := restingSession(c.l)
		begin(s, serverless)
		if (s.alarm != nil) != c.first {
			t.Errorf("%s: there is an alarm: %v", c.name, s.alarm != nil)
		}
		s.client.heart = newHeartbeat(s.client)
		strike(s)
		if s.alarm == nil || s.check == 0 || s.check == forever || s.check > s.patience && s.check > s.client.pongBy {
			t.Errorf("%s: after a beat the next check is at %v", c.name, s.check)
		}
		end(s)
	}
}

// A metronome that starts again pings nobody for the time without sessions.
func TestTurnsAfterAPause(t *testing.T) {
	m := newMetronome(time.Hour)
	m.started = time.Now().Add(-30 * time.Hour)
	startTurns(m)
	defer m.timer.Stop()
	if passed := int(time.Since(m.started) / m.turn); m.served < passed-1 {
		t.Errorf("%d turns are still to be served", passed-m.served)
	}
}

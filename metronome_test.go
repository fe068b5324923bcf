package wsfw

import (
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
		"a pump at work":       func(s *session) { s.toUpstream.pen.Lock() },
		"a ping not answered":  func(s *session) { s.upstream.answered = false },
		"something sent since": func(s *session) { rouse(s, s.toUpstream) },
	}
	for name, bringAbout := range reasons {
		t.Run(name, func(t *testing.T) {
			s := restingSession(limits{pingInterval: time.Minute, pingUpstream: true})
			bringAbout(s)
			strike(s)
			if f := s.toUpstream; !f.due || !isSentToLook(f) || f.to.heart.pings > 0 {
				t.Errorf("due: %v, sent to look: %v, pings: %d", f.due, isSentToLook(f), f.to.heart.pings)
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
	s.dismiss(restarting)
	defer s.closing.Stop()
	s.toClient.due = true
	strike(s)
	glance(s, s.toClient)
	if s.client.heart.pings > 0 || s.toClient.pinging {
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
	bad.client.conn.(*script).onWrite = func() { panic("provoked") }
	worse.client.heart.payload = nil // which does for a panic with the lock held
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

func TestTurns(t *testing.T) {
	m := &metronome{slot: time.Second, started: time.Now(), slots: make([][]*session, 10)}
	all := make([]*session, 10)
	for i := range m.slots {
		all[i] = &session{slot: i}
		m.slots[i] = append(m.slots[i], all[i])
	}
	// Half a second after each time, so that a slow machine does not matter.
	for _, step := range []struct {
		seconds int
		want    []int
	}{
		{0, []int{0}},
		{0, nil},
		{2, []int{1, 2}},
		{11, []int{3, 4, 5, 6, 7, 8, 9, 0, 1}},
		{1000, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 0}}, // an interval's slots at the most
	} {
		m.started = time.Now().Add(-time.Duration(step.seconds)*time.Second - time.Second/2)
		got := turn(m)
		if len(got) != len(step.want) {
			t.Fatalf("after %d s there are %d sessions due, want %d", step.seconds, len(got), len(step.want))
		}
		for i, slot := range step.want {
			if got[i].slot != slot {
				t.Errorf("after %d s session %d of those due is of slot %d, want %d", step.seconds, i, got[i].slot, slot)
			}
		}
	}
}

// The last session to leave stops the metronome, and takes it out.
func TestMetronomeStops(t *testing.T) {
	l := limits{pingInterval: 12345 * time.Hour}
	first, second := restingSession(l), restingSession(l)
	keepBeat(first)
	keepBeat(second)
	m := metronomes[l.pingInterval]
	if m.sessions != 2 || len(m.slots) != mostSlots {
		t.Fatalf("there are %d sessions in %d slots", m.sessions, len(m.slots))
	}
	leaveBeat(first)
	if len(m.slots[first.slot]) > 1 || metronomes[l.pingInterval] != m {
		t.Error("the first has not left, or the second is left alone")
	}
	leaveBeat(second)
	if m.timer.Stop() || metronomes[l.pingInterval] != nil {
		t.Error("the metronome goes on for nobody")
	}
}

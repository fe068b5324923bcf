package wsfw

import (
	"testing"
	"time"
)

// An alarm that goes off late finds another session, or none. Nothing is due there, and it goes off again when
// something is.
func TestAlarmLate(t *testing.T) {
	a := newAlarm()
	ring(a)
	s := restingSession(limits{})
	s.alarm = a
	s.timer = a.timer
	a.session = s
	startClosing(s)
	if ring(a); s.over || !a.timer.Stop() {
		t.Fatal("a session is cut that has just begun to close, or will not be at all")
	}
	s.closeBy = 0
	if ring(a); !s.over {
		t.Error("a session is left that has taken too long to close")
	}
	if ring(a); a.timer.Stop() {
		t.Error("the alarm is set for a session that is over")
	}
}

// An alarm goes to another session when it has not gone off.
func TestAlarmIsFreed(t *testing.T) {
	a := newAlarm()
	a.session = restingSession(limits{})
	if freeAlarm(a); a.session != nil {
		t.Error("an alarm keeps its session")
	}
	if a.timer.Stop() {
		t.Error("it is still set")
	}
	a.session = restingSession(limits{})
	if freeAlarm(a); a.session == nil {
		t.Error("an alarm that has gone off is given to another session")
	}
}

// Sessions have what their limits ask for done when it is due, one after the other by the same alarms.
func TestAlarms(t *testing.T) {
	set := newSettings(limits{maxLifetime: 20 * time.Millisecond, closeTimeout: 20 * time.Millisecond})
	for i := 0; i < 20; i++ {
		client, upstream := newScript(nil, 1, true), newScript(nil, 1, true)
		s := newSession(newSide(clientSide, client), newSide(upstreamSide, upstream), plain, set, nil)
		run(s) // neither side answers
		if s.outcome != (outcome{gatewaySide, closeGoingAway, lifetimeReached.reason}) {
			t.Fatalf("outcome %+v", s.outcome)
		}
	}
}

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

func TestSpreads(t *testing.T) {
	l := limits{maxLifetime: time.Hour, pingInterval: time.Minute}
	for i := 0; i < 1000; i++ {
		if got := l.spreadLifetime(); got < 54*time.Minute || got > 66*time.Minute {
			t.Fatalf("a lifetime of %v", got)
		}
		if got := l.firstBeat(); got <= 30*time.Second || got > time.Minute {
			t.Fatalf("a first beat at %v", got)
		}
	}
	if off := (limits{}); off.spreadLifetime() != forever || off.firstBeat() != forever {
		t.Error("what is off comes some day")
	}
	for i := 0; i < 1000; i++ {
		if got := (limits{maxLifetime: forever}).spreadLifetime(); got < forever/10*9-1 {
			t.Fatalf("the longest lifetime became %v", got)
		}
	}
}

// idleSession has begun an hour ago between two silent scripts, and its pumps have looked
// up once, then.
func idleSession(l limits) *session {
	l.closeTimeout = time.Minute
	client, upstream := newScript(nil, 1, true), newScript(nil, 1, true)
	s := newSession(newSide(clientSide, client, nil), newSide(upstreamSide, upstream, nil), plain, &settings{limits: l}, nil)
	s.glance(s.toUpstream)
	s.glance(s.toClient)
	s.started = s.started.Add(-time.Hour)
	return s
}

func TestSilenceIsDoubtedFirst(t *testing.T) {
	s := idleSession(limits{pongTimeout: time.Minute})
	f := s.toUpstream
	s.toUpstream.from.pinged = 30 * time.Minute
	if end, _ := s.glance(f); end != nil || !f.timing.doubted {
		t.Fatalf("at the first look the session ends for %+v", end)
	}
	if wait := f.timing.next - time.Hour; wait <= 0 || wait > maxDoubt+10*time.Second {
		t.Errorf("the next look is %v away", wait)
	}
	end, _ := s.glance(f)
	if end == nil || end.reason != "client heartbeat timeout" || end.lost != f.from {
		t.Errorf("at the second look the session ends for %+v", end)
	}
}

func TestSignsOfLife(t *testing.T) {
	signs := map[string]func(s *session, f *flow){
		"a message":           func(s *session, f *flow) { f.bytes += 10 },
		"a pong at work":      func(s *session, f *flow) { f.absorbed++ },
		"a pong at rest":      func(s *session, f *flow) { s.answered(f, make([]byte, pingSize)) },
		"something else then": func(s *session, f *flow) { s.rouse(f) },
	}
	for name, sign := range signs {
		t.Run(name, func(t *testing.T) {
			s := idleSession(limits{pongTimeout: time.Minute})
			f := s.toClient
			f.from.pinged = 30 * time.Minute
			s.glance(f)
			sign(s, f)
			if end, _ := s.glance(f); end != nil || f.timing.doubted {
				t.Errorf("the session ends for %+v, doubted: %v", end, f.timing.doubted)
			}
		})
	}
}

// What came before a ping is no answer to it, but the silence begins after it.
func TestOldFramesAnswerNoPing(t *testing.T) {
	s := idleSession(limits{pongTimeout: time.Minute})
	f := s.toUpstream
	f.from.pinged = time.Hour - time.Second
	f.bytes += 10
	if end, _ := s.glance(f); end != nil {
		t.Fatalf("the session ends for %+v", end)
	}
	if f.from.pinged == 0 {
		t.Error("a frame from before the ping has answered it")
	}
	f.bytes += 10
	s.glance(f)
	if f.from.pinged != 0 {
		t.Error("a frame from after the ping has not answered it")
	}
}

func TestBeats(t *testing.T) {
	s := idleSession(limits{pingInterval: 7 * time.Minute, pingClient: true, pongTimeout: time.Minute})
	toClient, fromClient := s.toClient, s.toUpstream
	s.glance(toClient)
	if !toClient.timing.pinging || toClient.to.pinged == 0 {
		t.Error("the client is not pinged, though it is late")
	}
	if beat := toClient.timing.beat; beat <= time.Hour || beat > time.Hour+8*time.Minute {
		t.Errorf("the next beat is at %v: those missed are made up for", beat)
	}
	s.glance(fromClient)
	if fromClient.timing.pinging || fromClient.timing.due {
		t.Error("the upstream is pinged, too")
	}
	if wait := fromClient.timing.next - time.Hour; wait > time.Minute+10*time.Second {
		t.Errorf("the pump from the client looks up in %v, too late for a pong", wait)
	}
	s.answered(fromClient, make([]byte, pingSize))
	if wait := fromClient.timing.next - time.Hour; wait < 6*time.Minute || toClient.to.pinged != 0 {
		t.Errorf("after the pong it looks up in %v", wait)
	}
}

func TestPingWaits(t *testing.T) {
	s := idleSession(limits{pingInterval: time.Minute, pingUpstream: true})
	f := s.toUpstream
	f.track.left = 5
	if s.glance(f); f.timing.pinging || !f.timing.due {
		t.Error("a ping is to be sent inside a frame")
	}
	f.track.left = 0
	if s.glance(f); !f.timing.pinging || f.timing.due {
		t.Error("no ping follows the frame")
	}
	if s.glance(f); f.timing.pinging || f.timing.due {
		t.Error("it is to be sent twice")
	}
}

func TestInactivity(t *testing.T) {
	s := idleSession(limits{maxInactivity: time.Minute})
	// The other direction is at work, perhaps on nothing but pings, and has not looked up.
	s.toClient.idle = false
	if end, _ := s.glance(s.toUpstream); end != nil {
		t.Errorf("with the other direction at work the session ends for %+v", end)
	}
	s.toClient.bytes, s.toClient.track.control = 6, 6
	if end, _ := s.glance(s.toClient); end != inactive {
		t.Errorf("with nothing but a ping passed on it ends for %+v", end)
	}
	s.toClient.bytes += 3
	if end, _ := s.glance(s.toClient); end != nil {
		t.Errorf("with a message passed on it ends for %+v", end)
	}
}

func TestLifetimeComes(t *testing.T) {
	s := idleSession(limits{maxLifetime: 30 * time.Minute})
	farewell := s.look(s.toUpstream)
	if want := (outcome{gatewaySide, closeGoingAway, "session lifetime reached"}); s.outcome != want {
		t.Errorf("outcome %+v, want %+v", s.outcome, want)
	}
	if code, reason := closeStatus(farewell); code != closeGoingAway || reason != "session lifetime reached" {
		t.Errorf("the upstream is to get %d %q", code, reason)
	}
	if code, _ := closeStatus(s.look(s.toClient)); code != closeGoingAway {
		t.Errorf("the client is to get %d", code)
	}
	s.closing.Stop()
}

// Whoever comes second finds the session ending already.
func TestDismissedOnce(t *testing.T) {
	s := idleSession(limits{})
	s.dismiss(restarting)
	s.dismiss(inactive)
	if s.outcome.code != closeRestart {
		t.Errorf("outcome %+v", s.outcome)
	}
	if code, _ := closeStatus(s.toUpstream.from.farewell); code != closeRestart {
		t.Errorf("the client is to get %d", code)
	}
	s.closing.Stop()
}

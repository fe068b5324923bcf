package wsfw

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
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
		got := newSession(newPeer(clientPeer, nil), newPeer(upstreamPeer, nil), plain, set, nil).lifetime
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
	if newSession(newPeer(clientPeer, nil), newPeer(upstreamPeer, nil), plain, newSettings(limits{}), nil).lifetime != forever {
		t.Error("what is off comes some day")
	}
}

func TestGrace(t *testing.T) {
	for pong, want := range map[time.Duration]time.Duration{
		20 * time.Millisecond: minDuration, time.Second: 125 * time.Millisecond, time.Minute: maxGrace,
	} {
		if got := (limits{pongTimeout: pong}).settled().grace; got != want {
			t.Errorf("pongTimeout %v: %v, want %v", pong, got, want)
		}
	}
}

// restingSession has begun an hour ago between two silent scripts. Its pumps have looked up
// once, then, and are at rest.
func restingSession(l limits) *session {
	l.closeTimeout = time.Minute
	client, upstream := newScript(nil, 1, true), newScript(nil, 1, true)
	s := newSession(newPeer(clientPeer, client), newPeer(upstreamPeer, upstream), plain, newSettings(l), nil)
	for _, f := range s.directions {
		takeStock(s, f)
	}
	s.started = s.started.Add(-time.Hour)
	return s
}

// ask has x been pinged at a time, and silent since.
func ask(s *session, x *peer, at time.Duration) {
	x.heart = newHeartbeat(x)
	x.pinged = at
	x.pongBy = at + s.pongTimeout
}

// turn has the scheduler look at a session whose tick has come.
func turn(s *session) {
	for w := (&scheduler{due: []*session{s}}); len(w.due) > 0; {
		lookAtDue(w)
	}
}

// isWoken is whether the pump of f has been woken.
func isWoken(f *direction) bool {
	source := f.from.conn.(*script)
	source.mu.Lock()
	defer source.mu.Unlock()
	return source.late
}

func TestSilenceIsDoubtedFirst(t *testing.T) {
	s := restingSession(limits{pongTimeout: time.Minute})
	ask(s, s.client, 30*time.Minute)
	turn(s)
	if s.outcome.reason != "" {
		t.Fatalf("at the first turn the session ends: %+v", s.outcome)
	}
	if wait := nextDue(s) - time.Hour; wait <= 0 || wait > maxGrace+10*time.Second {
		t.Errorf("the next look is %v away", wait)
	}
	s.client.pongBy = time.Hour
	turn(s)
	if s.outcome.reason != "client heartbeat timeout" || s.client.state != closeReceived {
		t.Errorf("at the second turn the session ends: %+v", s.outcome)
	}
}

// A write that has been blocked for writeTimeout gets a little more time once, for the whole process may have stood still, and
// fails then, unless its pump has looked up.
func TestBlockedWriteIsDoubtedFirst(t *testing.T) {
	for _, looks := range []bool{false, true} {
		s := restingSession(limits{writeTimeout: time.Minute})
		f := s.toUpstream
		f.idle = false
		f.writeBy = time.Minute
		turn(s)
		if f.stuck || f.writeBy <= time.Hour || f.writeBy > time.Hour+maxGrace+10*time.Second {
			t.Fatalf("at the first turn: stuck %v, the write may block until %v", f.stuck, f.writeBy)
		}
		if looks {
			f.bytes++
			takeStock(s, f)
		}
		f.writeBy = time.Hour
		if turn(s); f.stuck == looks {
			t.Errorf("the pump has looked up: %v; the write is to fail: %v", looks, f.stuck)
		}
	}
}

// A pump at work is asked what it knows before its source is given up.
func TestSilenceAtWork(t *testing.T) {
	s := restingSession(limits{pingInterval: 2 * time.Hour, pingUpstream: true, pongTimeout: time.Minute})
	f := s.toClient
	f.idle = false
	ask(s, f.from, 30*time.Minute)
	for i := 0; i < 3; i++ {
		if turn(s); s.outcome.reason != "" || !isWoken(f) {
			t.Fatalf("the session ends: %+v; the pump is sent to look: %v", s.outcome, isWoken(f))
		}
	}
	f.looked = 10 * time.Minute
	f.bytes += 10
	if end, _ := takeStock(s, f); end != nil || f.from.pinged == 0 || f.from.pongBy < time.Hour {
		t.Errorf("after a frame the session ends for %+v, a pong is due at %v", end, f.from.pongBy)
	}
	f.from.pongBy = 40 * time.Minute
	if end, _ := takeStock(s, f); end != nil {
		t.Errorf("without one, at the first look, it ends for %+v", end)
	}
	f.from.pongBy = 40 * time.Minute
	if end, _ := takeStock(s, f); end == nil || end.reason != "upstream heartbeat timeout" {
		t.Errorf("at the second look it ends for %+v", end)
	}
}

func TestSignsOfLife(t *testing.T) {
	signs := map[string]func(s *session, f *direction){
		"a message": func(s *session, f *direction) {
			takeStock(s, f)
			f.bytes += 10
			takeStock(s, f)
		},
		"a pong at work": func(s *session, f *direction) { f.absorbed++; f.from.heart.answered = time.Hour; takeStock(s, f) },
		"a pong at rest": func(s *session, f *direction) { isPong(s, f, controlFrame(opPong, payloadOf(f.from.heart), false)) },
		"an early pong at rest": func(s *session, f *direction) {
			early := controlFrame(opPong, payloadOf(f.from.heart), false)
			stamp(s, s.toUpstream, time.Hour)
			isPong(s, f, early)
		},
		"anything at rest": func(s *session, f *direction) { leaveRest(s, f) },
	}
	for name, sign := range signs {
		t.Run(name, func(t *testing.T) {
			s := restingSession(limits{pingInterval: 2 * time.Hour, pingUpstream: true, pongTimeout: time.Minute})
			f := s.toClient
			stamp(s, s.toUpstream, 30*time.Minute)
			turn(s)
			sign(s, f)
			if turn(s); s.outcome.reason != "" || f.from.pinged != 0 {
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
	if end, _ := takeStock(s, f); end != nil {
		t.Fatalf("the session ends for %+v", end)
	}
	if f.from.pinged == 0 {
		t.Error("a frame from before the ping has answered it")
	}
	f.bytes += 10
	takeStock(s, f)
	if f.from.pinged != 0 {
		t.Error("a frame from after the ping has not answered it")
	}
}

func TestInactivity(t *testing.T) {
	s := restingSession(limits{maxInactivity: time.Minute})
	// The other direction is at work, perhaps on nothing but pings, and has not looked up.
	s.toClient.idle = false
	if turn(s); s.outcome.reason != "" || !isWoken(s.toClient) {
		t.Errorf("with one direction at work the session ends: %+v", s.outcome)
	}
	s.toClient.bytes, s.toClient.parser.control = 6, 6
	if end, _ := takeStock(s, s.toClient); end != inactive {
		t.Errorf("with nothing but a ping passed on it ends for %+v", end)
	}
	s.toClient.bytes += 3
	if end, _ := takeStock(s, s.toClient); end != nil {
		t.Errorf("with a message passed on it ends for %+v", end)
	}
}

func TestLifetimeComes(t *testing.T) {
	s := restingSession(limits{maxLifetime: 30 * time.Minute})
	turn(s)
	if want := (outcome{gateway, closeGoingAway, "session lifetime reached"}); s.outcome != want {
		t.Errorf("outcome %+v, want %+v", s.outcome, want)
	}
	for _, f := range s.directions {
		if code, reason := saidIn(pendingAt(s, f)); code != closeGoingAway || reason != "session lifetime reached" {
			t.Errorf("the %s is to get %d %q", f.to.name, code, reason)
		}
	}
}

// Whoever comes second finds the session ending already.
func TestDismissedOnce(t *testing.T) {
	s := restingSession(limits{})
	dismiss(s, restarting(s))
	dismiss(s, inactive)
	if s.outcome.code != closeRestart {
		t.Errorf("outcome %+v", s.outcome)
	}
	if code, _ := saidIn(s.toUpstream.from.pendingClose); code != closeRestart {
		t.Errorf("the client is to get %d", code)
	}
}

// So does whoever comes when a close frame has been noted and is about to be passed on.
func TestDismissedTooLate(t *testing.T) {
	s := restingSession(limits{})
	conclude(s, clientPeer, closeNormal, "")
	dismiss(s, restarting(s))
	if s.outcome.endedBy != clientPeer || s.client.pendingClose != nil || s.closing {
		t.Errorf("outcome %+v", s.outcome)
	}
}

// A pump that cannot look up, for its write blocks, does not keep its session from being inactive.
func TestInactivityWhileAWriteBlocks(t *testing.T) {
	s := restingSession(limits{maxInactivity: time.Minute})
	s.toClient.idle = false
	s.toClient.looked = 0
	first := causeToEnd(s, time.Hour)
	soon := causeToEnd(s, time.Hour+s.tick)
	if late := causeToEnd(s, time.Hour+2*s.tick); first != nil || soon != nil || late != inactive {
		t.Errorf("the session ends for %v, then %v, and two ticks later %v", first, soon, late)
	}
}

// A ping that falls due between a read and the pump's waking is not put off.
func TestPingDueBeforeThePumpWakes(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingUpstream: true})
	s.toUpstream.pingDue = true
	leaveRest(s, s.toUpstream)
	if !isWoken(s.toUpstream) {
		t.Error("the pump works on until its next tick")
	}
}

// A service may write nothing: its pump stays at rest.
func TestEmptyReadAtRest(t *testing.T) {
	s := restingSession(limits{})
	f := s.toClient
	if on := onRead(s, f, 0, nil); !on || !f.idle || f.small != nil || !f.writeMu.TryLock() {
		t.Errorf("goes on: %v, at rest: %v, with a buffer for work: %v", on, f.idle, f.small != nil)
	}
}

// pendingAt is the close frame that f's pump is to send when nothing has come for a while.
func pendingAt(s *session, f *direction) []byte {
	if first := housekeep(s, f); first != nil {
		return first // without having looked for what has come
	}
	return housekeep(s, f)
}

// pingTurn is turn when the session is to be pinged.
func pingTurn(s *session) {
	s.pingBy = 0
	turn(s)
}

func TestPingAtRest(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingClient: true, pongTimeout: time.Minute})
	client, upstream := s.client.conn.(*script), s.upstream.conn.(*script)
	s.client.heart = newHeartbeat(s.client)
	s.client.hasRead = true
	pingTurn(s)
	if got := client.written(); len(got) != 2+pingSize || s.client.heart.pings != 1 || s.client.pinged < time.Hour {
		t.Errorf("the client got %x, pinged at %v", got, s.client.pinged)
	}
	if got := upstream.written(); len(got) > 0 || isWoken(s.toUpstream) {
		t.Errorf("the upstream got %x", got)
	}
	if wait := nextDue(s) - time.Hour; wait > time.Minute+10*time.Second {
		t.Errorf("the next look is in %v, too late for a pong", wait)
	}
	isPong(s, s.toUpstream, controlFrame(opPong, payloadOf(s.client.heart), true))
	if s.client.pongBy != forever {
		t.Errorf("after the pong another is due at %v", s.client.pongBy)
	}
	pingTurn(s)
	if got := client.written(); len(got) != 2*(2+pingSize) {
		t.Errorf("at the next beat the client had got %x", got)
	}
}

// Whoever may block a write is left to its pump.
func TestPingIsLeftToThePump(t *testing.T) {
	beat := func(s *session) {
		stamp(s, s.toUpstream, time.Minute)
		if !isPong(s, s.toClient, controlFrame(opPong, payloadOf(s.upstream.heart), false)) {
			t.Fatal("the pong is not known")
		}
	}
	reasons := map[string]func(s *session){
		"the first ping":       func(*session) {},
		"a service":            func(s *session) { s.upstream.pipes = &pipes{}; beat(s) },
		"a pump at work":       func(s *session) { beat(s); s.toUpstream.writeMu.Lock() },
		"a ping not answered":  func(s *session) { beat(s); stamp(s, s.toUpstream, 2*time.Minute) },
		"something sent since": func(s *session) { beat(s); leaveRest(s, s.toUpstream) },
		"":                     beat,
	}
	for name, bringAbout := range reasons {
		t.Run(name, func(t *testing.T) {
			s := restingSession(limits{pingInterval: time.Minute, pingUpstream: true})
			bringAbout(s)
			before := s.upstream.pinged
			pingTurn(s)
			if f := s.toUpstream; f.pingDue != (name != "") || isWoken(f) != f.pingDue || (f.to.pinged == before) != f.pingDue {
				t.Errorf("due: %v, sent to look: %v, pinged at %v", f.pingDue, isWoken(f), f.to.pinged)
			}
		})
	}
}

// A pump at work sends the ping itself, when its destination stands between two frames.
func TestPingWaits(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingUpstream: true})
	f := s.toUpstream
	f.pingDue = true
	f.parser.left = 5
	if takeStock(s, f); f.pinging || !f.finishing || f.idle {
		t.Error("a ping is to be sent inside a frame")
	}
	f.parser.left = 0
	if takeStock(s, f); !f.pinging || f.finishing || f.to.pinged == 0 {
		t.Error("no ping follows the frame")
	}
	if takeStock(s, f); f.pinging || f.finishing {
		t.Error("it is to be sent twice")
	}
}

// What ends is pinged no more.
func TestNoPingAtTheEnd(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingClient: true})
	dismiss(s, restarting(s))
	s.toClient.pingDue = true
	pingTurn(s)
	takeStock(s, s.toClient)
	if s.client.heart != nil || s.toClient.pinging {
		t.Error("a session that closes is pinged")
	}
}

// A panic ends its own session, and no other is forgotten.
func TestTurnSurvives(t *testing.T) {
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
	for _, s := range []*session{bad, worse, good} {
		s.pingBy = 0
		s.client.hasRead = true
	}
	for w := (&scheduler{due: []*session{bad, worse, good}}); len(w.due) > 0; {
		lookAtDue(w)
	}
	if len(reports) != 2 || reports[0] != "session failed: provoked" || !bad.over || !worse.over {
		t.Errorf("reports %q, the sessions are over: %v, %v", reports, bad.over, worse.over)
	}
	if !bad.toClient.writeMu.TryLock() || !worse.toClient.writeMu.TryLock() {
		t.Error("a writeMu is lost")
	}
	if good.client.heart.pings != 1 {
		t.Error("the next session was not pinged")
	}
}

// The wheel has each session looked at once in the tick that it is due at, wherever it stands.
func TestWheelTurns(t *testing.T) {
	w := newScheduler()
	defer w.timer.Stop()
	defer swapWheel(w)()
	w.started = time.Now().Add(-time.Hour)
	w.served = int64(time.Since(w.started) / tickLength)
	w.wake = 0 // takeDue is called here, not by the timer
	ticks := map[*session]int{}
	for _, tick := range []int{1, 2, 3, wheelSlots - 1, wheelSlots, wheelSlots + 1, 3*wheelSlots + 2} {
		s := restingSession(limits{})
		s.started = w.started.Add(time.Duration(w.served) * tickLength)
		enroll(s)
		schedule(s, time.Duration(tick)*tickLength-time.Millisecond)
		ticks[s] = tick
	}
	start := w.served
	seen := map[*session]bool{}
	for tick := 1; tick < 4*wheelSlots; tick++ {
		w.started = time.Now().Add(-time.Duration(start+int64(tick))*tickLength - tickLength/2)
		for _, s := range takeDue(w) {
			if ticks[s] != tick && !seen[s] {
				t.Errorf("the session of tick %d is looked at in tick %d", ticks[s], tick)
			}
			seen[s] = true
			withdraw(s)
		}
	}
	if len(seen) != len(ticks) || w.sessions != 0 {
		t.Errorf("%d of %d sessions have been looked at, %d wait", len(seen), len(ticks), w.sessions)
	}
}

// A wheel that comes late looks at all that it has missed, once.
func TestWheelIsLate(t *testing.T) {
	w := newScheduler()
	defer w.timer.Stop()
	defer swapWheel(w)()
	for i := 0; i < 10; i++ {
		s := restingSession(limits{})
		s.started = w.started
		enroll(s)
		schedule(s, time.Duration(i)*time.Second)
	}
	w.started = w.started.Add(-time.Hour)
	if due := takeDue(w); len(due) != 10 {
		t.Errorf("%d of 10 sessions are due", len(due))
	}
}

// The timer may be set anew when it has gone off already and its function has not begun: that then runs twice at once. What is
// due is for one of them at a time, or the race detector tells.
func TestWheelGoesOffTwice(t *testing.T) {
	w := newScheduler()
	defer w.timer.Stop()
	defer swapWheel(w)()
	var sessions []*session
	for i := 0; i < 100; i++ {
		s := restingSession(limits{maxLifetime: time.Minute})
		s.started = w.started
		enroll(s)
		schedule(s, time.Duration(i)*time.Millisecond)
		sessions = append(sessions, s)
	}
	w.started = w.started.Add(-time.Hour)
	for _, s := range sessions {
		s.started = w.started
	}
	var wait sync.WaitGroup
	for i := 0; i < 8; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			goOff(w)
		}()
	}
	wait.Wait()
	for _, s := range sessions {
		if s.outcome.reason != lifetimeReached.reason {
			t.Fatalf("a session that was due has not been looked at: %+v", s.outcome)
		}
	}
}

// The timer is set for as long as there are sessions for which something may be due.
func TestWheelStops(t *testing.T) {
	w := newScheduler()
	defer w.timer.Stop()
	defer swapWheel(w)()
	idle, timed := restingSession(limits{}), restingSession(limits{maxLifetime: 3 * time.Hour})
	begin(idle, serverless)
	if w.wake != noTick {
		t.Error("it is set for a session for which nothing is due")
	}
	begin(timed, serverless)
	if setTimer(w); w.wake == noTick || !w.timer.Stop() {
		t.Error("it is not set")
	}
	end(timed)
	if setTimer(w); w.wake != noTick || w.timer.Stop() {
		t.Error("it is set for nobody")
	}
	setClosingOf(idle)
	if w.wake == noTick || !w.timer.Stop() {
		t.Error("it is not set for a session that begins to close")
	}
	end(idle)
	if w.sessions != 0 {
		t.Error("a session is left on the wheel")
	}
}

// setClosingOf has a session close.
func setClosingOf(s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	setClosing(s)
}

// swapWheel has sessions go by w until the function that it returns is called.
func swapWheel(w *scheduler) (back func()) {
	was := wheel
	wheel = w
	return func() { wheel = was }
}

func TestDrain(t *testing.T) {
	s := restingSession(limits{drainTimeout: 50 * time.Millisecond})
	enroll(s)
	drainSession(s)
	// Like the pump of an idle session, this waits to be woken.
	if _, err := s.toUpstream.from.conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcome.code != closeRestart || s.toUpstream.from.pendingClose == nil {
		t.Errorf("outcome %+v", s.outcome)
	}
}

func TestDrainOver(t *testing.T) {
	s := restingSession(limits{})
	cut(s)
	if drainSession(s); s.drainBy < forever {
		t.Error("a session that is over is going to be ended")
	}
}

// A server's sessions are drained at its shutdown, and those that come later.
func TestServerDrains(t *testing.T) {
	shutdown, cancel := context.WithCancel(context.Background())
	r := newServer(shutdown)
	var sessions []*session
	for i := 0; i < 4; i++ {
		s := restingSession(limits{})
		begin(s, r)
		sessions = append(sessions, s)
	}
	gone := sessions[1]
	end(gone)
	cancel()
	expectDrained(t, sessions[0])
	expectDrained(t, sessions[2])
	expectDrained(t, sessions[3])
	late := restingSession(limits{})
	begin(late, r)
	expectDrained(t, late)
	if gone.drainBy < forever {
		t.Error("a session that has gone is drained")
	}
}

// A client's connection is open until its session's record is written: with the last of them the
// process ends. Here neither end answers, and one stands inside a frame.
func TestDrainedClientIsClosedLast(t *testing.T) {
	half := frame(0x82, make([]byte, 3*smallBuffer), true)
	for name, said := range map[string][]byte{"at rest": nil, "inside a frame": half[:2*smallBuffer]} {
		client, upstream := newScript(said, smallBuffer, true), newScript(nil, 1, true)
		set := newSettings(limits{closeTimeout: 20 * time.Millisecond, writeTimeout: time.Minute})
		v := &upgrade{session: newSession(newPeer(clientPeer, client), newPeer(upstreamPeer, upstream), plain, set, nil)}
		shutdown, cancel := context.WithCancel(context.Background())
		r := newServer(shutdown)
		begin(v.session, r)
		go pump(v.session, v.session.toClient)
		cancel()
		pump(v.session, v.session.toUpstream)
		<-v.session.ended
		end(v.session)
		if client.closed > 0 || upstream.closed == 0 {
			t.Errorf("%s: before the record the client is closed %d times, and the upstream %d times", name, client.closed, upstream.closed)
		}
		giveBack(v)
		if client.closed == 0 {
			t.Errorf("%s: the client's connection is left open", name)
		}
		if want := (outcome{gateway, closeRestart, "service restart"}); v.session.outcome != want {
			t.Errorf("%s: outcome %+v, want %+v", name, v.session.outcome, want)
		}
	}
}

// expectDrained waits for a session to be dismissed, and ends it.
func expectDrained(t *testing.T, s *session) {
	t.Helper()
	if _, err := s.client.conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a session has not been drained: %v", err)
	}
	end(s)
}

func TestServerOf(t *testing.T) {
	var r *server
	host := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { r = serverOf(req.Context()) }))
	defer host.Close()
	for i := 0; i < 2; i++ { // being asked has not disturbed the server
		before := r
		resp, err := http.Get(host.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if i > 0 && r != before {
			t.Error("a server has two of them")
		}
	}
	if r.shutdown.Err() != nil {
		t.Fatal("a live server has been shut down")
	}
	if err := host.Config.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-r.shutdown.Done()
}

// A server may be shutting down when it is first heard of.
func TestServerOfLate(t *testing.T) {
	host := &http.Server{}
	if err := host.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	if serverOf(req.Context()).shutdown.Err() != nil {
		t.Error("a request without a server came by one that has been shut down")
	}
	req = req.WithContext(context.WithValue(req.Context(), http.ServerContextKey, host))
	if serverOf(req.Context()).shutdown.Err() == nil {
		t.Error("a server that has been shut down is taken for a live one")
	}
}

// A peer that goes on sending does not keep a session that wsfw ends, though the other pump has ended at work.
func TestProgressIsBounded(t *testing.T) {
	s := restingSession(limits{closeTimeout: time.Minute})
	dismiss(s, restarting(s))
	s.toUpstream.idle = false
	started, late := s.closingAt, false
	for now := started; now < started+10*time.Minute && !late; now += 10 * time.Second {
		s.mu.Lock()
		progress(s, now)
		late = isLate(s, now)
		s.mu.Unlock()
	}
	if !late {
		t.Error("it never ends")
	}
}

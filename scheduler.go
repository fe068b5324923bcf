package wsfw

import (
	"context"
	"errors"
	"math/rand"
	"net"
	"net/http"
	"sync"
	"time"
)

// past is a deadline that has been missed: it wakes whoever reads. never is one that there is not.
var (
	past  = time.Unix(1, 0)
	never time.Time
)

// scheduler has every session looked at when something may be due for it: pings, pongs, inactivity, lifetime, the end of
// closing, a drain. It is a hashed timing wheel: a session stands in the slot of the tick at which it is looked at next, and
// only then it is found out what is due, and when the next thing is. So neither data nor pongs set a timer, and the cost grows
// with what is due, not with what is open.
//
// One timer serves all sessions, from one goroutine at a time. That never writes without a deadline, and closes nothing, for
// all sessions wait for it.
type scheduler struct {
	started time.Time
	timer   *time.Timer

	// mu guards the following. Ticks count from started. Whoever holds a session's mu may take this one, not the other way
	// round.
	mu       sync.Mutex
	slots    []map[*session]bool // the last one has those for which nothing is ever due
	sessions int                 // in all of them
	served   int64               // the latest tick that the timer has gone off for
	wake     int64               // the tick that it is set for, or noTick

	// going is held by goOff, and guards the following.
	going   sync.Mutex
	due     []*session   // that are to be looked at yet
	current *session     // that is being looked at,
	locked  bool         // whose mu is held for that
	toPing  []*direction // and whose writeMu is, for a ping that is yet to be sent
}

const (
	tickLength = 20 * time.Millisecond
	wheelSlots = 1024 // a power of two: the wheel turns once in 20 s
	longestNap = 50   // ticks between two looks at the wheel while there are sessions in it

	noTick = int64(1<<63 - 1)
)

// wheel is the scheduler of all sessions of this interpreter. It is made by init, for what it does leads back to it.
var wheel *scheduler

func init() {
	wheel = newScheduler()
}

// newScheduler makes one that waits for sessions. A variable, for an interpreted closure keeps the frames of all callers of
// the function in which it is made.
var newScheduler = func() *scheduler {
	w := &scheduler{started: time.Now(), slots: make([]map[*session]bool, wheelSlots+1), wake: noTick}
	for i := range w.slots {
		w.slots[i] = map[*session]bool{}
	}
	w.timer = time.AfterFunc(forever, func() {
		defer swallow()
		goOff(w)
	})
	return w
}

// enroll puts a session on the wheel, until withdraw.
func enroll(s *session) {
	w := wheel
	s.looksAt = forever
	w.mu.Lock()
	s.enrolled = true
	s.startedAt = s.started.Sub(w.started)
	s.turn = noTick
	s.slot = wheelSlots
	w.slots[wheelSlots][s] = true
	w.sessions++
	w.mu.Unlock()
	if s.timed {
		s.mu.Lock()
		schedule(s, nextDue(s))
		s.mu.Unlock()
	}
}

// withdraw takes a session off the wheel.
func withdraw(s *session) {
	w := wheel
	w.mu.Lock()
	if s.enrolled {
		s.enrolled = false
		delete(w.slots[s.slot], s)
		w.sessions--
	}
	w.mu.Unlock()
}

// schedule has a session looked at when it is due, counted from its start, and not before. It does nothing for one that is not
// on the wheel. Needs session.mu.
func schedule(s *session, due time.Duration) {
	w := wheel
	s.looksAt = due
	w.mu.Lock()
	if s.enrolled {
		delete(w.slots[s.slot], s)
		s.turn = noTick
		s.slot = wheelSlots
		if due < forever {
			s.turn = turnFor(w, s.startedAt+due)
			s.slot = int(s.turn & (wheelSlots - 1))
		}
		w.slots[s.slot][s] = true
	}
	w.mu.Unlock()
}

// lookBy has a session looked at by then, and does nothing where it is looked at before. Needs session.mu.
func lookBy(s *session, due time.Duration) {
	if due < s.looksAt {
		schedule(s, due)
	}
}

// turnFor is the tick at which is looked at what is due at a time since the wheel's start. The timer goes off by then. Needs
// scheduler.mu.
func turnFor(w *scheduler, due time.Duration) int64 {
	turn := int64(due/tickLength) + 1
	if turn <= w.served {
		turn = w.served + 1
	}
	if turn < w.wake {
		w.wake = turn
		w.timer.Reset(time.Duration(turn)*tickLength - time.Since(w.started))
	}
	return turn
}

// goOff is what the timer does. Whatever happens, it is set again. It may have been set anew when it had gone off already, and
// then this runs twice: once after the other.
func goOff(w *scheduler) {
	w.going.Lock()
	defer w.going.Unlock()
	defer setTimer(w)
	w.due = takeDue(w)
	for len(w.due) > 0 {
		lookAtDue(w)
	}
}

// takeDue is the sessions whose tick has come. They stay where they are until they are scheduled anew. Until setTimer nobody
// sets the timer.
func takeDue(w *scheduler) []*session {
	var due []*session
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake = 0
	now := int64(time.Since(w.started) / tickLength)
	first := w.served + 1
	if first <= now-wheelSlots {
		first = now - wheelSlots + 1
	}
	w.served = now
	for tick := first; tick <= now; tick++ {
		for s := range w.slots[tick&(wheelSlots-1)] {
			if s.turn <= now {
				due = append(due, s)
			}
		}
	}
	return due
}

// setTimer sets the timer for the next tick that sessions wait for, if there are any.
func setTimer(w *scheduler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake = noTick
	if w.sessions == len(w.slots[wheelSlots]) {
		return
	}
	next := w.served + 1
	for next < w.served+longestNap && len(w.slots[next&(wheelSlots-1)]) == 0 {
		next++
	}
	w.wake = next
	w.timer.Reset(time.Duration(next)*tickLength - time.Since(w.started))
}

// lookAtDue looks at the sessions that are due. A panic ends the one that it happens in, and the others stay due.
func lookAtDue(w *scheduler) {
	defer survive(w)
	for len(w.due) > 0 {
		s := w.due[0]
		w.due = w.due[1:]
		w.current = s
		s.mu.Lock()
		w.locked = true
		cause, late := whatIsDue(w, s)
		w.locked = false
		s.mu.Unlock()
		if late {
			go expire(s)
		} else if cause != nil {
			dismiss(s, cause)
		} else if len(w.toPing) > 0 {
			pingAtRest(w, s)
		}
	}
	w.current = nil
}

// survive, deferred, ends the session that a panic has happened in.
func survive(w *scheduler) {
	r := recover()
	if r == nil {
		return
	}
	for _, f := range w.toPing {
		f.writeMu.Unlock()
	}
	w.toPing = nil
	if w.locked {
		w.locked = false
		w.current.mu.Unlock()
	}
	fail(w.current, r)
}

// whatIsDue is the cause to end the session now, or nil, and whether it has taken too long to close. It schedules the next
// look. Needs session.mu.
func whatIsDue(w *scheduler, s *session) (*closeCause, bool) {
	if s.over {
		return nil, false
	}
	now := time.Since(s.started)
	if s.closing {
		return nil, isLate(s, now)
	}
	pinging := now >= s.pingBy
	if !pinging {
		due := nextDue(s)
		if due > now { // what was waited for has come
			schedule(s, due)
			return nil, false
		}
	}
	cause := causeToEnd(s, now)
	if cause == nil && pinging {
		takePings(w, s, now)
	}
	due := nextDue(s)
	if due <= now { // it waits for the look of a pump at work
		due = now + maxGrace
	}
	schedule(s, due)
	return cause, false
}

// isLate reports whether a session that is closing has had its time. Pumps at work are asked first whether data still flows: what
// they find at their first look may have come before the closing, so they look early on, and at the end. Needs session.mu.
func isLate(s *session, now time.Duration) bool {
	if now >= s.closeBy {
		if s.warned || !wakeBusy(s) {
			return true
		}
		s.warned = true
		s.closeBy = now + clamped(s.closeTimeout, 0, maxGrace)
	} else if !s.slow {
		s.slow = true
		wakeBusy(s)
	}
	due := s.closeBy
	for _, f := range s.directions {
		if now >= f.writeBy {
			failWrite(s, f, now)
		}
		if f.writeBy < due {
			due = f.writeBy
		}
	}
	schedule(s, due)
	return false
}

// wakeBusy has those pumps look up that are at work, and reports whether there are any. Needs session.mu.
func wakeBusy(s *session) bool {
	busy := false
	for _, f := range s.directions {
		if !f.idle {
			wake(s, f)
			busy = true
		}
	}
	return busy
}

// causeToEnd is the cause to end the session now, or nil. Where only a pump at work can know it is woken. Needs session.mu.
func causeToEnd(s *session, now time.Duration) *closeCause {
	if now >= s.drainBy {
		return restarting(s)
	}
	if now >= s.lifetime {
		return endOfLifetime(s, now)
	}
	if now >= s.idleBy && (haveLooked(s, now) || now >= s.asked+2*s.tick) { // only a write keeps a pump from looking so long
		return inactive
	}
	for _, f := range s.directions {
		if now >= f.writeBy {
			failWrite(s, f, now)
		}
		if now >= f.from.pongBy && isSilent(s, f, now) {
			return heartbeatTimeout(s, f.from)
		}
	}
	return nil
}

// endOfLifetime is why a session ends that has reached its lifetime. Needs session.mu.
func endOfLifetime(s *session, now time.Duration) *closeCause {
	if now >= s.cutBy-promptClosing {
		return tokenExpired
	}
	return lifetimeReached
}

// limitWrite has a write of f's pump fail that blocks until then. Needs session.mu.
func limitWrite(s *session, f *direction, by time.Duration) {
	f.writeBy = by
	f.overdue = false
	lookBy(s, by)
}

// failWrite has the write fail that f's pump has been blocked in for too long. It gets a little more time first, so that what
// the destination has read while the whole process stood still is made use of. Needs session.mu.
func failWrite(s *session, f *direction, now time.Duration) {
	if !f.overdue {
		f.overdue = true
		f.writeBy = now + clamped(s.writeTimeout/4, minDuration, maxGrace)
		return
	}
	f.stuck = true
	f.writeBy = forever
	setDeadlines(s, f)
}

// haveLooked reports whether it is known of both pumps what they have passed on until idleBy. A pump at work that has not
// looked up since is woken. Needs session.mu.
func haveLooked(s *session, now time.Duration) bool {
	if s.asked < s.idleBy {
		s.asked = now
	}
	all := true
	for _, f := range s.directions {
		if !f.idle && f.looked < s.idleBy {
			wake(s, f)
			all = false
		}
	}
	return all
}

// nextDue is when the next thing may be due. Needs session.mu.
func nextDue(s *session) time.Duration {
	due := s.lifetime
	if s.drainBy < due {
		due = s.drainBy
	}
	if s.idleBy < due {
		due = s.idleBy
	}
	if s.pingBy < due {
		due = s.pingBy
	}
	if s.client.pongBy < due {
		due = s.client.pongBy
	}
	if s.upstream.pongBy < due {
		due = s.upstream.pongBy
	}
	if s.toClient.writeBy < due {
		due = s.toClient.writeBy
	}
	if s.toUpstream.writeBy < due {
		due = s.toUpstream.writeBy
	}
	return due
}

// wake has f's pump look up. Needs session.mu.
func wake(s *session, f *direction) {
	f.woken = true
	setDeadlines(s, f)
}

// setDeadlines sets those of a direction: of its reads by every reason that there is for its pump to look up, and of its writes
// where they are to fail. Nothing else does, but for a ping at rest. Needs session.mu: so no wake is lost.
func setDeadlines(s *session, f *direction) {
	if s.over {
		return // they have passed, for good
	}
	reads := never
	if f.woken || f.pingDue && !f.finishing || f.to.pendingClose != nil && !f.told {
		reads = past
	} else if f.readBy < forever {
		reads = s.started.Add(f.readBy)
	}
	_ = f.from.source.SetReadDeadline(reads)
	if f.stuck {
		_ = f.to.conn.SetWriteDeadline(past)
	}
}

// leaveRest takes f's pump from rest to work: something has come that is no pong to a ping of ours.
func leaveRest(s *session, f *direction) {
	now := time.Since(s.started)
	s.mu.Lock()
	f.idle = false
	f.to.fed = true
	f.to.hasRead = false
	alive(f.from)
	f.readBy = now + s.tick
	limitWrite(s, f, later(now+s.tick, s.writeTimeout))
	setDeadlines(s, f)
	s.mu.Unlock()
}

// housekeep is what a pump does when it looks up: once a tick while it is at work, and when it is woken. It returns the close
// frame that the pump has to send, if there is one.
func housekeep(s *session, f *direction) (pending []byte) {
	shrink(f)
	cause, pending := takeStock(s, f)
	if cause != nil {
		dismiss(s, cause)
		_, pending = takeStock(s, f)
	}
	return pending
}

// takeStock is housekeep, but leaves it to that to end the session where it finds a cause to.
func takeStock(s *session, f *direction) (*closeCause, []byte) {
	var cause *closeCause
	now := time.Since(s.started)
	s.mu.Lock()
	defer s.mu.Unlock()
	observe(s, f, now)
	if !s.closing {
		cause = causeToEnd(s, now)
	}
	f.woken = false
	takePing(s, f, now)
	f.readBy = forever
	f.writeBy = forever
	if !f.idle {
		f.readBy = now + s.tick
	}
	if !f.idle || f.pinging {
		limitWrite(s, f, later(now+s.tick, s.writeTimeout))
	}
	pending := takeClose(s, f, now)
	setDeadlines(s, f)
	return cause, pending
}

// takeClose is the close frame that f's pump has to send now, or nil. What has come from the source by then goes before it: so
// the pump goes on until nothing comes for a while, and until the destination is read from: what it has sent would be answered
// by a reset when its connection is closed. Needs session.mu.
func takeClose(s *session, f *direction, now time.Duration) []byte {
	if f.to.pendingClose == nil {
		return nil
	}
	other := reverse(s, f)
	if !f.told {
		f.told = true
		f.toldAt = f.bytes
		f.sendBy = now + clamped(s.closeTimeout/2, 0, deliverTimeout)
	} else if f.idle && (other.idle || other.told) || now >= f.sendBy && !hasBacklog(s, f, now) {
		return f.to.pendingClose
	}
	f.idle = false
	f.readBy = now + deliverPause
	if f.bytes-f.toldAt >= leastBacklog {
		f.readBy = now + backlogPause
	}
	limitWrite(s, f, later(f.readBy, s.writeTimeout))
	return nil
}

// hasBacklog reports whether what still comes is most likely what had come when the pump was told: a lot, but no more than
// buffers hold. Needs session.mu.
func hasBacklog(s *session, f *direction, now time.Duration) bool {
	delivered := f.bytes - f.toldAt
	patient := now < s.closingAt+clamped(s.closeTimeout/2, 0, backlogTimeout) && now < s.cutBy-promptClosing/2
	return delivered >= leastBacklog && delivered < mostInFlight && patient
}

// observe notes what has come and gone since the last look. Needs session.mu.
func observe(s *session, f *direction, now time.Duration) {
	if data := f.bytes - f.parser.control; data != f.data {
		f.data = data
		s.lastData = now
		s.idleBy = later(now, s.maxInactivity)
	}
	f.idle = f.bytes == f.passed
	if !f.idle {
		if f.looked >= s.closingAt {
			progress(s, now)
		}
		noteWritten(s, f, now)
		tally(f)
	}
	if !f.idle || f.absorbed != f.taken {
		noteTrips(f)
		f.passed = f.bytes
		f.taken = f.absorbed
		x := f.from
		if x.pinged <= f.looked || x.pinged <= x.heart.answered {
			x.readAt = x.pingAt
			alive(x)
		} else {
			notSilent(s, x, now+s.pongTimeout) // what has come may have come before the ping
		}
	}
	f.looked = now
}

// server is one that upgrades come in by, as Traefik has one for each entry point.
type server struct {
	shutdown context.Context // ends with the server
}

// servers outlive every configuration, and are never taken out, for neither does a server forget the functions that it calls
// at its shutdown.
var (
	serversMu  sync.Mutex
	servers    = map[*http.Server]*server{}
	serverless = newServer(context.Background()) // of requests that no server has passed on
)

// newServer makes one whose sessions are drained when shutdown ends. A variable, for an interpreted closure keeps the frames of
// all its callers, and with them the request during which it was made.
var newServer = func(shutdown context.Context) *server {
	on := &server{shutdown: shutdown}
	context.AfterFunc(shutdown, func() {
		defer swallow()
		drainAll(on)
	})
	return on
}

// serverOf is the server by which a request has come in, whose context is ctx.
func serverOf(ctx context.Context) *server {
	value := ctx.Value(http.ServerContextKey)
	if value == nil {
		return serverless
	}
	known, ok := value.(*http.Server)
	if !ok {
		return serverless
	}
	serversMu.Lock()
	on := servers[known]
	serversMu.Unlock()
	if on == nil {
		return openServer(known)
	}
	return on
}

// openServer is serverOf for a server that may not be known yet.
func openServer(unknown *http.Server) *server {
	serversMu.Lock()
	defer serversMu.Unlock()
	if on := servers[unknown]; on != nil {
		return on
	}
	ctx, cancel := context.WithCancel(context.Background())
	unknown.RegisterOnShutdown(cancel) // a compiled function: see newServer
	if isShutDown(unknown) {
		cancel() // it was too late for the other way
	}
	on := newServer(ctx)
	servers[unknown] = on
	return on
}

// isShutDown asks a server whether it has been shut down. It would serve on one more listener otherwise, but this one has no
// socket and fails at once.
func isShutDown(server *http.Server) bool {
	return errors.Is(server.Serve(&net.TCPListener{}), http.ErrServerClosed)
}

// drainAll has all sessions of a server drained.
func drainAll(on *server) {
	var sessions []*session
	w := wheel
	w.mu.Lock()
	for _, slot := range w.slots {
		for s := range slot {
			if s.server == on {
				sessions = append(sessions, s)
			}
		}
	}
	w.mu.Unlock()
	for _, s := range sessions {
		drainSession(s)
	}
}

// drainSession has a session dismissed at a random time within drainTimeout, once: clients that are all sent away at once all
// come back at once.
func drainSession(s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drainBy < forever || s.closing || s.over {
		return
	}
	s.drainBy = time.Since(s.started)
	if s.drainTimeout > 0 {
		s.drainBy += time.Duration(rand.Int63n(int64(s.drainTimeout)))
	}
	schedule(s, nextDue(s))
}

package wsfw

import (
	"sync"
	"time"
)

// alarm is a timer by which a session is ended when that is due. It goes from one session to the next: to make a
// timer with a function of ours takes as long as a tenth of an opening handshake.
type alarm struct {
	timer *time.Timer

	mu      sync.Mutex
	session any // *session, nil while it has none: several types that lead back to one the interpreter does not load
}

// alarms has those that are free, of *alarm.
var alarms sync.Pool

// newAlarm makes one. A variable, for an interpreted closure keeps the frames of all its callers, and set by
// init, for what an alarm does may need another one.
var newAlarm func() *alarm

func init() {
	newAlarm = func() *alarm {
		a := new(alarm)
		a.timer = time.AfterFunc(forever, func() {
			defer swallow()
			ring(a)
		})
		return a
	}
}

// ring has what is due done for an alarm's session. A timer that was set again when it had passed already may come late:
// then it looks at another session, or at none, which does no harm.
func ring(a *alarm) {
	a.mu.Lock()
	has := a.session
	a.mu.Unlock()
	if has == nil {
		return
	}
	s := has.(*session)
	defer recovered(s)
	onTimer(s)
}

// takeAlarm gives a session that has none an alarm, until freeAlarm. Needs session.mu, or that nobody else
// knows of the session yet.
func takeAlarm(s *session) {
	var a *alarm
	free := alarms.Get()
	if free == nil {
		a = newAlarm()
	} else {
		a = free.(*alarm)
	}
	a.mu.Lock()
	a.session = s
	a.mu.Unlock()
	s.alarm = a
	s.timer = a.timer
}

// freeAlarm leaves an alarm to another session, unless its timer has just passed. Its session is over, so
// nobody sets that any more.
func freeAlarm(a *alarm) {
	if !a.timer.Stop() {
		return
	}
	a.mu.Lock()
	a.session = nil
	a.mu.Unlock()
	alarms.Put(a)
}

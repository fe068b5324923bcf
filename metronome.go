package wsfw

import (
	"sync"
	"sync/atomic"
	"time"
)

// metronome has the sessions of one pingInterval pinged. The interval is divided into turns, at each of which
// it goes through its part of every roster. One timer serves them all: in the interpreter a timer of its own
// for each session would cost more than the pings.
type metronome struct {
	interval time.Duration
	turns    int           // in an interval
	turn     time.Duration // how long one lasts
	started  time.Time
	sessions atomic.Int64 // that it has pinged

	mu      sync.Mutex
	served  int         // turns since the start that have passed
	running bool        // there is one to come, as there is while there are sessions
	timer   *time.Timer // for that

	// Of the timer's function, of which one runs at a time.
	due     []*session // that are to be pinged yet
	current *session   // that is being pinged,
	locked  bool       // whether its lock is held for that,
	lent    int        // and, by index in its flows, the pens of pumps at rest
}

// shortestTurn keeps a metronome from running for next to nobody.
const shortestTurn = 20 * time.Millisecond

// metronomes has one for each interval that there has been a middleware with. They are not taken out, for
// sessions outlive their middleware, and those of the next one go by the same.
var (
	metronomesMu sync.Mutex
	metronomes   = map[time.Duration]*metronome{}
)

// metronomeOf is that of an interval.
func metronomeOf(interval time.Duration) *metronome {
	metronomesMu.Lock()
	defer metronomesMu.Unlock()
	m := metronomes[interval]
	if m == nil {
		m = newMetronome(interval)
		metronomes[interval] = m
	}
	return m
}

// newMetronome makes one that does not run yet. A variable, for an interpreted closure keeps
// the frames of all callers of the function in which it is made.
var newMetronome = func(interval time.Duration) *metronome {
	turns := int(interval / shortestTurn)
	if turns < 1 {
		turns = 1
	}
	if turns > rosterSlots {
		turns = rosterSlots
	}
	m := &metronome{interval: interval, turns: turns, turn: interval / time.Duration(turns), started: time.Now()}
	m.timer = time.AfterFunc(forever, func() {
		defer func() { _ = recover() }()
		m.due = takeTurns(m)
		for len(m.due) > 0 {
			beat(m)
		}
		windUp(m)
	})
	return m
}

// keepBeat has a session pinged until it leaves its metronome.
func keepBeat(s *session) {
	m := s.metronome.(*metronome)
	if m.sessions.Add(1) == 1 {
		startTurns(m)
	}
}

// leaveBeat has the metronome of a session ping one less.
func leaveBeat(s *session) {
	s.metronome.(*metronome).sessions.Add(-1)
}

// startTurns has a metronome run that may have stopped.
func startTurns(m *metronome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running {
		m.running = true
		m.served = int(time.Since(m.started) / m.turn) // those missed meanwhile were nobody's
		m.timer.Reset(m.turn)
	}
}

// takeTurns returns the sessions whose turn has come. A metronome that comes late makes up for no beat that it
// has missed.
func takeTurns(m *metronome) []*session {
	m.mu.Lock()
	now := int(time.Since(m.started)/m.turn) + 1
	from := m.served
	if from < now-m.turns {
		from = now - m.turns
	}
	m.served = now
	m.mu.Unlock()
	var sessions []*session
	for _, r := range allRosters() {
		r.mu.Lock()
		for at := from; at < now; at++ {
			part := at % m.turns
			for _, slot := range r.slots[part*rosterSlots/m.turns : (part+1)*rosterSlots/m.turns] {
				for s := range slot {
					if s.pingInterval == m.interval {
						sessions = append(sessions, s)
					}
				}
			}
		}
		r.mu.Unlock()
	}
	return sessions
}

// windUp has the metronome run again at the next turn, unless it is for nobody.
func windUp(m *metronome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = m.sessions.Load() > 0
	if m.running {
		m.timer.Reset(time.Duration(m.served)*m.turn - time.Since(m.started))
	}
}

// beat pings those sides of the sessions due that are to be. A write here must not block, for all other sessions wait
// for it: so a side that has not answered all that it was sent is left to its pump, and so is one that is pinged first,
// one whose pump is at work, and a service, whose pipe holds nothing. A panic ends the session that it happens in, and the
// others stay due.
//
//nolint:gocognit // one function, and not five, for it runs at every beat of every session
func beat(m *metronome) {
	defer survive(m)
	for len(m.due) > 0 {
		s := m.due[0]
		m.current = s
		m.due = m.due[1:]
		now := time.Since(s.started)
		s.mu.Lock()
		m.locked = true
		if s.timed && s.alarm == nil && !s.over {
			takeAlarm(s)
			plan(s, now)
		}
		for i, f := range s.flows {
			x := f.to
			if x.token == 0 || s.closing || s.over {
				continue
			}
			if x.heart != nil && !x.owes && !x.fed && x.service == nil && f.pen.TryLock() {
				m.lent |= 1 << i
				stamp(s, f, now)
			} else {
				f.due = true
				sendToLook(f)
			}
		}
		if m.lent > 0 && s.pongTimeout > 0 {
			plan(s, now)
		}
		m.locked = false
		s.mu.Unlock()
		for i, f := range s.flows {
			if m.lent&(1<<i) == 0 {
				continue
			}
			if err := ping(f.to); err != nil {
				s.unwritable(f, err)
			}
			m.lent &^= 1 << i
			f.pen.Unlock()
		}
	}
	m.current = nil
}

// survive, deferred, ends the session that a panic has happened in.
func survive(m *metronome) {
	r := recover()
	if r == nil {
		return
	}
	if m.locked {
		m.locked = false
		m.current.mu.Unlock()
	}
	for i, f := range m.current.flows {
		if m.lent&(1<<i) > 0 {
			f.pen.Unlock()
		}
	}
	m.lent = 0
	fail(m.current, r)
}

package wsfw

import (
	"math/rand"
	"sync"
	"time"
)

// metronome has the sessions of one pingInterval pinged. The interval is divided into slots
// of which each session has one by chance, so that sessions that began together are not
// pinged together. One timer serves them all: in the interpreter a timer of its own for each
// session would cost more than the pings.
type metronome struct {
	interval time.Duration
	slot     time.Duration // how long one lasts
	started  time.Time

	mu       sync.Mutex
	slots    [][]*session
	sessions int         // in all slots
	served   int         // slots, counted from the start on, that have had their turn
	timer    *time.Timer // runs while there are sessions

	// Of the timer's function, of which one runs at a time.
	due     []*session // that are to be pinged yet
	current *session   // that is being pinged,
	locked  bool       // whether its lock is held for that,
	lent    int        // and, by index in its flows, the pens of pumps at rest
}

const (
	// shortestSlot and mostSlots keep a metronome from running for next to nobody.
	shortestSlot = 20 * time.Millisecond
	mostSlots    = 500
)

// metronomes has those that have sessions, by their interval.
var (
	metronomesMu sync.Mutex
	metronomes   = map[time.Duration]*metronome{}
)

// newMetronome makes one that does not run yet. A variable, for an interpreted closure keeps
// the frames of all callers of the function in which it is made, and this one outlives the
// session that needs it first.
var newMetronome = func(interval time.Duration) *metronome {
	slots := int(interval / shortestSlot)
	if slots < 1 {
		slots = 1
	}
	if slots > mostSlots {
		slots = mostSlots
	}
	m := &metronome{interval: interval, slot: interval / time.Duration(slots), started: time.Now(), slots: make([][]*session, slots)}
	m.timer = time.AfterFunc(forever, func() {
		defer func() { _ = recover() }()
		m.due = turn(m)
		for len(m.due) > 0 {
			beat(m)
		}
		windUp(m)
	})
	return m
}

// keepBeat has a session pinged until it leaves.
func keepBeat(s *session) {
	metronomesMu.Lock()
	defer metronomesMu.Unlock()
	m := metronomes[s.pingInterval]
	if m == nil {
		m = newMetronome(s.pingInterval)
		metronomes[s.pingInterval] = m
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.slot = rand.Intn(len(m.slots))
	m.slots[s.slot] = append(m.slots[s.slot], s)
	m.sessions++
	if m.sessions == 1 {
		m.timer.Reset(m.slot)
	}
}

// leaveBeat has a session pinged no longer. The last one stops the metronome.
func leaveBeat(s *session) {
	metronomesMu.Lock()
	defer metronomesMu.Unlock()
	m := metronomes[s.pingInterval]
	m.mu.Lock()
	defer m.mu.Unlock()
	slot := m.slots[s.slot]
	last := len(slot) - 1
	for i, other := range slot {
		if other == s {
			slot[i] = slot[last]
			slot[last] = nil
			m.slots[s.slot] = slot[:last]
		}
	}
	m.sessions--
	if m.sessions == 0 {
		m.timer.Stop()
		delete(metronomes, s.pingInterval)
	}
}

// turn returns the sessions of the slots whose turn has come. A metronome that comes late
// makes up for no beat that it has missed.
func turn(m *metronome) []*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := int(time.Since(m.started)/m.slot) + 1
	from := m.served
	if from < now-len(m.slots) {
		from = now - len(m.slots)
	}
	var sessions []*session
	for ; from < now; from++ {
		sessions = append(sessions, m.slots[from%len(m.slots)]...)
	}
	m.served = now
	return sessions
}

// windUp has the metronome run again at the next slot.
func windUp(m *metronome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions > 0 {
		m.timer.Reset(time.Duration(m.served)*m.slot - time.Since(m.started))
	}
}

// beat pings those sides of the sessions due that are to be. A side that has not answered
// what it was sent last may block a write: it is left to its pump, and so is one whose pump
// is at work. A panic ends the session that it happens in, and the others stay due.
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
		for i, f := range s.flows {
			x := f.to
			if x.heart == nil || s.closing != nil || s.over {
				continue
			}
			if x.quiet && x.answered && f.pen.TryLock() {
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

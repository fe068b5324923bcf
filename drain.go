package wsfw

import (
	"math/rand"
	"time"
)

// drainAll has all sessions of a roster drained.
func drainAll(r *roster) {
	r.mu.Lock()
	r.drained = true
	var sessions []*session
	for _, slot := range r.slots {
		for s := range slot {
			sessions = append(sessions, s)
		}
	}
	r.mu.Unlock()
	for _, s := range sessions {
		drainOne(s)
	}
}

// drainOne has a session drained. A panic must not keep the others from it.
func drainOne(s *session) {
	defer recovered(s)
	s.drain()
}

// drain has the session dismissed at a random time within drainTimeout, for clients that are
// all sent away at once all come back at once.
func (s *session) drain() {
	wait := random(s.drainTimeout)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.draining = time.AfterFunc(wait, func() {
		defer recovered(s)
		s.dismiss(restarting(s))
	})
}

// random is some time from 0 on and below d, 0 where d is.
func random(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rand.Int63n(int64(d)))
}

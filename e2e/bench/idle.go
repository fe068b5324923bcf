package main

import (
	"context"
	"fmt"
	"math"
	"time"
)

// idle is the workload of sessions that say nothing: their peers answer pings, and that is all.
type idle struct {
	sessions int
	rate     int // of opening, a second
	interval time.Duration
	settle   time.Duration // between the opening and the measurement
	window   time.Duration // of the measurement

	// tolerance is how far the number of pings may be off, as a part of it: windows need be no whole number of
	// intervals.
	tolerance float64
}

// run measures the gateway's CPU time and memory.
func (w idle) run(ctx context.Context, s *stage) ([]measurement, error) {
	before, err := s.read()
	if err != nil {
		return nil, err
	}
	if err := s.clients.open(ctx, Opening{Addr: s.gateway.addr, Sessions: w.sessions, Rate: w.rate}); err != nil {
		return nil, fmt.Errorf("opening sessions: %w", err)
	}
	if err := rest(ctx, w.settle); err != nil {
		return nil, err
	}
	from, to, pings, err := w.watch(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := s.profile(ctx); err != nil {
		return nil, fmt.Errorf("taking a CPU profile: %w", err)
	}
	return append(
		load(from, to),
		measurement{"memory", "KiB a session", (to.resident - before.resident) / float64(w.sessions) / 1024},
		measurement{"resident", "MiB", to.resident / (1 << 20)},
		measurement{"pings", "a second", float64(pings) / to.at.Sub(from.at).Seconds()},
	), nil
}

// watch reads the usage at both ends of the window, and holds what the peers saw meanwhile against what it should be.
func (w idle) watch(ctx context.Context, s *stage) (from, to usage, pings int64, err error) {
	if _, err = w.check(s, 0); err != nil {
		return from, to, 0, err
	}
	if from, err = s.read(); err != nil {
		return from, to, 0, err
	}
	if err = rest(ctx, w.window); err != nil {
		return from, to, 0, err
	}
	if to, err = s.read(); err != nil {
		return from, to, 0, err
	}
	pings, err = w.check(s, to.at.Sub(from.at))
	return from, to, pings, err
}

// check takes both sides' tallies, which are to be those of a time d. Zero means that the pings do not matter yet. It
// returns how many pings the peers had.
func (w idle) check(s *stage, d time.Duration) (pings int64, err error) {
	for name, c := range map[string]*crew{"clients": s.clients, "upstreams": s.upstream} {
		t, err := c.tally()
		if err != nil {
			return 0, err
		}
		interval := s.system.pings
		if c == s.clients && s.system.sparesClients {
			interval = 0
		}
		if err := w.judge(t, interval, d); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		pings += t.Pings
	}
	return pings, nil
}

// judge wants all sessions open and, in a time d that is not zero, every one of them pinged at the interval.
func (w idle) judge(t Tally, interval, d time.Duration) error {
	if t.Open != w.sessions || t.Ended > 0 {
		return fmt.Errorf("%d sessions are open and %d have ended, want all %d open", t.Open, t.Ended, w.sessions)
	}
	if d == 0 {
		return nil
	}
	if interval == 0 {
		if t.Pings > 0 {
			return fmt.Errorf("%d pings came from a gateway that sends none", t.Pings)
		}
		return nil
	}
	each := d.Seconds() / interval.Seconds()
	if want := each * float64(w.sessions); math.Abs(float64(t.Pings)-want) > w.tolerance*want {
		return fmt.Errorf("%d pings came, want about %.0f", t.Pings, want)
	}
	if float64(t.Fewest) < math.Floor(each)-1 || float64(t.Most) > math.Ceil(each)+1 {
		return fmt.Errorf("a session had %d pings and another %d, want about %.1f in each", t.Fewest, t.Most, each)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// session is the workload of sessions that are opened and closed. All systems are up at the same time, and take their turns
// at it in short slices: a machine that becomes slower, or faster, does so for all of them.
type session struct {
	callers int // at a time, of the system whose turn it is
	turns   int // that count; before them all have one that does not
	slice   time.Duration
	settle  time.Duration // for what a gateway has to do when the last session of a slice is over
}

// sessions are the workload for a time that each system has in a round.
func sessions(of, slice time.Duration) session {
	return session{callers: 16, turns: int(of / max(slice, 1)), slice: slice, settle: slice / 5}
}

// toll is what slices have come to.
type toll struct {
	Visits
	gateway, peers float64 // seconds of CPU time
	err            error   // that has ended the system's part
}

// run measures what a gateway takes for a session. A system that fails has no figure.
func (w session) run(ctx context.Context, all []*stage) ([][]measurement, error) {
	tolls := make([]toll, len(all))
	for turn := range 1 + w.turns {
		for i := range all {
			at := (turn + i) % len(all) // who goes first may be worse off
			if tolls[at].err == nil {
				tolls[at].add(turn > 0, w.measure(ctx, all[at]))
			}
		}
	}
	found := make([][]measurement, len(all))
	var errs []error
	for i, s := range all {
		err := tolls[i].err
		if err == nil {
			found[i], err = tolls[i].measurements(s)
		}
		if err == nil {
			err = w.profile(ctx, s)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.system.name, err))
		}
	}
	return found, errors.Join(errs...)
}

// measure is the toll of one slice.
func (w session) measure(ctx context.Context, s *stage) (t toll) {
	from, err := s.read()
	if err != nil {
		return toll{err: err}
	}
	if t.Visits, err = s.clients.visit(ctx, w.visit(s, w.slice)); err != nil {
		return toll{err: err}
	}
	if err := rest(ctx, w.settle); err != nil {
		return toll{err: err}
	}
	to, err := s.read()
	if err != nil {
		return toll{err: err}
	}
	t.gateway, t.peers = to.gateway-from.gateway, to.peers-from.peers
	return t
}

// visit is the visits to a gateway for that time.
func (w session) visit(s *stage, d time.Duration) Visit {
	return Visit{Addr: s.gateway.addr, Callers: w.callers, Time: d}
}

// profile takes a CPU profile of a gateway, where one is asked for, with visitors of its own.
func (w session) profile(ctx context.Context, s *stage) error {
	if !s.profiled {
		return nil
	}
	var both errgroup.Group
	both.Go(func() error {
		_, err := s.clients.visit(ctx, w.visit(s, profileTime))
		return err
	})
	both.Go(func() error { return s.profile(ctx) })
	if err := both.Wait(); err != nil {
		return fmt.Errorf("taking a CPU profile: %w", err)
	}
	return nil
}

// add adds the toll of a slice, where it counts. An error counts always.
func (t *toll) add(counts bool, more toll) {
	t.err = more.err
	if !counts {
		return
	}
	t.Sessions += more.Sessions
	t.Seconds += more.Seconds
	t.gateway += more.gateway
	t.peers += more.peers
}

// measurements relate the toll to the sessions.
func (t toll) measurements(s *stage) ([]measurement, error) {
	if t.Sessions == 0 {
		return nil, errors.New("there was no session")
	}
	each := func(seconds float64) float64 { return 1e6 * seconds / float64(t.Sessions) }
	var found []measurement
	if len(s.gateway.pids) > 0 {
		found = append(found, measurement{"cpu", "µs a session", each(t.gateway)})
	}
	return append(found,
		measurement{"peers' cpu", "µs a session", each(t.peers)},
		measurement{"throughput", "sessions a second", float64(t.Sessions) / t.Seconds},
	), nil
}

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// span is how long a workload is watched.
type span struct {
	settle time.Duration // between its beginning and the measurement
	window time.Duration // of the measurement
}

// talk is the workload of sessions that have messages under way all the time: so many that the machine has its hands
// full, and the gateway that needs less of it lets more through. Where the upstream pushes, it is as many as it says.
type talk struct {
	name string
	act  Talk // what the clients do, less the address
	span
}

// pushRate is how many messages a second an upstream sends to each of its clients, where it is the one that sends: no
// gateway has its hands full with that.
const pushRate = 50

// talks are all that there are.
func talks(s span) []talk {
	return []talk{
		{"ping-pong", Talk{Role: roleEcho, Sessions: 50, Size: 64, Reply: 64, Depth: 1}, s},
		{"pipelined", Talk{Role: roleEcho, Sessions: 50, Size: 64, Reply: 64, Depth: 16}, s},
		{"push", Talk{Role: rolePush, Sessions: 200, Reply: 256}, s},
		{"64KiB", Talk{Role: roleEcho, Sessions: 10, Size: 64 << 10, Reply: 64 << 10, Depth: 1}, s},
		{"1MiB", Talk{Role: roleEcho, Sessions: 4, Size: 1 << 20, Reply: 1 << 20, Depth: 1}, s},
		{"upload", Talk{Role: roleReceipts, Sessions: 1, Size: 16 << 20, Reply: len(receipt), Depth: 1}, s},
	}
}

// run measures what gets through, and what the gateway takes for it.
func (w talk) run(ctx context.Context, s *stage) ([]measurement, error) {
	act := w.act
	act.Addr = s.gateway.addr
	if err := s.clients.talk(ctx, act); err != nil {
		return nil, fmt.Errorf("opening sessions: %w", err)
	}
	if act.Depth == 0 {
		if err := s.upstream.push(ctx, Push{Sessions: act.Sessions, Size: act.Reply, Rate: pushRate}); err != nil {
			return nil, fmt.Errorf("pushing: %w", err)
		}
	}
	return w.watch(ctx, s, "message")
}

// handshakes is the workload of clients that open sessions, which stay open for a while.
type handshakes struct {
	callers int // at a time
	span
}

// run measures how many there are, and what the gateway takes for one.
func (w handshakes) run(ctx context.Context, s *stage) ([]measurement, error) {
	if err := s.clients.knock(ctx, Knock{Addr: s.gateway.addr, Callers: w.callers, Token: s.gateway.token}); err != nil {
		return nil, err
	}
	return w.watch(ctx, s, "session")
}

// watch measures what the clients have, counted in units of that name.
func (w span) watch(ctx context.Context, s *stage, unit string) ([]measurement, error) {
	if err := rest(ctx, w.settle); err != nil {
		return nil, err
	}
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	if _, err := s.clients.score(); err != nil {
		return nil, err
	}
	if err := rest(ctx, w.window); err != nil {
		return nil, err
	}
	to, err := s.read()
	if err != nil {
		return nil, err
	}
	score, err := s.clients.score()
	switch {
	case err != nil:
		return nil, err
	case score.Ended > 0:
		return nil, fmt.Errorf("%d sessions have ended", score.Ended)
	case score.Messages == 0:
		return nil, fmt.Errorf("there was no %s", unit)
	}
	if err := s.profile(ctx); err != nil {
		return nil, fmt.Errorf("taking a CPU profile: %w", err)
	}
	return score.measurements(s, from, to, unit), nil
}

// measurements relate a score to what was used meanwhile.
func (s Score) measurements(on *stage, from, to usage, unit string) []measurement {
	rate := float64(s.Messages) / s.Seconds
	each := func(seconds float64) float64 { return 1e6 * seconds / to.at.Sub(from.at).Seconds() / rate }
	found := []measurement{{"throughput", unit + "s a second", rate}}
	if len(on.gateway.pids) > 0 {
		found = append(found, measurement{"cpu", "µs a " + unit, each(to.gateway - from.gateway)})
	}
	found = append(found, measurement{"peers' cpu", "µs a " + unit, each(to.peers - from.peers)})
	if s.P50 > 0 {
		found = append(found, measurement{"p50", "ms", s.P50}, measurement{"p99", "ms", s.P99})
	}
	return found
}

// latency is the workload of messages at a rate that any gateway can keep, as many of them past the gateway.
type latency struct {
	sessions int // on either way
	rate     int // messages a second, likewise
	window   time.Duration
}

// run measures what the gateway adds to a round trip.
func (w latency) run(ctx context.Context, s *stage) ([]measurement, error) {
	talk := Conversation{Addr: s.gateway.addr, Sessions: w.sessions, Rate: w.rate, Time: w.window}
	past := talk
	past.Addr = s.direct
	var through, beside Latency
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	var both errgroup.Group
	both.Go(func() (err error) {
		through, err = s.clients.converse(ctx, talk)
		return err
	})
	both.Go(func() (err error) {
		beside, err = s.clients.converse(ctx, past)
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	to, err := s.read()
	if err != nil {
		return nil, err
	}
	found := []measurement{
		{"p50", "ms", through.P50},
		{"p99", "ms", through.P99},
		{"added p50", "ms", through.P50 - beside.P50},
		{"added p99", "ms", through.P99 - beside.P99},
	}
	if len(s.gateway.pids) > 0 {
		messages := float64(w.rate) * w.window.Seconds()
		found = append(found, measurement{"cpu", "µs a message", 1e6 * (to.gateway - from.gateway) / messages})
	}
	return found, nil
}

// memory is the workload of sessions that are only there.
type memory struct {
	sessions int
	rate     int // of opening, a second, at most
	settle   time.Duration
}

// run measures what the gateway holds for a session: when all are open, and when it has had time to settle.
func (w memory) run(ctx context.Context, s *stage) ([]measurement, error) {
	if len(s.gateway.pids) == 0 {
		return nil, nil // nothing is there that could hold anything
	}
	before, err := s.read()
	if err != nil {
		return nil, err
	}
	if err := s.clients.open(ctx, Opening{Addr: s.gateway.addr, Sessions: w.sessions, Rate: w.rate}); err != nil {
		return nil, fmt.Errorf("opening sessions: %w", err)
	}
	opened, err := s.read()
	if err != nil {
		return nil, err
	}
	if err := rest(ctx, w.settle); err != nil {
		return nil, err
	}
	settled, err := s.read()
	if err != nil {
		return nil, err
	}
	tally, err := s.clients.tally()
	if err != nil {
		return nil, err
	}
	if tally.Open != w.sessions {
		return nil, fmt.Errorf("%d sessions are open, want %d", tally.Open, w.sessions)
	}
	each := func(u usage) float64 { return (u.resident - before.resident) / float64(w.sessions) / 1024 }
	return []measurement{
		{"opened", "KiB a session", each(opened)},
		{"settled", "KiB a session", each(settled)},
	}, nil
}

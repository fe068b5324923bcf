package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// flood is the workload of clients that send as much of something as the gateway takes, beside a guest: one session that
// behaves well, with a process of its own at the client's end.
type flood struct {
	name     string
	systems  []string
	sessions int
	act      Flood // what the flooding clients do, less the address and their number
	frame    int   // bytes that each frame has on the wire; 0 where the flood is not of frames

	alone  time.Duration // what the guest has before the flood
	settle time.Duration // between the flood's beginning and the measurement
	window time.Duration // of the measurement
}

// guestRate is how many round trips a second the guest makes.
const guestRate = 100

// floods are all that there are, measured for that time.
func floods(window time.Duration) []flood {
	unlimited := []string{native, "wsfw", "wsfw-inline"}
	limited := append([]string{"wsfw-limits", "wsfw-inline-limits"}, unlimited...)
	message := wire.Binary([]byte{0}).Masking(true).Bytes()
	fragment := wire.New(wire.OpContinuation, nil).Masking(true)
	fragment.Fin = false
	first := fragment
	first.Opcode = wire.OpBinary
	ofFrames := func(name string, systems []string, frame, begin []byte) flood {
		return flood{
			name: name, systems: systems, sessions: 8, frame: len(frame),
			act:   Flood{Role: roleSink, Begin: begin, Frame: frame, Rate: 100},
			alone: window / 2, settle: time.Second, window: window,
		}
	}
	return []flood{
		ofFrames("bytes", limited, message, nil),
		ofFrames("fragments", unlimited, fragment.Bytes(), first.Bytes()),
		{
			// Opened within five seconds, the default of upgradeTimeout, so that they all are there together.
			name: "upgrades", systems: limited, sessions: 2000, act: Flood{Role: roleMute, Rate: 400},
			alone: window / 2, settle: 7 * time.Second, window: window,
		},
	}
}

// run measures what the gateway takes for the flood, and what the guest has of it.
func (w flood) run(ctx context.Context, s *stage) ([]measurement, error) {
	guest, err := enlist()
	if err != nil {
		return nil, err
	}
	defer guest.dismiss()
	alone, err := guest.converse(ctx, Conversation{Addr: s.gateway.addr, Sessions: 1, Rate: guestRate, Time: w.alone})
	if err != nil {
		return nil, fmt.Errorf("the guest, alone: %w", err)
	}
	before, err := s.read()
	if err != nil {
		return nil, err
	}
	if err := w.begin(ctx, s); err != nil {
		return nil, fmt.Errorf("beginning the flood: %w", err)
	}
	from, to, beside, err := w.watch(ctx, s, guest)
	if err != nil {
		return nil, err
	}
	highest, err := s.gateway.peak()
	if err != nil {
		return nil, err
	}
	found, err := w.weigh(s, from, to, highest-before.resident)
	if err != nil {
		return nil, err
	}
	if err := s.profile(ctx); err != nil {
		return nil, fmt.Errorf("taking a CPU profile: %w", err)
	}
	return append(
		append(load(from, to), found...),
		measurement{"peak", "MiB", highest / (1 << 20)},
		measurement{"p50 alone", "ms", alone.P50},
		measurement{"p99 alone", "ms", alone.P99},
		measurement{"p50", "ms", beside.P50},
		measurement{"p99", "ms", beside.P99},
	), nil
}

// begin has the clients flood the gateway, and returns when that is in full flow.
func (w flood) begin(ctx context.Context, s *stage) error {
	if err := s.gateway.forgetPeak(); err != nil {
		return err
	}
	act := w.act
	act.Addr, act.Sessions = s.gateway.addr, w.sessions
	if err := s.clients.flood(ctx, act); err != nil {
		return err
	}
	return rest(ctx, w.settle)
}

// watch reads the usage at both ends of the guest's conversation. What the flood had brought before that is forgotten.
func (w flood) watch(ctx context.Context, s *stage, guest *crew) (from, to usage, l Latency, err error) {
	if _, err = s.upstream.tally(); err != nil {
		return from, to, l, err
	}
	if from, err = s.read(); err != nil {
		return from, to, l, err
	}
	l, err = guest.converse(ctx, Conversation{Addr: s.gateway.addr, Sessions: 1, Rate: guestRate, Time: w.window})
	if err != nil {
		return from, to, l, fmt.Errorf("the guest, beside the flood: %w", err)
	}
	to, err = s.read()
	return from, to, l, err
}

// weigh relates what the gateway has taken to what the flood was: frames, or connections.
func (w flood) weigh(s *stage, from, to usage, grown float64) ([]measurement, error) {
	came, err := s.upstream.tally()
	if err != nil {
		return nil, err
	}
	if w.frame > 0 {
		frames := float64(came.Bytes) / float64(w.frame)
		if frames == 0 {
			return nil, errors.New("nothing of the flood has come to the upstream")
		}
		return []measurement{
			{"passed", "thousand frames a second", frames / to.at.Sub(from.at).Seconds() / 1e3},
			{"cost", "ns a frame", 1e9 * (to.gateway - from.gateway) / frames},
			{"growth", "MiB", grown / (1 << 20)},
		}, nil
	}
	held, err := s.clients.tally()
	if err != nil {
		return nil, err
	}
	if held.Open == 0 {
		return nil, errors.New("no connection of the flood is open")
	}
	return []measurement{
		{"held", "connections", float64(held.Open)},
		{"upstream", "connections", float64(came.Open)},
		{"growth", "MiB", grown / (1 << 20)},
	}, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is a run of every workload on every system.
type bench struct {
	rounds    int
	systems   []system
	workloads []workload
	profiles  string // directory for CPU profiles; empty for none
	log       io.Writer

	samples []sample
}

// workload is something that the peers do, and what of it is measured.
type workload struct {
	name    string
	systems []string // names of those that it is for; nil for all
	run     func(ctx context.Context, s *stage) ([]measurement, error)
}

// isFor reports whether the workload is to be measured on a system.
func (w workload) isFor(s system) bool {
	return w.systems == nil || slices.Contains(w.systems, s.name)
}

// measurement is one figure.
type measurement struct {
	metric, unit string
	value        float64
}

// sample is a measurement and where it comes from.
type sample struct {
	round            int
	system, workload string
	measurement
}

// stage is what a workload plays on: a gateway that runs, and peers on both sides of it, none of them connected yet.
type stage struct {
	system   system
	gateway  *gateway
	clients  *crew
	upstream *crew
	direct   string // host:port of the upstream, for peers that go past the gateway

	// profile takes a CPU profile of the gateway where one is asked for. A workload calls it while its peers are
	// still at it, but not while it measures.
	profile func(ctx context.Context) error
}

// run measures all cells, the systems in turn: what disturbs the machine for a while disturbs them alike. A cell that fails
// has no figures, and does not keep the others from theirs.
func (b *bench) run(ctx context.Context) error {
	var errs []error
	for round := range b.rounds {
		for _, w := range b.workloads {
			for i := range b.systems {
				s := b.systems[(i+round)%len(b.systems)] // who goes first may be worse off
				if !w.isFor(s) {
					continue
				}
				if err := b.cell(ctx, round, s, w); err != nil {
					errs = append(errs, fmt.Errorf("round %d, %s, %s: %w", round+1, w.name, s.name, err))
				}
				if ctx.Err() != nil {
					return errors.Join(errs...)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// used are the systems that a workload is for.
func (b *bench) used() []system {
	return slices.DeleteFunc(slices.Clone(b.systems), func(s system) bool {
		return !slices.ContainsFunc(b.workloads, func(w workload) bool { return w.isFor(s) })
	})
}

// cell measures one system under one workload once, with processes that nothing else has used.
func (b *bench) cell(ctx context.Context, round int, s system, w workload) error {
	upstream, err := enlist()
	if err != nil {
		return err
	}
	defer upstream.dismiss()
	addr, err := upstream.listen()
	if err != nil {
		return err
	}
	g, err := s.start(addr, b.profiles != "")
	if err != nil {
		return err
	}
	defer g.stop()
	clients, err := enlist()
	if err != nil {
		return err
	}
	defer clients.dismiss() // first of all, so that the sessions end before the gateway does
	profile := func(ctx context.Context) error {
		return b.profile(ctx, g, fmt.Sprintf("%s-%s-%d.pprof", w.name, s.name, round+1))
	}
	found, err := w.run(ctx, &stage{system: s, gateway: g, clients: clients, upstream: upstream, direct: addr, profile: profile})
	if err != nil {
		return err
	}
	b.note(round, s, w, found)
	return nil
}

// note keeps what a cell has found, and shows it to whoever is waiting.
func (b *bench) note(round int, s system, w workload, found []measurement) {
	var texts []string
	for _, m := range found {
		b.samples = append(b.samples, sample{round: round, system: s.name, workload: w.name, measurement: m})
		texts = append(texts, fmt.Sprintf("%s %.2f %s", m.metric, m.value, m.unit))
	}
	fmt.Fprintf(b.log, "round %d, %s, %s: %s\n", round+1, w.name, s.name, strings.Join(texts, ", "))
}

// profileTime is how long a gateway is watched for a CPU profile.
const profileTime = 10 * time.Second

// profile writes the gateway's CPU profile into a file of that name, where profiles are asked for.
func (b *bench) profile(ctx context.Context, g *gateway, name string) error {
	if b.profiles == "" || g.profile == nil {
		return nil
	}
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(b.profiles, name))
	if err != nil {
		return err
	}
	defer file.Close()
	return g.profile(ctx, profileTime, file)
}

// rest waits, for as long as ctx lets it.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

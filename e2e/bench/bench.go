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

// workload is something that the peers do, and what of it is measured: by run on one system after the other, or by together
// on all of them, each of which has a stage of its own. Both return what they have measured with whatever error.
type workload struct {
	name     string
	systems  []string // names of those that it is for; nil for all
	run      func(ctx context.Context, s *stage) ([]measurement, error)
	together func(ctx context.Context, all []*stage) ([][]measurement, error)

	// prepare is called once, before the first round. Its error is for what there will be no figures of. It may be nil.
	prepare func() error
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
	profiled bool   // a CPU profile is asked for

	// profile takes a CPU profile of the gateway where one is asked for. A workload calls it while its peers are
	// still at it, but not while it measures.
	profile func(ctx context.Context) error
}

// run measures all cells, the systems in turn: what disturbs the machine for a while disturbs them alike. A cell that fails
// has no figures from there on, and does not keep the others from theirs.
func (b *bench) run(ctx context.Context) error {
	errs := b.prepare()
	for round := range b.rounds {
		for _, w := range b.workloads {
			measure := b.inTurn
			if w.together != nil {
				measure = b.together
			}
			errs = append(errs, measure(ctx, round, w)...)
			if ctx.Err() != nil {
				return errors.Join(errs...)
			}
		}
	}
	return errors.Join(errs...)
}

// prepare prepares the workloads. What goes wrong it tells at once, too, for the rounds take long.
func (b *bench) prepare() (errs []error) {
	for _, w := range b.workloads {
		if w.prepare == nil {
			continue
		}
		if err := w.prepare(); err != nil {
			err = fmt.Errorf("%s: %w", w.name, err)
			fmt.Fprintln(b.log, err)
			errs = append(errs, err)
		}
	}
	return errs
}

// order is the systems that a workload is for, as they take their turns in a round.
func (b *bench) order(round int, w workload) []system {
	var found []system
	for i := range b.systems {
		if s := b.systems[(i+round)%len(b.systems)]; w.isFor(s) { // who goes first may be worse off
			found = append(found, s)
		}
	}
	return found
}

// inTurn measures a workload on one system after the other.
func (b *bench) inTurn(ctx context.Context, round int, w workload) (errs []error) {
	for _, s := range b.order(round, w) {
		if err := b.cell(ctx, round, s, w); err != nil {
			errs = append(errs, failure(round, w, s, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errs
}

// together measures a workload on all systems that can be started.
func (b *bench) together(ctx context.Context, round int, w workload) (errs []error) {
	var all []*stage
	for _, s := range b.order(round, w) {
		one, err := b.set(round, s, w)
		if err != nil {
			errs = append(errs, failure(round, w, s, err))
			continue
		}
		defer one.strike()
		all = append(all, one)
	}
	found, err := w.together(ctx, all)
	if err != nil {
		errs = append(errs, fmt.Errorf("round %d, %s: %w", round+1, w.name, err))
	}
	for i, one := range found {
		b.note(round, all[i].system, w, one)
	}
	return errs
}

// failure is an error of a cell.
func failure(round int, w workload, s system, err error) error {
	return fmt.Errorf("round %d, %s, %s: %w", round+1, w.name, s.name, err)
}

// used are the systems that a workload is for.
func (b *bench) used() []system {
	return slices.DeleteFunc(slices.Clone(b.systems), func(s system) bool {
		return !slices.ContainsFunc(b.workloads, func(w workload) bool { return w.isFor(s) })
	})
}

// cell measures one system under one workload once.
func (b *bench) cell(ctx context.Context, round int, s system, w workload) error {
	one, err := b.set(round, s, w)
	if err != nil {
		return err
	}
	defer one.strike()
	found, err := w.run(ctx, one)
	b.note(round, s, w, found)
	return err
}

// set sets a stage, with processes that nothing else has used, until the caller strikes it.
func (b *bench) set(round int, s system, w workload) (*stage, error) {
	one := &stage{system: s, profiled: b.profiles != ""}
	one.profile = func(ctx context.Context) error {
		return b.profile(ctx, one.gateway, fmt.Sprintf("%s-%s-%d.pprof", w.name, s.name, round+1))
	}
	if err := one.start(); err != nil {
		one.strike()
		return nil, err
	}
	return one, nil
}

// start starts the processes of a stage.
func (s *stage) start() (err error) {
	if s.upstream, err = enlist(); err != nil {
		return err
	}
	if s.direct, err = s.upstream.listen(); err != nil {
		return err
	}
	if s.gateway, err = s.system.start(s.direct, s.profiled); err != nil {
		return err
	}
	s.clients, err = enlist()
	return err
}

// strike ends those that have been started: the clients first, so that the sessions end before the gateway does.
func (s *stage) strike() {
	if s.clients != nil {
		s.clients.dismiss()
	}
	if s.gateway != nil {
		s.gateway.stop()
	}
	if s.upstream != nil {
		s.upstream.dismiss()
	}
}

// note keeps what a cell has found, and shows it to whoever is waiting.
func (b *bench) note(round int, s system, w workload, found []measurement) {
	if len(found) == 0 {
		return
	}
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

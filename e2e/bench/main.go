// Command bench measures what gateways cost. Systems (ways to run a gateway) take turns under workloads (what the peers
// of its sessions do), round after round on the same machine, so that what is compared was measured side by side.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	rounds    int
	systems   string
	workloads string
	report    string
	chart     string
	profiles  string
	idle      idle
	logins    int
	flood     time.Duration
	time      time.Duration
	slice     time.Duration
	memory    memory
}

func main() {
	if playPart() {
		return
	}
	o := options{idle: idle{sizes: sizes{2000, 8000, 16_000}, tolerance: 0.1}}
	flag.IntVar(&o.rounds, "rounds", 5, "how often every system takes its turn")
	flag.StringVar(&o.systems, "systems", "", "the `names` of those to measure, separated by commas (each workload's own)")
	flag.StringVar(&o.workloads, "workloads", "", "the `names` of those to measure under, separated by commas (all of them)")
	flag.StringVar(&o.report, "report", "", "`file` to write the report to, as JSON")
	flag.StringVar(&o.chart, "chart", "", "`file` to draw the report in, as SVG")
	flag.StringVar(&o.profiles, "profiles", "", "`directory` for the gateways' CPU profiles, taken after the measurement")
	flag.Var(&o.idle.sizes, "sessions", "idle-pings: how many sessions, one `number` after the other, separated by commas")
	flag.IntVar(&o.logins, "logins", 8000, "idle-logins: how many sessions, each with a login of its own")
	flag.IntVar(&o.idle.rate, "rate", 800, "idle-pings: how many sessions are opened a second, at most")
	flag.DurationVar(&o.idle.interval, "interval", 10*time.Second, "idle-pings: pingInterval of the systems that ping")
	flag.DurationVar(&o.idle.settle, "settle", 10*time.Second, "idle-pings: time between the opening and the measurement")
	flag.DurationVar(&o.idle.window, "window", 30*time.Second, "idle-pings: time measured, at least three intervals")
	flag.DurationVar(&o.flood, "flood", 6*time.Second, "flood-*: time measured; with the second before it longer than a close may take")
	flag.DurationVar(&o.time, "time", 1500*time.Millisecond, "all others but memory: time measured")
	flag.DurationVar(&o.slice, "slice", 100*time.Millisecond, "session: time of one turn; each system has as many a round as -time holds")
	flag.IntVar(&o.memory.sessions, "connections", 5000, "memory: how many sessions")
	flag.DurationVar(&o.memory.settle, "rest", 5*time.Second, "memory: time that they are left to themselves")
	flag.Parse()
	// SIGTERM, too, so that no Traefik and no temporary directory outlives a bench that is killed.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures, and prints the table.
func run(ctx context.Context, o options) error {
	b, err := o.bench()
	if err != nil {
		return err
	}
	state, err := survey(b.used())
	if err != nil {
		return err
	}
	flag.VisitAll(func(f *flag.Flag) { state.Options[f.Name] = f.Value.String() })
	failed := b.run(ctx)
	r, err := b.report(state)
	if err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, r.print(os.Stdout), r.publish(o))
}

// publish writes the files that the options name.
func (r *report) publish(o options) error {
	if o.report != "" {
		if err := r.save(o.report); err != nil {
			return err
		}
	}
	if o.chart != "" {
		return r.draw(o.chart)
	}
	return nil
}

// bench is what the options ask for.
func (o options) bench() (*bench, error) {
	if o.rounds < 1 || o.idle.rate < 1 {
		return nil, errors.New("-rounds and -rate have to be positive")
	}
	if o.idle.interval <= 0 || o.idle.window < 3*o.idle.interval {
		return nil, errors.New("-window has to be at least three times -interval")
	}
	if o.flood < time.Second {
		return nil, errors.New("-flood has to be a second at least")
	}
	if o.time < 100*time.Millisecond || o.memory.sessions < 1 {
		return nil, errors.New("-time has to be 100ms at least, and -connections positive")
	}
	if o.slice < 10*time.Millisecond || o.slice > o.time {
		return nil, errors.New("-slice has to be 10ms at least, and -time at most")
	}
	chosen, err := choose(systems(o.idle.interval), o.systems, func(s system) string { return s.name })
	if err != nil {
		return nil, fmt.Errorf("-systems: %w", err)
	}
	workloads, err := o.chosenWorkloads()
	if err != nil {
		return nil, fmt.Errorf("-workloads: %w", err)
	}
	return &bench{rounds: o.rounds, systems: chosen, workloads: workloads, profiles: o.profiles, log: os.Stderr}, nil
}

// chosenWorkloads are those that the options name. Each has systems that it tells something about, unless they are named,
// too.
func (o options) chosenWorkloads() ([]workload, error) {
	all := o.speeds()
	pinging := []string{native, "wsfw-pings", "wsfw-all", "relay", "fastify"}
	all = append(all, workload{name: "idle-pings", systems: pinging, prepare: o.idle.prepare, run: o.idle.run})
	logins := o.idle
	logins.sizes = sizes{o.logins}
	all = append(all, workload{name: "idle-logins", systems: []string{"wsfw", "wsfw-revalidate"}, prepare: logins.prepare, run: logins.run})
	for _, f := range floods(o.flood) {
		all = append(all, workload{name: "flood-" + f.name, systems: f.systems, run: f.run})
	}
	if o.systems != "" {
		for i := range all {
			all[i].systems = nil
		}
	}
	return choose(all, o.workloads, func(w workload) string { return w.name })
}

// speeds are the workloads that compare the plugin with what is used in its place.
func (o options) speeds() []workload {
	gateways := []string{
		native, "wsfw", "wsfw-all", "wsfw-tunnel", "wsfw-inline",
		"nginx", "haproxy", "caddy", "relay", "fastify",
	}
	streaming := []string{"wsfw-http2", "haproxy-http2"}
	all := append([]string{direct}, gateways...)
	s := span{settle: o.time / 4, window: o.time}
	o.memory.rate = 1000
	var found []workload
	for _, t := range talks(s) {
		under := all
		if t.name == "ping-pong" {
			under = slices.Concat(all, streaming)
		}
		found = append(found, workload{name: t.name, systems: under, run: t.run})
	}
	return append(found,
		workload{name: "handshakes", systems: slices.Concat(all, []string{"wsfw-hs256", "wsfw-es256"}), run: handshakes{callers: 16, span: s}.run},
		workload{
			name: "session", systems: []string{native, "wsfw", "wsfw-inline", "wsfw-tunnel", "wsfw-all"},
			together: sessions(o.time, o.slice).run,
		},
		workload{name: "latency", systems: gateways, run: latency{sessions: 10, rate: 500, window: o.time}.run},
		workload{name: "memory", systems: slices.Concat(gateways, streaming), run: o.memory.run},
	)
}

// choose picks those of these names, in that order.
func choose[T any](all []T, names string, nameOf func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	known := map[string]T{}
	for _, one := range all {
		known[nameOf(one)] = one
	}
	var chosen []T
	for name := range strings.SplitSeq(names, ",") {
		one, ok := known[strings.TrimSpace(name)]
		if !ok {
			return nil, fmt.Errorf("there is no %q", name)
		}
		chosen = append(chosen, one)
	}
	return chosen, nil
}

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
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	rounds   int
	systems  string
	report   string
	profiles string
	idle     idle
}

func main() {
	if isCrew() {
		serveCrew()
		return
	}
	o := options{idle: idle{tolerance: 0.1}}
	flag.IntVar(&o.rounds, "rounds", 3, "how often every system takes its turn")
	flag.StringVar(&o.systems, "systems", "", "the `names` of those to measure, separated by commas (all of them)")
	flag.StringVar(&o.report, "report", "", "`file` to write the report to, as JSON")
	flag.StringVar(&o.profiles, "profiles", "", "`directory` for the gateways' CPU profiles, taken after the measurement")
	flag.IntVar(&o.idle.sessions, "sessions", 8000, "idle: how many sessions")
	flag.IntVar(&o.idle.rate, "rate", 400, "idle: how many sessions are opened a second, at most")
	flag.DurationVar(&o.idle.interval, "interval", 10*time.Second, "idle: pingInterval of the systems that ping")
	flag.DurationVar(&o.idle.settle, "settle", 20*time.Second, "idle: time between the opening and the measurement")
	flag.DurationVar(&o.idle.window, "window", 40*time.Second, "idle: time measured, at least three intervals")
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
	state, err := survey()
	if err != nil {
		return err
	}
	flag.VisitAll(func(f *flag.Flag) { state.Options[f.Name] = f.Value.String() })
	if err := b.run(ctx); err != nil {
		return err
	}
	r, err := b.report(state)
	if err != nil {
		return err
	}
	if err := r.print(os.Stdout); err != nil {
		return err
	}
	if o.report == "" {
		return nil
	}
	return r.save(o.report)
}

// bench is what the options ask for.
func (o options) bench() (*bench, error) {
	if o.rounds < 1 || o.idle.sessions < 1 || o.idle.rate < 1 {
		return nil, errors.New("-rounds, -sessions and -rate have to be positive")
	}
	if o.idle.interval <= 0 || o.idle.window < 3*o.idle.interval {
		return nil, errors.New("-window has to be at least three times -interval")
	}
	chosen, err := choose(systems(o.idle.interval), o.systems)
	if err != nil {
		return nil, err
	}
	return &bench{
		rounds:    o.rounds,
		systems:   chosen,
		workloads: []workload{{name: "idle", run: o.idle.run}},
		profiles:  o.profiles,
		log:       os.Stderr,
	}, nil
}

// choose picks the systems of these names, in the order in which they take their turns.
func choose(all []system, names string) ([]system, error) {
	if names == "" {
		return all, nil
	}
	known := map[string]system{}
	for _, s := range all {
		known[s.name] = s
	}
	var chosen []system
	for name := range strings.SplitSeq(names, ",") {
		s, ok := known[strings.TrimSpace(name)]
		if !ok {
			return nil, fmt.Errorf("-systems: there is no %q", name)
		}
		chosen = append(chosen, s)
	}
	return chosen, nil
}

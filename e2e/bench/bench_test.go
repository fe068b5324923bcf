package main

import (
	"cmp"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

func TestMain(m *testing.M) {
	if playPart() {
		return
	}
	restore := engine.CaptureStdout()
	code := m.Run()
	engine.Stop()
	restore()
	os.Exit(code)
}

// TestIdle runs a small bench on the suite's engines: what it measures is of no interest, but that it measures it is.
func TestIdle(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		const interval = 500 * time.Millisecond
		w := idle{
			sizes: sizes{10, 20}, rate: 200, interval: interval, settle: interval, window: 4 * interval,
			tolerance: 0.5, // of a machine on which much else runs
		}
		b := &bench{
			rounds:    1,
			systems:   []system{hosted(t, e, native, 0), hosted(t, e, "pings", interval)},
			workloads: []workload{{name: "idle-pings", prepare: w.prepare, run: w.run}},
			log:       t.Output(),
		}
		if err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			system, metric string
			rounds         int
		}{
			{native, "cpu, 10 sessions", b.rounds},
			{native, "memory, 20 sessions", b.rounds},
			{native, "cpu a session, 10 to 20", 0}, // it does not ping
			{"pings", "cpu, 10 sessions", b.rounds},
			{"pings", "cpu, 20 sessions", b.rounds},
			{"pings", "cpu a session, 10 to 20", b.rounds},
		} {
			like := sample{system: c.system, workload: "idle-pings", measurement: measurement{metric: c.metric}}
			if got := len(b.values(like)); got != c.rounds {
				t.Errorf("%s, %s: %d rounds have a figure, want %d", c.system, c.metric, got, c.rounds)
			}
		}
	})
}

// TestFloods lets small floods loose on the suite's engines.
func TestFloods(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		b := &bench{rounds: 1, systems: []system{hosted(t, e, native, 0)}, log: t.Output()}
		for _, f := range floods(500 * time.Millisecond) {
			f.sessions, f.settle = min(f.sessions, 20), 200*time.Millisecond
			b.workloads = append(b.workloads, workload{name: f.name, run: f.run})
		}
		if err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, w := range b.workloads {
			like := sample{system: native, workload: w.name, measurement: measurement{metric: "p99"}}
			if got := len(b.values(like)); got != b.rounds {
				t.Errorf("%s: %d rounds have a figure, want %d", w.name, got, b.rounds)
			}
		}
	})
}

// TestSpeeds has hosts of the plugin do all that the gateways are compared by.
func TestSpeeds(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		b := &bench{rounds: 1, systems: []system{hosted(t, e, native, 0)}, workloads: small().speeds(), log: t.Output()}
		if err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, w := range b.workloads {
			if !slices.ContainsFunc(b.samples, func(s sample) bool { return s.workload == w.name }) {
				t.Errorf("%s has no figure", w.name)
			}
		}
	})
}

// TestSystems has all systems do some of it, where there is a Traefik to compare with.
func TestSystems(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		if e.Name() != "traefik" {
			return
		}
		chosen, err := choose(small().speeds(), "ping-pong,push,memory", func(w workload) string { return w.name })
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{rounds: 1, systems: systems(time.Minute), workloads: chosen, log: t.Output()}
		if err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		measured := func(system, workload, metric string) bool {
			return len(b.values(sample{system: system, workload: workload, measurement: measurement{metric: metric}})) > 0
		}
		for _, w := range chosen {
			for _, name := range w.systems {
				if metric := map[string]string{"memory": "settled"}[w.name]; !measured(name, w.name, cmp.Or(metric, "throughput")) {
					t.Errorf("%s, %s: there is no figure", w.name, name)
				}
			}
		}
		if _, err := survey(b.systems); err != nil {
			t.Error(err)
		}
	})
}

// small are options for a machine on which much else runs.
func small() options {
	return options{time: 200 * time.Millisecond, slice: 50 * time.Millisecond, memory: memory{sessions: 20, settle: time.Millisecond}}
}

// TestChildren finds the process that another has begun.
func TestChildren(t *testing.T) {
	parent, _, err := launchListener(exec.Command("sh", "-c", "(echo; exec sleep 60) & wait"))
	if err != nil {
		t.Fatal(err)
	}
	defer parent.stop()
	g := &gateway{pids: []int{parent.pid()}}
	found, err := g.processes()
	if err != nil || len(found) != 2 {
		t.Fatalf("the processes are %v (%v), want two", found, err)
	}
	t.Cleanup(func() {
		if err := syscall.Kill(found[1].PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	if stat, err := found[1].Stat(); err != nil || stat.PPID != parent.pid() {
		t.Errorf("the second is a child of %d (%v), want one of %d", stat.PPID, err, parent.pid())
	}
	g.pids = append(g.pids, found[1].PID)
	if again, err := g.processes(); err != nil || len(again) != 2 {
		t.Errorf("with both named the processes are %v (%v), want each once", again, err)
	}
}

// TestChoose picks workloads by name.
func TestChoose(t *testing.T) {
	chosen, err := options{workloads: "flood-bytes, idle-pings"}.chosenWorkloads()
	if err != nil || len(chosen) != 2 || chosen[0].name != "flood-bytes" || chosen[1].name != "idle-pings" {
		t.Errorf("chosen are %v (%v), want flood-bytes and idle-pings", chosen, err)
	}
	if !chosen[0].isFor(system{name: "wsfw-limits"}) || chosen[1].isFor(system{name: "wsfw-limits"}) {
		t.Error("wsfw-limits is for a flood of bytes, and not for idle sessions")
	}
	if _, err := (options{workloads: "flood-bites"}).chosenWorkloads(); err == nil || !strings.Contains(err.Error(), `no "flood-bites"`) {
		t.Errorf("the error is %v, want one that tells what is not there", err)
	}
}

// hosted is the plugin on one of the suite's engines.
func hosted(t *testing.T, e engine.Engine, name string, pings time.Duration) system {
	start := func(upstream string, profiled bool) (*gateway, error) {
		options := object{}
		if pings > 0 {
			options["pingInterval"] = pings.String()
		}
		g := e.Start(t, engine.Setup{Config: forward(options)(upstream), Next: "http://" + upstream})
		pid := os.Getpid()
		if g.Process != nil {
			pid = g.Process.Pid
		}
		return &gateway{addr: g.Addr, pids: []int{pid}, stop: func() {}}, nil
	}
	return system{name: name, pings: pings, start: start}
}

// TestJudge holds tallies against what a workload of ten sessions wants in four intervals.
func TestJudge(t *testing.T) {
	w := crowd{idle: idle{tolerance: 0.1}, sessions: 10}
	for _, c := range []struct {
		name     string
		tally    Tally
		interval time.Duration
		want     string // of the error; empty for none
	}{
		{"all well", Tally{Open: 10, Pings: 40, Fewest: 3, Most: 5}, time.Second, ""},
		{"a session has ended", Tally{Open: 9, Ended: 1, Pings: 40, Fewest: 4, Most: 4}, time.Second, "1 have ended"},
		{"a session is missing", Tally{Open: 9, Pings: 40, Fewest: 4, Most: 4}, time.Second, "9 sessions are open"},
		{"too few pings", Tally{Open: 10, Pings: 35, Fewest: 3, Most: 4}, time.Second, "35 pings came, want about 40"},
		{"too many pings", Tally{Open: 10, Pings: 45, Fewest: 4, Most: 5}, time.Second, "45 pings came, want about 40"},
		{"a session hardly pinged", Tally{Open: 10, Pings: 40, Fewest: 2, Most: 5}, time.Second, "a session had 2 pings"},
		{"a session pinged too often", Tally{Open: 10, Pings: 40, Fewest: 3, Most: 6}, time.Second, "another 6"},
		{"no pings, and none wanted", Tally{Open: 10}, 0, ""},
		{"pings where none are wanted", Tally{Open: 10, Pings: 1, Most: 1}, 0, "1 pings came from a gateway that sends none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := w.judge(c.tally, c.interval, 4*time.Second)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("the error is %q, want none", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the error is %v, want one that tells %q", err, c.want)
			}
		})
	}
}

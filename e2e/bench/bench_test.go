package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
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
			sessions: 20, rate: 200, interval: interval, settle: interval, window: 4 * interval,
			tolerance: 0.5, // of a machine on which much else runs
		}
		b := &bench{
			rounds:    2,
			systems:   []system{hosted(t, e, native, 0), hosted(t, e, "pings", interval)},
			workloads: []workload{{name: "idle", run: w.run}},
			log:       t.Output(),
		}
		if err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range b.systems {
			like := sample{system: s.name, workload: "idle", measurement: measurement{metric: "cpu"}}
			if got := len(b.values(like)); got != b.rounds {
				t.Errorf("%s: %d rounds have a figure, want %d", s.name, got, b.rounds)
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

// TestChoose picks workloads by name.
func TestChoose(t *testing.T) {
	chosen, err := options{workloads: "flood-bytes, idle"}.chosenWorkloads()
	if err != nil || len(chosen) != 2 || chosen[0].name != "flood-bytes" || chosen[1].name != "idle" {
		t.Errorf("chosen are %v (%v), want flood-bytes and idle", chosen, err)
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
	start := func(upstream string) (*gateway, error) {
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
	w := idle{sessions: 10, tolerance: 0.1}
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

// TestReport sums up three rounds, in one of which native Traefik took no time at all.
func TestReport(t *testing.T) {
	b := &bench{systems: []system{{name: native}, {name: "wsfw"}}}
	for round, values := range [][2]float64{{2, 3}, {1, 4}, {0, 2}} {
		for i, s := range b.systems {
			m := measurement{metric: "cpu", unit: "%", value: values[i]}
			b.samples = append(b.samples, sample{round: round, system: s.name, workload: "idle", measurement: m})
		}
	}
	path := filepath.Join(t.TempDir(), "report.json")
	r, err := b.report(state{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var read report
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Rows) != 2 {
		t.Fatalf("there are %d rows, want 2", len(read.Rows))
	}
	checkRow(t, read.Rows[0], row{System: native, Median: 1, Min: 0, Max: 2}, 0, 1)
	checkRow(t, read.Rows[1], row{System: "wsfw", Median: 3, Min: 2, Max: 4}, 2, 2.75)
	var table strings.Builder
	if err := r.print(&table); err != nil {
		t.Fatal(err)
	}
	if want := "idle cpu wsfw 3.00 2.00 4.00 +2.00 2.75 %"; !holds(table.String(), want) {
		t.Errorf("no line of the table is %q: %s", want, table.String())
	}
}

func checkRow(t *testing.T, got, want row, difference, ratio float64) {
	t.Helper()
	want.Workload, want.Metric, want.Unit = "idle", "cpu", "%"
	if got.Difference == nil || got.Ratio == nil {
		t.Fatalf("%s is not compared", got.System)
	}
	if math.Abs(*got.Difference-difference) > 1e-9 || math.Abs(*got.Ratio-ratio) > 1e-9 {
		t.Errorf("%s: difference %v and ratio %v, want %v and %v", got.System, *got.Difference, *got.Ratio, difference, ratio)
	}
	got.Difference, got.Ratio = nil, nil
	if got != want {
		t.Errorf("the row is %+v, want %+v", got, want)
	}
}

// holds tells whether a line of the table has these cells.
func holds(table, cells string) bool {
	for line := range strings.Lines(table) {
		if strings.Join(strings.Fields(line), " ") == cells {
			return true
		}
	}
	return false
}

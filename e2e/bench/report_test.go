package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
	if want := "idle cpu wsfw 3.00 2.00–4.00 % +2.00 2.75 1.50–4.00"; !holds(table.String(), want) {
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
	got.Difference, got.Ratio, got.RatioMin, got.RatioMax = nil, nil, nil, nil
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

// TestDraw draws a report in which some systems have no figure.
func TestDraw(t *testing.T) {
	half, one, two := 0.5, 1.0, 2.0
	r := report{
		State: state{Kernel: "6.1.0-test", Options: map[string]string{"rounds": "7"}},
		Rows: []row{
			{System: "wsfw", Workload: "ping-pong", Metric: "throughput", Ratio: &one, RatioMin: &half, RatioMax: &two},
			{System: "nginx", Workload: "ping-pong", Metric: "throughput"},
		},
	}
	if low, median, high := r.ratio("wsfw", panels[0].bars[0]); low != -1 || median != 0 || high != 1 {
		t.Errorf("the logarithms are %v, %v and %v, want -1, 0 and 1", low, median, high)
	}
	path := filepath.Join(t.TempDir(), "chart.svg")
	if err := r.draw(path); err != nil {
		t.Fatal(err)
	}
	texts := textsOf(t, path)
	for _, want := range []string{"wsfw-all", "fastify", "handshakes", "Medians of 7 rounds", "Linux 6.1.0-test"} {
		if !strings.Contains(texts, want) {
			t.Errorf("%q is not in the chart", want)
		}
	}
}

// textsOf is all that is written in an SVG.
func textsOf(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var texts strings.Builder
	decoder := xml.NewDecoder(file)
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return texts.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts.Write(text)
		}
	}
}

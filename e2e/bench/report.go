package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/montanaflynn/stats"
)

// report is what a bench has found out.
type report struct {
	State state `json:"state"`
	Rows  []row `json:"rows"`
}

// row is one metric of one system under one workload, over all rounds.
type row struct {
	System   string `json:"system"`
	Workload string `json:"workload"`
	Metric   string `json:"metric"`
	Unit     string `json:"unit"`

	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`

	// Difference and Ratio compare each round with native Traefik's figure of the same round, and are the medians of
	// that. They are null where there is no such figure; and so is the ratio to one that is zero, with its spread.
	Difference *float64 `json:"difference"`
	Ratio      *float64 `json:"ratio"`
	RatioMin   *float64 `json:"ratioMin"`
	RatioMax   *float64 `json:"ratioMax"`
}

// report sums up what has been measured: what is to be compared stands together.
func (b *bench) report(s state) (*report, error) {
	r := &report{State: s}
	for _, metric := range b.metrics() {
		for _, s := range b.systems {
			metric.system = s.name
			if len(b.values(metric)) == 0 {
				continue
			}
			row, err := b.row(metric)
			if err != nil {
				return nil, err
			}
			r.Rows = append(r.Rows, row)
		}
	}
	return r, nil
}

// metrics are one sample of each metric of each workload, in the order in which they were measured.
func (b *bench) metrics() []sample {
	var found []sample
	for _, s := range b.samples {
		known := func(f sample) bool { return f.workload == s.workload && f.metric == s.metric }
		if !slices.ContainsFunc(found, known) {
			found = append(found, s)
		}
	}
	return found
}

// row sums up all samples like this one.
func (b *bench) row(like sample) (row, error) {
	r := row{System: like.system, Workload: like.workload, Metric: like.metric, Unit: like.unit}
	own := b.values(like)
	like.system = native
	base := b.values(like)
	var all, differences, ratios stats.Float64Data
	for round, value := range own {
		all = append(all, value)
		compared, ok := base[round]
		if ok {
			differences = append(differences, value-compared)
		}
		if ok && compared > 0 {
			ratios = append(ratios, value/compared)
		}
	}
	var errs [3]error
	r.Median, errs[0] = all.Median()
	r.Min, errs[1] = all.Min()
	r.Max, errs[2] = all.Max()
	r.Difference, r.Ratio = known(differences.Median()), known(ratios.Median())
	r.RatioMin, r.RatioMax = known(ratios.Min()), known(ratios.Max())
	return r, cmp.Or(errs[:]...)
}

// values are those of all samples like this one, by round.
func (b *bench) values(like sample) map[int]float64 {
	values := map[int]float64{}
	for _, s := range b.samples {
		if s.system == like.system && s.workload == like.workload && s.metric == like.metric {
			values[s.round] = s.value
		}
	}
	return values
}

// known is a statistic, and nil where there are no values to have one of.
func known(value float64, err error) *float64 {
	if err != nil {
		return nil
	}
	return &value
}

// print writes the report for people.
func (r *report) print(to io.Writer) error {
	fmt.Fprintf(to, "\n%s\n", r.State)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "workload\tmetric\tsystem\tmedian\tmin–max\tunit\t- %s\t/ %s\tmin–max\n", native, native)
	for _, r := range r.Rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%.2f–%.2f\t%s\t%s\t%s\t%s–%s\n", r.Workload, r.Metric, r.System,
			r.Median, r.Min, r.Max, r.Unit, optional("%+.2f", r.Difference), optional("%.2f", r.Ratio),
			optional("%.2f", r.RatioMin), optional("%.2f", r.RatioMax))
	}
	return table.Flush()
}

// optional is a value in that format, or a dash where there is none.
func optional(format string, value *float64) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprintf(format, *value)
}

// save writes the report for programs.
func (r *report) save(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

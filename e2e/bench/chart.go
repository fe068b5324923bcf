package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// panel is a part of the chart: ratios to native Traefik.
type panel struct {
	title string
	bars  []bars
}

// bars are those of one metric of a workload, one for each system.
type bars struct{ label, workload, metric string }

var panels = []panel{
	{"Throughput (more is better)", []bars{
		{"64 B in turn", "ping-pong", "throughput"},
		{"64 B, 16 deep", "pipelined", "throughput"},
		{"64 KiB", "64KiB", "throughput"},
		{"1 MiB", "1MiB", "throughput"},
		{"16 MiB frame", "upload", "throughput"},
		{"handshakes", "handshakes", "throughput"},
	}},
	{"CPU time for a message or a handshake (less is better)", []bars{
		{"64 B in turn", "ping-pong", "cpu"},
		{"64 B, 16 deep", "pipelined", "cpu"},
		{"256 B pushed", "push", "cpu"},
		{"64 KiB", "64KiB", "cpu"},
		{"1 MiB", "1MiB", "cpu"},
		{"16 MiB frame", "upload", "cpu"},
		{"handshakes", "handshakes", "cpu"},
	}},
	{"Latency and memory (less is better)", []bars{
		{"p50, low rate", "latency", "p50"},
		{"p99, low rate", "latency", "p99"},
		{"p99, 64 B in turn", "ping-pong", "p99"},
		{"p99, pushed", "push", "p99"},
		{"p99, handshakes", "handshakes", "p99"},
		{"memory, idle", "memory", "settled"},
	}},
}

// tint is a system of the chart and its colour: of the plugin they are warm, of others cold.
type tint struct {
	system string
	color  color.Color
}

var tints = []tint{
	{"wsfw-tunnel", color.RGBA{0xFD, 0xC0, 0x86, 0xFF}},
	{"wsfw", color.RGBA{0xF1, 0x69, 0x13, 0xFF}},
	{"wsfw-inline", color.RGBA{0xD9, 0x3A, 0x2B, 0xFF}},
	{"wsfw-all", color.RGBA{0x8C, 0x1D, 0x18, 0xFF}},
	{"nginx", color.RGBA{0xC6, 0xDB, 0xEF, 0xFF}},
	{"haproxy", color.RGBA{0x9E, 0xCA, 0xE1, 0xFF}},
	{"caddy", color.RGBA{0x6B, 0xAE, 0xD6, 0xFF}},
	{"relay", color.RGBA{0x21, 0x71, 0xB5, 0xFF}},
	{"fastify", color.RGBA{0x08, 0x30, 0x6B, 0xFF}},
}

const (
	chartWidth  = 25 * vg.Centimeter
	legendWidth = 3.5 * vg.Centimeter
	panelHeight = 6.5 * vg.Centimeter
	footHeight  = 1.2 * vg.Centimeter
	margin      = 0.3 * vg.Centimeter

	// barWidth is how much of the room between two groups of bars one has.
	barWidth = 0.095
)

// draw writes the chart into a file.
func (r *report) draw(path string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotter.DefaultFont = plot.DefaultFont
	legend := plot.NewLegend()
	legend.TextStyle.Font.Size = vg.Points(10)
	legend.Top, legend.Left, legend.YOffs, legend.Padding = true, true, -margin, margin/4
	var plots [][]*plot.Plot
	for i, p := range panels {
		entries := &legend
		if i > 0 {
			entries = nil // they are the same for all
		}
		drawn, err := r.panel(p, entries)
		if err != nil {
			return err
		}
		plots = append(plots, []*plot.Plot{drawn})
	}
	canvas := vgsvg.New(chartWidth, panelHeight*vg.Length(len(panels))+footHeight)
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Path())
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: margin}
	for i, row := range plot.Align(plots, tiles, draw.Crop(whole, margin, -legendWidth, footHeight, -margin)) {
		plots[i][0].Draw(row[0])
	}
	legend.Draw(draw.Crop(whole, chartWidth-legendWidth+margin, 0, 0, 0))
	r.foot(whole)
	return write(canvas, path)
}

// write writes what is drawn into a file.
func write(canvas *vgsvg.Canvas, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(file)
	return errors.Join(err, file.Close())
}

// foot tells what the figures are, and what they were measured on.
func (r *report) foot(canvas draw.Canvas) {
	style := text.Style{Color: color.Black, Font: font.From(plot.DefaultFont, 7), Handler: plot.DefaultTextHandler}
	rounds := "Medians of " + r.State.Options["rounds"] + " rounds, and their range. "
	for i, line := range []string{rounds + r.State.machine(), r.State.programs()} {
		at := vg.Point{X: margin, Y: footHeight - vg.Length(i+1)*0.4*vg.Centimeter}
		canvas.FillText(style, at, line)
	}
}

// panel draws one part. Heights are logarithms, so that half as much is as far from native Traefik as twice as much. Where
// there is a legend, it is made.
func (r *report) panel(of panel, legend *plot.Legend) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = of.title + ": multiples of Traefik without wsfw"
	p.Title.Padding = margin / 2
	p.Y.Tick.Marker = plot.ConstantTicks(multiples())
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	p.Add(grid)
	var labels []string
	for _, b := range of.bars {
		labels = append(labels, b.label)
	}
	p.NominalX(labels...)
	groups := vg.Length(len(of.bars))
	p.X.Min, p.X.Max = -0.5, float64(groups)-0.5
	for i, t := range tints {
		left := (float64(i) - float64(len(tints)-1)/2) * barWidth
		drawn, err := r.add(p, t, of.bars, left, (chartWidth-legendWidth-2*vg.Centimeter)*barWidth/groups)
		if err != nil {
			return nil, fmt.Errorf("the bars of %s: %w", t.system, err)
		}
		if legend != nil {
			legend.Add(t.system, drawn)
		}
	}
	return p, nil
}

// add draws one system's bars in a panel, that far from the middles of the groups, and their ranges.
func (r *report) add(p *plot.Plot, t tint, of []bars, offset float64, width vg.Length) (*plotter.BarChart, error) {
	var heights plotter.Values
	var spread ranges
	for i, b := range of {
		low, height, high := r.ratio(t.system, b)
		heights = append(heights, height)
		spread.XYs = append(spread.XYs, plotter.XY{X: float64(i) + offset, Y: height})
		spread.YErrors = append(spread.YErrors, struct{ Low, High float64 }{height - low, high - height})
	}
	drawn, err := plotter.NewBarChart(heights, width)
	if err != nil {
		return nil, err
	}
	drawn.Color, drawn.XMin, drawn.LineStyle.Width = t.color, offset, 0
	whiskers, err := plotter.NewYErrorBars(spread)
	if err != nil {
		return nil, err
	}
	whiskers.CapWidth, whiskers.Width = width/2, vg.Points(0.4)
	p.Add(drawn, whiskers)
	return drawn, nil
}

// ranges are what lies between the least and the most of each bar's rounds.
type ranges struct {
	plotter.XYs
	plotter.YErrors
}

// ratio is the logarithm of a ratio and those of its range: nothing where there is none.
func (r *report) ratio(system string, of bars) (low, median, high float64) {
	for _, row := range r.Rows {
		if row.System == system && row.Workload == of.workload && row.Metric == of.metric &&
			row.RatioMin != nil && *row.RatioMin > 0 {
			return math.Log2(*row.RatioMin), math.Log2(*row.Ratio), math.Log2(*row.RatioMax)
		}
	}
	return 0, 0, 0
}

// multiples are the marks of an axis of logarithms.
func multiples() []plot.Tick {
	var ticks []plot.Tick
	for exponent := -8; exponent <= 8; exponent++ {
		label := fmt.Sprintf("× %d", 1<<max(exponent, 0))
		if exponent < 0 {
			label = fmt.Sprintf("÷ %d", 1<<-exponent)
		}
		ticks = append(ticks, plot.Tick{Value: float64(exponent), Label: label})
	}
	return ticks
}

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// idle is the workload of sessions that say nothing: their peers answer pings, and that is all. It is measured with some
// sessions, and then with more of them on the same gateway.
type idle struct {
	sizes    sizes // how many sessions, in ascending order
	rate     int   // of opening, a second
	interval time.Duration
	settle   time.Duration // between the opening and the measurement
	window   time.Duration // of the measurement

	// tolerance is how far the number of pings may be off, as a part of it: windows need be no whole number of
	// intervals.
	tolerance float64
}

// sizes are numbers of sessions, and a flag.
type sizes []int

// String implements [flag.Value].
func (s *sizes) String() string {
	var texts []string
	for _, size := range *s {
		texts = append(texts, strconv.Itoa(size))
	}
	return strings.Join(texts, ",")
}

// Set implements [flag.Value].
func (s *sizes) Set(text string) error {
	var found sizes
	for one := range strings.SplitSeq(text, ",") {
		size, err := strconv.Atoi(strings.TrimSpace(one))
		if err != nil {
			return err
		}
		if last := append(sizes{0}, found...); size <= last[len(found)] {
			return fmt.Errorf("%d does not come after %d", size, last[len(found)])
		}
		found = append(found, size)
	}
	*s = found
	return nil
}

// prepare has processes hold open as many files as the sessions take, and leaves out the sizes for which they may not.
func (w *idle) prepare() error {
	for i, size := range w.sizes {
		if err := allowFiles(filesFor(size)); err != nil {
			unfit := w.sizes[i:]
			w.sizes = w.sizes[:i]
			return fmt.Errorf("no figures of %s sessions: %w", &unfit, err)
		}
	}
	return nil
}

// run measures the gateway's CPU time and memory, and how the first grows with the number of sessions. What a session takes
// must not.
func (w *idle) run(ctx context.Context, s *stage) (found []measurement, err error) {
	before, err := s.read()
	if err != nil {
		return nil, err
	}
	var each []float64 // CPU time for each session
	open := 0
	for _, size := range w.sizes {
		if err := s.clients.open(ctx, Opening{Addr: s.gateway.addr, Sessions: size - open, Rate: w.rate, Logins: s.system.logins}); err != nil {
			return found, fmt.Errorf("opening %d sessions: %w", size, err)
		}
		open = size
		c := crowd{idle: *w, sessions: size}
		figures, err := c.measure(ctx, s, before)
		if err != nil {
			return found, fmt.Errorf("%d sessions: %w", size, err)
		}
		each = append(each, figures[0].value/float64(size))
		found = append(found, named(figures, size)...)
	}
	if len(each) > 1 && s.system.pings > 0 {
		found = append(found, growth(w.sizes, each))
	}
	if err := s.profile(ctx); err != nil {
		return found, fmt.Errorf("taking a CPU profile: %w", err)
	}
	return found, nil
}

// named are figures of that many sessions, whose metrics say so.
func named(figures []measurement, sessions int) []measurement {
	found := slices.Clone(figures)
	for i := range found {
		found[i].metric += fmt.Sprintf(", %d sessions", sessions)
	}
	return found
}

// growth is what a session of the most takes of what one of the fewest does.
func growth(of sizes, each []float64) measurement {
	last := len(each) - 1
	metric := fmt.Sprintf("cpu a session, %d to %d", of[0], of[last])
	return measurement{metric, "times", each[last] / each[0]}
}

// crowd is a number of idle sessions.
type crowd struct {
	idle
	sessions int
}

// measure measures the gateway, CPU time first, with that many sessions on it. They are all open.
func (w crowd) measure(ctx context.Context, s *stage, before usage) ([]measurement, error) {
	if err := rest(ctx, w.settle); err != nil {
		return nil, err
	}
	from, to, seen, err := w.watch(ctx, s)
	if err != nil {
		return nil, err
	}
	seconds := to.at.Sub(from.at).Seconds()
	return append(
		load(from, to),
		measurement{"memory", "KiB a session", (to.resident - before.resident) / float64(w.sessions) / 1024},
		measurement{"resident", "MiB", to.resident / (1 << 20)},
		measurement{"pings", "a second", float64(seen.Pings) / seconds},
		measurement{"questions", "a second", float64(seen.Asked) / seconds},
	), nil
}

// watch reads the usage at both ends of the window, and holds what the peers saw meanwhile against what it should be.
func (w crowd) watch(ctx context.Context, s *stage) (from, to usage, seen Tally, err error) {
	if _, err = w.check(s, 0); err != nil {
		return from, to, seen, err
	}
	if from, err = s.read(); err != nil {
		return from, to, seen, err
	}
	if err = rest(ctx, w.window); err != nil {
		return from, to, seen, err
	}
	if to, err = s.read(); err != nil {
		return from, to, seen, err
	}
	seen, err = w.check(s, to.at.Sub(from.at))
	return from, to, seen, err
}

// check takes both sides' tallies, which are to be those of a time d. Zero means that the pings do not matter yet. It
// returns how many pings the peers had, and how often they were asked about logins.
func (w crowd) check(s *stage, d time.Duration) (seen Tally, err error) {
	for name, c := range map[string]*crew{"clients": s.clients, "upstreams": s.upstream} {
		t, err := c.tally()
		if err != nil {
			return seen, err
		}
		interval := s.system.pings
		if c == s.clients && s.system.sparesClients {
			interval = 0
		}
		if err := w.judge(t, interval, d); err != nil {
			return seen, fmt.Errorf("%s: %w", name, err)
		}
		seen.Pings += t.Pings
		seen.Asked += t.Asked
	}
	return seen, nil
}

// judge wants all sessions open and, in a time d that is not zero, every one of them pinged at the interval.
func (w crowd) judge(t Tally, interval, d time.Duration) error {
	if t.Open != w.sessions || t.Ended > 0 {
		return fmt.Errorf("%d sessions are open and %d have ended, want all %d open", t.Open, t.Ended, w.sessions)
	}
	if d == 0 {
		return nil
	}
	if interval == 0 {
		if t.Pings > 0 {
			return fmt.Errorf("%d pings came from a gateway that sends none", t.Pings)
		}
		return nil
	}
	each := d.Seconds() / interval.Seconds()
	if want := each * float64(w.sessions); math.Abs(float64(t.Pings)-want) > w.tolerance*want {
		return fmt.Errorf("%d pings came, want about %.0f", t.Pings, want)
	}
	if float64(t.Fewest) < math.Floor(each)-1 || float64(t.Most) > math.Ceil(each)+1 {
		return fmt.Errorf("a session had %d pings and another %d, want about %.1f in each", t.Fewest, t.Most, each)
	}
	return nil
}

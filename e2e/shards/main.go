// Shards runs the behaviour suite as several processes at a time: its cases wait most of the time, and what a case counts in
// its own process (goroutines, descriptors, memory) is no other's. It writes what the processes tell in test2json's form, one
// package for each of them, for gotestsum to show.
//
//	gotestsum --raw-command -- shards -skip ^TestExternal compiled,race=. interpreted=. interpreted=demo
//
// Each argument is an engine, whether the race detector watches, and the folder of the package.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/engine/xconnect"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "shards:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func run(ctx context.Context) error {
	at := flag.Int("n", 4*runtime.NumCPU(), "how many processes run at a time")
	size := flag.Int("cases", 12, "how many cases each of them runs, one after the other")
	timeout := flag.Duration("timeout", 15*time.Minute, "how long each of them may take")
	var chosen choice
	flag.StringVar(&chosen.run, "run", ".", "the cases that are run")
	flag.StringVar(&chosen.skip, "skip", "^$", "and those of them that are not")
	flag.Parse()
	dir, err := os.MkdirTemp("", "wsfw-shards-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var shards []shard
	for i, text := range flag.Args() {
		s, err := parseSuite(text)
		if err != nil {
			return err
		}
		s.binary = filepath.Join(dir, fmt.Sprintf("%d.test", i))
		some, err := s.divide(ctx, chosen, *size)
		if err != nil {
			return err
		}
		shards = append(shards, some...)
	}
	return runAll(ctx, shards, *at, *timeout)
}

// suite is a package's cases on one engine.
type suite struct {
	engine string
	race   bool
	dir    string
	binary string
}

func parseSuite(text string) (suite, error) {
	left, dir, ok := strings.Cut(text, "=")
	engine, option, race := strings.Cut(left, ",")
	if !ok || race && option != "race" {
		return suite{}, fmt.Errorf("%q must be written engine=folder or engine,race=folder", text)
	}
	return suite{engine: engine, race: race, dir: dir}, nil
}

// choice is which cases are run: those that match one pattern, and not the other.
type choice struct{ run, skip string }

// divide builds the suite and makes shards of its chosen cases.
func (s suite) divide(ctx context.Context, chosen choice, size int) ([]shard, error) {
	skip, err := regexp.Compile(chosen.skip)
	if err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", s.binary, fmt.Sprintf("-race=%v", s.race), ".")
	build.Dir = s.dir
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("building the tests of %s: %w", s.dir, err)
	}
	list := exec.CommandContext(ctx, s.binary, "-test.list", chosen.run)
	list.Dir = s.dir
	names, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the cases of %s: %w", s.dir, err)
	}
	cases := slices.DeleteFunc(strings.Fields(string(names)), skip.MatchString)
	many := (len(cases) + size - 1) / size
	shards := make([]shard, many)
	for i, name := range cases { // neighbours take as long as each other, so they are dealt out
		shards[i%many].cases = append(shards[i%many].cases, name)
	}
	for i := range shards {
		shards[i].suite = s
		shards[i].name = filepath.Join(s.engine, s.dir, fmt.Sprintf("%d-of-%d", i+1, many))
	}
	return shards, nil
}

// shard is some cases of a suite, which one process runs.
type shard struct {
	suite
	name  string
	cases []string
}

// runAll runs the shards, at most so many at a time. All of them run, whichever fails.
func runAll(ctx context.Context, shards []shard, at int, timeout time.Duration) error {
	var out report
	var group errgroup.Group
	group.SetLimit(at)
	for _, s := range shards {
		group.Go(func() error { return s.run(ctx, &out, timeout) })
	}
	err := group.Wait()
	out.writeSlowest(slowest)
	return err
}

// slowest is how many cases are named at the end.
const slowest = 10

// run is one shard's run.
func (s shard) run(ctx context.Context, out *report, timeout time.Duration) error {
	cases := exec.CommandContext(ctx, s.binary, "-test.v=test2json", "-test.paniconexit0",
		"-test.timeout", timeout.String(), "-test.run", "^("+strings.Join(s.cases, "|")+")$")
	cases.Dir = s.dir
	cases.Env = append(os.Environ(), "WSFW_ENGINES="+s.engine, xconnect.Variable+"="+xconnect.Inherited)
	told := exec.Command("go", "tool", "test2json", "-t", "-p", s.name)
	engine.DieWithParent(cases)
	engine.DieWithParent(told)
	text, output, err := os.Pipe()
	if err != nil {
		return err
	}
	cases.Stdout, cases.Stderr, told.Stdin = output, output, text
	events, err := told.StdoutPipe()
	if err == nil {
		err = errors.Join(cases.Start(), told.Start())
	}
	output.Close()
	text.Close()
	if err != nil {
		return err
	}
	err = errors.Join(out.pass(bufio.NewReader(events)), told.Wait(), cases.Wait())
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// report passes on what the shards tell, and knows how long the cases have taken.
type report struct {
	mu   sync.Mutex
	took []ending
}

// ending is test2json's event of a case's end.
type ending struct {
	Action, Package, Test string
	Elapsed               float64 // seconds
}

// pass passes a shard's events on, line by line, to their end.
func (r *report) pass(in *bufio.Reader) error {
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			r.note(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) note(line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = os.Stdout.Write(line) // whoever reads it may have ended
	var e ending
	if json.Unmarshal(line, &e) == nil && e.Elapsed > 0 && e.Test != "" && !strings.Contains(e.Test, "/") {
		r.took = append(r.took, e)
	}
}

// writeSlowest writes which cases took the longest. The lines are no events, and so gotestsum shows them as they are.
func (r *report) writeSlowest(most int) {
	slices.SortFunc(r.took, func(a, b ending) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	fmt.Println("The slowest cases:")
	for _, e := range r.took[:min(most, len(r.took))] {
		on, _, _ := strings.Cut(e.Package, "/")
		fmt.Printf("%8.1f s  %s on %s\n", e.Elapsed, e.Test, on)
	}
}

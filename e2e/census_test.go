package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// eachInProcess runs a case on the engines that have the plugin in the test's own process.
func eachInProcess(t *testing.T, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	for _, e := range engine.All() {
		if e.Name() != "traefik" {
			t.Run(e.Name(), func(t *testing.T) { run(t, e) })
		}
	}
}

// await polls until complaint has nothing to say, and fails the test with what it said last. It is for what no event
// announces.
func await(t testing.TB, timeout time.Duration, complaint func() string) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(timeout); ; <-ticker.C {
		said := complaint()
		if said == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", timeout, said)
		}
	}
}

// goroutines are the stacks in the gateway's process.
func goroutines(t testing.TB, g *engine.Gateway) []string {
	t.Helper()
	var b bytes.Buffer
	if g.Process != nil {
		b.WriteString(profile(t, g, "goroutine?debug=2"))
	} else if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(b.String()), "\n\n")
}

// ofPlugin are the stacks that run the plugin's code, compiled or interpreted, or were started by it.
func ofPlugin(stacks []string) []string {
	var own []string
	for _, stack := range stacks {
		if strings.Contains(stack, "github.com/wsfw/wsfw.") || strings.Contains(stack, "github.com/traefik/yaegi/interp.") {
			own = append(own, stack)
		}
	}
	return own
}

// profiles keeps no connection open in the process that it asks.
var profiles = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

// profile is one of Traefik's own profiles, as text.
func profile(t testing.TB, g *engine.Gateway, name string) string {
	t.Helper()
	resp, err := profiles.Get(g.Process.API + "/debug/pprof/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s is answered by %s (%v)", name, resp.Status, err)
	}
	return string(text)
}

// pidOf is the process that the gateway runs in.
func pidOf(g *engine.Gateway) int {
	if g.Process != nil {
		return g.Process.Pid
	}
	return os.Getpid()
}

// openFiles counts the file descriptors of the gateway's process, but for pipes: those through which the runtime
// splices one connection into another go back to a pool that only a garbage collection empties. Linux alone lists them.
func openFiles(t testing.TB, g *engine.Gateway) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pidOf(g)))
	if err != nil || len(paths) == 0 {
		t.Fatalf("the process %d shows no open files (%v)", pidOf(g), err)
	}
	count := 0
	for _, path := range paths {
		// One that is gone by now does not count.
		if to, err := os.Readlink(path); err == nil && !strings.HasPrefix(to, "pipe:") {
			count++
		}
	}
	return count
}

// liveHeap is how many bytes the gateway's process holds that are no garbage. It collects twice, for what is in a
// [sync.Pool] survives once.
func liveHeap(t testing.TB, g *engine.Gateway) int64 {
	t.Helper()
	if g.Process == nil {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	profile(t, g, "heap?gc=1")
	var live int64
	_, told, _ := strings.Cut(profile(t, g, "heap?gc=1&debug=1"), "\n# HeapAlloc = ")
	if _, err := fmt.Sscan(told, &live); err != nil {
		t.Fatalf("the heap profile does not tell HeapAlloc: %v", err)
	}
	return live
}

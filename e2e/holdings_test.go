package e2e

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// holdings are the bytes of a gateway's live heap by where they were allocated; those of a Traefik, which has a process of
// its own, are all under nowhere.
type holdings map[callers]int64

// callers is the innermost part of the stack of an allocation.
type callers [32]uintptr

var nowhere callers

// heldBy is the live heap of a gateway.
func heldBy(t *testing.T, g *engine.Gateway) holdings {
	t.Helper()
	if g.Process != nil {
		return holdings{nowhere: liveHeap(t, g)}
	}
	runtime.GC()
	runtime.GC() // the profile is of the collection before
	n, _ := runtime.MemProfile(nil, false)
	records := make([]runtime.MemProfileRecord, n+1000)
	n, ok := runtime.MemProfile(records, false)
	if !ok {
		t.Fatal("the heap profile grows faster than it can be read")
	}
	held := make(holdings, n)
	for _, r := range records[:n] {
		held[r.Stack0] += r.InUseBytes()
	}
	return held
}

// heldSince is by how much the live heap of a gateway at which nothing happens has grown. What it makes in the midst of a
// collection counts as live, garbage or not, and its scheduler may be at work just then: so that is the smaller one of two
// looks.
func heldSince(t *testing.T, g *engine.Gateway, before holdings) holdings {
	t.Helper()
	first, second := heldBy(t, g).since(before), heldBy(t, g).since(before)
	if first.total() < second.total() {
		return first
	}
	return second
}

// total is the sum of the bytes.
func (h holdings) total() int64 {
	sum := int64(0)
	for _, bytes := range h {
		sum += bytes
	}
	return sum
}

// since is by how many bytes more is held than before, but for what is foreign to a gateway.
func (h holdings) since(before holdings) holdings {
	grown := holdings{}
	for _, some := range []holdings{h, before} {
		for at := range some {
			if change := h[at] - before[at]; change != 0 && !at.foreign() {
				grown[at] = change
			}
		}
	}
	return grown
}

// mostSites and mostFrames bound what is told.
const (
	mostSites  = 12
	mostFrames = 6
)

// String tells where the most was allocated.
func (h holdings) String() string {
	largest := slices.SortedFunc(maps.Keys(h), func(a, b callers) int { return cmp.Compare(h[b], h[a]) })
	var text strings.Builder
	for _, at := range largest[:min(mostSites, len(largest))] {
		fmt.Fprintf(&text, "%8d bytes in%s\n", h[at], at)
	}
	return text.String()
}

// String names the innermost functions, but for the runtime's own where there are enough others.
func (c callers) String() string {
	var names []string
	for frame := range c.frames() {
		names = append(names, fmt.Sprintf(" %s:%d", frame.Function, frame.Line))
	}
	for len(names) > mostFrames && strings.HasPrefix(names[0], " runtime.") {
		names = names[1:]
	}
	return strings.Join(names[:min(mostFrames, len(names))], "")
}

// frames go from the innermost one outwards. Nowhere has none.
func (c callers) frames() iter.Seq[runtime.Frame] {
	return func(yield func(runtime.Frame) bool) {
		depth := slices.Index(c[:], 0)
		if depth == 0 {
			return
		}
		if depth < 0 {
			depth = len(c)
		}
		frames := runtime.CallersFrames(c[:depth])
		for {
			frame, more := frames.Next()
			if !yield(frame) || !more {
				return
			}
		}
	}
}

// foreigners are functions whose allocations, and those of what they call, are no gateway's:
//
//   - The runtime's lists of goroutines that wait in a select, as those at a net.Pipe do. Each processor keeps one of up to 128
//     entries of 96 bytes, and how long it is depends on where goroutines wait and where they wake.
//   - The names of types that package reflect makes, once in a process, when the interpreter first comes by a call that
//     needs one. A function's spells its parameters out, and where these are structs of the plugin's it has 49 KB. What the
//     scheduler calls is come by when the first session is due, and so in the midst of any case.
//   - What these measurements are made of.
var foreigners = map[string]bool{
	"runtime.acquireSudog":                    true,
	"internal/abi.NewName":                    true,
	"github.com/wsfw/wsfw/e2e.heldBy":         true,
	"github.com/wsfw/wsfw/e2e.holdings.since": true,
}

// foreign reports whether what was allocated there is foreign to a gateway.
func (c callers) foreign() bool {
	for frame := range c.frames() {
		if foreigners[frame.Function] {
			return true
		}
	}
	return false
}

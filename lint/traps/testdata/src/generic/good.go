package p

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

type counters struct{ n atomic.Int64 }

var one = sync.OnceFunc(func() {})

func larger[T int | float64](a, b T) T {
	if a > b {
		return a
	}
	return b
}

func tried(l []int) bool {
	sort.Ints(l)
	return slices.Contains(l, larger(1, 2))
}

package p

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

type state struct {
	p atomic.Pointer[int] // want `generic: `
}

var once = sync.OnceValue(func() int { return 1 }) // want `generic: `

func generics(m map[int]int, l []int) {
	_ = maps.Clone(m) // want `generic: `
	slices.Sort(l)    // want `generic: `
}

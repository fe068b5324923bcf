// Package pace stretches the suite's bounds of time on a machine that is slow or busy.
package pace

import (
	"sync"
	"time"
)

// Of is d on a quiet machine with two cores, and more on a slower one, or beside other processes, or under the race detector.
func Of(d time.Duration) time.Duration {
	return time.Duration(float64(d) * Factor())
}

// Factor is how many times longer than on a quiet machine with two cores things take here. It is measured once, and from 1 to
// most.
var Factor = sync.OnceValue(func() float64 {
	longest := time.Duration(0)
	for range looks {
		longest = max(longest, handOver())
	}
	return min(max(1, float64(longest)/float64(quiet)), most)
})

const (
	// handOvers is how often a value is handed to another goroutine and back in one look.
	handOvers = 20_000

	// quiet is what that takes on a quiet machine: 2 cores of an AMD EPYC took 7 to 9 ms.
	quiet = 10 * time.Millisecond

	looks = 5
	most  = 8
)

// handOver measures what most of the suite does: goroutines that wake each other.
func handOver() time.Duration {
	there, back := make(chan int), make(chan int)
	go func() {
		for i := range there {
			back <- i
		}
		close(back)
	}()
	start := time.Now()
	for i := range handOvers {
		there <- i
		<-back
	}
	close(there)
	<-back
	return time.Since(start)
}

package wsfw

import "sync"

// Sizes of a direction's buffer in bytes. An idle session keeps the least, which has room for any
// control frame. A pump at work has a small one from a pool. One whose read fills that gets a large
// one until the next tick, which has room for half a message of 64 KiB and its header.
const (
	restBuffer  = 144
	smallBuffer = 1 << 10
	largeBuffer = 40 << 10

	// serviceBuffer is what Traefik's proxy reads at a time: it would read a larger piece in two.
	serviceBuffer = 32 << 10

	// bulkRest is how much of a frame is left to bulk, for that costs a call.
	bulkRest = 256 << 10
)

// Pools of *[]byte.
var smallBuffers, largeBuffers sync.Pool

// equip gives the pump of f a small buffer, for work.
func equip(f *flow) {
	f.small = borrow(&smallBuffers, smallBuffer)
	copy(*f.small, f.buf)
	f.buf = *f.small
}

// unburden gives back what equip has lent. What is held goes along: it is at most a control frame.
func unburden(f *flow) {
	copy(f.atRest, f.buf[:f.held])
	f.buf = f.atRest
	smallBuffers.Put(f.small)
	f.small = nil
}

// grow gives f a large buffer.
func grow(f *flow) []byte {
	if f.large == nil {
		f.large = borrow(&largeBuffers, largeBuffer)
		copy(*f.large, f.buf[:f.held])
		f.buf = *f.large
	}
	return f.buf
}

// restore gives a large buffer back, if there is one.
func restore(f *flow) {
	if f.large != nil {
		shrink(f)
	}
}

// shrink gives a large buffer back.
func shrink(f *flow) {
	smaller := f.atRest
	if f.small != nil {
		smaller = *f.small
	}
	copy(smaller, f.buf[:f.held])
	f.buf = smaller
	largeBuffers.Put(f.large)
	f.large = nil
}

// borrow takes a buffer from a pool, or a new one of a size in bytes.
func borrow(pool *sync.Pool, size int) *[]byte {
	if pooled := pool.Get(); pooled != nil {
		return pooled.(*[]byte)
	}
	fresh := make([]byte, size)
	return &fresh
}

package wsfw

import "sync"

// Sizes of a direction's buffer in bytes. An idle session keeps the small one; the
// large one is lent from a pool to a pump whose read fills the small one, and goes
// back at the next tick. It has room for half a message of 64 KiB and its header.
const (
	smallBuffer = 1 << 10
	largeBuffer = 40 << 10

	// serviceBuffer is what Traefik's proxy reads at a time: it would read a larger piece in two.
	serviceBuffer = 32 << 10

	// bulkRest is how much of a frame is left to bulk, for that costs a call.
	bulkRest = 256 << 10
)

// largeBuffers holds *[]byte of largeBuffer bytes.
var largeBuffers sync.Pool

// grow gives f a large buffer.
func grow(f *flow) []byte {
	if f.lent == nil {
		f.lent = borrow()
		copy(*f.lent, f.buf[:f.held])
		f.buf = *f.lent
	}
	return f.buf
}

// borrow takes a large buffer from the pool, or a new one.
func borrow() *[]byte {
	if pooled := largeBuffers.Get(); pooled != nil {
		return pooled.(*[]byte)
	}
	fresh := make([]byte, largeBuffer)
	return &fresh
}

// restore gives a large buffer back. What is held goes along: it is at most a
// control frame.
func restore(f *flow) {
	if f.lent == nil {
		return
	}
	copy(f.small, f.buf[:f.held])
	f.buf = f.small
	largeBuffers.Put(f.lent)
	f.lent = nil
}

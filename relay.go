package wsfw

import (
	"encoding/binary"
	"io"
	"runtime"
	"sync"
	"time"
)

// A flood of tiny frames is read in small pieces, and others have their turn after each: a large
// one would keep a processor for as long as the scheduler lets it, some 10 ms.
const (
	denseFrame   = 16                     // bytes, headers included, below which frames are tiny
	discardPause = 250 * time.Millisecond // after each large buffer of them that is discarded
)

// flow is one direction of a session. What is not said to be shared belongs to its pump,
// and after the session to the record.
type flow struct {
	from, to *side
	started  time.Time // the session
	track    *track
	bytes    int64 // passed on
	absorbed int64 // pongs to pings of ours, which are not passed on

	pinging   bool // a ping of ours is to be sent now
	finishing bool // a ping of ours is to be sent at the end of the current frame

	// pen is for whoever writes to the destination: the pump, but while it rests.
	pen sync.Mutex

	// Guarded by session.mu; the pump alone writes idle, looked and what follows it. Times
	// count from the session's start.
	idle   bool          // the pump is at rest
	due    bool          // a ping of ours is to be sent by the pump
	looked time.Duration // when the pump last looked up
	passed int64         // of bytes, at the last look
	data   int64         // of those, what was no ping or pong
	taken  int64         // of absorbed, at the last look

	buf    []byte  // the largest of these:
	atRest []byte  // restBuffer bytes, for as long as the session
	small  *[]byte // from smallBuffers, while the pump is at work
	large  *[]byte // from largeBuffers, nil while a small one is enough
	held   int     // bytes at the start of buf that wait for the rest of their header or control frame

	mask   int // what the MASK bit adds to the second header byte
	header int // bytes of the shortest header
}

// relay is the loop that every byte of a session passes through: read a chunk, walk
// the headers in it, write it. It returns when a read or a write fails, when the
// deadline of look passes, and at a close frame or a fault, which the track then
// holds. No clock, lock, deadline or allocation belongs here, and hardly a call: a
// call of ours costs some 0.1 µs for each value in the function that is called. So
// whole data frame headers are walked over right here, and walk is for the others. The
// first chunk has been read: n bytes, and what the read failed with.
//
// Most chunks are nothing but messages of one frame each. They stay in the inner loop, where
// what is not done counts: every step of the interpreter is some 2 % of what a message costs.
//
//nolint:funlen,gocognit,gocyclo,maintidx,nestif // see above
func relay(f *flow, n int, err error) (readErr, writeErr error) {
	src, dst, t := f.from.reader, f.to.conn, f.track
	mask, header := f.mask, f.header
	shortest := header // frame, where it is judged
	if !t.judged {
		shortest = 2
	}
	limit := t.maxFrame
	if t.maxMessage < int64(limit) {
		limit = int(t.maxMessage)
	}
	most := limit // bytes of a large message that needs no closer look, headers included
	if most > bulkRest {
		most = bulkRest
	}
	buf, held := f.buf, f.held
	room := len(buf)
	if t.metered {
		t.ceiling = t.messages // the bucket may have filled meanwhile
	}
	var failed error
	var at, step, passed, left int
	var count, budget, whole int64
	var into []byte
	for {
		if n > 0 {
			n += held
			at = n
			frames, messages := t.frames, t.messages
			if t.left >= n && !t.spelling {
				t.left -= n
			} else {
				until := n
				if t.ceiling-t.messages < int64(n/shortest) && allowMessages(t, n/shortest, time.Since(f.started)) < n/shortest {
					until = 0 // not each message in this chunk may pass
				}
				if t.spelling {
					until = 0
					at = 0
				} else {
					at = t.left
					t.left = 0
				}
				for at+3 < until {
					class := t.table[buf[at]]
					size := int(buf[at+1]) - mask
					body := at + header
					if class > classEnd || size < 0 || size > 127 {
						break
					}
					if size == 126 {
						size = int(buf[at+2])<<8 | int(buf[at+3])
						body += 2
						if size < 126 {
							break
						}
					} else if size == 127 {
						if at+10 > n || buf[at+2]|buf[at+3]|buf[at+4]|buf[at+5]|buf[at+6] > 0 {
							break
						}
						size = int(binary.BigEndian.Uint32(buf[at+6 : at+10]))
						body += 8
						if size < 1<<16 {
							break
						}
					}
					if body > n || size > limit {
						break
					}
					if class == classWhole {
						t.messages++
					} else if int64(size) > t.maxMessage-t.message {
						break
					} else if class == classMiddle {
						t.message += int64(size)
					} else {
						enter(t, class, size, false)
					}
					t.frames++
					at = body + size
					if at > n {
						t.left = at - n
						at = n
					}
				}
				if at < n {
					at += walk(t, buf[at:n])
					for t.pong != nil {
						n = f.absorb(at, n)
						at += walk(t, buf[at:n])
					}
				}
			}
			if at > 0 {
				_, failed = dst.Write(buf[:at])
				if failed != nil {
					t.frames, t.messages = frames, messages
					f.held = copy(buf, buf[at:n])
					return nil, failed
				}
				f.bytes += int64(at)
			}
			held = 0
			if at < n {
				held = copy(buf, buf[at:n])
				if t.closing != nil || t.fault != nil {
					f.held = held
					return nil, nil
				}
			}
			if n >= room {
				if t.frames-frames > int64(n/denseFrame) {
					room = smallBuffer
					runtime.Gosched()
				} else {
					f.held = held
					buf = grow(f)
					room = len(buf)
				}
			}
			if t.left >= bulkRest && !t.spelling && err == nil {
				readErr, writeErr = bulk(f)
				buf = f.buf
				room = len(buf)
				if readErr != nil || writeErr != nil {
					f.held = 0
					return readErr, writeErr
				}
			}
		}
		if err != nil {
			f.held = held
			return err, nil
		}
		if held > 0 || t.spelling {
			n, err = src.Read(buf[held:room])
			continue
		}

		if t.speller != nil && t.left == 0 {
			n, err, failed = readTexts(f, buf[:room], limit)
			if failed != nil {
				f.held = 0
				return nil, failed
			}
			continue
		}

		// Large messages of one frame, in as many pieces as they come in: what is left of one, and
		// those that follow it in large buffers that begin with their headers.
		into = buf[:room]
		n, err = src.Read(into)
		strides := t.strides
		budget = t.ceiling - t.messages
		whole = budget
		passed = 0
		if t.left > 0 || n == largeBuffer {
			left = t.left
			step = 0
			for err == nil && n > 0 && (n < room || room == largeBuffer) {
				if left == 0 {
					if n < largeBuffer || whole <= 0 || t.speller != nil {
						break
					}
					step = strides[buf[0]][buf[1]]
					if step == extended64 {
						step = int(buf[7])<<16 | int(buf[8])<<8 | int(buf[9])
						if step < 1<<16 || buf[2]|buf[3]|buf[4]|buf[5]|buf[6] > 0 {
							break
						}
						step += header + 8
					} else if step == extended16 {
						step = header + 2 + int(buf[2])<<8 + int(buf[3])
					}
					if step < n || step > most {
						break
					}
					left = step
					whole--
				}
				if n > left {
					break
				}
				left -= n // for discard, too, where the write fails
				_, failed = dst.Write(buf[:n])
				if failed != nil {
					if left+n == step {
						whole++ // its frame has not been passed on
					}
					break
				}
				passed += n
				n, err = src.Read(into)
			}
			t.left = left
			f.bytes += int64(passed)
			t.frames += budget - whole
			t.messages += budget - whole
			if failed != nil {
				f.held = 0
				return nil, failed
			}
			continue
		}

		// The next message stands at at; where it cannot, at is beyond any chunk, by as much as
		// says why. A header that is not complete, with what is left of earlier ones behind it,
		// spells a frame that does not end with the chunk. A chunk of one message is by far the
		// most frequent, and takes the fewest steps.
		for err == nil && n < room {
			at = strides[buf[0]][buf[1]]
			if at == n && whole > 0 {
				whole--
			} else {
				count = 1
				for {
					for at < n {
						at += strides[buf[at]][buf[at+1]]
						count++
					}
					if at < extended16 || at >= noStride {
						break
					}
					at -= extended16
					if at+3 >= n {
						break
					}
					step = int(buf[at+2])<<8 | int(buf[at+3])
					if step < 126 || step > limit {
						break
					}
					at += header + 2 + step
				}
				if at != n || count > whole {
					break
				}
				whole -= count
			}
			_, failed = dst.Write(buf[:n])
			if failed != nil {
				if strides[buf[0]][buf[1]] == n {
					count = 1
				}
				whole += count // they have not been passed on
				break
			}
			passed += n
			n, err = src.Read(into)
		}
		if passed > 0 {
			f.bytes += int64(passed)
			t.frames += budget - whole
			t.messages += budget - whole
		}
		if failed != nil {
			f.held = 0
			return nil, failed
		}
	}
}

// absorb takes the pong at buf[at:n] out, and returns what n is without it.
func (f *flow) absorb(at, n int) int {
	notePong(f.from.heart, sentAt(f.track.pong), time.Since(f.started))
	f.absorbed++
	f.track.frames++
	f.track.pong = nil
	size := f.header + pingSize
	copy(f.buf[at:], f.buf[at+size:n])
	return n - size
}

// bulk passes the rest of the current frame on in compiled code. Its buffer is ours; MultiWriter
// keeps the connection from taking one of its own.
func bulk(f *flow) (readErr, writeErr error) {
	buf := f.buf
	if f.track.left >= largeBuffer {
		buf = grow(f)
	}
	if f.to.service != nil && len(buf) > serviceBuffer {
		buf = buf[:serviceBuffer]
	}
	rest := &io.LimitedReader{R: f.from.reader, N: int64(f.track.left)}
	written, err := io.CopyBuffer(io.MultiWriter(f.to.conn), rest, buf)
	read := int64(f.track.left) - rest.N
	f.track.left = int(rest.N)
	f.bytes += written
	if err == nil && rest.N > 0 {
		return io.EOF, nil
	}
	if err != nil && written < read {
		return nil, err
	}
	return err, nil
}

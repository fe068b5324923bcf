package wsfw

import (
	"errors"
	"os"
	"sync"
	"time"
)

// Sizes of a direction's buffer in bytes. An idle session keeps the small one; the
// large one is lent from a pool while reads fill the small one.
const (
	smallBuffer = 1 << 10
	largeBuffer = 32 << 10
)

// quietTick is how often a pump looks up from its work where no option asks for
// more: often enough to give back the buffer of a session that has gone quiet.
const quietTick = 10 * time.Second

// largeBuffers holds *[]byte of largeBuffer bytes.
var largeBuffers sync.Pool

// flow is one direction of a session. Everything in it belongs to its pump, and
// after the session to the record.
type flow struct {
	from, to *side
	track    track
	bytes    int64 // passed on

	buf    []byte    // small, or *lent
	small  []byte    // smallBuffer bytes, for as long as the session
	lent   *[]byte   // from largeBuffers, nil while buf is small
	held   int       // bytes at the start of buf that wait for the rest of their header or control frame
	missed time.Time // when the write deadline of to passes

	// What a whole message in one small frame looks like: its size is the second
	// header byte plus overhead, and between least and most.
	overhead, least, most int
}

// newFlow makes the direction between two sides whose frames obey rules.
func newFlow(from, to *side, rules *grammar, masked bool) *flow {
	f := &flow{from: from, to: to, track: newTrack(rules, masked)}
	f.overhead, f.least, f.most = 2, 2, 2+maxControl
	if masked {
		f.overhead, f.least, f.most = 2+maskSize-maskBit, 2+maskSize, 2+maskSize+maxControl
	}
	return f
}

// traffic is what the flow has passed on.
func (f *flow) traffic() traffic {
	return traffic{Frames: f.track.frames, Messages: f.track.messages, Bytes: f.bytes}
}

// pump relays one direction: frame by frame legal, byte by byte unchanged. When the
// direction may say nothing more it drains what still comes, so that the close
// frame on the other way is not lost in a reset connection.
func (s *session) pump(f *flow) {
	f.small = make([]byte, smallBuffer)
	f.buf = f.small
	s.look(f)
	for {
		readErr, writeErr := relay(f)
		if writeErr != nil {
			s.unwritable(f, writeErr)
			break
		}
		if f.track.fault != nil {
			s.breach(f)
			break
		}
		if f.track.closing != nil {
			s.passedClose(f)
			break
		}
		if !errors.Is(readErr, os.ErrDeadlineExceeded) {
			s.endOfStream(f)
			return
		}
		if s.look(f) {
			if !s.bidFarewell(f) {
				s.endOfStream(f)
				return
			}
			break
		}
	}
	s.drain(f)
	s.endOfStream(f)
}

// relay is the loop that every byte of a session passes through: read a chunk,
// walk the headers in it, write it. It returns when a read or a write fails, when
// the deadline of look passes, and at a close frame or a fault, which the track
// then holds. No clock, lock, deadline or allocation belongs here, and hardly a call.
func relay(f *flow) (readErr, writeErr error) {
	src, dst, t := f.from.reader, f.to.conn, &f.track
	buf, held := f.buf, f.held
	for {
		n, err := src.Read(buf[held:])
		if n > 0 {
			n += held
			pass := n
			if t.left >= uint64(n) {
				t.left -= uint64(n)
			} else if n == int(buf[1])+f.overhead && n >= f.least && n <= f.most && t.left == 0 && t.table[buf[0]] == classWhole {
				t.frames++
				t.messages++
			} else {
				pass = walk(t, buf[:n])
			}
			if pass > 0 {
				_, failed := dst.Write(buf[:pass])
				if failed != nil {
					f.held = copy(buf, buf[pass:n])
					return nil, failed
				}
				f.bytes += int64(pass)
			}
			held = 0
			if pass < n || t.closing != nil {
				held = copy(buf, buf[pass:n])
				f.held = held
				if t.closing != nil || t.fault != nil {
					return nil, nil
				}
			}
			if n == len(buf) || len(buf) != smallBuffer {
				f.held = held
				buf = resize(f, n)
			}
		}
		if err != nil {
			f.held = held
			return err, nil
		}
	}
}

// resize gives f the buffer that reads like the last one, of n bytes, ask for.
func resize(f *flow, n int) []byte {
	if n <= smallBuffer && n < len(f.buf) {
		restore(f)
		return f.buf
	}
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

// look is what a pump does at its start, at every tick and when it is woken. It
// reports whether there is a farewell to bid. The write deadline rolls: it is moved
// on as long as the pump comes by, so only a write that blocks can miss it.
func (s *session) look(f *flow) bool {
	restore(f)
	now := time.Now()
	_ = f.from.conn.SetReadDeadline(now.Add(s.tick()))
	s.armWrite(f, now)
	// Last, for wake stores before it sets its deadline: whichever of the two
	// deadlines stands in the end, the farewell has been seen or will be.
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.to.farewell != nil
}

// armWrite moves the write deadline of f's destination on.
func (s *session) armWrite(f *flow, now time.Time) {
	if s.writeTimeout <= 0 {
		return
	}
	f.missed = now.Add(s.writeTimeout + s.tick())
	_ = f.to.conn.SetWriteDeadline(f.missed)
}

// bidFarewell brings the frame that is being passed on to its end and sends our
// close frame after it. It is false where the stream ended inside the frame.
func (s *session) bidFarewell(f *flow) bool {
	// The closing timer bounds these writes; the rolling deadline no longer rolls.
	_ = f.to.conn.SetWriteDeadline(time.Time{})
	for f.track.left > 0 {
		chunk := f.buf
		if f.track.left < uint64(len(chunk)) {
			chunk = chunk[:int(f.track.left)]
		}
		n, err := readOn(f, chunk)
		f.track.left -= uint64(n)
		if _, failed := f.to.conn.Write(chunk[:n]); failed != nil {
			s.unwritable(f, failed)
			return true
		}
		f.bytes += int64(n)
		if err != nil && f.track.left > 0 {
			return false
		}
	}
	s.mu.Lock()
	frame := f.to.farewell
	s.mu.Unlock()
	s.sendClose(f.to, frame)
	return true
}

// readOn reads from f's source and is not woken: there is nothing more to look for.
func readOn(f *flow, buf []byte) (int, error) {
	for {
		n, err := f.from.reader.Read(buf)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		_ = f.from.conn.SetReadDeadline(time.Time{})
	}
}

// drain reads and drops what still comes from a side that may say nothing more, to
// its end of stream, and notes its close frame.
func (s *session) drain(f *flow) {
	rest := newTrack(lax, f.track.masked)
	rest.left = f.track.left
	rest.closing = f.track.closing
	for {
		if rest.closing == nil {
			pass := walk(&rest, f.buf[:f.held])
			f.held = copy(f.buf, f.buf[pass:f.held])
			if rest.closing != nil {
				s.mark(&f.from.closeReceived)
			}
		}
		if rest.closing != nil {
			f.held = 0
		}
		n, err := readOn(f, f.buf[f.held:])
		if err != nil && n == 0 {
			return
		}
		f.held += n
	}
}

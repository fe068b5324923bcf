package wsfw

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"
)

// Sizes of a direction's buffer in bytes. An idle session keeps the least, which has room for any control frame. A pump at
// work has a small one from a pool. One whose read fills that gets a large one until it looks up, which has room for half a
// message of 64 KiB and its header.
const (
	restBuffer  = 144
	smallBuffer = 1 << 10
	largeBuffer = 40 << 10

	// serviceBuffer is what Traefik's proxy reads at a time: it would read a larger piece in two.
	serviceBuffer = 32 << 10

	// bulkRest is how much of a frame is left to bulk, for that costs a call.
	bulkRest = 256 << 10
)

// A flood of tiny frames is read in small pieces, and others have their turn after each: a large one would keep a processor
// for as long as Go's scheduler lets it, some 10 ms.
const (
	denseFrame = 16                     // bytes, headers included, below which frames are tiny
	drainPause = 250 * time.Millisecond // after each large buffer of them that is dropped
)

// What a peer has sent already goes before a close frame of ours to the other one: that is sent when nothing has come for
// deliverPause, or after deliverTimeout. Where leastBacklog bytes have come by then, its kernel may have to find out first that
// there is room for more: so nothing has to come for backlogPause, and backlogTimeout is the bound.
const (
	deliverPause   = 10 * time.Millisecond
	deliverTimeout = 250 * time.Millisecond
	leastBacklog   = 1 << 20
	backlogPause   = 250 * time.Millisecond
	backlogTimeout = time.Second
)

// direction is one way of a session. Its pump, a goroutine, relays it, and owns what is not said to be shared; the record has
// it after the session.
type direction struct {
	from, to *peer
	started  time.Time // the session
	parser   *parser
	bytes    int64  // passed on
	absorbed int64  // pongs to pings of ours, which are not passed on
	trips    []trip // of those, since the last look

	pinging   bool // a ping of ours is to be sent now
	finishing bool // a ping of ours is to be sent at the end of the current frame

	// writeMu is held by whoever writes to the destination: the pump, but while it rests, and the scheduler then. A pump that
	// rests inside a frame holds it.
	writeMu sync.Mutex

	// session.mu guards the following. The pump alone writes idle, looked and what follows it. Times count from the session's
	// start.
	idle    bool          // the pump is at rest
	woken   bool          // the pump is to look up
	pingDue bool          // the pump is to send a ping of ours
	readBy  time.Duration // when the pump looks up,
	writeBy time.Duration // and until when its write may block,
	overdue bool          // which has been put off once
	stuck   bool          // and is over: the write is to fail
	looked  time.Duration // when the pump last looked up
	told    bool          // the pump knows of a close frame that it is to send
	toldAt  int64         // how many bytes had been passed on then
	sendBy  time.Duration // and until when it may put that off
	passed  int64         // of bytes, at the last look
	data    int64         // of those, what was no ping or pong
	taken   int64         // of absorbed, at the last look
	tallied traffic       // what it has passed on then

	buf    []byte  // the largest of these:
	atRest []byte  // restBuffer bytes, for as long as the session
	small  *[]byte // from smallBuffers, while the pump is at work
	large  *[]byte // from largeBuffers, nil while a small one is enough
	held   int     // bytes at the start of buf that wait for the rest of their header or control frame
}

// pump relays one direction to its end: frame by frame legal, byte by byte unchanged. It begins at rest.
//
// While a session is idle it keeps this function and what that waits in, so it has next to nothing in it: every value costs
// 24 bytes and more, and every function above the wait 0.2 KB, and 0.6 of stack.
func pump(s *session, f *direction) {
	defer arrive(s)
	for {
		n, err := f.from.reader.Read(f.buf[f.held:])
		if onRead(s, f, n, err) {
			continue
		}
		return
	}
}

// onRead is what a pump does when its rest is over: n bytes have come, or the read has failed. It is false at the end of the
// direction, and true when the pump is at rest again. A pong to a ping of ours does not end the rest, and most sessions end
// out of it: so neither costs much.
func onRead(s *session, f *direction, n int, err error) bool {
	p := f.parser
	if n == 0 {
		return err == nil || onWake(s, f, err) // a service may have written nothing
	}
	if p.left > 0 {
		return enterWork(s, f, n, err)
	}
	if n == p.pongSize && f.held == 0 && p.controls < p.maxControls && isPong(s, f, f.buf[:n]) {
		return true
	}
	f.writeMu.Lock()
	if !isClose(f, n) {
		return enterWork(s, f, n, err)
	}
	if p.fault == nil {
		passClose(s, f)
	} else {
		breach(s, f)
		drain(s, f)
	}
	shrink(f)
	return false
}

// onWake is onRead where nothing has come.
func onWake(s *session, f *direction, err error) bool {
	if isOver(s) {
		return false // both connections are being closed: there is nothing left to do
	}
	if f.parser.left == 0 {
		f.writeMu.Lock()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return enterWork(s, f, 0, err)
	}
	if s.tunnel {
		endTunnel(s, f, err)
	} else {
		endOfStream(s, f)
	}
	return false
}

// isClose takes a close frame that comes by itself after a rest, as most do. The parser then holds it, or its fault: without
// relay and parse, whose many values are as much work as all else at a session's end.
func isClose(f *direction, n int) bool {
	if f.buf[0] != finBit|opClose || f.held > 0 {
		return false
	}
	frame := string(f.buf[:n])
	if f.parser.masked {
		frame = withoutKey(f.buf[:n])
	}
	said := usualClose[frame]
	if said == nil {
		return isUnusualClose(f, n)
	}
	f.held = n
	f.parser.said = said
	f.parser.closing = append([]byte(nil), f.buf[:n]...)
	return true
}

// isUnusualClose is isClose for a frame that is none of those in usualClose.
func isUnusualClose(f *direction, n int) bool {
	if n < 2 || f.buf[1]&0x7F > maxControl || (f.buf[1] >= maskBit) != f.parser.masked || n != f.parser.header+int(f.buf[1]&0x7F) {
		return false
	}
	f.held = n
	parseClose(f.parser, f.buf[:n])
	return true
}

// enterWork is a pump's time at work, from the n bytes that have ended its rest, or err, on. It is as onRead.
func enterWork(s *session, f *direction, n int, err error) bool {
	if !s.tunnel {
		takeSmall(f)
	}
	on := true
	if n > 0 {
		leaveRest(s, f)
		on = work(s, f, n, err)
	}
	for on && lookUp(s, f) {
		if f.idle {
			returnSmall(f)
			if f.parser.left == 0 {
				f.writeMu.Unlock()
			}
			return true
		}
		on = work(s, f, 0, nil)
	}
	shrink(f)
	returnSmall(f)
	return false
}

// work passes on what comes, until the pump has to look up. The first n bytes have been read, and err with them. It is false
// at the end of the direction.
func work(s *session, f *direction, n int, err error) bool {
	if s.tunnel {
		return workTunnel(s, f, n)
	}
	p := f.parser
	var readErr, writeErr error
	if f.finishing {
		readErr, writeErr = finishFrame(f)
	} else {
		if p.metered {
			p.ceiling = p.messages // the bucket may have filled meanwhile
		}
		readErr, writeErr = relay(f, n, err)
	}
	if writeErr != nil {
		unwritable(s, f, writeErr)
		drain(s, f)
	} else if p.fault != nil {
		breach(s, f)
		drain(s, f)
	} else if p.closing != nil {
		passClose(s, f)
	} else if readErr == nil || errors.Is(readErr, os.ErrDeadlineExceeded) {
		return true
	} else {
		endOfStream(s, f)
	}
	return false
}

// lookUp is what a pump does after each time at work. It is false at the end of the direction.
func lookUp(s *session, f *direction) bool {
	pending := housekeep(s, f)
	if pending != nil {
		sendPending(s, f, pending)
		return false
	}
	if !f.pinging {
		return true
	}
	err := ping(f.to)
	f.pinging = false
	if err != nil {
		unwritable(s, f, err)
		drain(s, f)
		return false
	}
	if f.idle {
		s.mu.Lock()
		f.writeBy = forever
		s.mu.Unlock()
	}
	return true
}

// relay is the loop that every byte of a session passes through: read a chunk, parse the headers in it, write it. It returns
// when a read or a write fails, when the pump has to look up, and at a close frame or a fault, which the parser then holds.
// The first chunk has been read: n bytes, and what the read failed with.
//
// Most chunks are whole messages, or pieces of a large one, and nothing else. They stay in the inner loop, where every step of
// the interpreter is some 2 % of what a message costs: no clock, lock, deadline or allocation belongs here, and hardly a call.
//
//nolint:funlen,gocognit,gocyclo,nestif // see above
func relay(f *direction, n int, err error) (readErr, writeErr error) {
	src, dst, p := f.from.reader, f.to.conn, f.parser
	buf, held, header, most, lengths := f.buf, f.held, p.header, p.limit, p.lengths
	room := len(buf)
	var failed error
	var at, left, passed, skipped, step int
	var count, budget, whole, frames, messages int64
	for {
		left = p.left
		budget = p.ceiling - p.messages
		whole = budget
		passed = 0
		usual := held == 0 && !p.within && !p.inText
		for usual && err == nil && n > 0 && (n < room || room == largeBuffer) {
			count = 0
			if left == 0 {
				count = 1
				step = lengths[buf[0]][buf[1]]
				if step >= extended16 {
					step = longStep(buf[:n], step, header, most)
					if step == noLength {
						break
					}
				}
				if step < n && n < room {
					at = step
					for at < n {
						at += lengths[buf[at]][buf[at+1]]
						count++
					}
					if at == n {
						step = n
					}
				} else if step == textFrame+n && isText(buf[header:n], buf[2:header]) {
					step = n
				}
				if step < n || step >= textFrame {
					skipped, count = skipMessages(p, buf[:n], 0)
					if skipped != n {
						break
					}
					skipped = 0
					step = n
				}
				if n < header || count > whole {
					break
				}
				left = step
				whole -= count
			} else if n > left {
				break
			}
			left -= n
			_, failed = dst.Write(buf[:n])
			if failed != nil {
				whole += count
				break
			}
			passed += n
			n, err = src.Read(buf)
		}
		p.left = left
		f.bytes += int64(passed)
		p.frames += budget - whole
		p.messages += budget - whole
		if failed != nil {
			f.held = 0
			return nil, failed
		}

		// Anything else: the rest of a frame, fragments, control frames, what is not complete or not legal.
		if n > 0 {
			n += held
			at = n
			frames, messages = p.frames, p.messages
			if p.left >= n && !p.inText {
				p.left -= n
			} else {
				at, n = parseOn(f, buf[:n], skipped, count)
				skipped = 0
			}
			if at > 0 {
				_, failed = dst.Write(buf[:at])
				if failed != nil {
					p.frames, p.messages = frames, messages
					f.held = copy(buf, buf[at:n])
					return nil, failed
				}
				f.bytes += int64(at)
			}
			held = copy(buf, buf[at:n])
			if p.closing != nil || p.fault != nil {
				f.held = held
				return nil, nil
			}
			if n >= room && p.frames-frames > int64(n/denseFrame) {
				room = smallBuffer
				runtime.Gosched()
			} else if n >= room {
				f.held = held
				buf = grow(f)
				room = len(buf)
			}
			if p.left >= bulkRest && !p.inText && err == nil {
				readErr, writeErr = bulk(f)
				if readErr != nil || writeErr != nil {
					f.held = 0
					return readErr, writeErr
				}
				buf = f.buf
				room = len(buf)
			}
		}
		if err != nil {
			f.held = held
			return err, nil
		}
		n, err = src.Read(buf[held:room])
	}
}

// longStep is the length of the message that chunk begins with, of which the parser's lengths have step: that of its header, of
// at least header bytes, is read from there. It is noLength where that is not all there, not legal, or more than most, and
// where the chunk begins with something else; extended16 where it is text that has to be checked.
func longStep(chunk []byte, step, header, most int) int {
	size, least := 0, 126
	if step == extended16 && len(chunk) >= header+2 {
		header += 2
		size = int(binary.BigEndian.Uint16(chunk[2:]))
	} else if step == extended64 && len(chunk) >= header+8 && binary.BigEndian.Uint32(chunk[2:]) == 0 {
		header += 8
		least = 1 << 16
		size = int(binary.BigEndian.Uint32(chunk[6:])) // negative where that does not fit
	}
	if step == textFrame+extended16 {
		return extended16
	}
	if size < least || size > most {
		return noLength
	}
	return header + size
}

// parseOn goes over a chunk that continues f's stream, of which count messages up to skipped have been skipped. It returns how
// much of the chunk may go on, and how long it is without the pongs to pings of ours, which it takes out.
func parseOn(f *direction, chunk []byte, skipped int, count int64) (pass, size int) {
	p, at := f.parser, 0
	size = len(chunk)
	if p.ceiling-p.messages < int64(size/2) { // as many may begin in it
		allowMessages(p, size/2, time.Since(f.started))
	}
	if !p.inText {
		at = p.left
		p.left = 0
		if skipped == 0 && !p.within && at+1 < size && p.lengths[chunk[at]][chunk[at+1]] < extended64 {
			skipped, count = skipMessages(p, chunk, at)
		} else if skipped == 0 {
			skipped = at
			count = 0
		}
		if count <= p.ceiling-p.messages {
			at = skipped
			p.frames += count
			p.messages += count
		}
	}
	at += parseChunk(p, chunk[at:])
	for p.pong != nil {
		size = absorb(f, at, size)
		at += parseChunk(p, chunk[at:size])
	}
	return at, size
}

// absorb takes the pong at f.buf[at:n] out, and returns what n is without it.
func absorb(f *direction, at, n int) int {
	f.trips = append(f.trips, trip{sentAt(f.parser.pong), time.Since(f.started)})
	f.absorbed++
	f.parser.frames++
	f.parser.pong = nil
	size := f.parser.pongSize
	copy(f.buf[at:], f.buf[at+size:n])
	return n - size
}

// bulk passes the rest of the current frame on in compiled code. Its buffer is ours; MultiWriter keeps the connection from
// taking one of its own.
func bulk(f *direction) (readErr, writeErr error) {
	buf := grow(f)
	if f.to.pipes != nil && len(buf) > serviceBuffer {
		buf = buf[:serviceBuffer]
	}
	rest := &io.LimitedReader{R: f.from.reader, N: int64(f.parser.left)}
	written, err := io.CopyBuffer(io.MultiWriter(f.to.conn), rest, buf)
	read := int64(f.parser.left) - rest.N
	f.parser.left = int(rest.N)
	f.bytes += written
	if err == nil && rest.N > 0 {
		return io.EOF, nil
	}
	if err != nil && written < read {
		return nil, err
	}
	return err, nil
}

// finishFrame passes on the rest of the current frame, and checks it where it is text that is checked.
func finishFrame(f *direction) (readErr, writeErr error) {
	p := f.parser
	for p.left > 0 {
		buf := f.buf
		if p.left < len(buf) {
			buf = buf[:p.left]
		}
		n, err := f.from.reader.Read(buf)
		if n > 0 && parseChunk(p, buf[:n]) != n {
			f.held = n // for whoever looks for what stands behind the frame
			return nil, nil
		}
		if n > 0 {
			_, failed := f.to.conn.Write(buf[:n])
			if failed != nil {
				return nil, failed
			}
			f.bytes += int64(n)
		}
		if err != nil {
			return err, nil
		}
	}
	return nil, nil
}

// workTunnel is work in a tunnel, where compiled code copies bytes, from the first n on.
func workTunnel(s *session, f *direction, n int) bool {
	if n > 0 {
		written, err := f.to.conn.Write(f.buf[:n])
		f.bytes += int64(written)
		if err != nil {
			failTunnel(s, f, err)
			return false
		}
	}
	// As they are, connections would do the copying themselves, with a buffer that stays with the session.
	source, destination := io.LimitReader(f.from.reader, unlimited), io.MultiWriter(f.to.conn)
	copied, err := io.CopyBuffer(destination, source, grow(f))
	f.bytes += copied
	if err == nil {
		endTunnel(s, f, io.EOF)
		return false
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || isWrite(err) {
		failTunnel(s, f, err)
		return false
	}
	return true
}

// Pools of *[]byte.
var smallBuffers, largeBuffers sync.Pool

// takeSmall gives the pump of f a small buffer, for work.
func takeSmall(f *direction) {
	f.small = borrow(&smallBuffers, smallBuffer)
	copy(*f.small, f.buf)
	f.buf = *f.small
}

// returnSmall gives that back, if there is one. What is held goes along: it is at most a control frame.
func returnSmall(f *direction) {
	if f.small == nil {
		return
	}
	copy(f.atRest, f.buf[:f.held])
	f.buf = f.atRest
	smallBuffers.Put(f.small)
	f.small = nil
}

// grow gives f a large buffer.
func grow(f *direction) []byte {
	if f.large == nil {
		f.large = borrow(&largeBuffers, largeBuffer)
		copy(*f.large, f.buf[:f.held])
		f.buf = *f.large
	}
	return f.buf
}

// shrink gives a large buffer back, if there is one.
func shrink(f *direction) {
	if f.large != nil {
		returnLarge(f)
	}
}

// returnLarge is shrink where there is one.
func returnLarge(f *direction) {
	f.buf = f.atRest
	if f.small != nil {
		f.buf = *f.small
	}
	copy(f.buf, (*f.large)[:f.held])
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

package wsfw

import (
	"errors"
	"os"
	"time"
)

// pump relays one direction to its end: frame by frame legal, byte by byte unchanged. It begins at
// rest, for there is nothing to look for yet.
//
// While a session is idle it keeps this function and what that waits in, so it has next to
// nothing in it: every value costs 24 bytes and more, and every function above the wait 0.2 KB,
// and 0.6 of stack.
func pump(s *session, f *flow) {
	defer arrive(s)
	for {
		n, err := f.from.reader.Read(f.buf[f.held:])
		if attend(s, f, n, err) {
			continue
		}
		return
	}
}

// attend is what a pump does when its rest is over: n bytes have come, or the read has failed. It is
// false at the end of the direction, and true when the pump is at rest again. The pen is free then,
// unless the destination stands inside a frame. A pong to a ping of ours does not end the rest, and
// most sessions end out of it: so neither costs much.
func attend(s *session, f *flow, n int, err error) bool {
	if n > 0 {
		return hear(s, f, n, err)
	}
	if err == nil {
		return true // a service has written nothing
	}
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if over {
		return false // both connections are being closed: there is nothing left to do
	}
	if f.track.left == 0 {
		f.pen.Lock()
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		endOfStream(s, f)
		return false
	}
	return toil(s, f, 0, err)
}

// hear is attend for n bytes that have come.
func hear(s *session, f *flow, n int, err error) bool {
	if f.track.left == 0 {
		if n == f.header+pingSize && f.track.token != 0 && f.held == 0 && f.track.controls < f.track.mostControls && isPong(s, f, f.buf[:n]) {
			return true
		}
		f.pen.Lock()
	}
	if isClose(f, n) {
		if f.track.fault != nil {
			if s.writeTimeout > 0 {
				rouse(s, f) // for the deadline of the write
			}
			s.breach(f)
			hearOut(s, f)
		} else {
			endByClose(s, f)
		}
		restore(f)
		return false
	}
	return toil(s, f, n, err)
}

// toil is a pump's time at work, from the n bytes that have ended its rest, or err, on.
func toil(s *session, f *flow, n int, err error) bool {
	equip(f)
	if n > 0 {
		rouse(s, f)
	}
	on := true
	if n > 0 || err == nil {
		on = work(s, f, n, err)
	}
	for on && lookUp(s, f) {
		if f.idle {
			unburden(f)
			if f.track.left == 0 {
				f.pen.Unlock()
			}
			return true
		}
		on = work(s, f, 0, nil)
	}
	restore(f)
	unburden(f)
	return false
}

// lookUp is what a pump does after each time at work. It is false at the end of the direction.
func lookUp(s *session, f *flow) bool {
	farewell := look(s, f)
	if farewell != nil {
		if s.bidFarewell(f, farewell) {
			discard(s, f)
		}
		endOfStream(s, f)
		return false
	}
	if !f.pinging {
		return true
	}
	err := ping(f.to)
	if f.idle {
		unhurry(s, f.to)
	}
	if err != nil {
		s.unwritable(f, err)
		hearOut(s, f)
		return false
	}
	return true
}

// work passes on what comes, until the pump has to look up again. The first n bytes have been
// read, and err with them. It is false at the end of the direction.
func work(s *session, f *flow, n int, err error) bool {
	var readErr, writeErr error
	if f.finishing {
		readErr, writeErr = finishFrame(f)
	} else {
		readErr, writeErr = relay(f, n, err)
	}
	if writeErr != nil {
		s.unwritable(f, writeErr)
		hearOut(s, f)
		return false
	}
	if f.track.fault != nil {
		s.breach(f)
		hearOut(s, f)
		return false
	}
	if f.track.closing != nil {
		endByClose(s, f)
		return false
	}
	if readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded) {
		endOfStream(s, f)
		return false
	}
	return true
}

// finishFrame passes on the rest of the current frame, and checks it where it is text that is checked.
func finishFrame(f *flow) (readErr, writeErr error) {
	if f.track.spelling {
		readErr, writeErr = spellOut(f)
	} else {
		readErr, writeErr = bulk(f)
	}
	return readErr, writeErr
}

// isClose takes a close frame that comes by itself after a rest, as most do. The track then holds it, or
// its fault: without relay and walk, whose many values are as much work as all else at a session's end.
func isClose(f *flow, n int) bool {
	if f.held > 0 || f.track.left > 0 || n < 2 || f.buf[0] != finBit|opClose {
		return false
	}
	size := int(f.buf[1]) - f.mask
	if size < 0 || size > maxControl || n != f.header+size { // less than 0: it is not masked, and has to be
		return false
	}
	f.held = n
	walkClose(f.track, f.buf[:n])
	return true
}

// endByClose is the end of a direction by its source's close frame.
func endByClose(s *session, f *flow) {
	if passUsualClose(s, f) {
		return
	}
	if s.writeTimeout > 0 && f.idle {
		rouse(s, f) // for the deadline of the write
	}
	passClose(s, f)
	hearOut(s, f)
}

// hearOut is the end of a direction that may say nothing more. It drains what still comes, so
// that the close frame on the other way is not lost in a reset connection.
func hearOut(s *session, f *flow) {
	if f.track.closing != nil {
		drop(s, f)
	} else {
		discard(s, f)
	}
	endOfStream(s, f)
}

// bidFarewell brings the frame that is being passed on to its end and sends our
// close frame after it. It is false where the stream ended inside the frame.
func (s *session) bidFarewell(f *flow, farewell []byte) bool {
	unhurry(s, f.to)
	for f.track.left > 0 {
		readErr, writeErr := finishFrame(f)
		if f.track.fault != nil {
			closeQuietly(f.to) // which stands inside a frame
			return true
		}
		if writeErr != nil {
			s.unwritable(f, writeErr)
			return true
		}
		if readErr != nil && (!errors.Is(readErr, os.ErrDeadlineExceeded) || !sleepOn(s, f)) {
			return false
		}
	}
	s.sendClose(f.to, farewell)
	return true
}

// readOn reads from f's source and is not woken: there is nothing more to look for.
func readOn(s *session, f *flow, buf []byte) (int, error) {
	for {
		n, err := f.from.reader.Read(buf)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !sleepOn(s, f) {
			return n, err
		}
	}
}

// sleepOn undoes that a pump was woken. It is false where the session is over.
func sleepOn(s *session, f *flow) bool {
	s.mu.Lock()
	over := s.over
	if !over {
		_ = f.from.source.SetReadDeadline(time.Time{})
	}
	s.mu.Unlock()
	return !over
}

// drop reads and drops what still comes behind a close frame.
func drop(s *session, f *flow) {
	for {
		n, err := readOn(s, f, f.buf)
		if err != nil && n == 0 {
			return
		}
		if n == len(f.buf) {
			_ = grow(f)
		}
	}
}

// discard reads and drops what still comes from a side that may say nothing more, to
// its end of stream, and notes its close frame.
func discard(s *session, f *flow) {
	_ = grow(f) // whoever is in full flow is to be heard out before closeTimeout
	rest := newTrack(lax, f.track.masked)
	rest.left = f.track.left
	held := f.held
	f.held = 0
	for {
		frames := rest.frames
		pass := walk(rest, f.buf[:held])
		if rest.closing != nil {
			mark(s, &f.from.closeReceived)
			drop(s, f)
			return
		}
		if pass > largeBuffer/2 && rest.frames-frames > int64(pass/denseFrame) {
			time.Sleep(discardPause)
		}
		held = copy(f.buf, f.buf[pass:held])
		n, err := readOn(s, f, f.buf[held:])
		if err != nil && n == 0 {
			return
		}
		held += n
	}
}

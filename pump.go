package wsfw

import (
	"errors"
	"os"
	"time"
)

// pump relays one direction to its end: frame by frame legal, byte by byte unchanged. It calls
// functions and not methods, and little stands in it, for this is what an idle session keeps.
func pump(s *session, f *flow) {
	defer arrive(s)
	defer recovered(s)
	f.small = make([]byte, smallBuffer)
	f.buf = f.small
	f.pen.Lock()
	// There is nothing to look for yet: a pump begins at rest.
	for begins := true; begins || lookUp(s, f); begins = false {
		n := 0
		var err error
		if f.idle {
			n, err = rest(s, f)
		}
		if !work(s, f, n, err) {
			break
		}
	}
	restore(f)
}

// lookUp is what a pump does between two times at work. It is false at the end of the
// direction.
func lookUp(s *session, f *flow) bool {
	farewell := look(s, f)
	if farewell != nil {
		if s.bidFarewell(f, farewell) {
			s.discard(f)
		}
		s.endOfStream(f)
		return false
	}
	if !f.pinging {
		return true
	}
	err := ping(f.to)
	if f.idle {
		_ = f.to.conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		s.unwritable(f, err)
		s.finish(f)
		return false
	}
	return true
}

// work passes on what comes, until the pump has to look up again. The first n bytes have been
// read, or what there is to read has failed with err. It is false at the end of the direction.
func work(s *session, f *flow, n int, err error) bool {
	var readErr, writeErr error
	if f.finishing && f.track.spelling {
		readErr, writeErr = spellOut(f)
	} else if f.finishing {
		readErr, writeErr = bulk(f)
	} else if n == 0 && err != nil {
		readErr = err
	} else if n == 0 || hasWork(s, f, n) {
		readErr, writeErr = relay(f, n, err)
	}
	if writeErr != nil {
		s.unwritable(f, writeErr)
		s.finish(f)
		return false
	}
	if f.track.fault != nil {
		s.breach(f)
		s.finish(f)
		return false
	}
	if f.track.closing != nil {
		s.passClose(f)
		s.finish(f)
		return false
	}
	if readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded) {
		s.endOfStream(f)
		return false
	}
	return true
}

// hasWork takes a pump to work for the n bytes that have ended its rest, unless they are a close
// frame, which the track then holds.
func hasWork(s *session, f *flow, n int) bool {
	rouse(s, f)
	return !isClose(f, n)
}

// isClose takes a close frame that comes by itself after a rest, as most do: without relay and
// walk, whose many values are as much work as all else at a session's end.
func isClose(f *flow, n int) bool {
	if f.held > 0 || f.track.left > 0 || n < 2 || f.buf[0] != finBit|opClose {
		return false
	}
	size := int(f.buf[1]) - f.mask
	if size > maxControl || n != f.header+size {
		return false
	}
	f.held = n
	walkClose(f.track, f.buf[:n])
	return true
}

// finish is the end of a direction that may say nothing more. It drains what still comes, so
// that the close frame on the other way is not lost in a reset connection.
func (s *session) finish(f *flow) {
	s.discard(f)
	s.endOfStream(f)
}

// rest waits for the bytes that f's source sends next, and returns how many have come. It
// takes pongs to pings of ours itself. So an idle session keeps no more than the frame of
// this function, and its heartbeats cost little. The pen is free meanwhile, unless the
// destination stands inside a frame.
func rest(s *session, f *flow) (int, error) {
	pong := -1
	if f.track.left == 0 {
		f.pen.Unlock()
		defer f.pen.Lock()
		if f.from.heart != nil && f.held == 0 {
			pong = f.header + pingSize
		}
	}
	for {
		n, err := f.from.reader.Read(f.buf[f.held:])
		if n != pong || !isPong(s, f, f.buf[:n]) {
			return n, err
		}
	}
}

// bidFarewell brings the frame that is being passed on to its end and sends our
// close frame after it. It is false where the stream ended inside the frame.
func (s *session) bidFarewell(f *flow, farewell []byte) bool {
	// The closing timer bounds these writes; the rolling deadline no longer rolls.
	_ = f.to.conn.SetWriteDeadline(time.Time{})
	for f.track.left > 0 {
		readErr, writeErr := bulk(f)
		if writeErr != nil {
			s.unwritable(f, writeErr)
			return true
		}
		if readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded) {
			return false
		}
		_ = f.from.source.SetReadDeadline(time.Time{}) // there is nothing more to look for
	}
	s.sendClose(f.to, farewell)
	return true
}

// readOn reads from f's source and is not woken: there is nothing more to look for.
func readOn(f *flow, buf []byte) (int, error) {
	for {
		n, err := f.from.reader.Read(buf)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		_ = f.from.source.SetReadDeadline(time.Time{})
	}
}

// drop reads and drops what still comes behind a close frame.
func drop(f *flow) {
	for {
		if n, err := readOn(f, f.buf); err != nil && n == 0 {
			return
		}
	}
}

// discard reads and drops what still comes from a side that may say nothing more, to
// its end of stream, and notes its close frame.
func (s *session) discard(f *flow) {
	if f.track.closing != nil {
		drop(f)
		return
	}
	_ = grow(f) // whoever is in full flow is to be heard out before closeTimeout
	rest := newTrack(lax, f.track.masked)
	rest.left = f.track.left
	for {
		frames := rest.frames
		pass := walk(rest, f.buf[:f.held])
		if rest.closing != nil {
			mark(s, &f.from.closeReceived)
			drop(f)
			return
		}
		if pass > largeBuffer/2 && rest.frames-frames > int64(pass/denseFrame) {
			time.Sleep(discardPause)
		}
		f.held = copy(f.buf, f.buf[pass:f.held])
		n, err := readOn(f, f.buf[f.held:])
		if err != nil && n == 0 {
			return
		}
		f.held += n
	}
}

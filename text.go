package wsfw

import (
	"bytes"
	"crypto/subtle"
	"unicode/utf8"
)

// speller checks the text of one direction while it passes (RFC 6455 section 8.1). It never
// looks at single bytes, of which the interpreter does some ten million a second: payloads are
// unmasked and judged in bulk. Whole messages need none, see spellFrame and passTexts.
type speller struct {
	key   []byte // the current frame's masking key, twice; nil where that is not masked
	at    int    // where in the key the payload goes on, less than maskSize
	last  bool   // the current frame ends its message
	carry []byte // the bytes of a code point that has not ended yet, at most utf8.UTFMax-1
}

// spellFrame checks the text frame of class that begins at chunk[at] and has a payload from body
// to end, as far as that is there. It returns how far text is in order: to end, or further, where
// messages follow that it has checked, too, and counted. That is 0 where the frame is no UTF-8.
func spellFrame(t *track, class byte, chunk []byte, at, body, end int) int {
	if class != classWhole || end > len(chunk) {
		return spellPart(t, class, chunk, body, end)
	}
	text := chunk[body:end]
	if t.masked {
		plain := bytes.Repeat(chunk[body-maskSize:body], (end-body+maskSize-1)/maskSize)
		subtle.XORBytes(plain, plain, text)
		text = plain[:end-body]
	}
	if !utf8.Valid(text) {
		return 0
	}
	if len(chunk)-end > 2*(end-at) { // for one more, the call would not pay
		return spellRun(t, chunk, end)
	}
	return end
}

// spellRun goes on behind a whole message of text that is not counted yet, with those at
// chunk[at:] that are like it and have a short header. It counts them, and returns where something
// else begins, or a message that is no UTF-8 or one too many. A function for all of them takes a
// fifth of what walk takes with a call for each.
func spellRun(t *track, chunk []byte, at int) int {
	size, strides, header := len(chunk), t.strides, 2
	if t.masked {
		header += maskSize
	}
	count := int64(0)
	for at+header <= size && t.messages+count+1 < t.ceiling {
		next := at + strides[chunk[at]][chunk[at+1]]
		body := at + header
		if next < body || next > size {
			break
		}
		text := chunk[body:next]
		if t.masked {
			plain := bytes.Repeat(chunk[body-maskSize:body], (next-body+maskSize-1)/maskSize)
			subtle.XORBytes(plain, plain, text)
			text = plain[:next-body]
		}
		if !utf8.Valid(text) {
			break
		}
		at = next
		count++
	}
	t.frames += count
	t.messages += count
	return at
}

// spellPart is spellFrame for a frame that is a fragment, or that chunk does not have the end of.
func spellPart(t *track, class byte, chunk []byte, body, end int) int {
	s := t.speller
	s.last = class == classWhole || class == classEnd
	s.at = 0
	if t.masked {
		s.key = bytes.Repeat(chunk[body-maskSize:body], 2)
	}
	t.spelling = true
	there := len(chunk)
	if there > end {
		there = end
	}
	if !spell(t, chunk[body:there], there == end) {
		return 0
	}
	return end
}

// spell checks more of the current text frame's payload, masked as it came; ends tells whether
// it ends there. It is false where the text is no UTF-8.
func spell(t *track, part []byte, ends bool) bool {
	s := t.speller
	if size := len(part); len(s.key) > 0 && size > 0 {
		plain := bytes.Repeat(s.key[s.at:s.at+maskSize], (size+maskSize-1)/maskSize)
		subtle.XORBytes(plain, plain, part)
		s.at = (s.at + size) % maskSize
		part = plain[:size]
	}
	if len(s.carry) > 0 || !utf8.Valid(part) {
		if !readText(s, part) {
			return false
		}
	}
	if !ends {
		return true
	}
	t.spelling = false
	return !s.last || len(s.carry) == 0
}

// readText goes on with text that begins or ends inside a code point. It is false where it is no
// UTF-8.
func readText(s *speller, text []byte) bool {
	if len(s.carry) > 0 {
		carried, n := len(s.carry), utf8.UTFMax-len(s.carry)
		if n > len(text) {
			n = len(text)
		}
		s.carry = append(s.carry, text[:n]...)
		if !utf8.FullRune(s.carry) {
			return true
		}
		r, size := utf8.DecodeRune(s.carry)
		if r == utf8.RuneError && size == 1 {
			return false
		}
		text = text[size-carried:]
		s.carry = s.carry[:0]
	}
	whole := wholeRunes(text)
	s.carry = append(s.carry, text[whole:]...)
	return utf8.Valid(text[:whole])
}

// wholeRunes is how long text is without a code point at its end that has not ended yet.
func wholeRunes(text []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		start := len(text) - back
		if !utf8.RuneStart(text[start]) {
			continue
		}
		if utf8.FullRune(text[start:]) {
			break
		}
		return start
	}
	return len(text)
}

// spellOut passes the rest of the current frame on, which is of text that is checked.
func spellOut(f *flow) (readErr, writeErr error) {
	t := f.track
	for t.left > 0 && t.fault == nil {
		buf := f.buf
		if t.left < len(buf) {
			buf = buf[:t.left]
		}
		n, err := f.from.reader.Read(buf)
		if n > 0 && walk(t, buf[:n]) != n {
			f.held = n // for whoever looks for what stands behind the frame
			return nil, nil
		}
		if n > 0 {
			if _, failed := f.to.conn.Write(buf[:n]); failed != nil {
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

// readTexts is what relay does between two messages where text is checked: it reads a chunk into
// into. Chunks that are nothing but messages of one frame each, of at most limit bytes of payload,
// it passes on, and reads the next. What it reads last it leaves to relay.
func readTexts(f *flow, into []byte, limit int) (n int, readErr, writeErr error) {
	n, readErr = f.from.reader.Read(into)
	if n == 0 || f.track.strides[into[0]][into[1]] >= noStride {
		return n, readErr, nil // without the values of passTexts
	}
	return passTexts(f, into, n, readErr, limit)
}

// passTexts is readTexts behind its first read, of got bytes and err. It is to text that is checked
// what the inner loop of relay is to all else: what is not done counts. What is wrong with a chunk,
// or not complete, is for the outer loop to judge and to pass on in part.
//
// A masked text is laid over a pad of its key, which is let go with it: that takes two calls, and
// an idle session keeps nothing.
//
//nolint:funlen,gocognit,nestif // see relay
func passTexts(f *flow, into []byte, got int, err error, limit int) (n int, readErr, writeErr error) {
	src, dst, t := f.from.reader, f.to.conn, f.track
	strides, masked, header := t.strides, t.masked, f.header
	most := limit
	if masked && most > largeBuffer/2 {
		most = largeBuffer / 2 // the last pad stays for as long as the next read
	}
	room, budget := len(into), t.ceiling-t.messages
	whole, passed := budget, 0
	var at, step, size, body, next int
	var count int64
	var plain []byte
	n = got
	readErr = err
	for readErr == nil && n > 0 && n < room {
		at = 0
		count = 0
		for at < n {
			step = strides[into[at]][into[at+1]]
			body = at + header
			next = at + step
			if step >= unchecked {
				if step < extended16 {
					at = next - unchecked
					count++
					continue
				}
				if step >= noStride || at+3 >= n {
					break
				}
				size = int(into[at+2])<<8 | int(into[at+3])
				if size < 126 || size > limit {
					break
				}
				body += 2
				next = body + size
				if step > extended16 {
					at = next
					count++
					continue
				}
				if size > most {
					break
				}
			}
			if next > n {
				break
			}
			if masked {
				plain = bytes.Repeat(into[body-maskSize:body], (next-body+3)>>2)
				subtle.XORBytes(plain, plain, into[body:next])
				if !utf8.Valid(plain[:next-body]) {
					break
				}
			} else if !utf8.Valid(into[body:next]) {
				break
			}
			at = next
			count++
		}
		if at != n || count > whole {
			break
		}
		_, writeErr = dst.Write(into[:n])
		if writeErr != nil {
			break
		}
		whole -= count
		passed += n
		n, readErr = src.Read(into)
	}
	if passed > 0 {
		f.bytes += int64(passed)
		t.frames += budget - whole
		t.messages += budget - whole
	}
	return n, readErr, writeErr
}

// warmTexts goes through the functions for text that warm does not come to, see there.
func warmTexts(f *flow) {
	t := newTrack(plainText, false)
	t.bound(&limits{})
	short, begun := []byte{finBit | opText, 1, 'a'}, []byte{opText, 1, 0xc3}
	walk(t, append(bytes.Repeat(short, 4), begun...))
	_, _, _ = passTexts(f, f.buf, copy(f.buf, []byte{finBit | opText, maskBit, 0, 0, 0, 0}), nil, maxControl)
}

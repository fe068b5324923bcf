package wsfw

import (
	"crypto/subtle"
	"unicode/utf8"
)

// longestPad is how much of a payload is unmasked at a time, in bytes. A multiple of maskSize.
const longestPad = 4 << 10

// speller checks the text of one direction while it passes (RFC 6455 section 8.1). It never
// looks at single bytes, of which the interpreter does some ten million a second: payloads are
// unmasked and judged in bulk.
type speller struct {
	pad   []byte // the current frame's masking key, over and over; nil where that is not masked
	at    int    // where in the pad the payload goes on, less than maskSize
	last  bool   // the current frame ends its message
	carry []byte // the bytes of a code point that has not ended yet, at most utf8.UTFMax-1
	plain []byte // what has been unmasked
}

// spellFrame checks what chunk has of the payload of a text frame of class, length bytes in
// all. It is false where that is no UTF-8.
func spellFrame(t *track, class byte, length int, header, chunk []byte) bool {
	s := t.speller
	s.last = class == classWhole || class == classEnd
	s.at = 0
	s.pad = s.pad[:0]
	if t.masked {
		s.key(header[len(header)-maskSize:], length)
	}
	t.spelling = true
	if length > len(chunk) {
		return spell(t, chunk, false)
	}
	return spell(t, chunk[:length], true)
}

// key makes the pad for a payload of length bytes. Doubling takes few steps.
func (s *speller) key(key []byte, length int) {
	size := length + maskSize // for a payload goes on at any byte of the key
	if size > longestPad+maskSize {
		size = longestPad + maskSize
	}
	s.pad = append(s.pad, key...)
	for len(s.pad) < size {
		s.pad = append(s.pad, s.pad...)
	}
}

// spell checks more of the current text frame's payload, masked as it came; ends tells whether
// it ends there. It is false where the text is no UTF-8.
func spell(t *track, part []byte, ends bool) bool {
	s := t.speller
	for len(s.pad) > 0 && len(part) > 0 {
		n := len(part)
		if n > longestPad {
			n = longestPad
		}
		if cap(s.plain) < n {
			s.plain = make([]byte, n)
		}
		plain := s.plain[:n]
		subtle.XORBytes(plain, part[:n], s.pad[s.at:])
		s.at = (s.at + n) % maskSize
		part = part[n:]
		if !s.read(plain) {
			return false
		}
	}
	if len(part) > 0 && !s.read(part) {
		return false
	}
	if !ends {
		return true
	}
	t.spelling = false
	return !s.last || len(s.carry) == 0
}

// read goes on with text. It is false where that is no UTF-8.
func (s *speller) read(text []byte) bool {
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
		if n > 0 && walk(t, buf[:n]) == n {
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

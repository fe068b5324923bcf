package main

import (
	"encoding/binary"
	"math/bits"
)

// scanner follows the frames of a stream, in whatever pieces that comes. It costs little and judges nothing: it is for
// peers that keep to the rules, and must be cheaper than the gateways between them.
type scanner struct {
	head [14]byte // of the frame that has begun
	have int      // bytes of it so far
	open bool     // the header is complete, the payload is not
	left uint64   // of the payload
	size uint64   // of the whole payload
	key  uint32   // for the next byte of the payload on
}

// part is what one piece of a stream holds of a frame.
type part struct {
	opcode       byte
	fin          bool
	begins, ends bool   // it holds the first of the frame, and the last
	size         uint64 // of the frame's whole payload
	payload      []byte // in place, no longer masked
}

// message reports whether a message ends with the part.
func (p part) message() bool { return p.ends && p.fin && p.opcode < 8 }

// next takes the next part off a piece. It is not ok where all that there is belongs to a header.
func (s *scanner) next(in []byte) (p part, rest []byte, ok bool) {
	begins := !s.open
	if begins {
		if in = s.header(in); !s.open {
			return p, nil, false
		}
	}
	n := int(min(s.left, uint64(len(in))))
	s.unmask(in[:n])
	s.left -= uint64(n)
	s.open = s.left > 0
	return part{
		opcode: s.head[0] & 0xF, fin: s.head[0]&0x80 != 0, begins: begins, ends: !s.open,
		size: s.size, payload: in[:n],
	}, in[n:], true
}

// header takes what is missing of a header.
func (s *scanner) header(in []byte) (rest []byte) {
	in = s.fill(in, 2)
	if s.have < 2 {
		return nil
	}
	if in = s.fill(in, s.headerSize()); s.have < s.headerSize() {
		return nil
	}
	end := s.have
	s.key = 0
	if s.head[1]&0x80 != 0 {
		end -= 4
		s.key = binary.LittleEndian.Uint32(s.head[end:])
	}
	switch end {
	case 2:
		s.size = uint64(s.head[1] & 0x7F)
	case 4:
		s.size = uint64(binary.BigEndian.Uint16(s.head[2:]))
	default:
		s.size = binary.BigEndian.Uint64(s.head[2:])
	}
	s.left, s.have, s.open = s.size, 0, true
	return in
}

// fill takes what is missing of the header's first bytes.
func (s *scanner) fill(in []byte, bytes int) (rest []byte) {
	n := copy(s.head[s.have:max(bytes, s.have)], in)
	s.have += n
	return in[n:]
}

// headerSize is how long the header is, of which two bytes are known.
func (s *scanner) headerSize() int {
	size := 2
	switch s.head[1] & 0x7F {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if s.head[1]&0x80 != 0 {
		size += 4
	}
	return size
}

// unmask takes the key off the next bytes of the payload.
func (s *scanner) unmask(b []byte) {
	if s.key == 0 {
		return
	}
	word := uint64(s.key)<<32 | uint64(s.key)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(word >> (8 * i))
	}
	s.key = bits.RotateLeft32(s.key, -8*len(b))
}

package e2e

import (
	"bytes"
	"math/rand/v2"
	"unicode/utf8"

	"github.com/wsfw/wsfw/e2e/wire"
)

// script is what one end of a session says.
type script struct {
	bytes   []byte
	sum     traffic
	closing int // bytes of the close frame at the end, where there is one
}

// playwright writes scripts by chance.
type playwright struct {
	*rand.Rand
	masks   bool // the script is a client's
	deflate bool // messages may be compressed, as far as their headers tell
	unicode bool // text has code points of all lengths, cut anywhere by the ends of fragments

	cut []byte // what is left of the code point that the end of the last fragment has cut
}

// Lengths of payloads: those where RFC 6455 changes its form, and those around sizes that gateways have buffers of.
var (
	smallLengths = []int{0, 1, 2, 124, 125, 126, 127, 128}
	largeLengths = []int{
		1000, 1014, 1016, 1018, 1020, 1022, 1023, 1024, 1025, 4096,
		32754, 32758, 32760, 32762, 32764, 32766, 32767, 32768, 32769, 65534, 65535, 65536, 65537,
	}
)

const hugeLength = 1<<20 - 3

// length favours small ones, for they make the most frames of a chunk.
func (p *playwright) length() int {
	switch kind := p.IntN(100); {
	case kind < 50:
		return smallLengths[p.IntN(len(smallLengths))]
	case kind < 75:
		return p.IntN(2000)
	case kind < 99:
		return largeLengths[p.IntN(len(largeLengths))]
	}
	return hugeLength + p.IntN(6)
}

// payload is that many bytes, in the ranges that have ASCII only where the message is text.
func (p *playwright) payload(size int, text bool) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(p.Uint32())
		if text {
			b[i] = ' ' + b[i]%64
		}
	}
	return b
}

// text is the payload of a fragment of text, of that many bytes or, where it is the last, up to three more.
func (p *playwright) text(size int, last bool) []byte {
	if !p.unicode {
		return p.payload(size, true)
	}
	b := p.cut
	for len(b) < size {
		b = utf8.AppendRune(b, p.codePoint())
	}
	p.cut = nil
	if !last {
		p.cut = bytes.Clone(b[size:])
		b = b[:size]
	}
	return b
}

// codePoint is one of any length, but no surrogate.
func (p *playwright) codePoint() rune {
	from, to := rune(0), rune(0x80)
	switch p.IntN(5) {
	case 0:
		from, to = 0x80, 0x800
	case 1:
		from, to = 0x800, 0xD800
	case 2:
		from, to = 0xE000, 0x10000
	case 3:
		from, to = 0x10000, utf8.MaxRune+1
	}
	return from + p.Int32N(to-from)
}

// mask is the frame under a key by chance where it is a client's.
func (p *playwright) mask(f wire.Frame) wire.Frame {
	f = f.Masking(p.masks)
	for i := range f.Key {
		f.Key[i] = byte(p.Uint32()) * f.Key[i]
	}
	return f
}

// add appends a frame.
func (s *script) add(p *playwright, f wire.Frame) {
	f = p.mask(f)
	s.bytes = append(s.bytes, f.Bytes()...)
	s.sum.Frames++
	if f.Fin && f.Opcode < wire.OpClose {
		s.sum.Messages++
	}
	s.sum.Bytes = len(s.bytes)
}

// control appends no ping or pong, or a few.
func (s *script) control(p *playwright) {
	for p.IntN(3) == 0 {
		opcode := byte(wire.OpPing + p.IntN(2))
		s.add(p, wire.New(opcode, p.payload([]int{0, 1, 8, 124, 125}[p.IntN(5)], false)))
	}
}

// message appends a message in one to four fragments, with control frames between.
func (s *script) message(p *playwright) {
	opcode := byte(wire.OpText + p.IntN(2))
	text := opcode == wire.OpText
	var rsv byte
	if p.deflate && p.IntN(2) == 0 {
		rsv, text = wire.RSV1, false
	}
	fragments := 1
	if p.IntN(3) == 0 {
		fragments = 2 + p.IntN(3)
	}
	for i := range fragments {
		s.control(p)
		f := wire.Frame{Fin: i == fragments-1, RSV: rsv, Opcode: opcode}
		if text {
			f.Payload = p.text(p.length(), f.Fin)
		} else {
			f.Payload = p.payload(p.length(), false)
		}
		s.add(p, f)
		opcode, rsv = wire.OpContinuation, 0
	}
	s.control(p)
}

// write is a script of that many messages.
func (p *playwright) write(messages int) script {
	var s script
	for range messages {
		s.message(p)
	}
	return s
}

// end appends a close frame.
func (s *script) end(p *playwright, reason string) {
	before := len(s.bytes)
	s.add(p, wire.Close(4000+p.IntN(1000), reason))
	s.closing = len(s.bytes) - before
}

// short is a script of some 250 bytes with a frame of every kind that fits in.
func (p *playwright) short() script {
	var s script
	var rsv byte
	if p.deflate {
		rsv = wire.RSV1
	}
	s.add(p, wire.Text(""))
	s.add(p, wire.New(wire.OpPing, []byte("ping")))
	s.add(p, wire.Frame{Opcode: wire.OpText, RSV: rsv, Payload: []byte("frag")})
	s.add(p, wire.New(wire.OpPong, nil))
	s.add(p, wire.Frame{Opcode: wire.OpContinuation, Payload: []byte("men")})
	s.add(p, wire.New(wire.OpPing, nil))
	s.add(p, wire.Frame{Fin: true, Opcode: wire.OpContinuation})
	s.add(p, wire.Binary(p.payload(126, false)))
	s.add(p, wire.Text("text"))
	s.add(p, wire.New(wire.OpPong, []byte("a pong of some bytes")))
	s.add(p, wire.Frame{Fin: true, Opcode: wire.OpBinary, RSV: rsv, Payload: []byte{0, 255}})
	return s
}

// long is a script of one frame with a length of 64 bits, between two of none.
func (p *playwright) long() script {
	var s script
	s.add(p, wire.New(wire.OpPing, nil))
	s.add(p, wire.Binary(p.payload(65536, false)))
	s.add(p, wire.Text("end"))
	return s
}

package e2e

import (
	"bytes"

	"github.com/wsfw/wsfw/e2e/wire"
)

// malformed is a session in which one end, after legal frames, sends one that is not, and then anything.
type malformed struct {
	seed  uint64
	by    string // the offender
	legal script // arrives
	bad   []byte // does not,
	begun bool   // or only where it is text, of which the first part may
	code  int    // for the offender
	rest  []byte // anything

	// other is what the other end says meanwhile, which arrives until the offender is found out. There is nothing where
	// that cuts a frame of it off, and not much where the offender may say what looks like its answer, and be reset.
	other script
}

// mangler makes malformed sessions for an end: reproducibly, from a seed.
type mangler struct {
	*playwright
	breaches []breach
	texts    []offence
}

// manglers are one for each end, less what differs from seed to seed.
func manglers() map[string]mangler {
	texts := badMessages()
	return map[string]mangler{"client": {breaches: breaches(true), texts: texts}, "upstream": {breaches: breaches(false), texts: texts}}
}

// newMalformed makes the session of a seed.
func newMalformed(seed uint64, all map[string]mangler) *malformed {
	by := ends[seed%2]
	m := all[by]
	limited := manner{name: "limited"}
	m.playwright = limited.playwright(seed, by)
	x := &malformed{seed: seed, by: by, legal: m.write(m.IntN(5)), code: 1002}
	m.offend(x)
	switch m.IntN(4) {
	case 0:
		x.rest = m.payload(m.IntN(3000), false)
	case 1:
		x.rest = m.write(3).bytes
	case 2:
		x.rest = bytes.Repeat(x.bad, 3)
	}
	other := limited.playwright(seed, opposite(by)).write(m.IntN(3))
	if !x.begun && (len(x.rest) == 0 || len(other.bytes) < 1<<15) {
		x.other = other
	}
	return x
}

// offend chooses what is wrong.
func (m mangler) offend(x *malformed) {
	kinds := []func(*malformed){m.tabled, m.text, m.bigText}
	if m.IntN(3) > 0 {
		kinds = []func(*malformed){m.junk, m.bits, m.opcode, m.control, m.form, m.giant, m.tooBig, m.order, m.masking, m.closing}
	}
	kinds[m.IntN(len(kinds))](x)
}

// spell makes the frame the one that is wrong.
func (m mangler) spell(x *malformed, f wire.Frame) { x.bad = m.mask(f).Bytes() }

// frame is a legal data frame of some bytes, which begins a message, continues one, or is one. The script has the
// beginning of what it continues.
func (m mangler) frame(x *malformed) wire.Frame {
	f := wire.Frame{Fin: m.IntN(2) == 0, Opcode: byte(wire.OpText + m.IntN(2)), Payload: m.payload(m.IntN(300), true)}
	if m.IntN(2) == 0 {
		x.legal.add(m.playwright, wire.Frame{Opcode: f.Opcode, Payload: m.payload(m.IntN(300), true)})
		f.Opcode = wire.OpContinuation
	}
	return f
}

// tabled is a breach that has its row in a table.
func (m mangler) tabled(x *malformed) {
	row := m.breaches[m.IntN(len(m.breaches))]
	for _, f := range row.legal {
		x.legal.add(m.playwright, f)
	}
	x.bad, x.code = row.bad, row.code
}

// text is text that is none, in some fragment.
func (m mangler) text(x *malformed) {
	row := m.texts[m.IntN(len(m.texts))]
	for _, f := range row.legal {
		x.legal.add(m.playwright, f)
	}
	m.spell(x, row.bad)
	x.code, x.begun = 1007, true
}

// bigText is a lot of text that is none at a single place, or ends too early.
func (m mangler) bigText(x *malformed) {
	text := bigText(20 + m.IntN(100000))
	if at := m.IntN(len(text)); m.IntN(2) == 0 {
		text[at] = 0xFF
	} else {
		text = append(text[:at/10*10], "😀"[:1+m.IntN(3)]...)
	}
	m.spell(x, wire.New(wire.OpText, text))
	x.code, x.begun = 1007, true
}

// junk is what stands behind the end of a frame whose header has told of fewer bytes than it has.
func (m mangler) junk(x *malformed) {
	f := m.frame(x)
	f.Fin, f.Claim, f.Payload = true, 1, []byte("x")
	x.legal.add(m.playwright, f)
	x.bad = append([]byte{byte(m.IntN(256)) | 0x10<<m.IntN(3)}, m.payload(1+m.IntN(300), false)...)
}

// bits are reserved ones, on any frame.
func (m mangler) bits(x *malformed) {
	f := m.frame(x)
	f.RSV = byte(1 + m.IntN(7))
	if m.IntN(2) == 0 {
		f.Opcode = byte(m.IntN(16))
	}
	m.spell(x, f)
}

// opcode is one that has no meaning.
func (m mangler) opcode(x *malformed) {
	f := m.frame(x)
	f.Opcode = []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF}[m.IntN(10)]
	m.spell(x, f)
}

// control is a control frame that is a fragment, or too long, or in a form that is.
func (m mangler) control(x *malformed) {
	f := wire.New(byte(wire.OpClose+m.IntN(3)), m.payload(m.IntN(126), false))
	switch m.IntN(3) {
	case 0:
		f.Fin = false
	case 1:
		f.Payload = m.payload(126+m.IntN(70000), false)
	default:
		f.Form = wire.Form16 + wire.Form(m.IntN(2))
	}
	m.spell(x, f)
}

// form is a length in more bytes than it takes.
func (m mangler) form(x *malformed) {
	f := m.frame(x)
	f.Form = wire.Form16 + wire.Form(m.IntN(2))
	size := m.IntN(126)
	if f.Form == wire.Form64 {
		size = m.IntN(1 << 16)
	}
	f.Payload = m.payload(size, true)
	m.spell(x, f)
}

// giant is a length whose first bit is set.
func (m mangler) giant(x *malformed) {
	f := m.frame(x)
	f.Form, f.Claim = wire.Form64, 1<<63|m.Uint64()
	if m.IntN(4) == 0 {
		f.Claim = []uint64{1 << 63, 1<<64 - 1}[m.IntN(2)]
	}
	m.spell(x, f)
}

// tooBig is a legal length beyond the limit, up to 2^62.
func (m mangler) tooBig(x *malformed) {
	f := m.frame(x)
	f.Claim = malformedLimit + 1 + m.Uint64N(1<<m.IntN(60))
	m.spell(x, f)
	x.code = 1009
}

// order is a fragment of nothing, or a message within a message.
func (m mangler) order(x *malformed) {
	f := m.frame(x)
	if f.Opcode == wire.OpContinuation {
		f.Opcode = byte(wire.OpText + m.IntN(2))
	} else {
		f.Opcode = wire.OpContinuation
	}
	m.spell(x, f)
}

// masking is a mask that is missing, or that should be.
func (m mangler) masking(x *malformed) {
	f := m.frame(x)
	if m.IntN(3) == 0 {
		f = wire.New(byte(wire.OpClose+m.IntN(3)), nil)
	}
	x.bad = f.Masking(!m.masks).Bytes()
}

// closing is a close frame with a code that may not be sent, a part of a code, or a reason that is no UTF-8.
func (m mangler) closing(x *malformed) {
	f := wire.Close(m.IntN(1000), "reason")
	switch m.IntN(4) {
	case 0:
		f = wire.Close([]int{1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535}[m.IntN(8)], "")
	case 1:
		f = wire.New(wire.OpClose, m.payload(1, false))
	case 2:
		f = wire.Close(4000, string(m.texts[0].bad.Payload))
		x.code = 1007
	}
	m.spell(x, f)
}

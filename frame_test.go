package wsfw

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"
)

// Frames of the tests, unmasked unless they say so.
var (
	hello       = []byte{0x81, 0x05, 'H', 'e', 'l', 'l', 'o'}                              // RFC 6455 section 5.7
	helloMasked = []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58} // RFC 6455 section 5.7
	pingHello   = []byte{0x89, 0x05, 'H', 'e', 'l', 'l', 'o'}
	fragmentHel = []byte{0x01, 0x03, 'H', 'e', 'l'}
	fragmentLo  = []byte{0x80, 0x02, 'l', 'o'}
	closeEmpty  = []byte{0x88, 0x00}
	closeBye    = []byte{0x88, 0x05, 0x03, 0xe8, 'b', 'y', 'e'}
)

// frame builds a frame whose length stands in the shortest form.
func frame(first byte, payload []byte, mask bool) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	if !mask {
		return append(b, payload...)
	}
	b[1] |= maskBit
	key := []byte{0xA1, 0xB2, 0xC3, 0xD4}
	return append(append(b, key...), masked(payload, key)...)
}

// join makes one stream of frames.
func join(frames ...[]byte) []byte {
	return bytes.Join(frames, nil)
}

func TestWalkPassesLegalFrames(t *testing.T) {
	cases := []struct {
		name             string
		stream           []byte
		mask             bool
		rules            *frameRules
		frames, messages int64
	}{
		{"nothing", nil, false, plain, 0, 0},
		{"hello of RFC 6455", hello, false, plain, 1, 1},
		{"masked hello of RFC 6455", helloMasked, true, plain, 1, 1},
		{"fragments", join(fragmentHel, fragmentLo, hello), false, plain, 3, 2},
		{"ping between fragments", join(fragmentHel, pingHello, fragmentLo), false, plain, 3, 1},
		{"empty message", frame(0x82, nil, true), true, plain, 1, 1},
		{"125 bytes", frame(0x82, make([]byte, 125), true), true, plain, 1, 1},
		{"126 bytes", frame(0x82, make([]byte, 126), true), true, plain, 1, 1},
		{"65535 bytes", frame(0x82, make([]byte, 65535), true), true, plain, 1, 1},
		{"65536 bytes", frame(0x82, make([]byte, 65536), true), true, plain, 1, 1},
		{"longest control frame", frame(0x8a, make([]byte, 125), false), false, plain, 1, 0},
		{"RSV1 with permessage-deflate", frame(0xc1, []byte("x"), true), true, compressed, 1, 1},
		{"RSV1 on a first fragment", join(frame(0x41, []byte("x"), false), fragmentLo), false, compressed, 2, 1},
		{"RSV3 with an unknown extension", frame(0x91, []byte("x"), false), false, extended, 1, 1},
		{"2^64-1 bytes, not judged", join([]byte{0x82, 0x7f}, bytes.Repeat([]byte{0xff}, 8), hello), false, lax, 1, 1},
		{"long ping, not judged", frame(0x89, make([]byte, 126), false), false, lax, 1, 0},
		{"reserved opcode, not judged", frame(0x83, []byte("x"), false), false, lax, 1, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			parser := newParser(c.rules, c.mask)
			if pass := parseChunk(parser, c.stream); pass != len(c.stream) {
				t.Errorf("%d of %d bytes may go on", pass, len(c.stream))
			}
			if parser.fault != nil || parser.frames != c.frames || parser.messages != c.messages {
				t.Errorf("fault %v, %d frames, %d messages; want none, %d, %d", parser.fault, parser.frames, parser.messages, c.frames, c.messages)
			}
		})
	}
}

func TestWalkFindsFaults(t *testing.T) {
	header := func(length ...byte) []byte { return append([]byte{0x82}, length...) }
	cases := []struct {
		name  string
		bad   []byte
		mask  bool
		rules *frameRules
		fault *fault
	}{
		{"unmasked from a client", hello, true, plain, errUnmasked},
		{"masked from an upstream", helloMasked, false, plain, errMasked},
		{"RSV1", frame(0xc1, nil, false), false, plain, errHeader},
		{"RSV2 beside permessage-deflate", frame(0xa1, nil, false), false, compressed, errHeader},
		{"RSV1 on a ping", frame(0xc9, nil, false), false, compressed, errHeader},
		{"opcode 3", frame(0x83, nil, false), false, plain, errHeader},
		{"opcode 11", frame(0x8b, nil, false), false, plain, errHeader},
		{"fragmented ping", frame(0x09, nil, false), false, plain, errHeader},
		{"continuation of nothing", fragmentLo, false, plain, errHeader},
		{"ping of 126 bytes", frame(0x89, make([]byte, 126), false), false, plain, errControl},
		{"125 in 16 bits", header(126, 0, 125), false, plain, errLength},
		{"65535 in 64 bits", header(127, 0, 0, 0, 0, 0, 0, 0xff, 0xff), false, plain, errLength},
		{"2^63", header(127, 0x80, 0, 0, 0, 0, 0, 0, 0), false, plain, errLength},
		{"2^63-1, too large for a sum", header(127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), false, plain, errFrame},
		{"2^64-1", header(127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), false, plain, errLength},
		{"close of one byte", frame(0x88, []byte{3}, false), false, plain, errCode},
		{"close reason cut in a rune", frame(0x88, []byte{3, 0xe8, 0xc3}, true), true, plain, errReason},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := frame(0x81, []byte("before"), c.mask)
			parser := newParser(c.rules, c.mask)
			pass := parseChunk(parser, join(before, c.bad))
			if pass != len(before) || parser.fault != c.fault {
				t.Errorf("passed %d bytes, fault %v; want %d, %v", pass, parser.fault, len(before), c.fault)
			}
		})
	}
}

func TestWalkRefusesNewMessageInsideFragments(t *testing.T) {
	parser := newParser(plain, false)
	if pass := parseChunk(parser, join(fragmentHel, hello)); pass != len(fragmentHel) || parser.fault != errHeader {
		t.Errorf("passed %d bytes, fault %v", pass, parser.fault)
	}
}

func TestWalkKeepsBackWhatIsNotComplete(t *testing.T) {
	cases := []struct {
		name string
		part []byte
		keep int
	}{
		{"one byte", hello[:1], 1},
		{"header without masking key", helloMasked[:4], 4},
		{"16-bit length", frame(0x82, make([]byte, 300), true)[:7], 7},
		{"64-bit length", frame(0x82, make([]byte, 70000), true)[:13], 13},
		{"ping without its end", frame(0x89, make([]byte, 125), true)[:130], 130},
		{"payload begun", helloMasked[:7], 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := frame(0x81, []byte("before"), true)
			parser := newParser(plain, true)
			pass := parseChunk(parser, join(before, c.part))
			if kept := len(before) + len(c.part) - pass; kept != c.keep || parser.fault != nil {
				t.Errorf("kept %d bytes back, fault %v; want %d, none", kept, parser.fault, c.keep)
			}
		})
	}
}

func TestWalkEndsAtClose(t *testing.T) {
	parser := newParser(plain, false)
	if pass := parseChunk(parser, join(hello, closeBye, hello)); pass != len(hello) || !bytes.Equal(parser.closing, closeBye) {
		t.Errorf("passed %d bytes, closing %x", pass, parser.closing)
	}
	if code, reason := saidIn(parser.closing); code != 1000 || reason != "bye" {
		t.Errorf("close status %d %q", code, reason)
	}
}

func TestWalkEndsAtCloseInLongForm(t *testing.T) {
	long := []byte{0x88, 0xff, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0x03, 0xe9, 'x'}
	parser := newParser(lax, true)
	if pass := parseChunk(parser, join(long, hello)); pass != 0 || !bytes.Equal(parser.closing, long) {
		t.Fatalf("passed %d bytes, closing %x", pass, parser.closing)
	}
	if code, reason := saidIn(parser.closing); code != 1001 || reason != "x" {
		t.Errorf("close status %d %q", code, reason)
	}
}

func TestCloseCodes(t *testing.T) {
	sendable := map[int]bool{}
	for _, span := range [][2]int{{1000, 1003}, {1007, 1014}, {3000, 4999}} {
		for code := span[0]; code <= span[1]; code++ {
			sendable[code] = true
		}
	}
	for code := 0; code < 1<<16; code++ {
		if code == 5100 {
			code = 65535
		}
		if mayBeSent(code) != sendable[code] {
			t.Errorf("code %d may be sent: %v", code, mayBeSent(code))
		}
	}
}

func TestCloseFrame(t *testing.T) {
	if got := closeFrame(1000, "bye", false); !bytes.Equal(got, closeBye) {
		t.Errorf("closeFrame = %x, want %x", got, closeBye)
	}
	if code, _ := saidIn(closeEmpty); code != closeNoStatus {
		t.Errorf("status of an empty close frame is %d", code)
	}
	upstream := closeFrame(1001, "gone", true)
	if code, reason := saidIn(upstream); upstream[1] != maskBit|6 || code != 1001 || reason != "gone" {
		t.Errorf("masked close frame %x reads %d %q", upstream, code, reason)
	}
	if again := closeFrame(1001, "gone", true); bytes.Equal(again[2:6], upstream[2:6]) {
		t.Error("two frames have the same masking key")
	}
	_, reason := saidIn(closeFrame(1001, strings.Repeat("ä", 100), false))
	if len(reason) > maxCloseReason || !utf8.ValidString(reason) || len(reason) < maxCloseReason-1 {
		t.Errorf("a long reason is cut to %d bytes: %q", len(reason), reason)
	}
}

// The oracle of masked: one byte at a time.
func TestMasked(t *testing.T) {
	key := []byte{1, 2, 3, 4}
	for size := 0; size <= maxControl; size++ {
		payload := bytes.Repeat([]byte{0x5a}, size)
		want := make([]byte, size)
		for i := range payload {
			want[i] = payload[i] ^ key[i%4]
		}
		if got := masked(payload, key); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %x, want %x", size, got, want)
		}
	}
}

// verdict is what the oracle says of a stream.
type verdict struct {
	pass             int // bytes that may go on
	fault            bool
	closed           bool
	frames, messages int64
	bounds           map[int]bool // offsets that lie between two frames
}

// judge is parse's oracle: it has the whole stream, takes one frame after the other
// apart and knows no tables.
func judge(stream []byte, rules *frameRules, mask bool) verdict {
	v := verdict{bounds: map[int]bool{0: true}}
	within := false
	for {
		rest := stream[v.pass:]
		size, length, complete := dissect(rest)
		if len(rest) >= 2 && !lawful(rest, length, complete, within, rules, mask) {
			v.fault = true
			return v
		}
		if !complete {
			return v
		}
		opcode, fin := rest[0]&0x0f, rest[0]&finBit != 0
		control := opcode&controlBit != 0 && length <= maxControl
		if control && rules == lax && !legalFirst(rest[0], within, rules) {
			control = false
		}
		if control && uint64(len(rest)-size) < length {
			return v
		}
		if control && opcode == opClose {
			if rules != lax && statusOf(rest[:size+int(length)]).fault != nil {
				v.fault = true
				return v
			}
			v.closed = true
		}
		v.frames++
		if legalFirst(rest[0], within, rules) && opcode&controlBit == 0 {
			within = !fin
			if fin {
				v.messages++
			}
		}
		if uint64(len(rest)-size) < length {
			v.pass = len(stream)
			return v
		}
		v.pass += size + int(length)
		v.bounds[v.pass] = true
		if v.closed {
			return v
		}
	}
}

// dissect reads a header's size and its frame's payload length. It is complete where
// the whole header is there.
func dissect(b []byte) (size int, length uint64, complete bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	size, length = 2, uint64(b[1]&0x7f)
	extra := map[uint64]int{126: 2, 127: 8}[length]
	if len(b) < size+extra {
		return 0, 0, false
	}
	if extra > 0 {
		length = 0
		for _, digit := range b[2 : 2+extra] {
			length = length<<8 | uint64(digit)
		}
	}
	size += extra
	if b[1]&maskBit != 0 {
		size += maskSize
	}
	return size, length, len(b) >= size
}

// lawful judges the header at the start of b, as far as it is there.
func lawful(b []byte, length uint64, complete, within bool, rules *frameRules, mask bool) bool {
	if rules == lax {
		return true
	}
	if !legalFirst(b[0], within, rules) || (b[1]&maskBit != 0) != mask {
		return false
	}
	form := b[1] & 0x7f
	need := map[byte]int{126: 4, 127: 10}[form]
	if need == 0 || len(b) < need {
		return true
	}
	if b[0]&controlBit != 0 {
		return false
	}
	if !complete {
		// The length is there, the masking key is not.
		length = 0
		for _, digit := range b[2:need] {
			length = length<<8 | uint64(digit)
		}
	}
	if form == 126 {
		return length > 125
	}
	return length > 0xffff && length <= uint64(maxFrame)
}

// legalFirst judges a first byte by listing what RFC 6455 and RFC 7692 allow.
func legalFirst(first byte, within bool, rules *frameRules) bool {
	opcode, fin, reserved := first&0x0f, first&finBit != 0, first&rsvBits
	if rules == plain && reserved != 0 || rules == compressed && reserved&^rsv1Bit != 0 {
		return false
	}
	deflated := rules == compressed && reserved == rsv1Bit
	switch opcode {
	case opText, opBinary:
		return !within
	case opContinuation:
		return within && !deflated
	case opClose, opPing, opPong:
		return fin && !deflated
	}
	return false
}

// parsePieces feeds a stream to parse in pieces, as a pump does, and returns what went on.
func parsePieces(t *parser, stream []byte, split func() int) []byte {
	var out, held []byte
	for len(stream) > 0 && t.fault == nil && t.closing == nil {
		n := split()
		if n > len(stream) {
			n = len(stream)
		}
		chunk := join(held, stream[:n])
		stream = stream[n:]
		pass := parseChunk(t, chunk)
		out = append(out, chunk[:pass]...)
		held = append([]byte(nil), chunk[pass:]...)
	}
	return out
}

// allRules are the rules that streams are fuzzed under.
var allRules = []*frameRules{plain, compressed, extended, lax}

// seeds are streams from the tables above, for the fuzzers.
func seeds() [][]byte {
	return [][]byte{
		join(hello, fragmentHel, pingHello, fragmentLo, closeBye),
		join(helloMasked, frame(0x82, make([]byte, 126), true), closeFrame(4001, "kicked", true)),
		frame(0x82, make([]byte, 66000), true)[:40],
		frame(0xc1, []byte("x"), false),
		{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3},
		frame(0x89, make([]byte, 125), false),
		frame(0x88, []byte{3}, false),
		{0x88, 126, 0, 2, 3, 0xe8},
		{0x88, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 3, 4, 3, 0xe8},
	}
}

// FuzzParser holds parse, fed in arbitrary pieces, against the oracle.
func FuzzParser(f *testing.F) {
	for i, seed := range seeds() {
		f.Add(seed, uint8(i), uint8(i))
		f.Add(seed, uint8(255), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, step, role uint8) {
		rules, mask := allRules[role&3], role&4 != 0
		want := judge(stream, rules, mask)
		parser := newParser(rules, mask)
		out := parsePieces(parser, stream, func() int { return 1 + int(step) })
		if parser.closing != nil {
			out = append(out, parser.closing...)
			parser.frames++ // which whoever passes it on counts
		}
		if !bytes.Equal(out, stream[:want.pass]) {
			t.Errorf("%d bytes went on, want %d", len(out), want.pass)
		}
		if (parser.fault != nil) != want.fault || (parser.closing != nil) != want.closed {
			t.Errorf("fault %v, closing %x; want %v, %v", parser.fault, parser.closing, want.fault, want.closed)
		}
		if parser.frames != want.frames || parser.messages != want.messages {
			t.Errorf("%d frames, %d messages; want %d, %d", parser.frames, parser.messages, want.frames, want.messages)
		}
	})
}

// FuzzCloseFrame holds close frames of ours to what is read from them.
func FuzzCloseFrame(f *testing.F) {
	f.Add(uint16(1000), "bye", true)
	f.Add(uint16(4999), strings.Repeat("ä", 62), false)
	f.Fuzz(func(t *testing.T, code uint16, reason string, mask bool) {
		if !utf8.ValidString(reason) {
			t.Skip("reasons of ours are UTF-8")
		}
		b := closeFrame(int(code), reason, mask)
		gotCode, gotReason := saidIn(b)
		if gotCode != int(code) || !strings.HasPrefix(reason, gotReason) || len(reason) <= maxCloseReason && gotReason != reason {
			t.Errorf("%d %q reads %d %q", code, reason, gotCode, gotReason)
		}
		parser := newParser(plain, mask)
		parseChunk(parser, b)
		if legal := mayBeSent(int(code)); (parser.closing != nil) != legal || (parser.fault == nil) != legal {
			t.Errorf("legal %v, closing %x, fault %v", legal, parser.closing, parser.fault)
		}
	})
}

// saidIn is the code and reason in a close frame.
func saidIn(frame []byte) (code int, reason string) {
	said := statusOf(frame)
	return said.code, said.reason
}

package wsfw

import (
	"bytes"
	"encoding/binary"
	"time"
)

// What a header's first byte means to the direction that it stands in. The data frames come first, up to classEnd.
const (
	classWhole    = iota // a message in one frame
	classStart           // the first fragment of a message
	classMiddle          // a fragment that neither starts nor ends its message
	classEnd             // the last fragment of a message
	classControl         // close, ping, pong
	classUnjudged        // only where frames are not validated: a frame that no rule allows
	classIllegal

	// classText is added to the class of a data frame whose payload is checked.
	classText = 8
)

// frameRules say which header may follow which: the class of every first byte between two messages, and while a fragmented
// message, or one of text, waits for its end. Legality is a look-up, since an interpreted comparison costs as much as an
// interpreted index.
type frameRules struct {
	between, within, withinText []byte

	// The length of a message in one frame, header included, by the frame's first two bytes: textFrame is added where its
	// payload is checked, extended16 and extended64 stand for a length that follows, and noLength for all other frames.
	lengths, lengthsMasked [][]int
}

// Lengths that a closer look is needed for: more than any 7 bit length.
const (
	textFrame  = 1 << 27
	extended16 = 1 << 28
	extended64 = 1 << 29
	noLength   = 1 << 30
)

// noLengths is for where no message may go on unseen.
var noLengths = newLengths(bytes.Repeat([]byte{classIllegal}, 256), 0, 0)

// The rules that a session may be under. compressed allows RSV1 on the first frame of a message (RFC 7692 section 6);
// extended allows every reserved bit, for extensions that wsfw does not know; lax allows whatever can be parsed. The last
// two have text checked, but for compressed messages.
var (
	plain          = newFrameRules(0, classIllegal)
	compressed     = newFrameRules(rsv1Bit, classIllegal)
	extended       = newFrameRules(rsvBits, classIllegal)
	lax            = newFrameRules(rsvBits, classUnjudged)
	plainText      = withText(plain)
	compressedText = withText(compressed)
)

// newFrameRules makes the rules that allow the reserved bits in rsv. A header that no rule allows is of the class illegal.
func newFrameRules(rsv, illegal byte) *frameRules {
	rules := &frameRules{between: make([]byte, 256), within: make([]byte, 256)}
	for i := 0; i < 256; i++ {
		rules.between[i] = classify(byte(i), rsv, illegal, false)
		rules.within[i] = classify(byte(i), rsv, illegal, true)
	}
	rules.withinText = rules.within
	return measured(rules)
}

// withText is rules by which uncompressed text is checked.
func withText(rules *frameRules) *frameRules {
	text := &frameRules{between: bytes.Clone(rules.between), within: rules.within, withinText: bytes.Clone(rules.within)}
	for _, fin := range []byte{0, finBit} {
		text.between[fin|opText] += classText
		text.withinText[fin|opContinuation] += classText
	}
	return measured(text)
}

// measured is rules with their lengths.
func measured(rules *frameRules) *frameRules {
	rules.lengths = newLengths(rules.between, 0, 2)
	rules.lengthsMasked = newLengths(rules.between, maskBit, 2+maskSize)
	return rules
}

// newLengths makes lengths of frames whose second byte has the MASK bit mask, and whose shortest header has that many bytes.
func newLengths(classes []byte, mask, header int) [][]int {
	none := make([]int, 256)
	for i := range none {
		none[i] = noLength
	}
	binary, text := append([]int(nil), none...), append([]int(nil), none...)
	for length := 0; length < 126; length++ {
		binary[mask+length] = header + length
		text[mask+length] = textFrame + header + length
	}
	binary[mask+126] = extended16
	binary[mask+127] = extended64
	text[mask+126] = textFrame + extended16
	lengths := make([][]int, 256)
	for i, class := range classes {
		switch class {
		case classWhole:
			lengths[i] = binary
		case classWhole + classText:
			lengths[i] = text
		default:
			lengths[i] = none
		}
	}
	return lengths
}

// classify judges a header's first byte by RFC 6455 sections 5.2, 5.4 and 5.5. within tells whether a fragmented message
// waits for its end, illegal is the class of what may not be there.
func classify(first, rsv, illegal byte, within bool) byte {
	fin := first&finBit != 0
	reserved := first & rsvBits
	opcode := first & 0x0F
	if reserved&^rsv != 0 {
		return illegal // "MUST be 0 unless an extension is negotiated"
	}
	if opcode&controlBit != 0 {
		// "Control frames ... MUST NOT be fragmented", and "MAY be injected in the middle of a fragmented message". RFC 7692
		// sets no bit on them.
		if !fin || opcode > opPong || reserved == rsv1Bit && rsv == rsv1Bit {
			return illegal
		}
		return classControl
	}
	if opcode == opContinuation {
		// RFC 7692 section 6.1: RSV1 stands on a message's first frame only.
		if !within || reserved == rsv1Bit && rsv == rsv1Bit {
			return illegal
		}
		if fin {
			return classEnd
		}
		return classMiddle
	}
	if within || opcode > opBinary {
		return illegal // "fragments of one message MUST NOT be interleaved"
	}
	if fin {
		return classWhole
	}
	return classStart
}

// parser is where a direction stands in its frames, with what has passed so far. It belongs to the goroutine that parses.
type parser struct {
	rules   *frameRules
	classes []byte  // of rules: those of the next header
	lengths [][]int // of rules: those between two messages
	masked  bool    // frames must be masked: yes from a client (RFC 6455 section 5.1)
	judged  bool    // what breaks the rules is a fault
	header  int     // bytes of the shortest header

	left   int   // payload bytes of the current data frame that are still to come
	within bool  // a fragmented message waits for its end
	length int64 // its payload so far

	maxFrame   int   // longest payload of a data frame, at most
	maxMessage int64 // and of a message
	limit      int   // of a message in one frame that needs no closer look: the smaller one, bulkRest at most

	metered     bool      // the rate of messages is bounded
	bucket      bucket    // by this,
	ceiling     int64     // and their number for now
	controls    int64     // control frames so far
	allowance   bucket    // bounds their rate,
	maxControls int64     // and their number for now
	opened      time.Time // the session

	text   *utf8Validator // checks text; nil where that is not asked for
	inText bool           // the current frame is of text that is checked

	frames   int64 // complete headers passed, control frames included
	messages int64 // data messages ended
	control  int64 // bytes of pings and pongs passed

	pongSize int    // of a whole pong to a ping of ours to the source, in bytes; 0 where there are none
	token    uint64 // begins the payload of these pings

	closing []byte  // the close frame before which parsing has ended, which has yet to be passed on
	said    *status // and what it says
	pong    []byte  // the payload of the pong to a ping of ours before which parsing has ended, which is not passed on
	fault   *fault  // the breach before which parsing has ended
}

// newParser makes a parser that stands between two messages, of frames that must be masked or must not.
func newParser(rules *frameRules, masked bool) *parser {
	p := &parser{
		rules: rules, classes: rules.between, lengths: rules.lengths, masked: masked, judged: rules != lax, header: 2,
		maxFrame: maxFrame, maxMessage: unlimited, limit: bulkRest, ceiling: unlimited, maxControls: unlimited,
	}
	if masked {
		p.lengths = rules.lengthsMasked
		p.header += maskSize
	}
	if rules == plainText || rules == compressedText {
		p.text = new(utf8Validator)
	}
	return p
}

// bound has the parser keep limits.
func bound(p *parser, l *limits) {
	if l.maxFrameSize > 0 {
		p.maxFrame = l.maxFrameSize
	}
	if l.maxMessageSize > 0 {
		p.maxMessage = int64(l.maxMessageSize)
	}
	if p.maxFrame < p.limit {
		p.limit = p.maxFrame
	}
	if p.maxMessage < int64(p.limit) {
		p.limit = int(p.maxMessage)
	}
	if p.limit < maxControl {
		p.lengths = noLengths
	}
	if l.pingInterval > 0 && (p.masked && l.pingClient || !p.masked && l.pingUpstream) {
		p.pongSize = p.header + pingSize
	}
	if p.masked {
		meter(p, l)
	}
}

// parseChunk goes over the headers in chunk, which continues the stream, and returns how many leading bytes of it may go on: all
// that belongs to legal frames. What it keeps back is a header or a control frame that is not complete yet, at most 131
// bytes, which has to stand at the start of the next chunk. A legal close frame ends it before that, in p.closing, a pong to
// a ping of ours in p.pong, and the first fault in p.fault. A fault in the payload of a frame whose start has been passed on
// in an earlier chunk leaves p.left as it was.
//
// It is one function, for it runs once a chunk, and a call for each frame would cost more than the parsing.
//
//nolint:gocognit // see above
func parseChunk(p *parser, chunk []byte) int {
	size := len(chunk)
	at := p.left
	if at > size {
		at = size
	}
	if p.inText {
		checkText(p, chunk[:at], p.left == at)
		if p.fault != nil {
			return 0
		}
	}
	p.left -= at
	for at+2 <= size {
		first, second := chunk[at], chunk[at+1]
		text := p.classes[first] >= classText
		class := p.classes[first] &^ classText
		if class == classIllegal || p.judged && (second >= maskBit) != p.masked {
			p.fault = headerFault(class, p.masked)
			return at
		}
		body, length := at+2, int(second&0x7F)
		if length == 126 && class <= classEnd && at+4 <= size && chunk[at+2] > 0 {
			length = int(binary.BigEndian.Uint16(chunk[body:])) // without a call, for fragments are often of that size
			body += 2
		} else if length >= 126 {
			body, length = longLength(p, chunk, at, class)
			if body == 0 {
				return at
			}
		}
		if second >= maskBit {
			body += maskSize
		}
		end := body + length
		if body > size || class == classControl && length <= maxControl && (end > size || !passControl(p, chunk[at:end])) {
			return at
		}
		if class != classControl || length > maxControl {
			if class == classMiddle && !text && length <= p.maxFrame && int64(length) <= p.maxMessage-p.length {
				p.length += int64(length)
			} else {
				p.fault = overLimit(p, class, length)
				if p.fault != nil || text && !enterText(p, class, chunk, body, end) {
					return at
				}
				enter(p, class, length, text)
			}
		}
		p.frames++
		if end > size {
			p.left = end - size
			return size
		}
		at = end
	}
	return at
}

// enterText has the parser check the text frame of class whose payload is chunk[body:end], as far as that is there. It is
// false where the text is no UTF-8.
func enterText(p *parser, class byte, chunk []byte, body, end int) bool {
	v := p.text
	v.last = class == classWhole || class == classEnd
	v.at = 0
	if p.masked {
		v.key = bytes.Repeat(chunk[body-maskSize:body], 2)
	}
	p.inText = true
	ends := end <= len(chunk)
	if !ends {
		end = len(chunk)
	}
	checkText(p, chunk[body:end], ends)
	return p.fault == nil
}

// passControl reports whether a complete control frame may go on now. It may not where parsing ends before it: for a close
// frame, a pong to a ping of ours, or one too many.
func passControl(p *parser, frame []byte) bool {
	opcode := frame[0] & 0x0F
	if p.controls >= p.maxControls && opcode != opClose && !allowControl(p) {
		p.fault = errControls
		return false
	}
	p.controls++
	if opcode == opClose {
		parseClose(p, frame)
		return false
	}
	if opcode == opPong && p.pongSize > 0 {
		p.pong = answers(p, frame)
		if p.pong != nil {
			return false
		}
	}
	p.control += int64(len(frame))
	return true
}

// parseClose ends the parsing before a complete close frame.
func parseClose(p *parser, frame []byte) {
	p.said = statusOf(frame)
	if p.judged {
		p.fault = p.said.fault
	}
	if p.fault == nil {
		p.closing = append([]byte(nil), frame...)
	}
}

// answers is the payload of a complete control frame where that is the pong to a ping of ours, else nil.
func answers(p *parser, frame []byte) []byte {
	if frame[0] != finBit|opPong || frame[1]&0x7F != pingSize || (frame[1] >= maskBit) != p.masked {
		return nil
	}
	payload := controlPayload(frame)
	if binary.BigEndian.Uint64(payload) != p.token {
		return nil
	}
	return payload
}

// overLimit is the limit that a data frame of class with length bytes of payload breaks, or nil.
func overLimit(p *parser, class byte, length int) *fault {
	if length > p.maxFrame {
		return errFrame
	}
	if class > classEnd {
		return nil
	}
	if int64(length) > p.maxMessage-p.length {
		return errMessage
	}
	if p.messages >= p.ceiling && (class == classWhole || class == classStart) {
		return errRate
	}
	return nil
}

// enter takes the parser to a data frame of class with length bytes of payload. text tells whether that is checked.
func enter(p *parser, class byte, length int, text bool) {
	switch class {
	case classWhole:
		p.messages++
	case classStart:
		p.within = true
		p.classes = p.rules.within
		if text {
			p.classes = p.rules.withinText
		}
		p.length = int64(length)
	case classMiddle:
		p.length += int64(length)
	case classEnd:
		p.within = false
		p.classes = p.rules.between
		p.messages++
		p.length = 0
	}
}

// headerFault is the fault of a header that is of class, or that has the wrong MASK bit; mustMask is what that had to be.
func headerFault(class byte, mustMask bool) *fault {
	if class == classIllegal {
		return errHeader
	}
	if mustMask {
		return errUnmasked
	}
	return errMasked
}

// longLength reads the extended payload length, 16 or 64 bits, of the header of class at chunk[at:], and returns it with
// where it ends. That is 0 where the length is not complete yet, or a fault, which the parser then holds.
func longLength(p *parser, chunk []byte, at int, class byte) (end, length int) {
	end = at + 4
	if chunk[at+1]&0x7F == 127 {
		end = at + 10
	}
	if end > len(chunk) {
		return 0, 0
	}
	if p.judged && class == classControl {
		p.fault = errControl
		return 0, 0
	}
	declared, least := uint64(binary.BigEndian.Uint16(chunk[at+2:])), uint64(126)
	if end == at+10 {
		declared = binary.BigEndian.Uint64(chunk[at+2:])
		least = 1 << 16
	}
	// "The minimal number of bytes MUST be used to encode the length", and "the most significant bit MUST be 0" (RFC 6455
	// section 5.2).
	if p.judged && (declared < least || declared > maxLength) {
		p.fault = errLength
		return 0, 0
	}
	length = maxFrame // of a frame that never ends
	if declared <= uint64(maxFrame) {
		length = int(declared)
	} else if p.judged {
		p.fault = errFrame
		return 0, 0
	}
	return end, length
}

// skipMessages goes over messages of one frame each that chunk has whole, from at on, and checks those of text. It returns
// where something else begins, or what is no UTF-8, and how many messages come before that. The parser counts none of them.
//
//nolint:gocognit // one function, for a call for each message would cost more than the rest
func skipMessages(p *parser, chunk []byte, at int) (int, int64) {
	lengths, header, size, last, count := p.lengths, p.header, len(chunk), len(chunk)-1, int64(0)
	var start, step, body int
	for at < last {
		for at < last {
			start = at
			at += lengths[chunk[at]][chunk[at+1]]
			count++
		}
		if at <= size {
			break
		}
		step = at - start
		body = start + header
		if step >= extended16 {
			body += 2
			if step >= extended64 || body > size {
				return start, count - 1
			}
			at = body + int(chunk[start+2])<<8 + int(chunk[start+3])
			if at-body <= maxControl || at-body > p.limit {
				return start, count - 1
			}
		} else if step >= textFrame {
			at -= textFrame
		}
		if at > size {
			return start, count - 1
		}
		if step == extended16 {
			continue
		}
		if !isText(chunk[body:at], chunk[body-header+2:body]) {
			return start, count - 1
		}
	}
	return at, count
}

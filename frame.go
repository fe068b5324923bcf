package wsfw

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"time"
)

// A frame on the wire, RFC 6455 section 5.2:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	|F|R|R|R| opcode|M| length (7)  | length (16, if 126; 64, if    |
//	|I|S|S|S|  (4)  |A|             | 127)                          |
//	|N|V|V|V|       |S|             |                               |
//	| |1|2|3|       |K|             |                               |
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	| masking key (32, if MASK)     | payload                       |
//	+-------------------------------+-------------------------------+

// Bits of a header's first two bytes.
const (
	finBit  = 0x80
	rsv1Bit = 0x40
	rsvBits = 0x70
	maskBit = 0x80

	controlBit = 0x08 // of the opcode; RFC 6455 section 5.5
)

// Opcodes, RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// Sizes in bytes.
const (
	maskSize   = 4
	maxControl = 125                  // payload of a control frame; RFC 6455 section 5.5
	maxFrame   = int(^uint(0)>>2) + 1 // payload of any frame: half of what fits an int, so that sums do
	maxLength  = 1<<63 - 1            // what RFC 6455 allows for that

	unlimited int64 = 1<<63 - 1
)

// fault is a breach of RFC 6455 or of a limit: the code that the offender is closed with
// and the reason for it, at most maxCloseReason bytes.
type fault struct {
	code   int
	reason string
}

// kind is what the other side is told of a fault.
func (f *fault) kind() string {
	if f.code == closePolicy || f.code == closeTooBig {
		return "limit exceeded"
	}
	return "protocol error"
}

var (
	errHeader   = &fault{closeProtocol, "illegal opcode, fragment or reserved bit"}
	errUnmasked = &fault{closeProtocol, "frame is not masked"}
	errMasked   = &fault{closeProtocol, "frame is masked"}
	errLength   = &fault{closeProtocol, "frame length is not minimal or too large"}
	errControl  = &fault{closeProtocol, "control frame is longer than 125 bytes"}
	errCode     = &fault{closeProtocol, "close code may not be sent"}
	errReason   = &fault{closeInvalidData, "close reason is not UTF-8"}
	errText     = &fault{closeInvalidData, "text is not UTF-8"}
	errFrame    = &fault{closeTooBig, "frame is too big"}
	errMessage  = &fault{closeTooBig, "message is too big"}
	errRate     = &fault{closePolicy, "too many messages"}
	errControls = &fault{closePolicy, "too many control frames"}
)

// track is where a direction stands in its frames, with what has passed so far.
// It belongs to the goroutine that walks it.
type track struct {
	rules  *grammar
	table  []byte // of rules: the one in force for the next header
	masked bool   // whether frames must be masked: yes from a client (RFC 6455 section 5.1)
	judged bool   // whether what breaks the rules is a fault

	strides [][]int // of the messages that may come next and go on unseen
	between [][]int // of rules: those between two messages

	left int // payload bytes of the current data frame that are still to come

	maxFrame     int       // longest payload of a data frame, at most
	maxMessage   int64     // that of a message
	message      int64     // payload of the current fragmented message so far
	metered      bool      // the rate of messages is bounded
	bucket       bucket    // by this,
	ceiling      int64     // and their number for now
	controls     int64     // control frames so far
	allowance    bucket    // bounds their rate,
	mostControls int64     // and their number for now
	opened       time.Time // the session
	speller      *speller  // checks text; nil where that is not asked for
	spelling     bool      // the current frame is of text that is checked

	frames   int64 // complete headers passed, control frames included
	messages int64 // data messages ended

	control int64 // bytes of pings and pongs passed

	token uint64 // begins the payload of our own pings to the source; 0 where there are none

	closing []byte  // the close frame that ended the walk, which has yet to be passed on
	said    *status // and what it says
	pong    []byte  // the payload of the pong to a ping of ours that ended the walk, which is not passed on
	fault   *fault  // the breach that ended the walk
}

// newTrack starts a track at a frame boundary, between two messages.
func newTrack(rules *grammar, masked bool) *track {
	t := &track{
		rules: rules, table: rules.between, masked: masked, judged: rules != lax, between: rules.strides,
		maxFrame: maxFrame, maxMessage: unlimited, ceiling: unlimited, mostControls: unlimited,
	}
	if masked {
		t.between = rules.maskedStrides
	}
	t.strides = t.between
	return t
}

// bound has the track keep the limits on sizes, and check text where its rules ask for that.
func (t *track) bound(l *limits) {
	if l.maxFrameSize > 0 {
		t.maxFrame = l.maxFrameSize
	}
	if l.maxMessageSize > 0 {
		t.maxMessage = int64(l.maxMessageSize)
	}
	if t.masked && t.judged {
		rate := float64(controlRate)
		if l.pingInterval > 0 && l.pingClient {
			rate += 1 / l.pingInterval.Seconds() // the pongs that we ask for
		}
		t.allowance = bucket{rate: rate, depth: controlBurst, share: controlBurst / sharing, tokens: controlBurst}
		t.mostControls = 0
	}
	if t.maxFrame < 125 || t.maxMessage < 125 {
		t.between = noStrides
		t.strides = noStrides
	}
	if t.rules == plainText || t.rules == compressedText {
		t.speller = &speller{}
	}
}

// walk goes over the headers in chunk, which continues the track, and returns how
// many leading bytes of it may go on: all that belongs to legal frames. What it
// keeps back is a header or a control frame that is not complete yet, at most
// 131 bytes, which has to stand at the start of the next chunk. A legal close frame
// ends the walk before it, in t.closing, a pong to a ping of ours, in t.pong, and the
// first fault, in t.fault. A fault in the payload of a frame whose start has been passed
// on in an earlier chunk leaves t.left as it was.
//
// One function with everything inline: it runs once a chunk, and in the interpreter
// a call per frame would cost more than the parsing.
//
//nolint:gocognit,funlen,nestif // see above
func walk(t *track, chunk []byte) int {
	size := len(chunk)
	at := t.left
	if at > size {
		at = size
	}
	if t.spelling {
		legal := spell(t, chunk[:at], t.left == at)
		if !legal {
			t.fault = errText
			return 0
		}
	}
	t.left -= at
	if at == size {
		return size
	}
	for at+2 <= size {
		first, second := chunk[at], chunk[at+1]
		class := t.table[first]
		text := class >= classText
		if text {
			class -= classText
		}
		if class == classIllegal || t.judged && (second >= maskBit) != t.masked {
			t.fault = headerFault(class, t.masked)
			return at
		}
		body := at + 2 // where the payload begins
		length := int(second & 0x7F)
		if length >= 126 {
			body, length = longHeader(t, chunk, at, class)
			if body == 0 {
				return at
			}
		}
		if second >= maskBit {
			body += maskSize
		}
		if body > size {
			return at
		}
		end := body + length
		if class == classControl && length <= maxControl {
			if end > size {
				return at
			}
			if t.controls >= t.mostControls && first != finBit|opClose && !allowControl(t) {
				t.fault = errControls
				return at
			}
			t.controls++
			// Pings and the pongs of others may come in floods: they need no call.
			if first != finBit|opPing && (first != finBit|opPong || length == pingSize) && t.endsBefore(chunk[at:end]) {
				return at
			}
			t.control += int64(end - at)
		} else if t.fault = overLimit(t, class, length); t.fault != nil {
			return at
		} else {
			if text {
				end = spellFrame(t, class, chunk, at, body, end)
				if end == 0 {
					t.fault = errText
					return at
				}
			}
			enter(t, class, length, text)
		}
		t.frames++
		if end > size {
			t.left = end - size
			return size
		}
		at = end
	}
	return at
}

// overLimit is the limit that a data frame of class with length bytes of payload breaks, or nil.
func overLimit(t *track, class byte, length int) *fault {
	if length > t.maxFrame {
		return errFrame
	}
	if class > classEnd {
		return nil
	}
	if int64(length) > t.maxMessage-t.message {
		return errMessage
	}
	if t.messages >= t.ceiling && (class == classWhole || class == classStart) {
		return errRate
	}
	return nil
}

// enter takes the track to a data frame of class with length bytes of payload. text tells
// whether that is to be checked.
func enter(t *track, class byte, length int, text bool) {
	switch class {
	case classWhole:
		t.messages++
	case classStart:
		t.table = t.rules.within
		t.strides = noStrides
		if text {
			t.table = t.rules.withinText
		}
		t.message = int64(length)
	case classMiddle:
		t.message += int64(length)
	case classEnd:
		t.table = t.rules.between
		t.strides = t.between
		t.messages++
		t.message = 0
	}
}

// endsBefore reports whether the walk ends before a complete control frame: a close frame,
// or a pong that is for us.
func (t *track) endsBefore(frame []byte) bool {
	if frame[0]&0x0F == opClose {
		walkClose(t, frame)
		return true
	}
	t.pong = t.answers(frame)
	return t.pong != nil
}

// answers is the payload of a complete control frame where that is the pong to a ping of
// ours, else nil.
func (t *track) answers(frame []byte) []byte {
	if t.token == 0 || frame[0] != finBit|opPong {
		return nil
	}
	if frame[1]&0x7F != pingSize || (frame[1] >= maskBit) != t.masked {
		return nil
	}
	payload := controlPayload(frame)
	if binary.BigEndian.Uint64(payload) != t.token {
		return nil
	}
	return payload
}

// headerFault is the fault of a header that is of class, or that has the wrong
// MASK bit; mustMask is what the bit had to be.
func headerFault(class byte, mustMask bool) *fault {
	if class == classIllegal {
		return errHeader
	}
	if mustMask {
		return errUnmasked
	}
	return errMasked
}

// longHeader reads the extended payload length, 16 or 64 bits, of the header of class
// at chunk[at:], and returns it with where it ends. That is 0 where the length is not
// complete yet, or a fault, which the track then holds.
func longHeader(t *track, chunk []byte, at int, class byte) (end, length int) {
	end = at + 4
	if chunk[at+1]&0x7F == 127 {
		end = at + 10
	}
	if end > len(chunk) {
		return 0, 0
	}
	if t.judged && class == classControl {
		t.fault = errControl
		return 0, 0
	}
	least := uint64(1 << 16)
	var declared uint64
	if end == at+4 {
		declared = uint64(binary.BigEndian.Uint16(chunk[at+2:]))
		least = 126
	} else {
		declared = binary.BigEndian.Uint64(chunk[at+2:])
	}
	// "The minimal number of bytes MUST be used to encode the length", and "the most
	// significant bit MUST be 0" (RFC 6455 section 5.2).
	if t.judged && (declared < least || declared > maxLength) {
		t.fault = errLength
		return 0, 0
	}
	length = maxFrame // of a frame that never ends
	if declared <= uint64(maxFrame) {
		length = int(declared)
	} else if t.judged {
		t.fault = errFrame
		return 0, 0
	}
	return end, length
}

// controlFrame is a complete control frame around payload, at most maxControl bytes.
func controlFrame(opcode byte, payload []byte, mask bool) []byte {
	frame := make([]byte, 0, 2+maskSize+len(payload))
	if !mask {
		frame = append(frame, finBit|opcode, byte(len(payload)))
		return append(frame, payload...)
	}
	var key [maskSize]byte
	// "MUST be derived from a strong source of entropy" (RFC 6455 section 5.3).
	// The error is always nil on the platforms that Traefik runs on.
	_, _ = rand.Read(key[:])
	frame = append(frame, finBit|opcode, maskBit|byte(len(payload)))
	frame = append(frame, key[:]...)
	return append(frame, masked(payload, key[:])...)
}

// controlPayload is the payload of a complete control frame, unmasked into memory
// of its own. Its length may stand in any form, for not all frames are judged.
func controlPayload(frame []byte) []byte {
	header := 2
	switch frame[1] & 0x7F {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	if frame[1] < maskBit {
		return append([]byte(nil), frame[header:]...)
	}
	return masked(frame[header+maskSize:], frame[header:header+maskSize])
}

// masked is payload with key laid over it (RFC 6455 section 5.3), in memory of its
// own: masking and unmasking are the same operation.
func masked(payload, key []byte) []byte {
	pad := make([]byte, 0, len(payload)+maskSize)
	for len(pad) < len(payload) {
		pad = append(pad, key...)
	}
	subtle.XORBytes(pad, payload, pad[:len(payload)])
	return pad[:len(payload)]
}

package wsfw

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"unicode/utf8"
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

	maxCloseReason = maxControl - 2 // the code stands before it

	unlimited int64 = 1<<63 - 1
)

// Close codes, RFC 6455 section 7.4.1 and the IANA registry.
const (
	closeNormal      = 1000
	closeGoingAway   = 1001
	closeProtocol    = 1002
	closeNoStatus    = 1005 // never on the wire: a close frame without a code
	closeAbnormal    = 1006 // never on the wire: no close frame at all
	closeInvalidData = 1007
	closePolicy      = 1008
	closeTooBig      = 1009
	closeInternal    = 1011
	closeRestart     = 1012
	closeBadGateway  = 1014

	closeUnauthorized = 3000
)

// fault is a breach of RFC 6455 or of a limit: the close code for the offender, and the reason, of at most maxCloseReason
// bytes.
type fault struct {
	code   int
	reason string
}

// faultKind is what the other peer is told of a fault.
func faultKind(f *fault) string {
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

// controlFrame is a complete control frame around payload, of at most maxControl bytes.
func controlFrame(opcode byte, payload []byte, mask bool) []byte {
	frame := []byte{finBit | opcode, byte(len(payload))}
	if !mask {
		return append(frame, payload...)
	}
	frame[1] |= maskBit
	key := make([]byte, maskSize)
	// "MUST be derived from a strong source of entropy" (RFC 6455 section 5.3). The error is always nil on the platforms
	// that Traefik runs on.
	_, _ = rand.Read(key)
	return append(append(frame, key...), masked(payload, key)...)
}

// controlPayload is the payload of a complete control frame, unmasked, in memory of its own. Its length may stand in any
// form, for not all frames are judged.
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

// masked is payload with key laid over it (RFC 6455 section 5.3), in memory of its own: masking and unmasking are the same.
func masked(payload, key []byte) []byte {
	pad := bytes.Repeat(key, len(payload)/maskSize+1)
	subtle.XORBytes(pad, pad, payload)
	return pad[:len(payload)]
}

// closeFrame is a close frame of ours. A reason that is too long is cut between two runes.
func closeFrame(code int, reason string, toUpstream bool) []byte {
	for len(reason) > maxCloseReason {
		_, size := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-size]
	}
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	payload = append(payload, reason...)
	return controlFrame(opClose, payload, toUpstream)
}

// status is what a close frame says: code and reason, and what is wrong with them (RFC 6455 section 7.4).
type status struct {
	code   int
	reason string
	fault  *fault
}

// usualClose is what almost all close frames say, by the frame without its masking key.
var usualClose = map[string]*status{
	"\x88\x00": {code: closeNoStatus}, "\x88\x02\x03\xe8": {code: closeNormal}, "\x88\x02\x03\xe9": {code: closeGoingAway},
}

// withoutKey is a masked close frame with a code alone as usualClose has it; empty for any other.
func withoutKey(frame []byte) string {
	if len(frame) != 2+maskSize+2 || frame[1] != maskBit|2 {
		return ""
	}
	code := make([]byte, 2)
	subtle.XORBytes(code, frame[2+maskSize:], frame[2:])
	return "\x88\x02" + string(code)
}

// statusOf is what a complete close frame says: closeNoStatus where it has no code (RFC 6455 section 7.1.5).
func statusOf(frame []byte) *status {
	payload := controlPayload(frame)
	said := &status{code: closeNoStatus}
	if len(payload) >= 2 {
		said.code = int(binary.BigEndian.Uint16(payload))
		said.reason = string(payload[2:])
	}
	if len(payload) > 0 && !mayBeSent(said.code) {
		said.fault = errCode // also where half a code has come
	} else if !utf8.ValidString(said.reason) {
		said.fault = errReason
	}
	return said
}

// mayBeSent reports whether a close frame may carry code: RFC 6455 section 7.4.2 with the codes that IANA has registered
// since (1012 to 1014).
func mayBeSent(code int) bool {
	private := code >= 3000 && code <= 4999
	reserved := code == 1004 || code == closeNoStatus || code == closeAbnormal
	return private || code >= closeNormal && code <= closeBadGateway && !reserved
}

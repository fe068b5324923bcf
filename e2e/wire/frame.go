// Package wire speaks WebSocket byte by byte: its peers send any frame, legal or not, and show exactly what they
// are sent.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Opcodes, RFC 6455 section 5.2.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xA
)

// RSV1 is the first reserved bit in [Frame.RSV]; permessage-deflate sets it on compressed messages.
const RSV1 = 0x4

// Form is how a header states the payload's length.
type Form int

// Forms of a length. Minimal is the only legal one.
const (
	Minimal Form = iota
	Form16       // 126 and two bytes
	Form64       // 127 and eight bytes
)

// Frame is one frame as it stands on the wire.
type Frame struct {
	Fin     bool
	RSV     byte // the three reserved bits
	Opcode  byte
	Masked  bool
	Key     [4]byte
	Form    Form
	Claim   uint64 // the length to state where it is not the payload's
	Payload []byte // not masked
}

// sampleMask is the masking key of RFC 6455 section 5.7.
var sampleMask = [4]byte{0x37, 0xFA, 0x21, 0x3D}

// New is an unmasked frame that ends its message.
func New(opcode byte, payload []byte) Frame {
	return Frame{Fin: true, Opcode: opcode, Payload: payload}
}

// Text is a text message in one frame.
func Text(payload string) Frame { return New(OpText, []byte(payload)) }

// Binary is a binary message in one frame.
func Binary(payload []byte) Frame { return New(OpBinary, payload) }

// Close is a close frame with a code and a reason.
func Close(code int, reason string) Frame {
	return New(OpClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// Masking is the frame with a masking key where mask asks for one, and without where not.
func (f Frame) Masking(mask bool) Frame {
	f.Masked = mask
	f.Key = [4]byte{}
	if mask {
		f.Key = sampleMask
	}
	return f
}

// Bytes is the frame as it is sent.
func (f Frame) Bytes() []byte {
	b := append(f.header(), f.Payload...)
	if f.Masked {
		mask(b[len(b)-len(f.Payload):], f.Key)
	}
	return b
}

// header is the frame's header with the masking key.
func (f Frame) header() []byte {
	first, second := f.RSV<<4|f.Opcode, byte(0)
	if f.Fin {
		first |= 0x80
	}
	if f.Masked {
		second = 0x80
	}
	length := uint64(len(f.Payload))
	if f.Claim > 0 {
		length = f.Claim
	}
	b := make([]byte, 0, 14+len(f.Payload))
	switch form(f.Form, length) {
	case Form64:
		b = binary.BigEndian.AppendUint64(append(b, first, second|127), length)
	case Form16:
		b = binary.BigEndian.AppendUint16(append(b, first, second|126), uint16(length))
	default:
		b = append(b, first, second|byte(length))
	}
	if f.Masked {
		b = append(b, f.Key[:]...)
	}
	return b
}

// form is the form asked for, or the shortest that holds length.
func form(asked Form, length uint64) Form {
	switch {
	case asked != Minimal:
		return asked
	case length > 65535:
		return Form64
	case length > 125:
		return Form16
	}
	return Minimal
}

// mask lays key over payload in place.
func mask(payload []byte, key [4]byte) {
	for i := range payload {
		payload[i] ^= key[i%4]
	}
}

// Status is a close frame's code and reason; false where it has none.
func (f Frame) Status() (code int, reason string, ok bool) {
	if f.Opcode != OpClose || len(f.Payload) < 2 {
		return 0, "", false
	}
	return int(binary.BigEndian.Uint16(f.Payload)), string(f.Payload[2:]), true
}

// String describes the frame in a test's message.
func (f Frame) String() string {
	text := fmt.Sprintf("fin=%v rsv=%d opcode=%#x masked=%v", f.Fin, f.RSV, f.Opcode, f.Masked)
	if code, reason, ok := f.Status(); ok {
		return text + fmt.Sprintf(" code=%d reason=%q", code, reason)
	}
	return text + fmt.Sprintf(" %d bytes: %.40q", len(f.Payload), f.Payload)
}

// Encode is the frames one after the other.
func Encode(frames ...Frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.Bytes()...)
	}
	return b
}

// ReadFrame reads one frame. An error other than [io.EOF] means that the stream ended inside it.
func ReadFrame(r io.Reader) (Frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Fin: head[0]&0x80 != 0, RSV: head[0] >> 4 & 7, Opcode: head[0] & 0xF, Masked: head[1]&0x80 != 0}
	length, err := readLength(r, head[1]&0x7F)
	if err != nil {
		return f, inside(err)
	}
	if f.Masked {
		if _, err := io.ReadFull(r, f.Key[:]); err != nil {
			return f, inside(err)
		}
	}
	f.Payload = make([]byte, length)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return f, inside(err)
	}
	if f.Masked {
		mask(f.Payload, f.Key)
	}
	return f, nil
}

// readLength reads what follows the seven bits of the header's second byte.
func readLength(r io.Reader, short byte) (uint64, error) {
	var long [8]byte
	switch short {
	case 126:
		_, err := io.ReadFull(r, long[6:])
		return binary.BigEndian.Uint64(long[:]), err
	case 127:
		_, err := io.ReadFull(r, long[:])
		return binary.BigEndian.Uint64(long[:]), err
	}
	return uint64(short), nil
}

// inside tells the end of a stream inside a frame from that between two.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

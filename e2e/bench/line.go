package main

import (
	"encoding/binary"
	"io"
	"net"

	"github.com/wsfw/wsfw/e2e/wire"
)

// line is one end of a session. It reads frames until the session ends, and answers pings and closes.
type line struct {
	conn  net.Conn
	masks bool // a client's frames are masked

	// data takes a part of a data frame, and appends what is to be sent for it.
	data func(out []byte, p part) []byte

	// write sends what has been appended since the last read. It must not keep that.
	write func([]byte) error

	control []byte // payload of the control frame that has begun
}

// A line's buffer is small until a read fills it, for most of thousands of sessions are idle.
const smallBuffer, largeBuffer = 1 << 10, 64 << 10

// run returns the error that ends the session: [io.EOF] after a close handshake.
func (l *line) run() error {
	defer l.conn.Close()
	buf, out := make([]byte, smallBuffer), []byte(nil)
	var frames scanner
	for {
		n, err := l.conn.Read(buf)
		if err != nil {
			return err
		}
		out = out[:0]
		closed := false
		for in := buf[:n]; len(in) > 0; {
			p, rest, ok := frames.next(in)
			in = rest
			switch {
			case !ok:
			case p.opcode < 8:
				out = l.data(out, p)
			default:
				out = l.answer(out, p)
				closed = closed || p.opcode == wire.OpClose && p.ends
			}
		}
		if len(out) > 0 {
			if err := l.write(out); err != nil {
				return err
			}
		}
		if closed {
			return io.EOF
		}
		if n == smallBuffer && len(buf) == smallBuffer {
			buf = make([]byte, largeBuffer)
		}
	}
}

// answer takes a part of a control frame.
func (l *line) answer(out []byte, p part) []byte {
	if p.begins {
		l.control = l.control[:0]
	}
	l.control = append(l.control, p.payload...)
	if !p.ends || p.opcode == wire.OpPong {
		return out
	}
	opcode := p.opcode
	if opcode == wire.OpPing {
		opcode = wire.OpPong
	}
	return append(out, wire.New(opcode, l.control).Masking(l.masks).Bytes()...)
}

// appendHeader appends the header of an unmasked frame.
func appendHeader(out []byte, p part) []byte {
	first := p.opcode
	if p.fin {
		first |= 0x80
	}
	switch {
	case p.size < 126:
		return append(out, first, byte(p.size))
	case p.size < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, first, 126), uint16(p.size))
	}
	return binary.BigEndian.AppendUint64(append(out, first, 127), p.size)
}

// sendBack has a line send back every message, part by part.
func sendBack(out []byte, p part) []byte {
	if p.begins {
		out = appendHeader(out, p)
	}
	return append(out, p.payload...)
}

// receipt is what an upstream says to a message that it does not send back.
const receipt = "taken"

// acknowledge has a line send a receipt for every message.
func acknowledge(out []byte, p part) []byte {
	if p.message() {
		out = append(out, wire.Text(receipt).Bytes()...)
	}
	return out
}

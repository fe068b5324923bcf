package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// sendTimeout bounds each write of an end, and how long it waits for the other to close.
const sendTimeout = 5 * time.Second

// end is the client or the upstream of a live session. It does what RFC 6455 asks of it until it is told to do
// something else, and tells what it sends and what it gets.
type end struct {
	side  string // client or upstream
	echo  bool   // send messages back
	masks bool
	tell  func(event)
	ready chan struct{} // closed when it has its connection
	over  chan struct{} // closed when it has seen all

	mu      sync.Mutex // held while a frame is sent
	conn    net.Conn   // nil before the handshake
	silent  bool       // answers nothing more, neither pings nor a close, and sends no pings
	closing bool       // a close frame has been sent
	left    bool       // the connection was closed by this end
	pings   map[string]time.Time
}

// errNotOpen is the answer to whoever wants something of an end that has no connection.
var errNotOpen = errors.New("the session is not open")

// open gives the end its connection, unless it has had one or is not wanted any more.
func (e *end) open(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil || e.left {
		return false
	}
	e.conn = conn
	close(e.ready)
	return true
}

// run takes frames until the connection ends, and closes it.
func (e *end) run(in io.Reader) {
	defer close(e.over)
	defer e.hangUp()
	for {
		f, err := wire.ReadFrame(in)
		if err != nil {
			e.mu.Lock()
			left := e.left
			e.mu.Unlock()
			if !left {
				e.tell(event{Side: e.side, Kind: "gone", Text: reasonOf(err)})
			}
			return
		}
		if !e.take(f) {
			return
		}
	}
}

// reasonOf is how a connection ended.
func reasonOf(err error) string {
	if errors.Is(err, io.EOF) {
		return "the connection was closed"
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "nothing came any more"
	}
	return "the connection was cut"
}

// take answers a frame. It is false after a close frame, for nothing follows that.
func (e *end) take(f wire.Frame) bool {
	seen := describeFrame(f)
	seen.Side, seen.Way = e.side, "in"
	if f.Opcode == wire.OpPong {
		seen.RTT = e.roundTrip(string(f.Payload))
	}
	e.tell(seen)
	switch f.Opcode {
	case wire.OpPing:
		e.answer(wire.New(wire.OpPong, f.Payload))
	case wire.OpClose:
		e.answer(wire.New(wire.OpClose, f.Payload))
		return false
	case wire.OpText, wire.OpBinary:
		if e.echo {
			e.answer(f)
		}
	}
	return true
}

// answer sends a frame unless the end has fallen silent. Where that fails, the next read does, too.
func (e *end) answer(f wire.Frame) {
	e.mu.Lock()
	silent := e.silent
	e.mu.Unlock()
	if !silent {
		_ = e.send(f)
	}
}

// send sends frames as this end should: masked by a client, not masked by an upstream, and one close frame at most.
func (e *end) send(frames ...wire.Frame) error {
	for i, f := range frames {
		frames[i] = f.Masking(e.masks)
	}
	return e.sendAsIs(frames...)
}

// sendAsIs sends frames, whatever RFC 6455 says of them.
func (e *end) sendAsIs(frames ...wire.Frame) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn == nil {
		return errNotOpen
	}
	for _, f := range frames {
		if f.Opcode == wire.OpClose {
			if e.closing {
				return nil
			}
			e.closing = true
			e.conn.SetReadDeadline(time.Now().Add(sendTimeout))
		}
		seen := describeFrame(f)
		seen.Side, seen.Way = e.side, "out"
		e.tell(seen)
	}
	e.conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	_, err := e.conn.Write(wire.Encode(frames...))
	return err
}

// ping sends one that goes through to the other end, so that its pong tells the way's round trip. It is false when
// there is nobody left to ask.
func (e *end) ping() bool {
	e.mu.Lock()
	if e.conn == nil || e.closing || e.silent {
		e.mu.Unlock()
		return false
	}
	token := "through " + strconv.FormatUint(uint64(rand.Uint32()), 36)
	e.pings[token] = time.Now()
	e.mu.Unlock()
	return e.send(wire.New(wire.OpPing, []byte(token))) == nil
}

// roundTrip is the time since a ping of this end's own, in milliseconds; 0 for a pong to none.
func (e *end) roundTrip(token string) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	sent, ok := e.pings[token]
	if !ok {
		return 0
	}
	delete(e.pings, token)
	return milliseconds(time.Since(sent))
}

// fallSilent has the end answer nothing more. It keeps reading, so that it sees what comes of that.
func (e *end) fallSilent() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn == nil {
		return errNotOpen
	}
	e.silent = true
	return nil
}

// vanish resets the connection, as a crash or a lost network does.
func (e *end) vanish() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn == nil {
		return errNotOpen
	}
	e.left = true
	if tcp, ok := e.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	return e.conn.Close()
}

// hangUp closes the connection, if there is one, and has none come later.
func (e *end) hangUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.left = true
	if e.conn != nil {
		e.conn.Close()
	}
}

// opcodes are the names of RFC 6455 section 11.8.
var opcodes = map[byte]string{
	wire.OpContinuation: "continuation", wire.OpText: "text", wire.OpBinary: "binary",
	wire.OpClose: "close", wire.OpPing: "ping", wire.OpPong: "pong",
}

// describeFrame is a frame as the page shows it.
func describeFrame(f wire.Frame) event {
	name := opcodes[f.Opcode]
	if name == "" {
		name = "opcode " + strconv.Itoa(int(f.Opcode))
	}
	seen := event{Kind: "frame", Opcode: name, Size: len(f.Payload)}
	if f.Claim > 0 {
		seen.Size = int(f.Claim)
	}
	switch f.Opcode {
	case wire.OpClose:
		seen.Code, seen.Text, _ = f.Status()
	case wire.OpPing, wire.OpPong:
		seen.Own = len(f.Payload) > 8 && string(f.Payload[:8]) == "through "
	default:
		seen.Text = string(f.Payload[:min(len(f.Payload), 200)])
	}
	return seen
}

// milliseconds is a duration as the page wants it.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

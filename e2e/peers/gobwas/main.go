// Gobwas is a WebSocket peer on the library gobwas/ws, for one session at a time: a client of a gateway, or its upstream. It
// takes the flags and the commands of peer.js, and --again of peer.py, and tells what those tell.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsfw/wsfw/e2e/peers/console"
)

func main() {
	p := &peer{}
	flag.BoolVar(&p.echo, "echo", false, "send every message back")
	flag.BoolVar(&p.again, "again", false, "come back when the session has ended")
	console.Run(p)
}

// pause is how long a client waits before it comes back.
const pause = 50 * time.Millisecond

type peer struct {
	echo, again bool

	mu      sync.Mutex
	session *session // the latest one
}

// Connect implements [console.Peer].
func (p *peer) Connect(url string) error {
	visit := func() error {
		conn, early, _, err := ws.Dial(context.Background(), url)
		if err != nil {
			return err
		}
		in := io.Reader(conn)
		if early != nil {
			in = io.MultiReader(early, conn)
		}
		p.follow(&session{conn: conn, in: in, state: ws.StateClientSide})
		return nil
	}
	go func() {
		for again := true; again; again = p.again {
			if err := visit(); err != nil {
				console.Tell(console.Event{Event: "error", Text: err.Error()})
			}
			time.Sleep(pause)
		}
	}()
	return nil
}

// Serve implements [console.Peer].
func (p *peer) Serve(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			if _, err := ws.Upgrade(conn); err != nil {
				console.Tell(console.Event{Event: "error", Text: err.Error()})
				conn.Close()
				return
			}
			p.follow(&session{conn: conn, in: bufio.NewReader(conn), state: ws.StateServerSide})
		}()
	}
}

// Do implements [console.Peer].
func (p *peer) Do(c console.Command) error {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	switch c.Do {
	case "say":
		return s.write(ws.OpText, []byte(c.Text))
	case "sayBinary":
		payload, err := hex.DecodeString(c.Payload)
		if err != nil {
			return err
		}
		return s.write(ws.OpBinary, payload)
	case "close":
		return s.close(ws.NewCloseFrameBody(ws.StatusCode(c.Code), c.Reason))
	default:
		return errors.New("no command: " + c.Do)
	}
}

// follow tells all that happens in a session, until its connection has ended.
func (p *peer) follow(s *session) {
	p.mu.Lock()
	p.session = s
	p.mu.Unlock()
	console.Tell(console.Event{Event: "open"})
	err := s.listen(p.echo)
	var said wsutil.ClosedError
	if errors.As(err, &said) {
		console.Tell(console.Event{Event: "close", Code: uint16(said.Code), Reason: said.Reason})
	} else {
		console.Tell(console.Event{Event: "error", Text: err.Error()})
	}
	s.end()
	console.Tell(console.Event{Event: "end"})
}

// session is one end of a connection.
type session struct {
	conn  net.Conn
	in    io.Reader
	state ws.State

	mu     sync.Mutex // of writes, for a frame may be several
	closed bool       // a close frame is sent
}

func (s *session) write(op ws.OpCode, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return wsutil.WriteMessage(s.conn, s.state, op, payload)
}

// close sends a close frame.
func (s *session) close(body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return wsutil.WriteMessage(s.conn, s.state, ws.OpClose, body)
}

// listen takes messages until the session ends, and returns how it does.
func (s *session) listen(echo bool) error {
	reader := &wsutil.Reader{Source: s.in, State: s.state, CheckUTF8: true, OnIntermediate: s.control}
	for {
		header, err := reader.NextFrame()
		if err != nil {
			return err
		}
		if header.OpCode.IsControl() {
			if err := s.control(header, reader); err != nil {
				return err
			}
			continue
		}
		payload, err := io.ReadAll(reader)
		if err != nil {
			return err
		}
		console.Tell(console.Message(header.OpCode == ws.OpBinary, payload))
		if echo {
			if err := s.write(header.OpCode, payload); err != nil {
				return err
			}
		}
	}
}

// control answers a control frame by the library's own handler, which would answer the answer to a close frame, too: that goes
// nowhere.
func (s *session) control(header ws.Header, payload io.Reader) error {
	whole, err := io.ReadAll(payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := io.Writer(s.conn)
	if s.closed && header.OpCode == ws.OpClose {
		out = io.Discard
	}
	handler := wsutil.ControlHandler{Src: bytes.NewReader(whole), Dst: out, State: s.state, DisableSrcCiphering: true}
	return handler.Handle(header)
}

// end closes the connection: a client's when the server has, RFC 6455 section 7.1.1.
func (s *session) end() {
	if s.state.ClientSide() {
		_, _ = io.Copy(io.Discard, s.in) // in whichever way it ends
	}
	s.conn.Close()
}

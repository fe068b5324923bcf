// Gws is a WebSocket peer on the library gws, for one session: a client of a gateway, or its upstream. It takes the flags and
// the commands of peer.js, and tells what that tells.
package main

import (
	"encoding/hex"
	"errors"
	"flag"
	"net"
	"net/http"
	"sync"

	"github.com/lxzan/gws"

	"github.com/wsfw/wsfw/e2e/peers/console"
)

func main() {
	p := &peer{}
	flag.BoolVar(&p.mute, "mute", false, "answer no pings")
	flag.BoolVar(&p.echo, "echo", false, "send every message back")
	console.Run(p)
}

// peer tells what happens in a session.
type peer struct {
	gws.BuiltinEventHandler
	mute, echo bool

	mu      sync.Mutex
	session *gws.Conn
}

// Connect implements [console.Peer].
func (p *peer) Connect(url string) error {
	conn, resp, err := gws.NewClient(p, &gws.ClientOption{Addr: url})
	if err != nil {
		return err
	}
	resp.Body.Close()
	go conn.ReadLoop()
	return nil
}

// Serve implements [console.Peer].
func (p *peer) Serve(listener net.Listener) error {
	upgrader := gws.NewUpgrader(p, &gws.ServerOption{})
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { //nolint:gosec // a peer of tests
		conn, err := upgrader.Upgrade(rw, req)
		if err != nil {
			console.Tell(console.Event{Event: "error", Text: err.Error()})
			return
		}
		go conn.ReadLoop()
	})}
	return server.Serve(listener)
}

// Do implements [console.Peer].
func (p *peer) Do(c console.Command) error {
	p.mu.Lock()
	session := p.session
	p.mu.Unlock()
	switch c.Do {
	case "say":
		return session.WriteString(c.Text)
	case "ping":
		payload, err := hex.DecodeString(c.Payload)
		if err != nil {
			return err
		}
		return session.WritePing(payload)
	case "close":
		return session.WriteClose(c.Code, []byte(c.Reason))
	default:
		return errors.New("no command: " + c.Do)
	}
}

// OnOpen implements [gws.Event].
func (p *peer) OnOpen(conn *gws.Conn) {
	p.mu.Lock()
	p.session = conn
	p.mu.Unlock()
	console.Tell(console.Event{Event: "open"})
}

// OnClose implements [gws.Event].
func (p *peer) OnClose(_ *gws.Conn, err error) {
	var said *gws.CloseError
	if errors.As(err, &said) {
		console.Tell(console.Event{Event: "close", Code: said.Code, Reason: string(said.Reason)})
	} else {
		console.Tell(console.Event{Event: "error", Text: err.Error()})
	}
	console.Tell(console.Event{Event: "end"})
}

// OnPing implements [gws.Event].
func (p *peer) OnPing(conn *gws.Conn, payload []byte) {
	console.Tell(console.Event{Event: "ping", Payload: hex.EncodeToString(payload)})
	if !p.mute {
		_ = conn.WritePong(payload) // OnClose tells of it
	}
}

// OnPong implements [gws.Event].
func (p *peer) OnPong(_ *gws.Conn, payload []byte) {
	console.Tell(console.Event{Event: "pong", Payload: hex.EncodeToString(payload)})
}

// OnMessage implements [gws.Event].
func (p *peer) OnMessage(conn *gws.Conn, message *gws.Message) {
	defer message.Close()
	console.Tell(console.Message(message.Opcode == gws.OpcodeBinary, message.Bytes()))
	if p.echo {
		_ = conn.WriteMessage(message.Opcode, message.Bytes()) // OnClose tells of it
	}
}

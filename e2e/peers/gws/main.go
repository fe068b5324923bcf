// Gws is a WebSocket peer on the library gws, for one session: a client of a gateway, or its upstream. It takes the flags and
// the commands of peer.js, and tells what that tells.
package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/lxzan/gws"
)

func main() {
	log.SetFlags(0)
	p := &peer{out: json.NewEncoder(os.Stdout)}
	flag.BoolVar(&p.mute, "mute", false, "answer no pings")
	flag.BoolVar(&p.echo, "echo", false, "send every message back")
	url := flag.String("connect", "", "the `url` to be a client of")
	host := flag.String("listen", "", "the `host` to be an upstream on")
	flag.Parse()
	var err error
	if *url != "" {
		err = p.connect(*url)
	} else {
		err = p.listen(*host)
	}
	if err == nil {
		err = p.obey()
	}
	if err != nil {
		log.Fatal(err)
	}
}

// peer tells what happens in a session.
type peer struct {
	gws.BuiltinEventHandler
	mute, echo bool

	mu      sync.Mutex
	out     *json.Encoder
	session *gws.Conn
}

// event is as in console.js.
type event struct {
	Event   string `json:"event"`
	Port    int    `json:"port,omitempty"`
	Text    string `json:"text,omitempty"`
	Payload string `json:"payload,omitempty"`
	Code    uint16 `json:"code,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// command is as in peer.js.
type command struct {
	Do, Text, Payload, Reason string
	Code                      uint16
}

func (p *peer) tell(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.out.Encode(e) // the test that reads it may have ended
}

func (p *peer) connect(url string) error {
	conn, resp, err := gws.NewClient(p, &gws.ClientOption{Addr: url})
	if err != nil {
		return err
	}
	resp.Body.Close()
	go conn.ReadLoop()
	return nil
}

func (p *peer) listen(host string) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	upgrader := gws.NewUpgrader(p, &gws.ServerOption{})
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { //nolint:gosec // a peer of tests
		conn, err := upgrader.Upgrade(rw, req)
		if err != nil {
			p.tell(event{Event: "error", Text: err.Error()})
			return
		}
		go conn.ReadLoop()
	})}
	p.tell(event{Event: "listening", Port: listener.Addr().(*net.TCPAddr).Port})
	go func() { _ = server.Serve(listener) }() // as long as the process
	return nil
}

// obey does what standard input says, to its end.
func (p *peer) obey() error {
	for in := json.NewDecoder(os.Stdin); ; {
		var c command
		if in.Decode(&c) != nil {
			return nil
		}
		if err := p.do(c); err != nil {
			return err
		}
	}
}

func (p *peer) do(c command) error {
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
	p.tell(event{Event: "open"})
}

// OnClose implements [gws.Event].
func (p *peer) OnClose(_ *gws.Conn, err error) {
	var said *gws.CloseError
	if errors.As(err, &said) {
		p.tell(event{Event: "close", Code: said.Code, Reason: string(said.Reason)})
	} else {
		p.tell(event{Event: "error", Text: err.Error()})
	}
	p.tell(event{Event: "end"})
}

// OnPing implements [gws.Event].
func (p *peer) OnPing(conn *gws.Conn, payload []byte) {
	p.tell(event{Event: "ping", Payload: hex.EncodeToString(payload)})
	if !p.mute {
		_ = conn.WritePong(payload) // OnClose tells of it
	}
}

// OnPong implements [gws.Event].
func (p *peer) OnPong(_ *gws.Conn, payload []byte) {
	p.tell(event{Event: "pong", Payload: hex.EncodeToString(payload)})
}

// OnMessage implements [gws.Event].
func (p *peer) OnMessage(conn *gws.Conn, message *gws.Message) {
	defer message.Close()
	if message.Opcode == gws.OpcodeBinary {
		p.tell(event{Event: "message", Payload: hex.EncodeToString(message.Bytes())})
	} else {
		p.tell(event{Event: "message", Text: string(message.Bytes())})
	}
	if p.echo {
		_ = conn.WriteMessage(message.Opcode, message.Bytes()) // OnClose tells of it
	}
}

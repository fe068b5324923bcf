// Package console is what peers in Go have in common: the flags, the commands and the events of peer.js.
package console

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"log"
	"net"
	"os"
	"sync"
)

// Peer is a WebSocket peer, for one session at a time.
type Peer interface {
	// Connect makes it a client at the URL. It comes back when it has a session.
	Connect(url string) error

	// Serve makes it an upstream that takes its sessions from the listener, and comes back when that is closed.
	Serve(listener net.Listener) error

	// Do carries a command out.
	Do(c Command) error
}

// Event is as in console.js.
type Event struct {
	Event   string `json:"event"`
	Port    int    `json:"port,omitempty"`
	Text    string `json:"text,omitempty"`
	Payload string `json:"payload,omitempty"`
	Code    uint16 `json:"code,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Message is the event of a message.
func Message(binary bool, payload []byte) Event {
	if binary {
		return Event{Event: "message", Payload: hex.EncodeToString(payload)}
	}
	return Event{Event: "message", Text: string(payload)}
}

// Command is as in peer.js.
type Command struct {
	Do, Text, Payload, Reason string
	Code                      uint16
}

var (
	mu  sync.Mutex
	out = json.NewEncoder(os.Stdout)
)

// Tell writes an event to standard output.
func Tell(e Event) {
	mu.Lock()
	defer mu.Unlock()
	_ = out.Encode(e) // the test that reads it may have ended
}

// Run has the peer do what flags say, and then what standard input does, to its end. The peer's own flags are to be defined
// already.
func Run(p Peer) {
	log.SetFlags(0)
	url := flag.String("connect", "", "the `url` to be a client of")
	host := flag.String("listen", "", "the `host` to be an upstream on")
	flag.Parse()
	var err error
	if *url != "" {
		err = p.Connect(*url)
	} else {
		err = listen(p, *host)
	}
	if err == nil {
		err = obey(p)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func listen(p Peer, host string) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	Tell(Event{Event: "listening", Port: listener.Addr().(*net.TCPAddr).Port})
	go func() { _ = p.Serve(listener) }() // as long as the process
	return nil
}

func obey(p Peer) error {
	for in := json.NewDecoder(os.Stdin); ; {
		var c Command
		if in.Decode(&c) != nil {
			return nil
		}
		if err := p.Do(c); err != nil {
			return err
		}
	}
}

// Signalr is a server of SignalR, with a hub that passes on to all clients what one of them says. It is spoken to as peer.js is,
// and tells of its clients.
package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	kitlog "github.com/go-kit/log"
	"github.com/philippseith/signalr"

	"github.com/wsfw/wsfw/e2e/peers/console"
)

func main() { console.Run(peer{}) }

type peer struct{}

// Connect implements [console.Peer].
func (peer) Connect(string) error { return errors.New("this is no client") }

// Do implements [console.Peer].
func (peer) Do(c console.Command) error { return errors.New("no command: " + c.Do) }

// Serve implements [console.Peer].
func (peer) Serve(listener net.Listener) error {
	server, err := signalr.NewServer(context.Background(),
		signalr.HubFactory(func() signalr.HubInterface { return &hub{} }),
		signalr.KeepAliveInterval(100*time.Millisecond),
		signalr.MaximumReceiveMessageSize(1<<20),
		signalr.Logger(kitlog.NewLogfmtLogger(io.Discard), false),
	)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	server.MapHTTP(signalr.WithHTTPServeMux(mux), "/hub")
	return http.Serve(listener, mux) //nolint:gosec // a peer of tests
}

type hub struct{ signalr.Hub }

// OnConnected implements [signalr.HubInterface].
func (*hub) OnConnected(string) { console.Tell(console.Event{Event: "open"}) }

// OnDisconnected implements [signalr.HubInterface].
func (*hub) OnDisconnected(string) { console.Tell(console.Event{Event: "end"}) }

// Say is for clients to call.
func (h *hub) Say(text string) { h.Clients().All().Send("said", text) }

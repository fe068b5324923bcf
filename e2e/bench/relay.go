package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// relay is what one would write and put beside Traefik for heartbeats and limits: a service that has gorilla/websocket on
// both sides. It is measured with Traefik before it.
type relay struct {
	upstream string        // host:port
	interval time.Duration // between pings to either side; half as long again without any frame ends a session
	places   chan struct{} // one for each session
	upgrader websocket.Upgrader
}

const (
	relayLimit    = 64 << 20 // bytes of a message
	relaySessions = 20_000
	relayWrite    = 30 * time.Second // for a write
)

// serveRelay is the main function of the relay's process. It tells its address as the first line of its output.
func serveRelay() {
	r := &relay{places: make(chan struct{}, relaySessions)}
	flag.StringVar(&r.upstream, "upstream", "", "`host:port`")
	flag.DurationVar(&r.interval, "interval", 10*time.Second, "time between pings")
	flag.Parse()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: r}
	fmt.Fprintln(os.Stderr, "relay:", server.Serve(listener))
	os.Exit(1)
}

// ServeHTTP implements [http.Handler]: it relays one session.
func (r *relay) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	select {
	case r.places <- struct{}{}:
		defer func() { <-r.places }()
	default:
		http.Error(rw, "too many sessions", http.StatusServiceUnavailable)
		return
	}
	upstream, resp, err := websocket.DefaultDialer.DialContext(req.Context(), "ws://"+r.upstream+req.RequestURI,
		http.Header{roleHeader: req.Header[roleHeader]})
	if err != nil {
		http.Error(rw, "the upstream cannot be reached", http.StatusBadGateway)
		return
	}
	resp.Body.Close()
	defer upstream.Close()
	client, err := r.upgrader.Upgrade(rw, req, nil)
	if err != nil {
		return // the client has been told why
	}
	defer client.Close()
	r.relay(client, upstream)
}

// relay runs until both directions have ended.
func (r *relay) relay(client, upstream *websocket.Conn) {
	over := make(chan struct{})
	var parts sync.WaitGroup
	parts.Go(func() { r.ping(over, client, upstream) })
	parts.Go(func() { r.copy(upstream, client) })
	r.copy(client, upstream)
	close(over)
	parts.Wait()
}

// copy passes on messages, and at last the close.
func (r *relay) copy(to, from *websocket.Conn) {
	alive := func() { from.SetReadDeadline(time.Now().Add(r.interval + r.interval/2)) }
	from.SetReadLimit(relayLimit)
	from.SetPongHandler(func(string) error {
		alive()
		return nil
	})
	for {
		alive()
		kind, message, err := from.ReadMessage()
		if err != nil {
			r.hangUp(to, err)
			return
		}
		to.SetWriteDeadline(time.Now().Add(relayWrite))
		if to.WriteMessage(kind, message) != nil {
			from.Close()
			return
		}
	}
}

// hangUp closes a side for what has ended the other.
func (r *relay) hangUp(side *websocket.Conn, why error) {
	code, reason := websocket.CloseGoingAway, ""
	var status *websocket.CloseError
	if errors.As(why, &status) && status.Code != websocket.CloseNoStatusReceived && status.Code != websocket.CloseAbnormalClosure {
		code, reason = status.Code, status.Text
	}
	// It may have ended, too; and where it has not, it has until its deadline to answer.
	_ = side.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(relayWrite))
}

// ping pings both sides until the session is over.
func (r *relay) ping(over <-chan struct{}, sides ...*websocket.Conn) {
	ticker := time.NewTicker(r.interval)
	defer ticker.Stop()
	for {
		select {
		case <-over:
			return
		case <-ticker.C:
		}
		for _, side := range sides {
			// Where it fails reading does, too.
			_ = side.WriteControl(websocket.PingMessage, nil, time.Now().Add(relayWrite))
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
)

// Peers are the ends of all sessions on one side of a gateway. They have a process of their own: so neither what they
// take of the processor nor how many files they hold open is counted with the gateway's or with the other side's. Their
// exported methods are called by a [crew], through the process's standard input and output.
type Peers struct {
	mu       sync.Mutex
	all      []*peer
	audience []net.Conn // to push to
	grown    *sync.Cond // told of a larger audience
	carriers carriers
	asked    atomic.Int64 // whether logins still hold, since the last tally

	scored atomic.Int64 // when the score was last taken, in nanoseconds since 1970
}

// peer is the end of one session.
type peer struct {
	pings atomic.Int64 // answered since the last tally
	bytes atomic.Int64 // of a flood that have come since then
	ended atomic.Bool

	mu       sync.Mutex
	messages int       // that have come since the last score
	took     []float64 // milliseconds, for each round trip since then
}

// bufferSize holds any control frame: thousands of peers send little else.
const bufferSize = 256

// serveCrew is the main function of a process of peers. It returns when the bench ends, or no longer wants them.
func serveCrew() {
	server := rpc.NewServer()
	if err := server.Register(newPeers()); err != nil {
		panic(err) // the methods below are no longer what net/rpc asks for
	}
	server.ServeCodec(jsonrpc.NewServerCodec(pipes{os.Stdin, os.Stdout}))
}

// pipes are the two ends of a conversation.
type pipes struct {
	io.ReadCloser
	io.WriteCloser
}

// Close ends both directions.
func (p pipes) Close() error {
	return errors.Join(p.WriteCloser.Close(), p.ReadCloser.Close())
}

// Listen has the peers be upstreams, and tells the host:port to connect to.
func (p *Peers) Listen(_ struct{}, addr *string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	*addr = listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(p.welcome)}
	go func() { _ = server.Serve(listener) }() // until the process ends
	return nil
}

// roleHeader is the header by which a client tells what its upstream is to do. One without it answers pings.
const roleHeader = "Bench-Role"

// welcome is an upstream's part of the handshake, and all that follows.
func (p *Peers) welcome(rw http.ResponseWriter, req *http.Request) {
	if req.URL.Path == verifyPath {
		p.asked.Add(1)
		return // it holds
	}
	role := req.Header.Get(roleHeader)
	if role == roleMute {
		end := p.join()
		defer end.ended.Store(true)
		<-req.Context().Done()
		return
	}
	upgrader := websocket.Upgrader{ReadBufferSize: bufferSize, WriteBufferSize: bufferSize}
	conn, err := upgrader.Upgrade(rw, req, nil)
	if err != nil {
		return // the client has been told why
	}
	switch role {
	case roleEcho:
		p.serve(conn.NetConn(), sendBack)
	case roleReceipts:
		p.serve(conn.NetConn(), acknowledge)
	case rolePush:
		p.address(conn.NetConn())
		p.serve(conn.NetConn(), acknowledge)
	case roleSink:
		p.join().drain(conn.NetConn())
	default:
		p.join().attend(conn)
	}
}

// serve is an upstream until the session ends.
func (p *Peers) serve(conn net.Conn, data func([]byte, part) []byte) {
	l := line{conn: conn, data: data, write: func(b []byte) error {
		_, err := conn.Write(b)
		return err
	}}
	_ = l.run() // how it ends the client's side tells
}

// Opening is what sessions to open.
type Opening struct {
	Addr     string // host:port of the gateway
	Sessions int
	Rate     int  // a second, at most
	Logins   bool // each client has one of its own
}

// openTogether is how many handshakes may be under way at a time.
const openTogether = 64

// Open has the peers be clients, and returns when all sessions are open.
func (p *Peers) Open(o Opening, _ *struct{}) error {
	ticker := time.NewTicker(time.Second / time.Duration(o.Rate))
	defer ticker.Stop()
	opening, ctx := errgroup.WithContext(context.Background())
	opening.SetLimit(openTogether)
	for i := 0; i < o.Sessions && ctx.Err() == nil; i++ {
		<-ticker.C
		header := http.Header{}
		if o.Logins {
			header.Set("Authorization", fmt.Sprintf("Bearer %d of %s", i, o.Addr))
		}
		opening.Go(func() error { return p.dial(ctx, o.Addr, header) })
	}
	return opening.Wait()
}

// dial opens one session.
func (p *Peers) dial(ctx context.Context, addr string, header http.Header) error {
	if strings.HasPrefix(addr, overHTTP2) {
		return p.dialStream(addr)
	}
	dialer := websocket.Dialer{
		ReadBufferSize: bufferSize, WriteBufferSize: bufferSize, HandshakeTimeout: 20 * time.Second,
	}
	conn, resp, err := dialer.DialContext(ctx, "ws://"+addr+"/socket", header)
	if err != nil {
		return err
	}
	resp.Body.Close()
	end := p.join()
	go end.attend(conn)
	return nil
}

// join adds the end of a session that has begun.
func (p *Peers) join() *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := &peer{}
	p.all = append(p.all, end)
	return end
}

// attend answers pings until the session ends.
func (p *peer) attend(conn *websocket.Conn) {
	defer p.ended.Store(true)
	defer conn.Close()
	answer := conn.PingHandler()
	conn.SetPingHandler(func(payload string) error {
		p.pings.Add(1)
		return answer(payload)
	})
	for {
		if _, _, err := conn.NextReader(); err != nil {
			return
		}
	}
}

// Tally is what the peers of one side have seen since it was last taken.
type Tally struct {
	Open  int   // sessions that have not ended
	Ended int   // sessions that have, since the process began
	Pings int64 // in all sessions together
	Asked int64 // whether logins still hold
	Bytes int64 // of floods, likewise

	// Fewest and Most are the pings in the session that had the fewest, and in that which had the most.
	Fewest, Most int64
}

// Tally takes the tally, and begins the next.
func (p *Peers) Tally(_ struct{}, t *Tally) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Fewest = math.MaxInt64
	t.Asked = p.asked.Swap(0)
	for _, end := range p.all {
		if end.ended.Load() {
			t.Ended++
		} else {
			t.Open++
		}
		pings := end.pings.Swap(0)
		t.Pings += pings
		t.Bytes += end.bytes.Swap(0)
		t.Fewest, t.Most = min(t.Fewest, pings), max(t.Most, pings)
	}
	return nil
}

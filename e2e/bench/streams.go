package main

import (
	"strings"
	"sync"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// overHTTP2 begins the address of a gateway whose clients come over HTTP/2.
	overHTTP2 = "http2:"

	// streamsEach is how many sessions a connection has at most. HAProxy allows 100, net/http 250.
	streamsEach = 50
)

// carriers are the connections over which clients have streams.
type carriers struct {
	mu     sync.Mutex
	addr   string
	latest wire.Carrier
	free   int // streams of that
}

// connect opens a session with a gateway.
func (p *Peers) connect(addr string, lines ...string) (*wire.Peer, error) {
	addr, streams := strings.CutPrefix(addr, overHTTP2)
	if !streams {
		return wire.Dial(addr, lines...)
	}
	carrier, err := p.carriers.get(addr)
	if err != nil {
		return nil, err
	}
	return carrier.Dial(lines...)
}

// get is a connection for a further stream.
func (c *carriers) get(addr string) (wire.Carrier, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free == 0 || c.addr != addr {
		carrier, err := wire.ConnectHTTP2(addr)
		if err != nil {
			return nil, err
		}
		c.addr, c.latest, c.free = addr, carrier, streamsEach
	}
	c.free--
	return c.latest, nil
}

// dialStream opens a session that answers pings, on a stream.
func (p *Peers) dialStream(addr string) error {
	conn, err := p.connect(addr)
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Time{})
	end := p.join()
	go end.attendStream(conn)
	return nil
}

// attendStream answers pings until the session ends.
func (p *peer) attendStream(conn *wire.Peer) {
	defer p.ended.Store(true)
	defer conn.Close()
	for {
		f, err := conn.ReadFrame()
		if err == nil && f.Opcode == wire.OpPing {
			p.pings.Add(1)
			err = conn.Send(wire.New(wire.OpPong, f.Payload))
		}
		if err != nil || f.Opcode == wire.OpClose {
			return
		}
	}
}

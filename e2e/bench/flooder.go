package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// Values of roleHeader: what the upstream of a session does.
const (
	roleEcho = "echo" // sends messages back
	roleSink = "sink" // takes what comes
	roleMute = "mute" // never answers the request

	roleReceipts = "receipts" // takes messages, and says so
	rolePush     = "push"     // sends messages when the bench says so
)

// Flood is what clients do over and over, without an end.
type Flood struct {
	Addr     string // host:port of the gateway
	Sessions int    // at a time
	Rate     int    // of opening, a second, at most; for one that ends there is another
	Role     string // of the upstream

	// Begin is what a session is to begin with, and Frame what it then consists of. Where there is no Frame, no session
	// comes about: every other client does not finish its request.
	Begin, Frame []byte
}

// batch is about how many bytes are written and read at a time.
const batch = 64 << 10

// Flood begins a flood, and does not wait.
func (p *Peers) Flood(f Flood, _ *struct{}) error {
	if f.Rate < 1 {
		return fmt.Errorf("%d is no rate", f.Rate)
	}
	// Each takes its turn from the same ticker, the one that has waited longest first.
	turns := time.NewTicker(time.Second / time.Duration(f.Rate))
	block := bytes.Repeat(f.Frame, batch/max(len(f.Frame), 1))
	for i := range f.Sessions {
		act := func() error { return p.overrun(f, block) }
		if f.Frame == nil {
			act = func() error { return p.linger(f, i%2 == 0) }
		}
		go func() {
			for range turns.C {
				_ = act() // it always ends with an error, the gateway's refusal for example
			}
		}()
	}
	return nil
}

// overrun opens a session and writes as fast as the gateway takes it.
func (p *Peers) overrun(f Flood, block []byte) error {
	peer, err := wire.Dial(f.Addr, roleHeader+": "+f.Role)
	if err != nil {
		return err
	}
	defer peer.Close()
	peer.SetDeadline(time.Time{})
	end := p.join()
	defer end.ended.Store(true)
	go func() {
		_, _ = io.Copy(io.Discard, peer) // whatever it fails with, writing does too
		peer.Close()
	}()
	_, err = peer.Write(f.Begin)
	for err == nil {
		_, err = peer.Write(block)
	}
	return err
}

// linger sends a request, or the most of it, and waits for as long as it may.
func (p *Peers) linger(f Flood, whole bool) error {
	conn, err := net.DialTimeout("tcp", f.Addr, wire.Timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	end := p.join()
	defer end.ended.Store(true)
	request := strings.Join([]string{
		"GET /socket HTTP/1.1", "Host: chat.example.com", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + wire.SampleKey, roleHeader + ": " + f.Role, "",
	}, "\r\n")
	if whole {
		request += "\r\n"
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // an answer, or the end
	return err
}

// drain takes what comes until the session ends.
func (p *peer) drain(conn net.Conn) {
	defer p.ended.Store(true)
	defer conn.Close()
	buf := make([]byte, batch)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		p.bytes.Add(int64(n))
	}
}

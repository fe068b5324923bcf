package main

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
	"golang.org/x/sync/errgroup"
)

// Visit is sessions that are over as soon as one message has come back.
type Visit struct {
	Addr    string // host:port of the gateway
	Callers int    // at a time
	Time    time.Duration
}

// Visits are what has become of it.
type Visits struct {
	Sessions int // from the handshake to the end of the connection
	Seconds  float64
}

// Visit has callers visit, one session after the other, and returns when the last of the sessions is over.
func (p *Peers) Visit(v Visit, made *Visits) error {
	if v.Callers < 1 {
		return fmt.Errorf("%d callers are none", v.Callers)
	}
	began := time.Now()
	var sessions atomic.Int64
	var callers errgroup.Group
	for range v.Callers {
		callers.Go(func() error {
			for time.Since(began) < v.Time {
				if err := visit(v.Addr); err != nil {
					return err
				}
				sessions.Add(1)
			}
			return nil
		})
	}
	err := callers.Wait()
	made.Sessions, made.Seconds = int(sessions.Load()), time.Since(began).Seconds()
	return err
}

// visit opens a session, has a message sent back, and closes the session.
func visit(addr string) error {
	peer, err := wire.Dial(addr, roleHeader+": "+roleEcho)
	if err != nil {
		return err
	}
	defer peer.Close()
	for _, f := range []wire.Frame{wire.Text(sentences(messageSize)), wire.Close(1000, "")} {
		if err := sentBack(peer, f); err != nil {
			return err
		}
	}
	_, err = peer.Read(make([]byte, 1))
	switch {
	case err == nil:
		return errors.New("more comes after the close frames")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("after the close frames: %w", err)
	}
	return nil
}

// sentBack sends a frame, and waits until it comes back. It answers no ping, for the session is over before a pong is missed.
func sentBack(peer *wire.Peer, sent wire.Frame) error {
	if err := peer.Send(sent); err != nil {
		return err
	}
	for {
		f, err := peer.ReadFrame()
		if err != nil {
			return fmt.Errorf("after %v: %w", sent, err)
		}
		if f.Opcode == wire.OpPing {
			continue
		}
		if f.Opcode != sent.Opcode || string(f.Payload) != string(sent.Payload) {
			return fmt.Errorf("%v is answered by %v", sent, f)
		}
		return nil
	}
}

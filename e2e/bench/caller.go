package main

import (
	"fmt"
	"io"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// Knock is handshakes, each followed by a close.
type Knock struct {
	Addr    string // host:port of the gateway
	Callers int    // at a time
}

// Knock begins to do handshakes, and does not wait.
func (p *Peers) Knock(k Knock, _ *struct{}) error {
	if k.Callers < 1 {
		return fmt.Errorf("%d callers are none", k.Callers)
	}
	for range k.Callers {
		end := p.join()
		go func() {
			defer end.ended.Store(true)
			for end.call(k.Addr) == nil {
				continue
			}
		}()
	}
	p.scored.Store(time.Now().UnixNano())
	return nil
}

// goodbye is a client's close frame.
var goodbye = wire.Close(1000, "").Masking(true).Bytes()

// call opens a session and closes it.
func (p *peer) call(addr string) error {
	began := time.Now()
	conn, err := wire.Dial(addr, roleHeader+": "+roleEcho)
	if err != nil {
		return err
	}
	defer conn.Close()
	took := time.Since(began)
	if _, err := conn.Write(goodbye); err != nil {
		return err
	}
	if f, err := conn.ReadFrame(); err != nil || f.Opcode != wire.OpClose {
		return fmt.Errorf("the close is answered by %v: %w", f, err)
	}
	_, _ = io.Copy(io.Discard, conn) // the end of the connection, in whatever way it comes
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages++
	p.took = append(p.took, took.Seconds()*1e3)
	return nil
}

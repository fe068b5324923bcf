package main

import (
	"fmt"
	"io"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// Knock is opening handshakes, as after a restart when all clients come back.
type Knock struct {
	Addr    string // host:port of the gateway
	Callers int    // at a time
	Token   string // that they log in with; empty: none
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
			for open := (&guestbook{}); end.call(k, open) == nil; {
				continue
			}
		}()
	}
	p.scored.Store(time.Now().UnixNano())
	return nil
}

// guestbook is the latest sessions of a caller, which stay open.
type guestbook struct {
	open [256]io.Closer
	next int
}

// enter adds a session, in place of the oldest.
func (g *guestbook) enter(session io.Closer) {
	if oldest := g.open[g.next]; oldest != nil {
		_ = oldest.Close() // its end is no matter
	}
	g.open[g.next] = session
	g.next = (g.next + 1) % len(g.open)
}

// call opens a session.
func (p *peer) call(k Knock, open *guestbook) error {
	lines := []string{roleHeader + ": " + roleEcho}
	if k.Token != "" {
		lines = append(lines, "Authorization: Bearer "+k.Token)
	}
	began := time.Now()
	conn, err := wire.Dial(k.Addr, lines...)
	if err != nil {
		return err
	}
	took := time.Since(began)
	open.enter(conn)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages++
	p.took = append(p.took, took.Seconds()*1e3)
	return nil
}

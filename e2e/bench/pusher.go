package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// Push is what upstreams send to their clients: at its time each message goes to one after the other.
type Push struct {
	Sessions int
	Size     int // of a message, in bytes
	Rate     int // messages a second, in each session
}

// Push waits for all sessions that listen, and then sends until the process ends.
func (p *Peers) Push(push Push, _ *struct{}) error {
	interval := time.Second / time.Duration(push.Rate)
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.audience) < push.Sessions {
		p.grown.Wait()
	}
	audience, text := p.audience, sentences(push.Size-len(stamp{}))
	go func() {
		start := time.Now()
		for i := 0; ; i++ {
			due := start.Add(time.Duration(i) * interval)
			sleepUntil(due)
			message := wire.Text(stampOf(due) + text).Bytes()
			for _, conn := range audience {
				_, _ = conn.Write(message) // a session that has ended is told of in the score
			}
		}
	}()
	return nil
}

// address has a session listen.
func (p *Peers) address(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.audience = append(p.audience, conn)
	p.grown.Broadcast()
}

// stamp is a time as a message begins with it: hexadecimal nanoseconds since 1970, for the ends of a session are processes
// on the same machine.
type stamp [16]byte

// stampOf is the stamp of a time.
func stampOf(t time.Time) string { return fmt.Sprintf("%0*x", len(stamp{}), t.UnixNano()) }

// read takes what a part of a message has of the stamp, where that many bytes have come before.
func (s *stamp) read(part []byte, before int) { copy(s[min(before, len(s)):], part) }

// since is how many milliseconds have passed, and not a number where this is no stamp.
func (s *stamp) since(now time.Time) float64 {
	var nanoseconds [8]byte
	if _, err := hex.Decode(nanoseconds[:], s[:]); err != nil {
		return math.NaN()
	}
	return float64(now.UnixNano()-int64(binary.BigEndian.Uint64(nanoseconds[:]))) / 1e6
}

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/montanaflynn/stats"
	"github.com/wsfw/wsfw/e2e/wire"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Conversation is messages that are sent back, at a rate of their own: on sessions in turn.
type Conversation struct {
	Addr     string // host:port of the gateway
	Sessions int
	Rate     int // messages a second, on all together
	Time     time.Duration
}

// Latency is how long round trips took, in milliseconds.
type Latency struct{ P50, P99 float64 }

// messageSize is what a conversation's messages have of payload, in bytes.
const messageSize = 64

// conversation is one that is under way.
type conversation struct {
	start    time.Time
	interval time.Duration // between messages
	count    int
	peers    []*wire.Peer
	took     [][]float64 // by session
}

// Converse carries on a conversation. Each message is due at its time, and its round trip counts from then, whatever
// held it up: a gateway that stands still makes not one message late, but all that are due meanwhile.
func (p *Peers) Converse(talk Conversation, l *Latency) error {
	interval := time.Second / time.Duration(talk.Rate)
	c := &conversation{interval: interval, count: int(talk.Time / interval), took: make([][]float64, talk.Sessions)}
	defer c.close()
	for range talk.Sessions {
		peer, err := wire.Dial(talk.Addr, roleHeader+": "+roleEcho)
		if err != nil {
			return err
		}
		peer.SetDeadline(time.Now().Add(talk.Time + time.Minute))
		c.peers = append(c.peers, peer)
	}
	c.start = time.Now()
	var parties errgroup.Group
	parties.Go(c.send)
	for i := range c.peers {
		parties.Go(func() error { return c.receive(i) })
	}
	if err := parties.Wait(); err != nil {
		return err
	}
	var all stats.Float64Data
	for _, took := range c.took {
		all = append(all, took...)
	}
	return l.of(all)
}

// due is when a message is to be sent.
func (c *conversation) due(message int) time.Time {
	return c.start.Add(time.Duration(message) * c.interval)
}

// send sends all messages.
func (c *conversation) send() error {
	message := wire.Text(sentences(messageSize)).Masking(true).Bytes()
	for i := range c.count {
		sleepUntil(c.due(i))
		if _, err := c.peers[i%len(c.peers)].Write(message); err != nil {
			return errors.Join(err, c.close())
		}
	}
	return nil
}

// sleepUntil sleeps in the kernel, for Go's own timers go by milliseconds where nothing else happens.
func sleepUntil(t time.Time) {
	for d := time.Until(t); d > 0; d = time.Until(t) {
		pause := unix.NsecToTimespec(d.Nanoseconds())
		_ = unix.Nanosleep(&pause, nil) // a signal may end it early
	}
}

// receive takes the answers to the messages of one session.
func (c *conversation) receive(session int) error {
	peer := c.peers[session]
	for i := session; i < c.count; {
		f, err := peer.ReadFrame()
		if err != nil {
			return errors.Join(err, c.close())
		}
		switch {
		case f.Opcode == wire.OpPing:
			err = peer.Send(wire.New(wire.OpPong, f.Payload))
		case f.Opcode != wire.OpText || len(f.Payload) != messageSize:
			err = fmt.Errorf("message %d is answered by %v", i, f)
		default:
			c.took[session] = append(c.took[session], time.Since(c.due(i)).Seconds()*1e3)
			i += len(c.peers)
		}
		if err != nil {
			return errors.Join(err, c.close())
		}
	}
	return nil
}

// close ends all sessions. Who still waits for a message of theirs then fails, too.
func (c *conversation) close() error {
	var errs []error
	for _, peer := range c.peers {
		errs = append(errs, peer.Close())
	}
	return errors.Join(errs...)
}

// of fills in the percentiles of all round trips.
func (l *Latency) of(took []float64) error {
	var errs [2]error
	l.P50, errs[0] = stats.Percentile(took, 50)
	l.P99, errs[1] = stats.Percentile(took, 99)
	return errors.Join(errs[:]...)
}

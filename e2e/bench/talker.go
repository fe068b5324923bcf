package main

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"

	"github.com/montanaflynn/stats"
	"github.com/wsfw/wsfw/e2e/wire"
	"golang.org/x/sync/errgroup"
)

// Talk is sessions whose clients send a message for every one that comes.
type Talk struct {
	Addr     string // host:port of the gateway
	Sessions int
	Role     string // of the upstream
	Size     int    // of a message, in bytes
	Reply    int    // of what comes back for one
	Depth    int    // messages under way in each session; 0 where clients but listen
}

// Talk begins to talk, and returns when all sessions are open.
func (p *Peers) Talk(t Talk, _ *struct{}) error {
	opening, ctx := errgroup.WithContext(context.Background())
	opening.SetLimit(openTogether)
	talkers := make([]*talker, t.Sessions)
	for i := range talkers {
		opening.Go(func() (err error) {
			if ctx.Err() == nil {
				talkers[i], err = p.talker(t)
			}
			return err
		})
	}
	if err := opening.Wait(); err != nil {
		return err
	}
	for _, one := range talkers {
		go one.run()
	}
	p.scored.Store(time.Now().UnixNano())
	return nil
}

// talker is the client of one session.
type talker struct {
	*peer
	line
	talk    Talk
	message []byte      // as it is sent
	sent    []time.Time // when those were that have no answer yet
	size    int         // of the message that comes, so far
	stamp   stamp       // of that, where clients but listen
	outbox  chan []byte // nil where writing cannot block what comes back
}

// talker opens a session.
func (p *Peers) talker(t Talk) (*talker, error) {
	conn, err := p.connect(t.Addr, roleHeader+": "+t.Role)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	one := &talker{peer: p.join(), talk: t, message: wire.Text(sentences(t.Size)).Masking(true).Bytes()}
	one.line = line{conn: buffered{conn.Conn, conn}, masks: true, data: one.listen, write: one.post}
	// An upstream that sends back a message while it comes would wait for a client that but writes.
	if t.Depth*t.Size > largeBuffer/2 {
		one.outbox = make(chan []byte, 16)
	}
	return one, nil
}

// buffered is a connection of which the handshake may have read more than its own.
type buffered struct {
	net.Conn
	from *wire.Peer
}

// Read implements [net.Conn].
func (b buffered) Read(to []byte) (int, error) { return b.from.Read(to) }

// run talks until the session ends, which it is not to.
func (t *talker) run() {
	defer t.ended.Store(true)
	if t.outbox != nil {
		defer close(t.outbox)
		go t.deliver()
	}
	for range t.talk.Depth {
		t.sent = append(t.sent, time.Now())
		if t.post(t.message) != nil {
			return
		}
	}
	_ = t.line.run() // how it ends is of no interest, but that it does
}

// post sends, or has it sent.
func (t *talker) post(b []byte) error {
	if t.outbox != nil {
		t.outbox <- bytes.Clone(b)
		return nil
	}
	_, err := t.conn.Write(b)
	return err
}

// deliver sends what is posted, until the session ends.
func (t *talker) deliver() {
	for b := range t.outbox {
		if _, err := t.conn.Write(b); err != nil {
			t.conn.Close() // which ends the reader, too
		}
	}
}

// listen takes a part of a message: at the end of one the next is due.
func (t *talker) listen(out []byte, p part) []byte {
	if t.talk.Depth == 0 {
		t.stamp.read(p.payload, t.size)
	}
	t.size += len(p.payload)
	if !p.message() {
		return out
	}
	if t.size != t.talk.Reply {
		t.conn.Close() // who has such a session has no figures
		return out
	}
	t.size = 0
	t.mu.Lock()
	defer t.mu.Unlock()
	t.messages++
	now := time.Now()
	if t.talk.Depth == 0 {
		t.took = append(t.took, t.stamp.since(now))
		return out
	}
	t.took = append(t.took, now.Sub(t.sent[0]).Seconds()*1e3)
	copy(t.sent, t.sent[1:])
	t.sent[len(t.sent)-1] = now
	return append(out, t.message...)
}

// sentences is a text of that many bytes, of which one character in some sixty is no ASCII.
func sentences(size int) string {
	const sentence = "A caller from Zürich says that all is well and rings off again. "
	text := bytes.Repeat([]byte(sentence), size/len(sentence)+1)[:size]
	return string(bytes.ToValidUTF8(text, []byte(".")))
}

// Score is what clients have had since it was last asked for, or since they began.
type Score struct {
	Ended    int // sessions, since the process began
	Messages int // that have come, or handshakes
	Seconds  float64
	Latency
}

// Score takes the score, and begins the next.
func (p *Peers) Score(_ struct{}, s *Score) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UnixNano()
	s.Seconds = float64(now-p.scored.Swap(now)) / 1e9
	var took stats.Float64Data
	for _, end := range p.all {
		end.mu.Lock()
		s.Messages += end.messages
		took = append(took, end.took...)
		end.messages, end.took = 0, nil
		end.mu.Unlock()
		if end.ended.Load() {
			s.Ended++
		}
	}
	if len(took) == 0 {
		return nil
	}
	return s.of(took)
}

// newPeers are peers without sessions.
func newPeers() *Peers {
	p := &Peers{}
	p.grown = sync.NewCond(&p.mu)
	return p
}

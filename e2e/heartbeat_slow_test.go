package e2e

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

var (
	// slowPong is a pongTimeout far longer than a slow peer's pauses, and far shorter than what is queued before a ping
	// takes to be read.
	slowPong = pace.Of(600 * time.Millisecond)

	// slowFor is how long peers are slow, several slowPongs.
	slowFor = pace.Of(2500 * time.Millisecond)
)

const (
	// slowChunk and slowPause are the pace of a slow reader. Kernels tell a sender of room in steps of a third of its buffer,
	// which is some megabytes: a step takes a third of slowPong.
	slowChunk = 64 << 10
	slowPause = 15 * time.Millisecond

	// deepBuffer is a receive buffer in which much is queued, as on a long line.
	deepBuffer = 4 << 20
)

// heartbeats is a gateway that pings one end and waits for slowPong.
func heartbeats(target string) object {
	return object{"pingInterval": "200ms", "pongTimeout": slowPong.String(), "pingTarget": target}
}

// pacedReader reads a chunk a tick until a time, and then as fast as it can.
type pacedReader struct {
	r     io.Reader
	pace  *time.Ticker
	until time.Time
	left  int // of the current chunk
}

// slowly reads from a peer at the pace of a slow reader for some time.
func slowly(t *testing.T, r io.Reader, during time.Duration) *pacedReader {
	pace := time.NewTicker(slowPause)
	t.Cleanup(pace.Stop)
	return &pacedReader{r: r, pace: pace, until: time.Now().Add(during)}
}

// Read implements [io.Reader].
func (p *pacedReader) Read(b []byte) (int, error) {
	if time.Now().After(p.until) {
		return p.r.Read(b)
	}
	if p.left == 0 {
		<-p.pace.C
		p.left = slowChunk
	}
	n, err := p.r.Read(b[:min(len(b), p.left)])
	p.left -= n
	return n, err
}

// TestHeavySlowReaderLives has one end read slowly and steadily what the other sends all the time, in small frames or in large
// ones, and answer each ping when it comes to it, which is late: it is alive.
func TestHeavySlowReaderLives(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, slow := range ends {
			for _, size := range []int{16 << 10, 4 << 20} {
				t.Run(fmt.Sprint(slow, " of frames of ", size), func(t *testing.T) {
					t.Parallel() // it waits most of the time
					j := newGround(t, e, heartbeats(slow)).join(t)
					reader, sender := j.from(slow)
					if err := reader.SetReadBuffer(deepBuffer); err != nil {
						t.Fatal(err)
					}
					err := together(
						func() error { return sayUntil(sender, wire.Binary(payload(size)), time.Now().Add(slowFor), 4000) },
						func() error { return hearSlowly(reader, slowly(t, reader, slowFor)) },
						func() error { _, err := sender.ReadFrame(); return err }, // pongs go no further, so that is the answer
					)
					if err != nil {
						t.Error(err)
					}
					reader.Close()
					sender.Close()
					j.expectOutcome(t, opposite(slow), 4000, "")
				})
			}
		}
	})
}

// hearSlowly reads from in to the close frame 4000 and answers that, and each ping on the way.
func hearSlowly(peer *wire.Peer, in io.Reader) error {
	pings, messages := 0, 0
	for {
		f, err := wire.ReadFrame(in)
		if err != nil {
			return fmt.Errorf("after %d messages and %d pings: %w", messages, pings, err)
		}
		switch f.Opcode {
		case wire.OpBinary:
			messages++
		case wire.OpClose:
			if code, _, _ := f.Status(); code != 4000 || pings == 0 {
				return fmt.Errorf("after %d messages and %d pings: %v", messages, pings, f)
			}
			return peer.Send(f)
		default:
			pings++
			if err := peer.Send(pong(f)); err != nil {
				return fmt.Errorf("answering ping %d after %d messages: %w", pings, messages, err)
			}
		}
	}
}

// TestHeavySlowReaderOfTheRest has one end send more than a slow reader gets through in several pongTimeouts, and nothing after
// it: all that can be queued before a ping is on its way then, and the reader is alive.
func TestHeavySlowReaderOfTheRest(t *testing.T) {
	rows := []struct {
		name        string
		rest        backlog
		interval    string
		pongTimeout time.Duration
	}{
		{"2 MB a second", backlog{messages: 64, size: 64 << 10, pause: 30 * time.Millisecond}, "200ms", 300 * time.Millisecond},
		{"400 kB a second", backlog{messages: 80, size: 64 << 10, pause: 160 * time.Millisecond}, "1s", 2 * time.Second},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, slow := range ends {
			for _, row := range rows {
				t.Run(slow+" of "+row.name, func(t *testing.T) {
					t.Parallel() // it waits most of the time
					config := object{"pingInterval": row.interval, "pongTimeout": pace.Of(row.pongTimeout).String(), "pingTarget": slow}
					newGround(t, e, config).join(t).readsTheRest(t, slow, row.rest)
				})
			}
		}
	})
}

// readsTheRest has one end read a backlog slowly, to its end.
func (j *joined) readsTheRest(t *testing.T, slow string, rest backlog) {
	t.Helper()
	reader, sender := j.from(slow)
	if err := reader.SetReadBuffer(slowBuffer); err != nil {
		t.Fatal(err)
	}
	err := together(
		func() error { return rest.say(sender) },
		func() error { return rest.hear(reader) },
	)
	if err != nil {
		t.Error(err)
	}
	reader.Close()
	sender.Close()
	j.expectOutcome(t, slow, 1000, "read")
}

// say sends the backlog, and waits for the reader's close frame.
func (b backlog) say(peer *wire.Peer) error {
	message := peer.Encode(wire.Binary(payload(b.size)))
	for range b.messages {
		if _, err := peer.Write(message); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
	code, reason, err := readToClose(peer)
	if err != nil || code != 1000 {
		return fmt.Errorf("the sender is closed with %d %q (%w), want 1000", code, reason, err)
	}
	return peer.Send(wire.Close(1000, ""))
}

// hear reads the backlog slowly, answers pings, and closes when it has read all.
func (b backlog) hear(peer *wire.Peer) error {
	pace := time.NewTicker(b.pause)
	defer pace.Stop()
	for got := 0; got < b.messages; {
		f, err := peer.ReadFrame()
		switch {
		case err != nil || f.Opcode == wire.OpClose:
			return fmt.Errorf("after %d of %d messages came %v (%w)", got, b.messages, f, err)
		case f.Opcode == wire.OpBinary:
			got++
			<-pace.C
			continue
		}
		if err := peer.Send(pong(f)); err != nil {
			return fmt.Errorf("answering a ping after %d of %d messages: %w", got, b.messages, err)
		}
	}
	return peer.Send(wire.Close(1000, "read"))
}

// TestSlowSenderLives has one end send one large frame in pieces, for several pongTimeouts, within which it can answer no
// ping: it is alive.
func TestSlowSenderLives(t *testing.T) {
	const pieces, pause = 60, 40 * time.Millisecond
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, slow := range ends {
			t.Run(slow, func(t *testing.T) {
				t.Parallel() // it waits most of the time
				j := newGround(t, e, heartbeats(slow)).join(t)
				sender, reader := j.from(slow)
				sent := sender.Encode(wire.Binary(payload(1<<20)), wire.Close(1000, "sent"))
				err := together(
					func() error { return pieceByPiece(sender, sent, pieces, pause) },
					func() error { return same(reader, sent) },
				)
				if err != nil {
					t.Fatal(err)
				}
				send(t, reader, wire.Close(1000, ""))
				if code, reason, err := readToClose(sender); err != nil || code != 1000 {
					t.Errorf("the sender is closed with %d %q (%v), want 1000", code, reason, err)
				}
				j.expectOutcome(t, slow, 1000, "sent")
			})
		}
	})
}

// pieceByPiece writes b in pieces with a pause after each.
func pieceByPiece(w io.Writer, b []byte, pieces int, pause time.Duration) error {
	pace := time.NewTicker(pause)
	defer pace.Stop()
	for i := range pieces {
		if _, err := w.Write(b[i*len(b)/pieces : (i+1)*len(b)/pieces]); err != nil {
			return fmt.Errorf("piece %d of %d: %w", i, pieces, err)
		}
		<-pace.C
	}
	return nil
}

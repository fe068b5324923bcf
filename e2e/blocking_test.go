package e2e

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

// blockedAfter is the suite's writeTimeout.
const blockedAfter = 400 * time.Millisecond

// foundWithin is how long a blocked write may go unnoticed.
var foundWithin = blockedAfter*5/4 + pace.Of(time.Second)

// stream repeats one message. It tells how much of it has been written.
type stream struct {
	message []byte
	written atomic.Int64
}

func newStream(peer *wire.Peer) *stream {
	return &stream{message: peer.Encode(wire.Binary(payload(32000)))}
}

// run writes whole messages until that fails.
func (s *stream) run(peer io.Writer) {
	for {
		n, err := peer.Write(s.message)
		s.written.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// start has run go on beside the test; ended is closed after it.
func (s *stream) start(peer io.Writer) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(peer)
	}()
	return done
}

// matches reports whether got is what the stream begins with.
func (s *stream) matches(got []byte) bool {
	whole := len(got) / len(s.message)
	return bytes.HasPrefix(bytes.Repeat(s.message, whole+1), got)
}

// TestWriteTimeout has one end stop reading while the other floods it: the flooding one is told which code and why,
// the blocked one is cut, without a close frame, for one could land inside a frame only.
func TestWriteTimeout(t *testing.T) {
	codes := map[string]int{"client": 1001, "upstream": 1014} // for the other end than the blocked one
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"writeTimeout": blockedAfter.String()})
		for _, blocked := range ends {
			t.Run(blocked, func(t *testing.T) {
				j := g.join(t)
				deaf, sender := j.from(blocked)
				s := newStream(sender)
				start := time.Now()
				ended := s.start(sender)
				reason := expectClose(t, sender, sender == j.upstream, codes[blocked])
				if took := time.Since(start); took < blockedAfter || took > foundWithin {
					t.Errorf("the blocked write was found after %v, want %v to %v", took, blockedAfter, foundWithin)
				}
				// The flood stands between two messages nowhere that this test knows: it vanishes.
				sender.Close()
				<-ended
				expectPrefix(t, deaf, s)
				got := j.expectOutcome(t, "wsfw", codes[blocked], blocked+" write timeout")
				if got.Reason != reason {
					t.Errorf("the reason is %q in the close frame, %q in the record", reason, got.Reason)
				}
			})
		}
	})
}

// expectPrefix wants what a cut peer has got to be what the stream begins with, and nothing else.
func expectPrefix(t *testing.T, deaf *wire.Peer, s *stream) {
	t.Helper()
	got, err := io.ReadAll(deaf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the blocked connection is still open")
	}
	if !s.matches(got) {
		t.Errorf("the %d bytes that the blocked end got are not what was sent", len(got))
	}
	if int64(len(got)) == s.written.Load() {
		t.Error("nothing was held back: the stream never blocked")
	}
}

// TestWriteTimeoutMoving has one end read slowly all the time, for several writeTimeouts: it is no blocked one.
func TestWriteTimeoutMoving(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"writeTimeout": blockedAfter.String()})
		for _, slow := range ends {
			t.Run(slow, func(t *testing.T) { g.join(t).moves(t, slow) })
		}
	})
}

// moves has the slow end read all the time, and wants nobody cut for that.
func (j *joined) moves(t *testing.T, slow string) {
	reader, sender := j.from(slow)
	ended := newStream(sender).start(sender)
	// Kernels tell a sender of room in steps of a third of megabytes, so each pause is short, and what is read
	// between two of them a good part of that.
	if err := readPaced(reader, 512<<10, blockedAfter/8, 4*blockedAfter); err != nil {
		t.Errorf("a moving reader was cut: %v", err)
	}
	sender.Close()
	<-ended
	reader.Close()
	j.endingOf(t)
}

// readPaced reads a chunk a pause, for a time.
func readPaced(r io.Reader, chunk int, pause, total time.Duration) error {
	pace := time.NewTicker(pause)
	defer pace.Stop()
	buf := make([]byte, chunk)
	for start := time.Now(); time.Since(start) < total; <-pace.C {
		if _, err := io.ReadFull(r, buf); err != nil {
			return err
		}
	}
	return nil
}

// quiet wants a peer to get nothing for a time, and its connection to stay.
func quiet(t *testing.T, peer *wire.Peer, during time.Duration) {
	t.Helper()
	peer.SetReadDeadline(time.Now().Add(during))
	var b [1]byte
	if n, err := peer.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the idle peer got %q (%v)", b[:n], err)
	}
	peer.SetReadDeadline(time.Now().Add(wire.Timeout))
}

// TestWriteTimeoutIdle has a session say nothing for several writeTimeouts, and then work.
func TestWriteTimeoutIdle(t *testing.T) {
	hello := wire.Text("hello")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, object{"writeTimeout": "200ms"}).join(t)
		quiet(t, j.client, time.Second)
		for _, by := range ends {
			near, far := j.from(by)
			send(t, near, hello)
			expect(t, far, near.Encode(hello))
		}
		j.client.Close()
		expectEnd(t, j.upstream)
		j.expectRecord(t, ending{
			EndedBy: "client", Code: 1006, Reason: "connection lost",
			FromClient: trafficOf(j.client, hello), FromUpstream: trafficOf(j.upstream, hello),
		})
	})
}

// mostBuffered is more than all socket buffers on the way hold together, and far less than a gateway that reads on
// without end would take.
const mostBuffered = 64 << 20

// backPressure has one end not read: its sender comes to a stand, and all arrives once it reads again.
func backPressure(t *testing.T, near, far *wire.Peer) {
	t.Helper()
	s := newStream(near)
	sent := untilBlocked(t, near, s)
	if sent >= mostBuffered {
		t.Fatalf("%d bytes went in while nobody took them out", sent)
	}
	rest := make(chan error)
	go func() {
		// The message that the deadline has cut short is brought to its end.
		_, err := near.Write(s.message[int(sent)%len(s.message):])
		rest <- err
	}()
	for got := int64(0); got <= sent; got += int64(len(s.message)) {
		expect(t, far, s.message)
	}
	if err := <-rest; err != nil {
		t.Fatal(err)
	}
}

// untilBlocked sends until nothing goes any more, and returns how much went.
func untilBlocked(t *testing.T, peer *wire.Peer, s *stream) int64 {
	t.Helper()
	defer peer.SetWriteDeadline(time.Now().Add(2 * wire.Timeout))
	for s.written.Load() < mostBuffered {
		peer.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := peer.Write(s.message)
		s.written.Add(int64(n))
		var failed net.Error
		if errors.As(err, &failed) && failed.Timeout() {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", s.written.Load(), err)
		}
	}
	return s.written.Load()
}

func TestBackPressure(t *testing.T) {
	modes := map[string]object{"frames": nil, "unjudged": {"validate": "off"}, "tunnel": {"mode": "tunnel"}}
	eachOverTCP(t, func(t *testing.T, e engine.Engine) {
		for mode, config := range modes {
			if !canUse(e, config) {
				continue
			}
			g := newGround(t, e, config)
			for _, by := range ends {
				t.Run(mode+" from "+by, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					backPressure(t, near, far)
					near.Close()
					far.Close()
					j.endingOf(t)
				})
			}
		}
	})
}

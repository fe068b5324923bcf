package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// floodLimit is what sessions may have added to the live heap after a flood: large buffers that they are to give back.
	floodLimit = 512 << 10

	// floodResidentLimit is how much larger Traefik may get, in KiB, during a flood: the interpreter throws away a lot for
	// each small frame, and the heap may double until that is collected.
	floodResidentLimit = 96 << 10

	// guestTrips is how many round trips a flood goes on for at least.
	guestTrips = 10
)

// guestDeadline is for one round trip of a session beside a flood.
var guestDeadline = pace.Of(5 * time.Second)

// TestHeavyFlood has two peers send as many small frames as the gateway takes. All arrive; next to nothing of them is kept;
// a session beside them goes on; and after them nothing is left.
func TestHeavyFlood(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, engine.Setup{Dedicated: true})
		before := g.floor(t)
		for _, s := range surges {
			t.Run(s.name, func(t *testing.T) {
				one, two, guest := g.join(t), g.join(t), g.join(t)
				live, resident := liveHeap(t, g.gateway), resetPeak(t, g.gateway)
				enough, over := make(chan struct{}), make(chan struct{})
				var err error
				go func() {
					defer close(over)
					err = together(func() error { return s.pass(one, enough) }, func() error { return s.pass(two, enough) })
				}()
				guest.goOn(t, enough, over)
				if err != nil {
					t.Fatal(err)
				}
				resident = peakOf(t, g.gateway) - resident
				grown := liveHeap(t, g.gateway) - live
				t.Logf("the live heap grew by %d bytes, the resident set by %d KiB", grown, resident)
				if grown > floodLimit {
					t.Errorf("%d bytes are live after a flood, want %d at most", grown, floodLimit)
				}
				if resident > floodResidentLimit {
					t.Errorf("Traefik's resident set grew by %d KiB, want %d at most", resident, floodResidentLimit)
				}
			})
			before.await(t, g.gateway)
		}
	})
}

// floor is the level of a gateway whose first session has ended: what is made on first use is no leak.
func (g *ground) floor(t *testing.T) level {
	t.Helper()
	j := g.join(t)
	j.roundTrip(t)
	j.client.Close()
	j.upstream.Close()
	g.record(t)
	await(t, settleTimeout, func() string { return excess("stacks of the plugin", ofPlugin(goroutines(t, g.gateway)), 0) })
	return level{len(goroutines(t, g.gateway)), openFiles(t, g.gateway)}
}

// roundTrip sends a message and has it sent back.
func (j *joined) roundTrip(t *testing.T) {
	t.Helper()
	message := wire.Text(string(payload(64)))
	for _, end := range ends {
		near, far := j.from(end)
		for _, peer := range []*wire.Peer{near, far} {
			if err := peer.SetDeadline(time.Now().Add(guestDeadline)); err != nil {
				t.Fatal(err)
			}
		}
		send(t, near, message)
		expect(t, far, near.Encode(message))
	}
}

// goOn makes round trips beside a flood until that is over. Once it has seen enough of it, it says so.
func (j *joined) goOn(t *testing.T, enough chan<- struct{}, over <-chan struct{}) {
	t.Helper()
	stop := sync.OnceFunc(func() { close(enough) })
	defer stop()
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	longest := time.Duration(0)
	for i := 0; i < guestTrips || !isClosed(over); i++ {
		if i == guestTrips {
			stop()
		}
		start := time.Now()
		j.roundTrip(t)
		longest = max(longest, time.Since(start))
		<-pace.C
	}
	t.Logf("the longest round trip beside the flood took %v", longest)
}

// TestFloodUnread has a client send messages as fast as it can and never read the answers. What it does not take is not kept for it:
// it is held up, and then cut.
func TestFloodUnread(t *testing.T) {
	const patience = time.Second
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, engine.Setup{
			Config: object{"writeTimeout": patience.String(), "closeTimeout": "200ms"}, Dedicated: true,
		})
		before := g.floor(t)
		live := liveHeap(t, g.gateway)
		j := g.join(t)
		if err := j.client.SetReadBuffer(4 << 10); err != nil { // what the client's kernel keeps does not matter
			t.Fatal(err)
		}
		message := wire.Binary(payload(125))
		size := len(j.client.Encode(message)) * repeated
		enough, taking := make(chan struct{}), make(chan struct{})
		ahead, owed := make(chan struct{}, surgeAhead), make(chan struct{}, 1)
		answered := atomic.Int64{}
		flooding := repeat(j.client, message, func() bool {
			if isClosed(enough) {
				return false
			}
			select {
			case ahead <- struct{}{}:
				return true
			case <-taking:
				return false
			}
		})
		answering := repeat(j.upstream, message, func() bool {
			answered.Add(1)
			_, more := <-owed
			return more
		})
		go func() {
			defer close(taking)
			defer close(owed)
			for landing := make([]byte, size); ; <-ahead {
				if _, err := io.ReadFull(j.upstream, landing); err != nil {
					return
				}
				select { // where an answer is due already, one is enough
				case owed <- struct{}{}:
				default:
				}
			}
		}()
		last, since := int64(-1), time.Now()
		await(t, wire.Timeout, func() string {
			if now := answered.Load(); now != last || len(owed) == 0 {
				last, since = now, time.Now() // it is written to, or there is nothing to answer
			}
			if time.Since(since) < patience/4 {
				return "the upstream's answers are never held up"
			}
			return ""
		})
		close(enough) // so that what is live is not what is passing
		<-flooding
		await(t, wire.Timeout, func() string {
			if n := len(ahead); n > 0 && !isClosed(taking) {
				return fmt.Sprintf("%d blocks of messages do not arrive", n)
			}
			return ""
		})
		grown := liveHeap(t, g.gateway) - live
		t.Logf("the live heap grew by %d bytes", grown)
		if grown > floodLimit {
			t.Errorf("%d bytes are live for a client that does not read, want %d at most", grown, floodLimit)
		}
		j.expectOutcome(t, "wsfw", 1001, "client write timeout")
		j.client.Close()
		j.upstream.Close()
		<-answering
		<-taking
		before.await(t, g.gateway)
	})
}

// repeated is how many frames a block has.
const repeated = 500

// repeat has a peer write blocks of a frame beside the test until that fails, or until there are to be no more. It
// closes what it returns then.
func repeat(peer *wire.Peer, f wire.Frame, more func() bool) <-chan struct{} {
	block := bytes.Repeat(peer.Encode(f), repeated)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for more == nil || more() {
			if _, err := peer.Write(block); err != nil {
				return
			}
		}
	}()
	return ended
}

// TestFloodHeartbeat has a client send messages as fast as it can: the gateway's own pings go out to both ends all the same,
// and the pongs to them are known.
func TestFloodHeartbeat(t *testing.T) {
	const during = time.Second
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{
			"pingInterval": beat.String(), "pongTimeout": wire.Timeout.String(), "closeTimeout": wire.Timeout.String(),
		})
		j := g.join(t)
		flood := func() error {
			return sayUntil(j.client, wire.Binary(payload(125)), time.Now().Add(during), 4000)
		}
		least := int(during/beat) / 5 // a ping may have to wait for a reader that has no time
		answers, hears := func() error { return answerFlood(j.upstream, least) }, func() error { return hearFlood(j.client, least) }
		if err := together(flood, answers, hears); err != nil {
			t.Error(err)
		}
		record := g.record(t)
		if record["endedBy"] != "client" || record["code"] != float64(4000) {
			t.Errorf("the record tells %v, want it ended by the client with 4000", record)
		}
		if got := pulsesOf(t, record)["upstream"]; got.Pongs < least {
			t.Errorf("the upstream's heartbeat is %+v, want %d pongs", got, least)
		}
	})
}

// answerFlood answers all to the close frame, and that, and wants some pings of the gateway's own among it.
func answerFlood(peer *wire.Peer, least int) error {
	in, out := bufio.NewReaderSize(peer, 64<<10), bufio.NewWriterSize(peer, 64<<10)
	for own := 0; ; {
		f, err := wire.ReadFrame(in)
		if err != nil {
			return err
		}
		if f.Opcode == wire.OpClose {
			_, _ = out.Write(peer.Encode(f)) // which Flush tells the error of
			return errors.Join(out.Flush(), fewer(own, least, "upstream"))
		}
		answer := f
		switch {
		case isOwnPing(f):
			own++
			answer = pong(f)
		case f.Opcode != wire.OpBinary:
			return fmt.Errorf("the upstream got %v, want messages and pings", f)
		}
		_, _ = out.Write(peer.Encode(answer))
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// hearFlood reads to the close frame, and wants some of the gateway's own pings among the answers.
func hearFlood(peer *wire.Peer, least int) error {
	in := bufio.NewReaderSize(peer, 64<<10)
	for own := 0; ; {
		f, err := wire.ReadFrame(in)
		if err != nil {
			return err
		}
		switch {
		case f.Opcode == wire.OpClose:
			return fewer(own, least, "client")
		case isOwnPing(f):
			own++
		case f.Opcode != wire.OpBinary:
			return fmt.Errorf("the client got %v, want messages and pings", f)
		}
	}
}

// fewer complains about too few pings.
func fewer(got, least int, end string) error {
	if got < least {
		return fmt.Errorf("the %s had %d pings of the gateway's, want %d", end, got, least)
	}
	return nil
}

// TestFloodBeforeDeadUpstream has a client send messages as fast as it can, and an upstream that takes it all and says nothing:
// that this one is dead is found.
func TestFloodBeforeDeadUpstream(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, object{"pingInterval": "100ms", "pongTimeout": "500ms", "closeTimeout": "200ms"}).join(t)
		flooding := repeat(j.client, wire.Binary(nil), nil)
		taking := make(chan struct{})
		go func() {
			defer close(taking)
			_, _ = io.Copy(io.Discard, j.upstream) // to the end of the connection, however it comes
		}()
		start := time.Now()
		code, reason, err := readToClose(j.client)
		if err != nil || code != 1014 || reason != "upstream heartbeat timeout" {
			t.Errorf("the client was closed with %d %q (%v), want 1014", code, reason, err)
		}
		if took := time.Since(start); took > guestDeadline {
			t.Errorf("it took %v, want %v at most", took, guestDeadline)
		}
		j.expectOutcome(t, "wsfw", 1014, "upstream heartbeat timeout")
		<-flooding
		<-taking
	})
}

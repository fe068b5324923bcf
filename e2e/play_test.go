package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// seedEnv names the one random script to play.
const seedEnv = "WSFW_SEED"

// seeds yields seeds of random scripts until the time for them is over, or the one that the environment names.
func seeds(t *testing.T) func(yield func(uint64) bool) {
	t.Helper()
	budget := 2 * time.Second
	if soaking() {
		budget = 2 * time.Minute
	}
	return func(yield func(uint64) bool) {
		if text := os.Getenv(seedEnv); text != "" {
			seed, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", seedEnv, err)
			}
			yield(seed)
			return
		}
		for start := time.Now(); time.Since(start) < budget; {
			if !yield(rand.Uint64N(1e9)) {
				return
			}
		}
	}
}

// TestTransparencyRandom has both ends say random scripts at the same time, ended by a close handshake that either
// begins or both. What arrives is exactly what was sent. A failure is repeated by WSFW_SEED=… and the test's name.
func TestTransparencyRandom(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, m := range mannersOf(e) {
			t.Run(m.name, func(t *testing.T) { m.random(t, e) })
		}
	})
}

// random plays random scripts.
func (m manner) random(t *testing.T, e engine.Engine) {
	t.Helper()
	g := m.ground(t, e)
	for seed := range seeds(t) {
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { g.join(t).plays(t, m, seed) }) {
			break // the next ones may each last until their deadline
		}
	}
}

// plays has both ends say scripts to the end of the session, and returns what the record tells of that.
func (j *joined) plays(t *testing.T, m manner, seed uint64) (fromClient, fromUpstream traffic) {
	t.Helper()
	r := chance(seed, "play")
	messages := 1 + r.IntN(60)
	client, upstream := m.actor(seed, "client", j.client, messages), m.actor(seed, "upstream", j.upstream, messages)
	client.hears, upstream.hears = upstream.says.bytes, client.says.bytes
	waiting := r.IntN(3) // in the third case neither waits for the other's close frame
	client.waits, upstream.waits = waiting == 0, waiting == 1
	if err := together(client.speak, upstream.speak, client.hear, upstream.hear); err != nil {
		t.Fatal(err)
	}
	got, want := j.endingOf(t), ending{FromClient: client.says.sum, FromUpstream: upstream.says.sum}
	if client.leaves {
		want.FromClient, want.FromUpstream = tunnelled(len(client.says.bytes), len(upstream.says.bytes))
	}
	if got.FromClient != want.FromClient || got.FromUpstream != want.FromUpstream {
		t.Errorf("the record tells %+v, want %+v and %+v", got, want.FromClient, want.FromUpstream)
	}
	return got.FromClient, got.FromUpstream
}

// actor is one end of a session that plays a script.
type actor struct {
	peer   *wire.Peer
	in     io.Reader // what the peer is sent
	says   script
	hears  []byte
	waits  bool          // to send its close frame until all is heard
	leaves bool          // ends its stream after the script: a tunnel does not look for close frames
	heard  chan struct{} // closed once all is heard, or never will be
	chance func(use string) *rand.Rand
}

func (m manner) actor(seed uint64, end string, peer *wire.Peer, messages int) *actor {
	p := m.playwright(seed, end)
	says := p.write(messages)
	says.end(p, "the end of "+end)
	peer.SetDeadline(time.Now().Add(time.Minute))
	return &actor{
		peer: peer, in: m.listen(peer), says: says, heard: make(chan struct{}), leaves: m.name == "tunnel",
		chance: func(use string) *rand.Rand { return chance(seed, end+" "+use) },
	}
}

// speak writes the script in bursts and pieces by chance.
func (a *actor) speak() error {
	rest := a.says.bytes
	if a.waits {
		ahead := len(rest) - a.says.closing
		if err := inBursts(a.peer, rest[:ahead], a.chance("speak")); err != nil {
			return fmt.Errorf("speaking: %w", err)
		}
		rest = rest[ahead:]
		<-a.heard
	}
	err := inBursts(a.peer, rest, a.chance("end"))
	if err == nil && a.leaves {
		err = a.peer.CloseWrite()
	}
	return err
}

// bursts are sizes of writes: of parts of headers, of our buffers, and of many frames.
var bursts = []int{1, 2, 3, 7, 14, 100, 1023, 1024, 1025, 5000, 32767, 32768, 32769, 200000, 1 << 20}

func inBursts(peer *wire.Peer, b []byte, r *rand.Rand) error {
	most := 1 + r.IntN(len(bursts)) // some scripts go in small pieces only
	for left := 4000; len(b) > 0; left-- {
		n := min(len(b), bursts[r.IntN(most)])
		if left <= 0 {
			n = len(b) // pieces enough
		}
		if _, err := peer.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		if r.IntN(4) == 0 {
			if err := peer.Taken(); err != nil && len(b) > 0 {
				return err
			}
		}
	}
	return nil
}

// hear wants the other end's script and then the end of the stream, reading at a pace by chance.
func (a *actor) hear() error {
	err := same(newReader(a.in, a.chance("hear")), a.hears)
	close(a.heard)
	if err != nil {
		return fmt.Errorf("hearing: %w", err)
	}
	rest, err := io.ReadAll(a.in)
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes came after the script: %.20x", len(rest), rest)
	}
	return err
}

// newReader reads as r does, or in small pieces, or with pauses.
func newReader(r io.Reader, chance *rand.Rand) io.Reader {
	switch chance.IntN(3) {
	case 0:
		return &slowReader{r: r, most: 1 + chance.IntN(3000)}
	case 1:
		return &slowReader{r: r, most: 1 << 16, pause: time.Duration(chance.IntN(3)) * time.Millisecond}
	}
	return r
}

// slowReader reads little at a time, and pauses after each 64 KiB, so that its sender gets blocked.
type slowReader struct {
	r     io.Reader
	most  int
	pause time.Duration
	since int // bytes read since the last pause
}

func (s *slowReader) Read(b []byte) (int, error) {
	if s.since >= 1<<16 && s.pause > 0 {
		<-time.After(s.pause)
		s.since = 0
	}
	n, err := s.r.Read(b[:min(len(b), s.most)])
	s.since += n
	return n, err
}

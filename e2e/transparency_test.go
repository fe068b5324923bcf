package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// soaking asks these tests to take minutes.
func soaking() bool { return os.Getenv("WSFW_SOAK") == "1" }

// manner is a way to configure a session in which all legal frames pass unchanged.
type manner struct {
	name   string
	config object
	lines  []string // of both handshakes
}

var manners = []manner{
	{name: "frames"},
	{name: "deflate", lines: []string{"Sec-WebSocket-Extensions: permessage-deflate"}},
	{name: "unjudged", config: object{"validate": "off"}},
	{name: "pinged", config: object{"pingInterval": "10ms", "maxInactivity": "1h", "maxLifetime": "1h"}},
	{name: "limited", config: object{"validate": "utf8", "maxFrameSize": "2MiB", "maxMessageSize": "8MiB", "messageRate": 1e6}},
	{name: "tunnel", config: object{"mode": "tunnel"}},
}

// mannersOf are those that the engine's gateways can have.
func mannersOf(e engine.Engine) []manner {
	return slices.DeleteFunc(slices.Clone(manners), func(m manner) bool { return !canUse(e, m.config) })
}

// ground starts a gateway in which closing takes as long as the scripts do.
func (m manner) ground(t *testing.T, e engine.Engine) *ground {
	config := object{"closeTimeout": "5m", "writeTimeout": "5m"}
	for key, value := range m.config {
		config[key] = value
	}
	g := newGround(t, e, config, m.lines...)
	g.offer = m.lines
	return g
}

// listen is what a peer hears of the other end: all but the pings of the gateway's own.
func (m manner) listen(peer *wire.Peer) io.Reader {
	if m.name == "pinged" {
		return withoutOwnPings(bufio.NewReader(peer), nil)
	}
	return peer
}

// playwright makes scripts for an end: reproducibly, from a seed.
func (m manner) playwright(seed uint64, end string) *playwright {
	masks := end == "client"
	return &playwright{Rand: chance(seed, end), masks: masks, deflate: m.name == "deflate", unicode: m.name == "limited"}
}

// chance is one of a seed's sources of chance; each goroutine has its own.
func chance(seed uint64, use string) *rand.Rand {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%d %s", seed, use))
	return rand.New(rand.NewChaCha8(key))
}

// same reads as much as want and wants it to be that.
func same(r io.Reader, want []byte) error {
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	for i := range n {
		if got[i] != want[i] {
			return fmt.Errorf("byte %d of %d differs: got %.20x, want %.20x", i, len(want), got[i:n], want[i:])
		}
	}
	if err != nil {
		return fmt.Errorf("after %d bytes of %d: %w", n, len(want), err)
	}
	return nil
}

// inPieces writes b cut at these offsets; the gateway has read each piece before the next is written.
func inPieces(peer *wire.Peer, b []byte, cuts ...int) error {
	start := 0
	for _, cut := range append(cuts, len(b)) {
		if _, err := peer.Write(b[start:cut]); err != nil {
			return err
		}
		if err := peer.Taken(); err != nil {
			return err
		}
		start = cut
	}
	return nil
}

// cutting is a script with the ways to cut it.
type cutting struct {
	script script
	ways   [][]int
}

// cuttings are a short script cut at every place and at all places, and a long one cut around its long header.
func cuttings(p *playwright) []cutting {
	short, long := p.short(), p.long()
	every := cutting{script: short}
	var all []int
	for i := 1; i < len(short.bytes); i++ {
		every.ways = append(every.ways, []int{i})
		all = append(all, i)
	}
	every.ways = append(every.ways, all)
	around := cutting{script: long}
	end := len(long.bytes)
	for i := 1; i < 28; i++ {
		around.ways = append(around.ways, []int{i}, []int{end - i}, []int{i, i + 1, end - i}, []int{i, end / 2, end - i})
	}
	return []cutting{every, around}
}

// pairs adds every way to cut the script in three.
func (c *cutting) pairs() {
	for i := 1; i < len(c.script.bytes); i++ {
		for j := i + 1; j < len(c.script.bytes); j++ {
			c.ways = append(c.ways, []int{i, j})
		}
	}
}

// waysAtOnce is how many ways to cut a script a session has at most: with more it could have more control frames than a client
// may send at once.
const waysAtOnce = 100

// part is the k-th of the parts in which a cutting comes in sessions of their own.
func (c cutting) part(k int) cutting {
	from, to := min(k*waysAtOnce, len(c.ways)), min((k+1)*waysAtOnce, len(c.ways))
	return cutting{script: c.script, ways: c.ways[from:to]}
}

// speak writes the script once for each way to cut it.
func (c cutting) speak(peer *wire.Peer) error {
	for _, way := range c.ways {
		if err := inPieces(peer, c.script.bytes, way...); err != nil {
			return fmt.Errorf("cut at %v: %w", way, err)
		}
	}
	return nil
}

// hear wants the script that often.
func (c cutting) hear(r io.Reader) error {
	for _, way := range c.ways {
		if err := same(r, c.script.bytes); err != nil {
			return fmt.Errorf("cut at %v: %w", way, err)
		}
	}
	return nil
}

// together runs all of them at the same time.
func together(acts ...func() error) error {
	errs := make(chan error)
	for _, act := range acts {
		go func() { errs <- act() }()
	}
	var all []error
	for range acts {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// TestTransparencySplits has both ends say a script in pieces, cut at every place there is.
func TestTransparencySplits(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, m := range mannersOf(e) {
			t.Run(m.name, func(t *testing.T) { m.splits(t, e) })
		}
	})
}

// TestTransparencyStreamSplits is that over HTTP/2 and HTTP/3, whose frames are the client's pieces.
func TestTransparencyStreamSplits(t *testing.T) {
	eachStream(t, func(t *testing.T, e engine.Engine) { manners[0].splits(t, e) })
}

// splits plays scripts in pieces.
func (m manner) splits(t *testing.T, e engine.Engine) {
	t.Helper()
	g := m.ground(t, e)
	client, upstream := cuttings(m.playwright(1, "client")), cuttings(m.playwright(1, "upstream"))
	for i := range client {
		if i == 0 && soaking() {
			client[i].pairs()
			upstream[i].pairs()
		}
		for k := 0; k*waysAtOnce < max(len(client[i].ways), len(upstream[i].ways)); k++ {
			g.join(t).splits(t, m, client[i].part(k), upstream[i].part(k))
		}
	}
}

func (j *joined) splits(t *testing.T, m manner, client, upstream cutting) {
	t.Helper()
	atClient, atUpstream := m.listen(j.client), m.listen(j.upstream)
	patience := time.Now().Add(10 * time.Minute)
	j.client.SetDeadline(patience)
	j.upstream.SetDeadline(patience)
	err := together(
		func() error { return client.speak(j.client) },
		func() error { return upstream.speak(j.upstream) },
		func() error { return client.hear(atUpstream) },
		func() error { return upstream.hear(atClient) },
	)
	if err != nil {
		t.Fatal(err)
	}
	j.client.Close()
	if rest, err := io.ReadAll(atUpstream); err != nil || len(rest) > 0 {
		t.Errorf("the upstream got %.120q (%v), want the end of the stream", rest, err)
	}
	j.upstream.Close()
	got := j.endingOf(t)
	if want := len(client.ways) * len(client.script.bytes); got.FromClient.Bytes != want {
		t.Errorf("the record tells %+v, want %d bytes from the client", got, want)
	}
}

// TestTransparencyPauses pauses inside headers and control frames, right behind a large frame: for so long that a
// gateway that tidies its buffers up does so.
func TestTransparencyPauses(t *testing.T) {
	const writeTimeout, pause = "200ms", 300 * time.Millisecond
	begun := []wire.Frame{wire.New(wire.OpPing, []byte("a ping")), wire.Binary(payload(70000)), wire.Close(4011, "end")}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"writeTimeout": writeTimeout})
		for _, by := range ends {
			j := g.join(t)
			near, far := j.from(by)
			large := near.Encode(wire.Binary(payload(3000)))
			for _, f := range begun {
				next := near.Encode(f)
				if _, err := near.Write(slices.Concat(large, next[:5])); err != nil {
					t.Fatal(err)
				}
				expect(t, far, large)
				quiet(t, near, pause)
				if _, err := near.Write(next[5:]); err != nil {
					t.Fatal(err)
				}
				expect(t, far, next)
			}
			far.Close()
			near.Close()
			j.expectOutcome(t, by, 4011, "end")
		}
	})
}

// TestTransparencyCloseSplits cuts a close frame behind a message at every place.
func TestTransparencyCloseSplits(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := manners[0].ground(t, e)
		for _, by := range ends {
			frames := []wire.Frame{wire.Text("x"), wire.Close(4008, "reason")}
			for cut := 1; cut < len(wire.Encode(frames...))+8; cut++ {
				j := g.join(t)
				near, far := j.from(by)
				sent := near.Encode(frames...)
				if err := inPieces(near, sent, min(cut, len(sent))); err != nil {
					t.Fatal(err)
				}
				expect(t, far, sent)
				if err := inPieces(far, far.Encode(frames...), min(cut, len(far.Encode(frames...)))); err != nil {
					t.Fatal(err)
				}
				expect(t, near, far.Encode(frames...))
				expectEnd(t, near)
				expectEnd(t, far)
				j.expectOutcome(t, by, 4008, "reason")
			}
		}
	})
}

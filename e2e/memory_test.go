package e2e

import (
	"bufio"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// bufferLimit is what a direction may hold at a time.
	bufferLimit = 64 << 10

	// swapLimit bounds the buffers that a direction goes through. It may change them now and then; with one for each
	// chunk or frame there would be tens of thousands.
	swapLimit = 16

	// profileSlack allows for what Traefik itself allocates while it is asked about its heap.
	profileSlack = 256 << 10

	// residentLimit is how much larger Traefik may get, in KiB, for a message of 1 GiB: room for what the interpreter
	// throws away between two garbage collections, which is in proportion to the heap of Traefik itself.
	residentLimit = 32 << 10

	// shipmentTimeout bounds a gibibyte on a busy machine.
	shipmentTimeout = 5 * time.Minute
)

// shipment is one large message.
type shipment struct {
	name   string
	frames int
	size   int64 // of a frame's payload
}

var shipments = []shipment{
	{name: "one frame of 1 GiB", frames: 1, size: 1 << 30},
	{name: "fragments of 1 MiB", frames: 1 << 10, size: 1 << 20},
	{name: "fragments of 16 KiB", frames: 1 << 16, size: 16 << 10},
}

// TestHeavyMemory sends a gibibyte either way, and wants it to arrive through next to no memory.
func TestHeavyMemory(t *testing.T) {
	profileAll(t)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		gauges := make(chan *gauge, 1)
		setup := engine.Setup{Dedicated: true}
		if e.Name() != "traefik" {
			setup.Wrap = wrapInGauges(gauges)
		}
		here := newGroundOf(t, e, setup)
		start := func(t *testing.T, by string, s shipment) *move {
			near, far := here.join(t).from(by)
			return newMove(t, near, far, s)
		}
		for _, by := range ends {
			// What is made once and stays, such as the interpreter's types, is no message's.
			start(t, by, shipment{frames: 2, size: 1 << 20}).runThrough(t)
			if e.Name() != "traefik" {
				<-gauges
			}
			for _, s := range shipments {
				t.Run(s.name+" from "+by, func(t *testing.T) {
					m := start(t, by, s)
					m.run(t, here.gateway)
					if e.Name() != "traefik" {
						(<-gauges).check(t)
					}
				})
			}
		}
	})
}

// move is a shipment under way. Both of its ends work with buffers of their own that never grow.
type move struct {
	shipment
	near, far *wire.Peer
	out       *bufio.Writer
	sum       hash.Hash32 // of all bytes sent, headers included
	sent      atomic.Int64
	received  int64 // bytes
	cargo     *cargo
	landing   []byte
}

func newMove(t *testing.T, near, far *wire.Peer, s shipment) *move {
	t.Helper()
	m := &move{shipment: s, near: near, far: far, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	m.out = bufio.NewWriterSize(io.MultiWriter(near, m.sum, m), 64<<10)
	m.cargo = newCargo()
	m.landing = make([]byte, 64<<10)
	for _, peer := range []*wire.Peer{near, far} {
		if err := peer.SetDeadline(time.Now().Add(shipmentTimeout)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// Write counts what has been sent.
func (m *move) Write(b []byte) (int, error) {
	m.sent.Add(int64(len(b)))
	return len(b), nil
}

// send writes the whole message.
func (m *move) send() error {
	for i := range m.frames {
		f := wire.Frame{Fin: i == m.frames-1, Opcode: wire.OpContinuation, Claim: uint64(m.size)}
		if i == 0 {
			f.Opcode = wire.OpBinary
		}
		if _, err := m.out.Write(m.near.Encode(f)); err != nil {
			return err
		}
		if _, err := io.CopyN(m.out, m.cargo, m.size); err != nil {
			return err
		}
	}
	return m.out.Flush()
}

// total is the message's size on the wire. All frames but the first and the last have headers like theirs.
func (m *move) total() int64 {
	header := m.near.Encode(wire.Frame{Claim: uint64(m.size)})
	return int64(m.frames) * (int64(len(header)) + m.size)
}

// run brings the shipment through. Three times the receiver stops until the sender has to stop, too: what the gateway
// holds then is neither garbage nor on its way through.
func (m *move) run(t *testing.T, g *engine.Gateway) {
	t.Helper()
	live, resident, start := heldBy(t, g), resetPeak(t, g), time.Now()
	sent := make(chan error, 1)
	go func() { sent <- m.send() }()
	received := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	var grown holdings // at most
	total := m.total()
	for _, rest := range []int64{total, total / 2, 64 << 20} {
		m.receive(t, received, rest)
		m.awaitStandstill(t)
		if now := heldSince(t, g, live); grown == nil || now.total() > grown.total() {
			grown = now
		}
	}
	m.receive(t, received, 0)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if received.Sum32() != m.sum.Sum32() {
		t.Error("what arrives is not what was sent")
	}
	m.judge(t, g, grown, peakOf(t, g)-resident)
	t.Logf("%v", time.Since(start))
}

// profileAll has the heap profile know every object, for heldBy.
func profileAll(t *testing.T) {
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	t.Cleanup(func() { runtime.MemProfileRate = rate })
}

// runThrough brings the shipment through.
func (m *move) runThrough(t *testing.T) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { sent <- m.send() }()
	m.receive(t, io.Discard, 0)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// receive takes all but the rest.
func (m *move) receive(t *testing.T, sum io.Writer, rest int64) {
	t.Helper()
	todo := m.total() - rest - m.received
	n, err := io.CopyBuffer(sum, io.LimitReader(m.far, todo), m.landing)
	m.received += n
	if n < todo {
		t.Fatalf("%d of %d bytes arrive (%v)", m.received, m.total(), err)
	}
}

// judge holds what has been measured against what a direction may hold.
func (m *move) judge(t *testing.T, g *engine.Gateway, grown holdings, resident int) {
	t.Helper()
	t.Logf("the live heap grew by %d bytes at most, the resident set by %d KiB", grown.total(), resident)
	limit := int64(bufferLimit)
	if g.Process != nil {
		limit += profileSlack
	}
	if grown.total() > limit {
		t.Errorf("%d bytes are live while a message is under way, want %d at most; the most of them:\n%v", grown.total(), limit, grown)
	}
	if resident > residentLimit {
		t.Errorf("Traefik's resident set grew by %d KiB, want %d at most", resident, residentLimit)
	}
}

// awaitStandstill waits until the sender no longer makes progress.
func (m *move) awaitStandstill(t *testing.T) {
	t.Helper()
	last, since := int64(-1), time.Now()
	await(t, shipmentTimeout, func() string {
		if now := m.sent.Load(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 200*time.Millisecond {
			return "the sender is never held up"
		}
		return ""
	})
}

// cargo is an endless stream of bytes. It repeats after a prime number of them, so that nothing that is lost, doubled
// or swapped fits in.
type cargo struct {
	block []byte
	at    int
}

func newCargo() *cargo {
	block := make([]byte, 65521)
	_, _ = rand.NewChaCha8([32]byte{}).Read(block)
	return &cargo{block: block}
}

func (c *cargo) Read(b []byte) (int, error) {
	n := copy(b, c.block[c.at:])
	c.at = (c.at + n) % len(c.block)
	return n, nil
}

// resetPeak has the kernel measure the peak of Traefik's resident set anew, and returns its size now in KiB.
func resetPeak(t *testing.T, g *engine.Gateway) int {
	t.Helper()
	if g.Process != nil && runtime.GOOS == "linux" {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.Process.Pid), []byte("5"), 0); err != nil {
			t.Fatal(err)
		}
	}
	return peakOf(t, g)
}

// peakOf is the peak of Traefik's resident set in KiB; only Linux tells it.
func peakOf(t *testing.T, g *engine.Gateway) int {
	t.Helper()
	if g.Process == nil || runtime.GOOS != "linux" {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	peak := 0
	_, told, _ := strings.Cut(string(status), "\nVmHWM:")
	if _, err := fmt.Sscan(told, &peak); err != nil {
		t.Fatalf("the kernel does not tell the peak: %v", err)
	}
	return peak
}

// gauge is a client's connection that notes the buffers which the plugin reads into and writes from: the one
// direction's and the other's.
type gauge struct {
	net.Conn
	mu            sync.Mutex
	read, written buffers
}

// buffers are the sizes of buffers by one of their bytes. Unlike an address, a weak pointer never comes to mean
// another buffer, and unlike a pointer it holds none.
type buffers map[weak.Pointer[byte]]int

func (b buffers) note(end *byte, size int) {
	id := weak.Make(end)
	b[id] = max(b[id], size)
}

// wrapInGauges is a [engine.Setup]'s Wrap; every connection's gauge goes to the channel.
func wrapInGauges(to chan<- *gauge) func(http.Handler) http.Handler {
	return func(plugin http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			plugin.ServeHTTP(&hijackable{rw, func(conn net.Conn) net.Conn {
				c := &gauge{Conn: conn, read: buffers{}, written: buffers{}}
				to <- c
				return c
			}}, req)
		})
	}
}

// Read notes the last byte of the buffer, for a read may start anywhere in it.
func (c *gauge) Read(b []byte) (int, error) {
	whole := b[:cap(b)]
	c.mu.Lock()
	c.read.note(&whole[cap(b)-1], cap(b))
	c.mu.Unlock()
	return c.Conn.Read(b)
}

// Write notes the first byte of the buffer, for a write may end anywhere in it.
func (c *gauge) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.written.note(&b[0], cap(b))
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *gauge) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for direction, used := range map[string]buffers{"client to upstream": c.read, "upstream to client": c.written} {
		largest := 0
		for _, size := range used {
			largest = max(largest, size)
		}
		if largest > bufferLimit || len(used) > swapLimit {
			t.Errorf("%s: %d buffers, the largest of %d bytes; want %d and %d at most", direction, len(used), largest, swapLimit, bufferLimit)
		}
	}
}

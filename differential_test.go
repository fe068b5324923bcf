package wsfw

import (
	"bytes"
	"io"
	"math/rand"
	"net"
	"testing"
	"time"
)

// FuzzRelay holds the fast loops of relay to parse, which sees the whole stream in one piece: on random frames, limits and
// pieces, whatever the loops skip the parser has to agree with.
func FuzzRelay(f *testing.F) {
	for seed := int64(0); seed < 300; seed++ {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed int64) {
		newTrial(rand.New(rand.NewSource(seed))).run(t)
	})
}

// trial is a random stream of frames, the rules that it is under, and the pieces that it comes in.
type trial struct {
	rules  *frameRules
	masked bool
	limits *limits
	stream []byte
	pieces [][]byte
}

// ours is the token of the pings that a trial's source has been sent.
const ours = 0x1122334455667789

// trialSizes are payload sizes around those of headers and buffers.
var trialSizes = []int{0, 1, 3, 125, 126, 127, 200, 300, 1000, 1010, 1016, 1018, 1024, 5000, largeBuffer - 14, largeBuffer - 8, largeBuffer, 65535, 65536, 70000, 300000}

func newTrial(r *rand.Rand) *trial {
	c := &trial{
		rules:  []*frameRules{plain, compressed, extended, lax, plainText, compressedText}[r.Intn(6)],
		masked: r.Intn(2) == 0,
		limits: &limits{},
	}
	if r.Intn(3) == 0 {
		c.limits.maxFrameSize = 1 + r.Intn(1<<(1+r.Intn(18)))
	}
	if r.Intn(3) == 0 {
		c.limits.maxMessageSize = 1 + r.Intn(1<<(1+r.Intn(18)))
	}
	if c.masked && r.Intn(4) == 0 {
		c.limits.messageRate = 1e-9 // no token comes while it runs
		c.limits.messageBurst = float64(1 + r.Intn(40))
	}
	ends := c.fill(r)
	c.cut(r, ends)
	return c
}

// fill makes the stream, and returns where its frames end.
func (c *trial) fill(r *rand.Rand) (ends []int) {
	within := false
	for n := 1 + r.Intn(30); n > 0; n-- {
		var first byte
		first, within = nextHeader(r, within)
		masked := c.masked != (r.Intn(200) == 0)
		c.stream = append(c.stream, frame(first, trialPayload(r, first), masked)...)
		ends = append(ends, len(c.stream))
	}
	if r.Intn(6) == 0 {
		c.stream = append(c.stream, frame(0x88, []byte{3, 232}, c.masked)...)
		c.stream = append(c.stream, "behind"...)
	}
	if r.Intn(10) == 0 {
		c.stream = c.stream[:r.Intn(len(c.stream)+1)]
	}
	return ends
}

// nextHeader is a header's first byte, mostly a legal one, and whether a fragmented message waits for its end then.
func nextHeader(r *rand.Rand, within bool) (first byte, waits bool) {
	switch kind := r.Intn(12); {
	case kind == 0:
		return byte(r.Intn(256)), within
	case kind == 1:
		return finBit | opPing, within
	case kind == 2:
		return finBit | opPong, within
	case kind == 3:
		return opText + byte(r.Intn(2)), true
	case kind == 4 && within:
		return opContinuation, true
	case within:
		return finBit | opContinuation, false
	}
	return finBit | (opText + byte(r.Intn(2))), false
}

// trialPayload is a payload, of text as a rule: now and then it is broken, and that of a pong may be that of our ping.
func trialPayload(r *rand.Rand, first byte) []byte {
	if first == finBit|opPong && r.Intn(2) == 0 {
		return []byte{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x89, 0, 0, 0, 0, 0, 0, 0, 9}
	}
	size := trialSizes[r.Intn(len(trialSizes))]
	if first&controlBit != 0 || r.Intn(3) > 0 {
		size = r.Intn(126)
	}
	payload := bytes.Repeat([]byte{'a'}, size)
	if size > 8 && r.Intn(3) == 0 {
		copy(payload[r.Intn(size-4):], "\u20ac")
	}
	if size > 0 && r.Intn(40) == 0 {
		payload[r.Intn(size)] = 0xff
	}
	return payload
}

// cut makes the pieces: of any size, or of whole frames.
func (c *trial) cut(r *rand.Rand, ends []int) {
	aligned := r.Intn(3) > 0
	for at := 0; at < len(c.stream); {
		n := 1 + r.Intn(1<<(1+r.Intn(17)))
		if r.Intn(4) == 0 {
			n = 1 + r.Intn(8)
		}
		if aligned && r.Intn(8) > 0 {
			n = toEnd(ends, at, r.Intn(3), n)
		}
		if n > len(c.stream)-at {
			n = len(c.stream) - at
		}
		c.pieces = append(c.pieces, c.stream[at:at+n:at+n])
		at += n
	}
}

// toEnd is how far it is from at to the end of a frame behind the next ones; otherwise where there is none.
func toEnd(ends []int, at, next, otherwise int) int {
	for _, end := range ends {
		if end > at {
			if next == 0 {
				return end - at
			}
			next--
		}
	}
	return otherwise
}

// setUp has a parser keep the trial's limits.
func (c *trial) setUp(t *parser) *parser {
	bound(t, c.limits)
	t.pongSize = t.header + pingSize
	t.token = ours
	t.opened = time.Now()
	meter(t, c.limits)
	if t.metered {
		t.ceiling = int64(c.limits.messageBurst)
	}
	return t
}

// reference is what may go on of the stream by parse, where that has got to, and how many pongs it has taken out.
func (c *trial) reference() (passed []byte, t *parser, pongs int64) {
	t = c.setUp(newParser(c.rules, c.masked))
	pong := len(controlFrame(opPong, make([]byte, pingSize), c.masked))
	for rest := append([]byte(nil), c.stream...); ; {
		n := parseChunk(t, rest)
		passed = append(passed, rest[:n]...)
		if t.pong == nil {
			return passed, t, pongs
		}
		t.pong = nil
		t.frames++
		pongs++
		rest = rest[n+pong:]
	}
}

// pieces is a connection that gives its pieces, and keeps what it is given.
type pieces struct {
	net.Conn
	in  [][]byte
	out bytes.Buffer
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.in) > 0 && len(p.in[0]) == 0 {
		p.in = p.in[1:]
	}
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in[0])
	p.in[0] = p.in[0][n:]
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error) { return p.out.Write(b) }

// run relays the stream, and compares what has come of it.
func (c *trial) run(t *testing.T) {
	t.Helper()
	want, by, pongs := c.reference()
	from, to := &pieces{in: append([][]byte(nil), c.pieces...)}, &pieces{}
	source, destination := newPeer(clientPeer, from), newPeer(upstreamPeer, to)
	if !c.masked {
		source.name, destination.name = upstreamPeer, clientPeer
	}
	f := newDirection(source, destination, c.rules, c.masked)
	got := c.setUp(f.parser)
	source.token = ours
	source.heart = newHeartbeat(source)
	f.started = time.Now()
	takeSmall(f)
	defer shrink(f)
	_, _ = relay(f, 0, nil)
	out := to.out.Bytes()
	same := got.fault == by.fault && bytes.Equal(got.closing, by.closing)
	if c.rules == plainText || c.rules == compressedText {
		// Of a frame of text that is none its beginning may have been passed on.
		same = same && (bytes.HasPrefix(out, want) || bytes.HasPrefix(want, out)) &&
			(got.fault != nil || bytes.Equal(out, want) && got.frames == by.frames && got.messages == by.messages)
	} else {
		same = same && bytes.Equal(out, want) && got.frames == by.frames && got.messages == by.messages && got.control == by.control &&
			f.bytes == int64(len(want)) && f.absorbed == pongs && (got.fault != nil || got.closing != nil || got.left == by.left)
	}
	if !same {
		t.Errorf("masked %v, limits %d/%d/%v: out %d, want %d; fault %v, want %v; closing %x, want %x; frames %d, want %d; messages %d, want %d; absorbed %d, want %d",
			c.masked, c.limits.maxFrameSize, c.limits.maxMessageSize, c.limits.messageBurst, len(out), len(want), got.fault, by.fault, got.closing, by.closing,
			got.frames, by.frames, got.messages, by.messages, f.absorbed, pongs)
	}
}

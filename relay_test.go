package wsfw

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
)

// TestRelayJudgesMessagesOfOneFrame has relay pass messages of one frame each on in its inner
// loop, and come to one that has to be left to the outer loop there.
func TestRelayJudgesMessagesOfOneFrame(t *testing.T) {
	short := frame(0x82, make([]byte, 3), true)
	medium := frame(0x82, bytes.Repeat([]byte{0xff}, 200), true)
	long := frame(0x82, make([]byte, 300), true)
	notMinimal := join([]byte{0x82, 0xfe, 0, 100, 0, 0, 0, 0}, make([]byte, 100))
	cases := []relaying{
		{"one after the other", [][]byte{short, medium, short}, join(short, medium, short), 3, nil},
		{"several in a chunk", [][]byte{short, join(short, medium, medium), short}, join(short, short, medium, medium, short), 5, nil},
		{"broken behind the first byte", [][]byte{medium, join(short, medium[:1]), medium[1:]}, join(medium, short, medium), 3, nil},
		{"broken inside the length", [][]byte{medium, join(short, medium[:3]), medium[3:]}, join(medium, short, medium), 3, nil},
		{"broken inside the payload", [][]byte{medium, join(short, medium[:99]), medium[99:]}, join(medium, short, medium), 3, nil},
		{"length not minimal", [][]byte{short, join(short, notMinimal)}, join(short, short), 2, errLength},
		{"too long", [][]byte{short, join(short, long)}, join(short, short), 2, errFrame},
		{"not masked", [][]byte{short, join(short, frame(0x82, nil, false))}, join(short, short), 2, errUnmasked},
		{"too many", [][]byte{short, short, short, short, join(short, short, short)}, bytes.Repeat(short, 6), 6, errRate},
		{"too many of them long", [][]byte{medium, medium, medium, join(short, short, medium, short)}, join(medium, medium, medium, short, short, medium), 6, errRate},
	}
	for _, c := range cases {
		bounds := &limits{maxFrameSize: 256}
		if c.fault == errRate {
			bounds.messageRate, bounds.messageBurst = 1e-6, 6
		}
		c.expect(t, plain, bounds)
	}
}

// relaying is what relay is to make of chunks.
type relaying struct {
	name     string
	chunks   [][]byte
	passed   []byte
	messages int64 // of one frame each
	fault    *fault
}

// expect has a direction under rules and limits relay the chunks.
func (c relaying) expect(t *testing.T, rules *frameRules, l *limits) {
	t.Helper()
	passed, f := relayed(rules, c.chunks, l)
	if !bytes.Equal(passed, c.passed) {
		t.Errorf("%s: %d bytes were passed on, want %d", c.name, len(passed), len(c.passed))
	}
	if f.parser.messages != c.messages || f.parser.frames != c.messages || f.bytes != int64(len(c.passed)) {
		t.Errorf("%s: %d messages of %d frames and %d bytes were counted, want %d", c.name, f.parser.messages, f.parser.frames, f.bytes, c.messages)
	}
	if f.parser.fault != c.fault {
		t.Errorf("%s: fault %v, want %v", c.name, f.parser.fault, c.fault)
	}
}

// TestRelayJudgesLargeMessages has relay pass messages on that are larger than a buffer, one after the other, and come to
// something else behind them.
func TestRelayJudgesLargeMessages(t *testing.T) {
	large := frame(0x82, make([]byte, 1<<16), true)
	medium := frame(0x82, make([]byte, largeBuffer+10), true) // whose length has 16 bits
	exact := frame(0x82, make([]byte, largeBuffer-8), true)   // a buffer with its header
	short := frame(0x82, make([]byte, 3), true)
	long := frame(0x82, make([]byte, 70_001), true)
	notMinimal := join([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}, make([]byte, 1<<16-1))
	spreadOut := join([]byte{0x82, 0xfe, 0, 100, 0, 0, 0, 0}, make([]byte, largeBuffer))
	broken := frame(0x81, bytes.Repeat([]byte{0xff}, 1<<16), true)
	cases := []relaying{
		{"one after the other", [][]byte{large, large, medium, large}, join(large, large, medium, large), 4, nil},
		{"as large as a buffer", [][]byte{large, exact, exact, large}, join(large, exact, exact, large), 4, nil},
		{"with a short one", [][]byte{large, join(large, short), large}, join(large, large, short, large), 4, nil},
		{"several in a chunk", [][]byte{large, join(medium, large, exact, short), large}, join(large, medium, large, exact, short, large), 6, nil},
		{"broken inside the length", [][]byte{large, join(large, large[:5]), large[5:]}, join(large, large, large), 3, nil},
		{"length not minimal", [][]byte{large, large, notMinimal}, join(large, large), 2, errLength},
		{"too long", [][]byte{large, large, long}, join(large, large), 2, errFrame},
		{"short length not minimal", [][]byte{large, large, spreadOut}, join(large, large), 2, errLength},
		{"not masked", [][]byte{large, large, frame(0x82, make([]byte, 1<<16), false)}, join(large, large), 2, errUnmasked},
		{"not masked behind another", [][]byte{large, join(large, frame(0x82, make([]byte, 1<<16), false))}, join(large, large), 2, errUnmasked},
		{"too many", [][]byte{large, large, large, large}, join(large, large, large), 3, errRate},
		{"no text", [][]byte{large, large, broken}, join(large, large), 2, errText},
	}
	for at := 2; at <= 6; at++ {
		huge := join([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, make([]byte, largeBuffer))
		huge[at] = 1
		cases = append(cases, relaying{"much too long", [][]byte{large, large, huge}, join(large, large), 2, errFrame})
	}
	for _, c := range cases {
		bounds, rules := &limits{maxFrameSize: 70_000}, plain
		if c.fault == errRate {
			bounds.messageRate, bounds.messageBurst = 1e-6, 3
		}
		if c.fault == errText {
			rules = plainText
		}
		c.expect(t, rules, bounds)
	}
}

// relayed is what relay passes on of a client's chunks, each of which comes by itself.
func relayed(rules *frameRules, chunks [][]byte, l *limits) ([]byte, *direction) {
	client, source := net.Pipe()
	destination, upstream := net.Pipe()
	f := newDirection(newPeer(clientPeer, source), newPeer(upstreamPeer, destination), rules, true)
	bound(f.parser, l)
	meter(f.parser, l)
	f.buf = make([]byte, smallBuffer)
	go func() {
		for _, chunk := range chunks {
			_, _ = client.Write(chunk)
		}
		_ = client.Close()
	}()
	go func() {
		_, _ = relay(f, 0, nil)
		_ = source.Close()
		_ = destination.Close()
	}()
	passed, _ := io.ReadAll(upstream)
	return passed, f
}

// TestRelayTellsOfFailedWrites has a destination go while a message is under way: at its start, in
// what is left of a large one, and behind other messages.
func TestRelayTellsOfFailedWrites(t *testing.T) {
	large := frame(0x82, make([]byte, 2*largeBuffer), true)
	small := frame(0x82, []byte("a"), true)
	twice := frame(0x82, make([]byte, 2*largeBuffer-14), true) // two buffers with its header
	cases := []struct {
		name     string
		sent     []byte
		chunk    int // bytes in a write
		end      int // of the large frame
		writes   int // that succeed
		messages int // that have been begun by them
	}{
		{"at its start", large, 1000, len(large), 0, 0},
		{"in what is left", large, 1000, len(large), 3, 1},
		{"behind others", join(small, small, large), 1000, 2*len(small) + len(large), 1, 3},
		{"in the last piece", large[:5000], 1000, len(large), 4, 1},
		{"at a later one's start", join(twice, twice), largeBuffer, 2 * len(twice), 2, 1},
		{"in what is left of a later one", join(twice, twice), largeBuffer, 2 * len(twice), 3, 2},
		{"of one message each", join(small, small, small), len(small), 0, 2, 2},
		{"of several messages each", join(small, small, small, small, small, small), 2 * len(small), 0, 2, 4},
	}
	for _, c := range cases {
		destination, upstream := net.Pipe()
		go func(writes int) {
			for buf := make([]byte, largeBuffer); writes > 0; writes-- {
				_, _ = upstream.Read(buf)
			}
			_ = upstream.Close()
		}(c.writes)
		source := newScript(c.sent, c.chunk, false)
		f := newDirection(newPeer(clientPeer, source), newPeer(upstreamPeer, destination), plain, true)
		bound(f.parser, &limits{})
		f.buf = make([]byte, smallBuffer)
		if c.chunk == largeBuffer {
			f.buf = make([]byte, largeBuffer)
		}
		if readErr, writeErr := relay(f, 0, nil); readErr != nil || !errors.Is(writeErr, io.ErrClosedPipe) {
			t.Errorf("%s: read error %v, write error %v, want the write's", c.name, readErr, writeErr)
		}
		if passed := int64(c.writes * c.chunk); f.bytes != passed || f.parser.messages != int64(c.messages) {
			t.Errorf("%s: %d bytes and %d messages were counted, want %d and %d", c.name, f.bytes, f.parser.messages, passed, c.messages)
		}
		left := 0
		if c.end > 0 {
			left = c.end - c.writes*c.chunk - c.chunk
		}
		if f.parser.left != left || f.held != 0 {
			t.Errorf("%s: %d bytes of the frame have not been read, and %d are held, want %d and none", c.name, f.parser.left, f.held, left)
		}
	}
}

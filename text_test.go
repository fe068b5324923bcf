package wsfw

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// texts are valid and invalid ones, from RFC 3629 and the edges of its ranges.
var texts = []string{
	"", "plain", "κόσμε", "\u07ff\u0800\uffff\U00010000\U0010ffff", "\ufeff", strings.Repeat("é", 3000),
	"\xc3", "a\xe2\x82", "\xf0\x9f\x98", "\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
	"\xf5\x80\x80\x80", "\xff", "good\xffbad", strings.Repeat("x", 5000) + "\xed\xbf\xbf",
}

// newTextTrack is a track that checks text.
func newTextTrack(masked bool) *track {
	t := newTrack(plainText, masked)
	t.bound(&limits{})
	return t
}

func TestTextIsCheckedInAnyPieces(t *testing.T) {
	for _, text := range texts {
		for _, mask := range []bool{false, true} {
			whole := frame(0x81, []byte(text), mask)
			for _, step := range []int{1, 2, 3, 7, 1000, len(whole)} {
				track := newTextTrack(mask)
				walkPieces(track, whole, func() int { return step })
				if got := track.fault == nil; got != utf8.ValidString(text) || track.fault != nil && track.fault != errText {
					t.Errorf("%.20q in pieces of %d, masked %v: fault %v", text, step, mask, track.fault)
				}
			}
		}
	}
}

func TestTextIsCheckedOverFragments(t *testing.T) {
	ping := frame(0x89, []byte("\xff"), true)
	for _, text := range texts {
		if len(text) > 20 {
			continue
		}
		for cut := 0; cut <= len(text); cut++ {
			stream := join(frame(0x01, []byte(text[:cut]), true), ping, frame(0x00, nil, true), frame(0x80, []byte(text[cut:]), true))
			track := newTextTrack(true)
			walk(track, stream)
			if got := track.fault == nil; got != utf8.ValidString(text) {
				t.Errorf("%q cut at %d: fault %v", text, cut, track.fault)
			}
		}
	}
}

// TestTextIsCheckedEarly wants a fragment judged that cannot follow on the one before.
func TestTextIsCheckedEarly(t *testing.T) {
	for _, next := range []string{"a", "é", "\x82a", "\x82\xac\xff"} {
		first, track := frame(0x01, []byte("\xe2"), true), newTextTrack(true)
		if pass := walk(track, join(first, frame(0x00, []byte(next), true))); pass != len(first) || track.fault != errText {
			t.Errorf("%q: %d bytes may go on, fault %v", next, pass, track.fault)
		}
	}
}

func TestTextExempt(t *testing.T) {
	bad := []byte("\xff")
	cases := []struct {
		name   string
		rules  *grammar
		stream []byte
	}{
		{"binary", plainText, frame(0x82, bad, true)},
		{"binary fragments", plainText, join(frame(0x02, bad, true), frame(0x80, bad, true))},
		{"compressed", compressedText, frame(0xc1, bad, true)},
		{"compressed fragments", compressedText, join(frame(0x41, bad, true), frame(0x00, bad, true), frame(0x80, bad, true))},
		{"unknown extension", extended, frame(0x81, bad, true)},
		{"frames only", plain, frame(0x81, bad, true)},
	}
	for _, c := range cases {
		track := newTrack(c.rules, true)
		track.bound(&limits{})
		if pass := walk(track, c.stream); pass != len(c.stream) || track.fault != nil {
			t.Errorf("%s: %d of %d bytes may go on, fault %v", c.name, pass, len(c.stream), track.fault)
		}
	}
}

// TestTextFaultLeavesNothing wants a frame that begins in a chunk kept back whole, and one that
// began earlier known to be half passed.
func TestTextFaultLeavesNothing(t *testing.T) {
	good, bad := frame(0x81, []byte("good"), true), frame(0x81, []byte("bad\xff"), true)
	track := newTextTrack(true)
	if pass := walk(track, join(good, bad)); pass != len(good) || track.left != 0 || track.messages != 1 {
		t.Errorf("%d bytes may go on, %d are to come, %d messages; want %d, 0, 1", pass, track.left, track.messages, len(good))
	}
	track = newTextTrack(true)
	if pass := walk(track, bad[:8]); pass != 8 {
		t.Fatalf("%d of 8 bytes may go on", pass)
	}
	if pass := walk(track, bad[8:]); pass != 0 || track.left != 2 || track.fault != errText {
		t.Errorf("%d bytes may go on, %d are to come, fault %v; want 0, 2, %v", pass, track.left, track.fault, errText)
	}
}

func TestRelayChecksText(t *testing.T) {
	long := strings.Repeat("κ", 60000)
	cases := []struct {
		name, text string
		step       int
		passed     string // whole frames that the upstream gets
		half       bool   // and a part of one
	}{
		{"short", "good", 1000, "good", false},
		{"short, bad", "bad\xff", 1000, "", false},
		{"long", long, 4096, long, false},
		{"long, bad at its end", long + "\xff", 4096, "", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := join(frame(0x81, []byte(c.text), true), frame(0x88, nil, true))
			client, upstream := newScript(in, c.step, false), newScript(closeEmpty, 100, true)
			runScriptsWithin(client, upstream, plainText, time.Minute) // the upstream closes at once
			got := upstream.written()
			if whole := frame(0x81, []byte(c.passed), true); c.passed != "" && !bytes.HasPrefix(got, whole) {
				t.Errorf("the upstream got %d bytes, want %d first", len(got), len(whole))
			}
			if half := len(got) > smallBuffer; half != (c.half || len(c.passed) > smallBuffer) {
				t.Errorf("the upstream got %d bytes", len(got))
			}
		})
	}
}

// chunks is a connection that gives each of its pieces by itself, and then ends; refuse is how many
// bytes it takes before writes fail, 0 for any, and refused how often one has. It takes no writes of
// nothing.
type chunks struct {
	*script
	pieces  [][]byte
	refuse  int
	refused int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	c.pieces = c.pieces[1:]
	return n, nil
}

func (c *chunks) Write(p []byte) (int, error) {
	if len(p) == 0 || c.refuse > 0 && len(c.out)+len(p) > c.refuse {
		c.refused++
		return 0, io.ErrClosedPipe
	}
	return c.script.Write(p)
}

// textFlow is a direction under rules that gets these chunks and has their text checked.
func textFlow(rules *grammar, mask bool, l *limits, in ...[]byte) (*flow, *chunks) {
	conn := &chunks{script: newScript(nil, 0, false), pieces: in}
	f := newFlow(newSide(clientSide, conn), newSide(upstreamSide, conn), rules, mask)
	f.track.bound(l)
	meter(f.track, l)
	equip(f)
	return f, conn
}

// TestPassTexts has chunks of two messages or more before one, and wants those passed on at once
// that are nothing but whole messages in order, and all others left as they are.
func TestPassTexts(t *testing.T) {
	const limit = 1000
	bad, long := []byte("bad\xff"), strings.Repeat("é", 60)
	for _, mask := range []bool{false, true} {
		text := func(payload string) []byte { return frame(0x81, []byte(payload), mask) }
		binary := func(payload []byte) []byte { return frame(0x82, payload, mask) }
		wide := text(strings.Repeat("x", 150))
		notMinimal := join(binary(nil)[:1], wide[1:2], []byte{0, 125}, wide[4:len(wide)-150], wide[len(wide)-125:])
		cases := []struct {
			name   string
			chunk  []byte
			passed int64 // messages; 0: the chunk is left
		}{
			{"one", text("good"), 1},
			{"empty", text(""), 1},
			{"edges", join(text("\U0010ffff"), text("\u0800"), text("κ"), text("\x00"), text("\x7f")), 5},
			{"longest short one", text(strings.Repeat("x", 125)), 1},
			{"shortest long one", join(text(strings.Repeat("é", 63)), text("x")), 2},
			{"several", join(text("aé€😀"), text(long), text(""), text("z")), 4},
			{"at the limit", text(strings.Repeat("x", limit)), 1},
			{"binary", join(binary(bad), text("é"), binary(bytes.Repeat(bad, 100)), binary(nil)), 4},
			{"binary at the limit", binary(bytes.Repeat(bad, limit/4)), 1},

			{"bad", text("bad\xff"), 0},
			{"bad first", join(text("\xff"), text("good")), 0},
			{"bad in the middle", join(text("good"), text("\x80"), text("good")), 0},
			{"bad last", join(text("good"), text(long+"\xff"), text("bad\xff")), 0},
			{"bad long one", text(long + long + "\xff"), 0},
			{"bad behind binary", join(binary(nil), text("\xff")), 0},
			{"bad before binary", join(text("\xff"), binary(nil)), 0},
			{"cut in a code point", text("€"[:2]), 0},
			{"cut before its other part", join(text("é"[:1]), text("é"[1:])), 0},
			{"cut before a code point", join(text("😀"[:3]), text("é")), 0},
			{"long one cut before its other part", join(text(long+"a\xe2"), text("\x82\xac"+long)), 0},

			{"ping behind", join(text("x"), frame(0x89, nil, mask)), 0},
			{"ping between", join(text("x"), frame(0x89, []byte("x"), mask), text("x")), 0},
			{"close behind", join(text("x"), frame(0x88, nil, mask)), 0},
			{"fragment behind", join(text("x"), frame(0x01, []byte("x"), mask)), 0},
			{"end of a fragment behind", join(text("x"), frame(0x80, []byte("x"), mask)), 0},
			{"reserved bit", join(text("x"), frame(0xc1, []byte("x"), mask)), 0},
			{"other MASK bit", join(text("x"), frame(0x81, []byte("x"), !mask)), 0},
			{"one byte", join(text("x"), text("x")[:1]), 0},
			{"only a header", join(text("x"), text("x")[:2]), 0},
			{"cut in the payload", join(text("x"), text("xy")[:len(text("x"))]), 0},
			{"cut in the length", join(text("x"), text(long + long)[:3]), 0},
			{"cut behind the length", join(text("x"), text(long + long)[:4]), 0},
			{"cut in a long payload", join(text("x"), text(long + long)[:200]), 0},
			{"binary cut", join(text("x"), binary(bad)[:5]), 0},
			{"long binary cut", join(text("x"), binary(bytes.Repeat(bad, 100))[:300]), 0},
			{"length not minimal", notMinimal, 0},
			{"text of a length that is not minimal", join([]byte{0x81}, notMinimal[1:]), 0},
			{"above the limit", text(strings.Repeat("x", limit+1)), 0},
			{"binary above the limit", binary(bytes.Repeat([]byte("x"), limit+1)), 0},
		}
		for _, c := range cases {
			before := join(text("before"), binary(bad), text("é"))
			f, conn := textFlow(plainText, mask, &limits{}, c.chunk)
			f.buf = make([]byte, 2*smallBuffer)
			copy(f.buf, bytes.Repeat(before, 20)) // what is left of earlier chunks
			n, readErr, writeErr := passTexts(f, f.buf, copy(f.buf, before), nil, limit)
			left, want := c.chunk, before
			if c.passed > 0 {
				want = join(before, c.chunk)
				left = want[len(want):]
			}
			if !bytes.Equal(f.buf[:n], left) || errors.Is(readErr, io.EOF) != (c.passed > 0) || writeErr != nil {
				t.Errorf("%s, masked %v: %d bytes are left, want %d; errors %v and %v", c.name, mask, n, len(left), readErr, writeErr)
			}
			counted := traffic{3 + c.passed, 3 + c.passed, int64(len(want))}
			if !bytes.Equal(conn.out, want) || trafficOf(f) != counted {
				t.Errorf("%s, masked %v: %d bytes were passed on, %+v was counted, want %+v", c.name, mask, len(conn.out), trafficOf(f), counted)
			}
			if f.track.fault != nil || f.track.spelling {
				t.Errorf("%s, masked %v: it was judged", c.name, mask)
			}
		}
	}
}

// TestPassTextsAmongCompressed has the payload of compressed messages passed on as it is.
func TestPassTextsAmongCompressed(t *testing.T) {
	deflated := frame(0xc1, []byte("\xff"), true)
	chunk := join(deflated, frame(0x81, []byte("é"), true), deflated)
	f, conn := textFlow(compressedText, true, &limits{}, join(chunk, frame(0x81, []byte("\xff"), true)))
	n, _, _ := passTexts(f, f.buf, copy(f.buf, chunk), nil, maxFrame)
	if !bytes.Equal(conn.out, chunk) || n != len(chunk)+7 {
		t.Errorf("%d bytes of %d were passed on, %d left", len(conn.out), len(chunk), n)
	}
}

// TestPassTextsBounds has passTexts leave what one bound or another keeps back.
func TestPassTextsBounds(t *testing.T) {
	three := bytes.Repeat(frame(0x81, []byte("é"), true), 3)
	half := strings.Repeat("x", largeBuffer/2)
	cases := []struct {
		name    string
		mask    bool
		ceiling int64
		chunk   []byte
		room    int
		passed  bool
	}{
		{"as many as may come", true, 6, three, smallBuffer, true},
		{"one too many", true, 5, three, smallBuffer, false},
		{"one too many of which the first is binary", true, 5, join(frame(0x82, nil, true), three[:16]), smallBuffer, false},
		{"as much as there is room for", true, 10, three, len(three), false},
		{"a byte less", true, 10, three, len(three) + 1, true},
		{"a pad that may stay", true, 10, frame(0x81, []byte(half), true), largeBuffer, true},
		{"one that is too large", true, 10, frame(0x81, []byte(half+"x"), true), largeBuffer, false},
		{"no pad", false, 10, frame(0x81, []byte(half+"x"), false), largeBuffer, true},
		{"binary", true, 10, frame(0x82, []byte(half+"x"), true), largeBuffer, true},
		{"longer than there is room for", true, 10, frame(0x81, []byte(half), true)[:500], smallBuffer, false},
		{"cut in the length at the end of the room", true, 10, join(three, frame(0x81, []byte(half), true)[:2]), len(three) + 3, false},
		{"a ping that looks like a long text", false, 10, join(frame(0x89, []byte{0, 128, 0xc3}, false), frame(0x81, []byte(half[:125]), false)), smallBuffer, false},
	}
	for _, c := range cases {
		first := join(frame(0x81, nil, c.mask), frame(0x81, nil, c.mask), frame(0x81, nil, c.mask))
		f, conn := textFlow(plainText, c.mask, &limits{}, c.chunk)
		f.track.ceiling = c.ceiling
		f.buf = make([]byte, c.room)
		n, _, _ := passTexts(f, f.buf, copy(f.buf, first), nil, maxFrame)
		if passed := len(conn.out) == len(first)+len(c.chunk); passed != c.passed || n == 0 != c.passed {
			t.Errorf("%s: passed %v, %d bytes are left", c.name, passed, n)
		}
	}
}

// TestPassTextsEnds has a write or a read fail: what was not written is not counted.
func TestPassTextsEnds(t *testing.T) {
	text := frame(0x81, []byte("é"), true)
	f, conn := textFlow(plainText, true, &limits{}, text, join(text, text))
	conn.refuse = 3 * len(text)
	n, readErr, writeErr := passTexts(f, f.buf, copy(f.buf, text), nil, maxFrame)
	if n != 2*len(text) || readErr != nil || !errors.Is(writeErr, io.ErrClosedPipe) || trafficOf(f) != (traffic{2, 2, int64(2 * len(text))}) {
		t.Errorf("%d bytes are left, errors %v and %v, counted %+v", n, readErr, writeErr, trafficOf(f))
	}
	f, conn = textFlow(plainText, true, &limits{})
	n, readErr, _ = passTexts(f, f.buf, copy(f.buf, text), io.ErrUnexpectedEOF, maxFrame)
	if n != len(text) || !errors.Is(readErr, io.ErrUnexpectedEOF) || len(conn.out) > 0 {
		t.Errorf("a read with an error: %d bytes are left, error %v", n, readErr)
	}
	f, conn = textFlow(plainText, true, &limits{}, nil, text)
	n, readErr, writeErr = passTexts(f, f.buf, copy(f.buf, text), nil, maxFrame)
	if n != 0 || readErr != nil || writeErr != nil || len(conn.out) != len(text) {
		t.Errorf("a read of nothing: %d bytes are left, errors %v and %v", n, readErr, writeErr)
	}
	f, conn = textFlow(plainText, true, &limits{}, text, text)
	conn.refuse = 2*len(text) - 1
	if readErr, writeErr = relay(f, 0, nil); readErr != nil || !errors.Is(writeErr, io.ErrClosedPipe) || f.held != 0 || conn.refused != 1 {
		t.Errorf("relay: errors %v and %v, %d bytes are held, %d writes failed", readErr, writeErr, f.held, conn.refused)
	}
}

// TestReadTexts has chunks of messages passed on, and others left.
func TestReadTexts(t *testing.T) {
	text, ping := frame(0x81, []byte("é"), true), frame(0x89, nil, true)
	f, conn := textFlow(plainText, true, &limits{}, text, join(text, ping), ping)
	for i, want := range [][]byte{join(text, ping), ping, nil} {
		n, readErr, writeErr := readTexts(f, f.buf, maxFrame)
		if !bytes.Equal(f.buf[:n], want) || (readErr == nil) != (n > 0) || writeErr != nil {
			t.Errorf("read %d: %x is left, want %x; errors %v and %v", i, f.buf[:n], want, readErr, writeErr)
		}
	}
	if !bytes.Equal(conn.out, text) {
		t.Errorf("%x was passed on", conn.out)
	}
}

// TestRelayJudgesTexts has relay come from chunks of whole messages to what ends or bounds them.
func TestRelayJudgesTexts(t *testing.T) {
	for _, mask := range []bool{false, true} {
		text := func(payload string) []byte { return frame(0x81, []byte(payload), mask) }
		first, end := frame(0x01, []byte("a\xe2"), mask), frame(0x80, []byte("\x82\xac"), mask)
		ping, good, bad := frame(0x89, []byte("\xff"), mask), text("good"), text("bad\xff")
		bye := closeFrame(1000, "", mask)
		cases := []struct {
			name             string
			chunks           [][]byte
			passed           []byte
			frames, messages int64
			fault            *fault
		}{
			{"one after the other", [][]byte{good, good, good}, join(good, good, good), 3, 3, nil},
			{"several in a chunk", [][]byte{good, join(good, good), good}, join(good, good, good, good), 4, 4, nil},
			{"a bad one by itself", [][]byte{good, bad}, good, 1, 1, errText},
			{"a bad one behind", [][]byte{good, join(good, good, bad, good)}, join(good, good, good), 3, 3, errText},
			{"many and a bad one", [][]byte{good, join(bytes.Repeat(good, 20), bad)}, bytes.Repeat(good, 21), 21, 21, errText},
			{"many and a cut one", [][]byte{good, join(bytes.Repeat(good, 20), text("\xe2\x82"), good)}, bytes.Repeat(good, 21), 21, 21, errText},
			{"a ping between", [][]byte{good, join(good, ping, good), good}, join(good, good, ping, good, good), 5, 4, nil},
			{"fragments behind", [][]byte{good, join(good, first), join(end, good)}, join(good, good, first, end, good), 5, 4, nil},
			{"fragments with a ping", [][]byte{join(good, first), ping, end, good}, join(good, first, ping, end, good), 5, 3, nil},
			{"fragments that end wrong", [][]byte{good, join(good, first), join(frame(0x80, nil, mask), good)}, join(good, good, first), 3, 2, errText},
			{"text inside fragments", [][]byte{good, first, good}, join(good, first), 2, 1, errHeader},
			{"in two pieces", [][]byte{good, join(good, good[:len(good)-2]), join(good[len(good)-2:], good)}, bytes.Repeat(good, 4), 4, 4, nil},
			{"broken in the header", [][]byte{good, join(good, good[:1]), join(good[1:], good)}, bytes.Repeat(good, 4), 4, 4, nil},
			{"too many", [][]byte{good, good, join(good, good, good), join(good, good, good)}, bytes.Repeat(good, 6), 6, 6, errRate},
			{"too many at once", [][]byte{good, bytes.Repeat(good, 20)}, bytes.Repeat(good, 6), 6, 6, errRate},
			{"too many for fragments", [][]byte{bytes.Repeat(good, 6), join(ping, first)}, join(bytes.Repeat(good, 6), ping), 7, 6, errRate},
			{"too long", [][]byte{good, join(good, text(strings.Repeat("x", 300)))}, join(good, good), 2, 2, errFrame},
			{"closed", [][]byte{good, join(good, bye, bad)}, join(good, good), 2, 2, nil},
		}
		for _, c := range cases {
			bounds := &limits{maxFrameSize: 256}
			if c.fault == errRate {
				bounds.messageRate, bounds.messageBurst = 1e-6, 6
			}
			f, conn := textFlow(plainText, mask, bounds, c.chunks...)
			_, _ = relay(f, 0, nil)
			if !bytes.Equal(conn.out, c.passed) || f.track.fault != c.fault {
				t.Errorf("%s, masked %v: %d bytes were passed on, want %d; fault %v, want %v", c.name, mask, len(conn.out), len(c.passed), f.track.fault, c.fault)
			}
			if want := (traffic{c.frames, c.messages, int64(len(c.passed))}); trafficOf(f) != want {
				t.Errorf("%s, masked %v: %+v was counted, want %+v", c.name, mask, trafficOf(f), want)
			}
		}
	}
}

// TestTextWithinSmallLimits has limits that even the shortest messages may break.
func TestTextWithinSmallLimits(t *testing.T) {
	text := func(n int) []byte { return frame(0x81, bytes.Repeat([]byte("x"), n), true) }
	for _, l := range []*limits{{maxFrameSize: 124}, {maxMessageSize: 124}} {
		f, conn := textFlow(plainText, true, l, text(124), join(text(1), text(2), text(3), text(4), text(125)))
		_, _ = relay(f, 0, nil)
		if want := join(text(124), text(1), text(2), text(3), text(4)); !bytes.Equal(conn.out, want) || f.track.fault.code != closeTooBig {
			t.Errorf("%+v: %d bytes were passed on, want %d, fault %v", l, len(conn.out), len(want), f.track.fault)
		}
	}
}

// TestSpellRun has walk go over many messages of text in a chunk.
func TestSpellRun(t *testing.T) {
	for _, mask := range []bool{false, true} {
		text := func(payload string) []byte { return frame(0x81, []byte(payload), mask) }
		short, long := text("κ"), text(strings.Repeat("κ", 80))
		many := bytes.Repeat(short, 30)
		binary, ping := frame(0x82, []byte("\xff"), mask), frame(0x89, nil, mask)
		first, end := frame(0x01, []byte("\xe2"), mask), frame(0x80, []byte("\x82\xac"), mask)
		if at := spellRun(newTextTrack(mask), many, 0); at != len(many) {
			t.Errorf("masked %v: a run ends behind %d bytes of %d", mask, at, len(many))
		}
		cases := []struct {
			name             string
			stream           []byte
			passed           int
			frames, messages int64
			left             int
			fault            *fault
		}{
			{"alike", many, len(many), 30, 30, 0, nil},
			{"behind a long one", join(long, many, long), 2*len(long) + len(many), 32, 32, 0, nil},
			{"behind a long one, bad", join(long, bytes.Repeat(short, 100), text("\x80")), len(long) + 100*len(short), 101, 101, 0, errText},
			{"empty", bytes.Repeat(text(""), 9), 9 * len(text("")), 9, 9, 0, nil},
			{"empty, behind others", join(many, text("")), len(many) + len(text("")), 31, 31, 0, nil},
			{"binary between", join(many, binary, many, binary), 2 * len(join(many, binary)), 62, 62, 0, nil},
			{"a ping between", join(many, ping, many), 2*len(many) + len(ping), 61, 60, 0, nil},
			{"fragments between", join(many, first, end, many), 2*len(many) + len(join(first, end)), 62, 61, 0, nil},
			{"one byte more", join(many, short[:1]), len(many), 30, 30, 0, nil},
			{"a header more", join(many, short[:len(short)-2]), len(many) + len(short) - 2, 31, 31, 2, nil},
			{"all but a byte", join(many, short[:len(short)-1]), len(many) + len(short) - 1, 31, 31, 1, nil},
			{"a bad one", join(many, text("\xff"), many), len(many), 30, 30, 0, errText},
			{"one cut in two", join(many, text("é"[:1]), text("é"[1:]), many), len(many), 30, 30, 0, errText},
			{"other MASK bit", join(many, frame(0x81, nil, !mask), many), len(many), 30, 30, 0, headerFault(classWhole, mask)},
			{"too many", bytes.Repeat(short, 50), 40 * len(short), 40, 40, 0, errRate},
			{"too many with a binary one", join(binary, bytes.Repeat(short, 50)), len(binary) + 39*len(short), 40, 40, 0, errRate},
		}
		for _, c := range cases {
			track := newTextTrack(mask)
			if c.fault == errRate {
				track.ceiling = 40
			}
			pass := walk(track, c.stream)
			if pass != c.passed || track.left != c.left || track.fault != c.fault {
				t.Errorf("%s, masked %v: %d bytes may go on, %d are to come, fault %v; want %d, %d, %v", c.name, mask, pass, track.left, track.fault, c.passed, c.left, c.fault)
			}
			if track.frames != c.frames || track.messages != c.messages {
				t.Errorf("%s, masked %v: %d frames, %d messages; want %d, %d", c.name, mask, track.frames, track.messages, c.frames, c.messages)
			}
		}
	}
}

// FuzzText holds the speller to the library's whole judgement, however the text is cut.
func FuzzText(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text), uint8(3), uint8(2))
	}
	f.Fuzz(func(t *testing.T, text []byte, fragment, step uint8) {
		var stream []byte
		first, rest := byte(opText), text
		for len(rest) > int(fragment) && fragment > 0 {
			stream = append(stream, frame(first, rest[:fragment], true)...)
			first, rest = opContinuation, rest[fragment:]
		}
		stream = append(stream, frame(first|finBit, rest, true)...)
		track := newTextTrack(true)
		walkPieces(track, stream, func() int { return 1 + int(step) })
		if valid := track.fault == nil; valid != utf8.Valid(text) {
			t.Errorf("%q in fragments of %d, read by %d: fault %v", text, fragment, step, track.fault)
		}
	})
}

// The rest of a frame is checked, too, when its session is being ended.
func TestTextIsCheckedBeforeAFarewell(t *testing.T) {
	bad := frame(0x81, append(bytes.Repeat([]byte{'a'}, 100), bytes.Repeat([]byte{0xff}, 100)...), true)
	client, upstream := newScript(bad[50:], 1000, false), newScript(nil, 1, true)
	set := newSettings(limits{closeTimeout: time.Minute})
	s := newSession(newSide(clientSide, client), newSide(upstreamSide, upstream), plainText, set, nil)
	f := s.toUpstream
	equip(f)
	f.pen.Lock()
	if pass := walk(f.track, bad[:50]); pass != 50 || !f.track.spelling {
		t.Fatalf("%d bytes pass", pass)
	}
	s.bidFarewell(f, closeFrame(closeGoingAway, "", true))
	if got := upstream.written(); len(got) > 0 || upstream.closed == 0 {
		t.Errorf("the upstream gets %d bytes more, and is closed %d times", len(got), upstream.closed)
	}
}

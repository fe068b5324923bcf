package wsfw

import (
	"bytes"
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

// newTextParser is a parser that checks text.
func newTextParser(masked bool) *parser {
	t := newParser(plainText, masked)
	bound(t, &limits{})
	return t
}

func TestTextIsCheckedInAnyPieces(t *testing.T) {
	for _, text := range texts {
		for _, mask := range []bool{false, true} {
			whole := frame(0x81, []byte(text), mask)
			for _, step := range []int{1, 2, 3, 7, 1000, len(whole)} {
				parser := newTextParser(mask)
				parsePieces(parser, whole, func() int { return step })
				if got := parser.fault == nil; got != utf8.ValidString(text) || parser.fault != nil && parser.fault != errText {
					t.Errorf("%.20q in pieces of %d, masked %v: fault %v", text, step, mask, parser.fault)
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
			parser := newTextParser(true)
			parseChunk(parser, stream)
			if got := parser.fault == nil; got != utf8.ValidString(text) {
				t.Errorf("%q cut at %d: fault %v", text, cut, parser.fault)
			}
		}
	}
}

// TestTextIsCheckedEarly wants a fragment judged that cannot follow on the one before.
func TestTextIsCheckedEarly(t *testing.T) {
	for _, next := range []string{"a", "é", "\x82a", "\x82\xac\xff"} {
		first, parser := frame(0x01, []byte("\xe2"), true), newTextParser(true)
		if pass := parseChunk(parser, join(first, frame(0x00, []byte(next), true))); pass != len(first) || parser.fault != errText {
			t.Errorf("%q: %d bytes may go on, fault %v", next, pass, parser.fault)
		}
	}
}

func TestTextExempt(t *testing.T) {
	bad := []byte("\xff")
	cases := []struct {
		name   string
		rules  *frameRules
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
		parser := newParser(c.rules, true)
		bound(parser, &limits{})
		if pass := parseChunk(parser, c.stream); pass != len(c.stream) || parser.fault != nil {
			t.Errorf("%s: %d of %d bytes may go on, fault %v", c.name, pass, len(c.stream), parser.fault)
		}
	}
}

// TestTextFaultLeavesNothing wants a frame that begins in a chunk kept back whole, and one that
// began earlier known to be half passed.
func TestTextFaultLeavesNothing(t *testing.T) {
	good, bad := frame(0x81, []byte("good"), true), frame(0x81, []byte("bad\xff"), true)
	parser := newTextParser(true)
	if pass := parseChunk(parser, join(good, bad)); pass != len(good) || parser.left != 0 || parser.messages != 1 {
		t.Errorf("%d bytes may go on, %d are to come, %d messages; want %d, 0, 1", pass, parser.left, parser.messages, len(good))
	}
	parser = newTextParser(true)
	if pass := parseChunk(parser, bad[:8]); pass != 8 {
		t.Fatalf("%d of 8 bytes may go on", pass)
	}
	if pass := parseChunk(parser, bad[8:]); pass != 0 || parser.left != 2 || parser.fault != errText {
		t.Errorf("%d bytes may go on, %d are to come, fault %v; want 0, 2, %v", pass, parser.left, parser.fault, errText)
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

// textDirection is a direction under rules that gets these chunks and has their text checked.
func textDirection(rules *frameRules, mask bool, l *limits, in ...[]byte) (*direction, *chunks) {
	conn := &chunks{script: newScript(nil, 0, false), pieces: in}
	f := newDirection(newPeer(clientPeer, conn), newPeer(upstreamPeer, conn), rules, mask)
	bound(f.parser, l)
	meter(f.parser, l)
	takeSmall(f)
	return f, conn
}

// TestSkipMessages has messages before a chunk, and wants it skipped where it is nothing but whole messages in order, and
// left where it is not.
func TestSkipMessages(t *testing.T) {
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
			p := newParser(plainText, mask)
			bound(p, &limits{maxFrameSize: limit})
			at, count := skipMessages(p, join(before, c.chunk), 0)
			if whole := at == len(before)+len(c.chunk); whole != (c.passed > 0) || whole && count != 3+c.passed || count < 3 || at < len(before) {
				t.Errorf("%s, masked %v: %d messages are skipped, to %d of %d", c.name, mask, count, at, len(before)+len(c.chunk))
			}
			if p.fault != nil || p.inText || p.messages > 0 {
				t.Errorf("%s, masked %v: it was judged, or counted", c.name, mask)
			}
		}
	}
}

// The payload of compressed messages is passed over as it is.
func TestSkipCompressed(t *testing.T) {
	deflated := frame(0xc1, []byte("\xff"), true)
	chunk := join(deflated, frame(0x81, []byte("é"), true), deflated)
	p := newParser(compressedText, true)
	if at, count := skipMessages(p, join(chunk, frame(0x81, []byte("\xff"), true)), 0); at != len(chunk) || count != 3 {
		t.Errorf("%d messages are skipped, to %d", count, at)
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
			f, conn := textDirection(plainText, mask, bounds, c.chunks...)
			_, _ = relay(f, 0, nil)
			if !bytes.Equal(conn.out, c.passed) || f.parser.fault != c.fault {
				t.Errorf("%s, masked %v: %d bytes were passed on, want %d; fault %v, want %v", c.name, mask, len(conn.out), len(c.passed), f.parser.fault, c.fault)
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
		f, conn := textDirection(plainText, true, l, text(124), join(text(1), text(2), text(3), text(4), text(125)))
		_, _ = relay(f, 0, nil)
		if want := join(text(124), text(1), text(2), text(3), text(4)); !bytes.Equal(conn.out, want) || f.parser.fault.code != closeTooBig {
			t.Errorf("%+v: %d bytes were passed on, want %d, fault %v", l, len(conn.out), len(want), f.parser.fault)
		}
	}
}

// TestManyTexts has parse go over many messages of text in a chunk.
func TestManyTexts(t *testing.T) {
	for _, mask := range []bool{false, true} {
		text := func(payload string) []byte { return frame(0x81, []byte(payload), mask) }
		short, long := text("κ"), text(strings.Repeat("κ", 80))
		many := bytes.Repeat(short, 30)
		binary, ping := frame(0x82, []byte("\xff"), mask), frame(0x89, nil, mask)
		first, end := frame(0x01, []byte("\xe2"), mask), frame(0x80, []byte("\x82\xac"), mask)
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
			parser := newTextParser(mask)
			if c.fault == errRate {
				parser.ceiling = 40
			}
			pass := parseChunk(parser, c.stream)
			if pass != c.passed || parser.left != c.left || parser.fault != c.fault {
				t.Errorf("%s, masked %v: %d bytes may go on, %d are to come, fault %v; want %d, %d, %v", c.name, mask, pass, parser.left, parser.fault, c.passed, c.left, c.fault)
			}
			if parser.frames != c.frames || parser.messages != c.messages {
				t.Errorf("%s, masked %v: %d frames, %d messages; want %d, %d", c.name, mask, parser.frames, parser.messages, c.frames, c.messages)
			}
		}
	}
}

// FuzzText holds the utf8Validator to the library's whole judgement, however the text is cut.
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
		parser := newTextParser(true)
		parsePieces(parser, stream, func() int { return 1 + int(step) })
		if valid := parser.fault == nil; valid != utf8.Valid(text) {
			t.Errorf("%q in fragments of %d, read by %d: fault %v", text, fragment, step, parser.fault)
		}
	})
}

// The rest of a frame is checked, too, when its session is being ended.
func TestTextIsCheckedBeforeAClose(t *testing.T) {
	bad := frame(0x81, append(bytes.Repeat([]byte{'a'}, 100), bytes.Repeat([]byte{0xff}, 100)...), true)
	client, upstream := newScript(bad[50:], 1000, false), newScript(nil, 1, true)
	set := newSettings(limits{closeTimeout: time.Minute})
	s := newSession(newPeer(clientPeer, client), newPeer(upstreamPeer, upstream), plainText, set, nil)
	f := s.toUpstream
	takeSmall(f)
	f.writeMu.Lock()
	if pass := parseChunk(f.parser, bad[:50]); pass != 50 || !f.parser.inText {
		t.Fatalf("%d bytes pass", pass)
	}
	sendPending(s, f, closeFrame(closeGoingAway, "", true))
	if got := upstream.written(); len(got) > 0 || upstream.closed == 0 {
		t.Errorf("the upstream gets %d bytes more, and is closed %d times", len(got), upstream.closed)
	}
}

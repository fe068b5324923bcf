package wsfw

import (
	"bytes"
	"strings"
	"testing"
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
			runScripts(client, upstream, plainText)
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

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const notUTF8 = "text is not UTF-8"

// goodTexts are the edges of UTF-8, RFC 3629 section 4.
var goodTexts = map[string]string{
	"nothing":           "",
	"ASCII":             "plain text\x00\x7F",
	"two bytes":         "\u0080é\u07FF",
	"three bytes":       "\u0800€\uFFFD",
	"beside surrogates": "\uD7FF\uE000",
	"no characters":     "\uFEFF\uFFFE\uFFFF\U0001FFFF",
	"four bytes":        "\U00010000😀\U0010FFFF",
	"all of them":       "aé€😀z😀€éa",
	"RFC 6455's":        "Hello-µ@ßöäüàá-UTF-8!!",
	"eight of them":     strings.Repeat("😀", 8),
}

// badTexts are what is none. Each stays wrong whatever follows.
var badTexts = map[string]string{
	"a lone byte":             "\xFF",
	"a lone continuation":     "\x80",
	"continuation after text": "text\xBF",
	"one too many":            "é\xA9",
	"overlong slash":          "\xC0\xAF",
	"overlong in two":         "\xC1\xBF",
	"overlong in three":       "\xE0\x9F\xBF",
	"overlong in four":        "\xF0\x8F\xBF\xBF",
	"overlong zero":           "\xF0\x80\x80\x80",
	"first surrogate":         "\xED\xA0\x80",
	"last surrogate":          "\xED\xBF\xBF",
	"surrogate pair":          "\xED\xA0\xBD\xED\xB8\x80",
	"beyond U+10FFFF":         "\xF4\x90\x80\x80",
	"beyond by far":           "\xF7\xBF\xBF\xBF",
	"five bytes":              "\xF8\x88\x80\x80\x80",
	"six bytes":               "\xFC\x84\x80\x80\x80\x80",
	"two bytes, second wrong": "\xC3(",
	"three, second wrong":     "\xE2(\xAC",
	"three, third wrong":      "\xE2\x82(",
	"four, second wrong":      "\xF0(\x98\x80",
	"four, third wrong":       "\xF0\x9F(\x80",
	"four, last wrong":        "\xF0\x9F\x98(",
	"code point in another":   "\xE2\x82é",
	"behind good text":        "aé€😀z\xFFaé€😀z",
}

// cutTexts end inside a code point: wrong only as the end of a message.
var cutTexts = map[string]string{
	"two bytes": "é\xC3", "one of three": "€\xE2", "two of three": "\xE2\x82", "one of four": "😀\xF0", "two of four": "\xF0\x9F", "three of four": "\xF0\x9F\x98",
	"at the edge": "\xED\x9F", "at the last": "\xF4\x8F\xBF",
}

// utf8Ground checks text. Lines are of both handshakes.
func utf8Ground(t *testing.T, e engine.Engine, options object, lines ...string) *ground {
	t.Helper()
	config := object{"validate": "utf8"}
	maps.Copy(config, options)
	g := newGround(t, e, config, lines...)
	g.offer = lines
	return g
}

// TestGoodText wants text that is UTF-8 passed: whole, in any two fragments, in fragments of a byte with empty ones and
// pings between, and in segments of a byte.
func TestGoodText(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := utf8Ground(t, e, nil)
		for _, by := range ends {
			for _, name := range slices.Sorted(maps.Keys(goodTexts)) {
				t.Run(by+" "+name, func(t *testing.T) { g.join(t).spells(t, by, goodTexts[name]) })
			}
		}
	})
}

func (j *joined) spells(t *testing.T, by, text string) {
	t.Helper()
	near, far := j.from(by)
	frames := append([]wire.Frame{wire.Text(text)}, bytewise(text)...)
	for cut := range len(text) + 1 {
		frames = append(frames, fragments(text[:cut], text[cut:])...)
	}
	send(t, near, frames...)
	expect(t, far, near.Encode(frames...))
	whole := near.Encode(append(frames[:1], bytewise(text)...)...)
	var cuts []int
	for i := range whole {
		cuts = append(cuts, i)
	}
	if err := inPieces(near, whole, cuts...); err != nil {
		t.Fatal(err)
	}
	expect(t, far, whole)
	j.passes(t, by, nil)
}

// fragments is a text message of these.
func fragments(parts ...string) []wire.Frame {
	frames := make([]wire.Frame, len(parts))
	for i, part := range parts {
		frames[i] = wire.Frame{Opcode: wire.OpContinuation, Payload: []byte(part)}
	}
	frames[0].Opcode = wire.OpText
	frames[len(parts)-1].Fin = true
	return frames
}

// bytewise is a text message in fragments of a byte, each followed by a ping of bytes that are no text, and an empty one.
func bytewise(text string) []wire.Frame {
	parts := []string{""}
	for i := range len(text) {
		parts = append(parts, text[i:i+1], "")
	}
	var frames []wire.Frame
	for i, f := range fragments(append(parts, "")...) {
		frames = append(frames, f)
		if i%2 == 1 && !f.Fin {
			frames = append(frames, wire.New(wire.OpPing, []byte("\xFF\xE2\x82")))
		}
	}
	return frames
}

// TestBadText wants text that is no UTF-8 refused: the frame that makes it so is not passed on, even if its message goes
// on after it.
func TestBadText(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := utf8Ground(t, e, nil)
		for _, by := range ends {
			for _, row := range badMessages() {
				t.Run(by+" "+row.name, func(t *testing.T) { g.join(t).exceeds(t, by, row, 1007, notUTF8) })
			}
		}
	})
}

// badMessages are bad and cut texts in frames and fragments.
func badMessages() []offence {
	var rows []offence
	add := func(name string, frames ...wire.Frame) {
		last := len(frames) - 1
		rows = append(rows, offence{name, frames[:last], frames[last]})
	}
	for _, name := range slices.Sorted(maps.Keys(badTexts)) {
		text := badTexts[name]
		whole := fragments(text, "")
		add(name, wire.Text(text))
		add(name+", first fragment", whole[0])
		add(name+", next fragment", fragments("é", text, "")[:2]...)
		add(name+", last fragment", fragments("aé€", text)...)
		at := firstBad(text)
		add(name+", bytewise", bytewise(text)[:badFrame(at)]...)
	}
	for _, name := range slices.Sorted(maps.Keys(cutTexts)) {
		text := cutTexts[name]
		add("cut: "+name, wire.Text(text))
		add("cut: "+name+", in the last fragment", fragments("é", text)...)
		add("cut: "+name+", before an empty one", fragments(text, "")...)
		add("cut: "+name+", before text", fragments(text, "text")...)
		add("cut: "+name+", before a code point", fragments(text, "é")...)
		add("cut: "+name+", bytewise", bytewise(text)...)
	}
	add("after a good one", slices.Concat(fragments("\xE2", "\x82\xAC"), []wire.Frame{wire.Text("\x82\xAC")})...)
	add("after a binary one", wire.Frame{Opcode: wire.OpBinary, Payload: []byte("\xE2")}, wire.New(wire.OpContinuation, nil), wire.Text("\x82\xAC"))
	return rows
}

// firstBad is where text goes wrong for good: the first byte that no code point which is begun can have.
func firstBad(text string) int {
	for i := range len(text) {
		if !isPrefix(text[:i+1]) {
			return i
		}
	}
	panic("the text may still become UTF-8")
}

// isPrefix reports whether some text begins with these bytes.
func isPrefix(text string) bool {
	for _, tail := range []string{"", "\x80", "\xBF", "\x80\x80", "\xBF\x80", "\x80\x80\x80", "\xBF\x80\x80", "\x8F\xBF\xBF"} {
		if utf8.ValidString(text + tail) {
			return true
		}
	}
	return false
}

// badFrame is how many frames [bytewise] has up to and with the one of the byte at an offset.
func badFrame(at int) int {
	count, bytesSeen := 0, 0
	for _, f := range bytewise(strings.Repeat("x", at+1)) {
		count++
		if f.Opcode != wire.OpPing {
			bytesSeen += len(f.Payload)
		}
		if bytesSeen > at {
			break
		}
	}
	return count
}

// TestTextUnchecked wants what is no text passed where none is checked, where it is binary, and where it is compressed.
func TestTextUnchecked(t *testing.T) {
	text, start := wire.Text("\xFF\xC0\xE2"), wire.Frame{Opcode: wire.OpText, Payload: []byte("\xC3")}
	next := wire.New(wire.OpContinuation, []byte("(\xE2"))
	compressed := func(f wire.Frame) wire.Frame { f.RSV = wire.RSV1; return f }
	binary := func(f wire.Frame) wire.Frame { f.Opcode = wire.OpBinary; return f }
	good := wire.Text("aé€😀z")
	rows := []struct {
		name, validate string
		frames         []wire.Frame
	}{
		{"frames", "frames", []wire.Frame{text, start, next}},
		{"off", "off", []wire.Frame{text, start, next}},
		{"binary", "utf8", []wire.Frame{binary(text), binary(start), wire.New(wire.OpPing, []byte("\xFF")), next, good}},
		{"compressed", "utf8", []wire.Frame{compressed(text), good, compressed(start), wire.New(wire.OpPong, []byte("\xFF")), next, good}},
		{"compressed binary", "utf8", []wire.Frame{compressed(binary(text)), compressed(binary(start)), next, good}},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			g := utf8Ground(t, e, object{"validate": row.validate}, "Sec-WebSocket-Extensions: permessage-deflate")
			for _, by := range ends {
				t.Run(row.name+" "+by, func(t *testing.T) { g.join(t).passes(t, by, row.frames) })
			}
		}
	})
}

// TestBadTextAmongCompressed wants uncompressed text checked also where messages may be compressed.
func TestBadTextAmongCompressed(t *testing.T) {
	compressed := wire.Frame{RSV: wire.RSV1, Opcode: wire.OpText, Payload: []byte("\xFF")}
	end := wire.New(wire.OpContinuation, []byte("\xFF"))
	rows := []offence{
		{"whole", []wire.Frame{compressed, end}, wire.Text("\xFF")},
		{"fragment", append([]wire.Frame{compressed, end}, fragments("\xE2", "")[:1]...), end},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := utf8Ground(t, e, nil, "Sec-WebSocket-Extensions: permessage-deflate")
		for _, by := range ends {
			for _, row := range rows {
				t.Run(row.name+" "+by, func(t *testing.T) { g.join(t).exceeds(t, by, row, 1007, notUTF8) })
			}
		}
	})
}

// TestBadTextBegun has a frame go wrong that has not come completely: nobody waits for the rest. What has been passed on
// of it cannot be taken back, so its receiver sees the connection end, without a close frame.
func TestBadTextBegun(t *testing.T) {
	const size = 100
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := utf8Ground(t, e, nil)
		for _, by := range ends {
			for name, text := range badTexts {
				t.Run(by+" "+name, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					at := firstBad(text)
					begun := near.Encode(wire.Frame{Fin: true, Opcode: wire.OpText, Payload: []byte("é" + text + strings.Repeat("x", size))})
					good := len(begun) - size - len(text) + at // bytes up to the bad one
					if err := inPieces(near, begun[:good], good-at); err != nil {
						t.Fatal(err)
					}
					expect(t, far, begun[:good-at])
					if _, err := near.Write(begun[good : good+1]); err != nil {
						t.Fatal(err)
					}
					j.brokenOff(t, by, begun[good-at:good])
				})
			}
		}
	})
}

// TestCutText has a message end inside a code point, of which each byte comes by itself: what is wrong is known with the
// last one, or with the header of an empty fragment behind it.
func TestCutText(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := utf8Ground(t, e, nil)
		for _, by := range ends {
			for name, text := range cutTexts {
				t.Run(by+" "+name, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					frame := near.Encode(wire.Text("text" + text))
					last := len(frame) - 1
					header := last + 1 - len("text"+text)
					var cuts []int
					for i := last + 1 - len(text); i <= last; i++ {
						cuts = append(cuts, i)
					}
					if err := inPieces(near, frame, append([]int{header + 1}, cuts...)...); err != nil {
						t.Fatal(err)
					}
					expect(t, far, frame[:header+1])
					j.brokenOff(t, by, frame[header+1:last])
				})
				t.Run(by+" "+name+", empty fragment", func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					frames := fragments(text, "")
					begun, end := near.Encode(frames[0]), near.Encode(frames[1])
					var cuts []int
					for i := range len(begun) + len(end) {
						cuts = append(cuts, i)
					}
					if err := inPieces(near, append(begun, end...), cuts...); err != nil {
						t.Fatal(err)
					}
					expect(t, far, begun)
					expectClose(t, far, by == "client", lost(opposite(by)))
					expectClose(t, near, by == "upstream", 1007)
					near.Close()
					far.Close()
					j.expectOutcome(t, "wsfw", 1007, by+": "+notUTF8)
				})
			}
		}
	})
}

// brokenOff wants the offender told, and the other's connection ended inside the frame: it may have more bytes of it, of
// those that are good.
func (j *joined) brokenOff(t *testing.T, by string, good []byte) {
	t.Helper()
	near, far := j.from(by)
	if reason := expectClose(t, near, by == "upstream", 1007); reason != notUTF8 {
		t.Errorf("the %s is closed for %q, want %q", by, reason, notUTF8)
	}
	rest, err := io.ReadAll(far)
	if err != nil || !bytes.HasPrefix(good, rest) {
		t.Errorf("the %s got %.40q (%v), want nothing but what was sent, and the end of the stream", opposite(by), rest, err)
	}
	near.Close()
	far.Close()
	j.expectOutcome(t, "wsfw", 1007, by+": "+notUTF8)
}

// bigText is text of some bytes, of code points of all lengths, so that every way to cut it cuts some of them.
func bigText(size int) []byte {
	return bytes.Repeat([]byte("aé€😀"), size/10+1)[:size/10*10]
}

// TestHeavyBigText has a message of 1 MiB pass, in one frame or in fragments that end anywhere, and one with a single bad byte
// in it: of that, too, the most has been passed on before it is known.
func TestHeavyBigText(t *testing.T) {
	const size = 1 << 20
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := utf8Ground(t, e, object{"closeTimeout": "1m"})
		for _, by := range ends {
			t.Run("good by "+by, func(t *testing.T) {
				text := string(bigText(size))
				frames := []wire.Frame{wire.Text(text)}
				frames = append(frames, fragments(text[:1], text[1:70002], text[70002:70003], text[70003:500001], text[500001:])...)
				j := g.join(t)
				near, far := j.from(by)
				err := together(func() error { return near.Send(frames...) }, func() error { return same(far, near.Encode(frames...)) })
				if err != nil {
					t.Fatal(err)
				}
				j.passes(t, by, nil)
			})
			for name, at := range map[string]int{"in the middle": size/20*10 + 4, "at the end": len(bigText(size)) - 1, "cut": -1} {
				t.Run("bad "+name+" by "+by, func(t *testing.T) {
					text := bigText(size)
					if at < 0 {
						text = text[:len(text)-1]
					} else {
						text[at] = 0xFF
					}
					g.join(t).saysBadly(t, by, text, at)
				})
			}
		}
	})
}

// saysBadly has the named end send a big text with a bad byte at an offset, or none but a bad end, and answer the close
// frame: it is heard out, so that its answer is found.
func (j *joined) saysBadly(t *testing.T, by string, text []byte, at int) {
	t.Helper()
	near, far := j.from(by)
	frame := near.Encode(wire.New(wire.OpText, text))
	good := len(frame)
	if at >= 0 {
		good -= len(text) - at
	}
	sent := make(chan error, 1)
	go func() { sent <- near.Send(wire.New(wire.OpText, text)) }()
	got, err := io.ReadAll(far)
	if err != nil || len(got) == 0 || len(got) > good || !bytes.HasPrefix(frame, got) {
		t.Errorf("the %s got %d bytes (%v), want some of the %d that are good, and the end of the stream", opposite(by), len(got), err, good)
	}
	expectClose(t, near, by == "upstream", 1007)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	send(t, near, wire.Close(1007, ""))
	expectEnd(t, near)
	passed := j.expectOutcome(t, "wsfw", 1007, by+": "+notUTF8)
	if told := passed.FromClient.Bytes + passed.FromUpstream.Bytes; told != len(got) {
		t.Errorf("the record tells of %d bytes, want the %d that arrived", told, len(got))
	}
}

// TestTextWhilePinged cuts code points between fragments by pongs that are taken out, and has pings wait for big text.
func TestTextWhilePinged(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, by := range ends {
			t.Run("pong between by "+by, func(t *testing.T) {
				j := utf8Ground(t, e, object{"pingInterval": beat.String(), "pingTarget": by}).join(t)
				near, far := j.from(by)
				own := pong(expectPing(t, near, by == "upstream"))
				parts := fragments("a\xF0", "\x9F", "", "\x98\x80")
				send(t, near, parts[0], own, parts[1], own, own, parts[2], parts[3])
				expect(t, far, near.Encode(parts...))
				parts = fragments("\xF0", "\x9F\x98", "x")
				send(t, near, parts[0], own, parts[1], own, parts[2])
				expect(t, far, near.Encode(parts[:2]...))
				expectClose(t, far, by == "client", lost(opposite(by)))
			})
			for _, size := range []int{500, 5000, 300000} {
				t.Run(fmt.Sprint("ping behind ", size, " by ", by), func(t *testing.T) {
					j := utf8Ground(t, e, object{"pingInterval": beat.String(), "pingTarget": opposite(by)}).join(t)
					j.spellsSlowly(t, by, bigText(size))
				})
			}
		}
	})
}

// spellsSlowly stops inside a code point of a frame until a ping to the other end is due. That one comes behind the
// frame, and the next frame is judged as ever.
func (j *joined) spellsSlowly(t *testing.T, by string, text []byte) {
	t.Helper()
	near, far := j.from(by)
	frame := near.Encode(wire.New(wire.OpText, text))
	in := withoutOwnPings(far, nil) // one may come before the frame
	half := len(frame) - len(text)/20*10 - 2
	if _, err := near.Write(frame[:half]); err != nil {
		t.Fatal(err)
	}
	if err := same(in, frame[:half]); err != nil {
		t.Fatal(err)
	}
	quiet(t, far, 4*beat)
	if _, err := near.Write(frame[half:]); err != nil {
		t.Fatal(err)
	}
	expect(t, far, frame[half:])
	within(t, 0, func() { expectPing(t, far, by == "client") })
	send(t, near, wire.Text("\xFF"))
	if code, _, err := readToClose(far); err != nil || code != lost(opposite(by)) {
		t.Errorf("the %s was closed with %d (%v), want %d", opposite(by), code, err, lost(opposite(by)))
	}
	expectClose(t, near, by == "upstream", 1007)
}

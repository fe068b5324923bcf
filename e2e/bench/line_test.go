package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// TestScanner has frames come in pieces of all sizes, and wants what was in them.
func TestScanner(t *testing.T) {
	for _, length := range []int{0, 1, 125, 126, 65535, 65536} {
		for _, masked := range []bool{true, false} {
			payload := []byte(sentences(length))
			first, last := wire.Text(string(payload)).Masking(masked), wire.New(wire.OpContinuation, payload).Masking(masked)
			first.Fin = false
			stream := wire.Encode(first, wire.New(wire.OpPing, []byte("?")).Masking(masked), last)
			for _, size := range []int{1, 2, 3, 7, 13, 1000, len(stream)} {
				if got := scan(stream, size); got.data != string(payload)+string(payload) || got.control != "?" || got.messages != 1 {
					t.Errorf("%d bytes, masked %v, in pieces of %d: there are %d messages of %d bytes, and %q in control frames",
						length, masked, size, got.messages, len(got.data), got.control)
				}
			}
		}
	}
}

type scanned struct {
	data, control string
	messages      int
}

// scan reads a stream in pieces of that size.
func scan(stream []byte, size int) (s scanned) {
	var frames scanner
	var data, control strings.Builder
	for piece := range slices.Chunk(bytes.Clone(stream), size) {
		for len(piece) > 0 {
			p, rest, ok := frames.next(piece)
			piece = rest
			if !ok {
				continue
			}
			if p.message() {
				s.messages++
			}
			if p.opcode < 8 {
				data.Write(p.payload)
			} else {
				control.Write(p.payload)
			}
		}
	}
	s.data, s.control = data.String(), control.String()
	return s
}

// TestLine has an upstream answer all kinds of frames.
func TestLine(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	ours.SetDeadline(time.Now().Add(wire.Timeout))
	ended := make(chan error, 1)
	go func() {
		l := line{conn: theirs, data: sendBack, write: func(b []byte) error {
			_, err := theirs.Write(b)
			return err
		}}
		ended <- l.run()
	}()
	for _, c := range []struct{ send, want wire.Frame }{
		{wire.Text(sentences(64)), wire.Text(sentences(64))},
		{wire.Binary(make([]byte, 300)), wire.Binary(make([]byte, 300))},
		{wire.New(wire.OpPing, []byte("1")), wire.New(wire.OpPong, []byte("1"))},
		{wire.Close(1000, "over"), wire.Close(1000, "over")},
	} {
		if _, err := ours.Write(c.send.Masking(true).Bytes()); err != nil {
			t.Fatal(err)
		}
		got, err := wire.ReadFrame(ours)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), c.want.Bytes()) {
			t.Errorf("%v is answered by %v", c.send, got)
		}
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the session ends with %v", err)
	}
}

// TestStamp has a stamp come in two parts.
func TestStamp(t *testing.T) {
	due := time.Now()
	message := []byte(stampOf(due) + "text")
	var s stamp
	s.read(message[:5], 0)
	s.read(message[5:18], 5)
	s.read(message[18:], 18)
	if got := s.since(due.Add(3 * time.Millisecond)); math.Abs(got-3) > 1e-6 {
		t.Errorf("%v ms have passed, want 3", got)
	}
}

package wsfw

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

func TestRoundTrips(t *testing.T) {
	s := pinged()
	if got := pulsesOf(s).Client; *got != (pulse{}) {
		t.Errorf("before any ping the record tells %+v", *got)
	}
	s.client.heart = newHeartbeat(s.client)
	h := s.client.heart
	h.pings = 3
	notePong(s.client, 2*time.Second, 2*time.Second+500*time.Microsecond)
	notePong(s.client, time.Second, 2*time.Second+500*time.Microsecond)
	if got, want := pulsesOf(s).Client, (pulse{Pings: 3, Pongs: 2, Least: 0.5, Mean: 500.5, Most: 1000.5}); *got != want {
		t.Errorf("the record tells %+v, want %+v", *got, want)
	}
	if h.answered != 2*time.Second {
		t.Errorf("the latest ping answered was sent at %v", h.answered)
	}
	if got := pulsesOf(s).Upstream; *got != (pulse{}) {
		t.Errorf("of the upstream it tells %+v", *got)
	}
	s.client.token = 0
	if got := pulsesOf(s); got.Client != nil || got.Upstream == nil {
		t.Errorf("with one peer pinged it tells %+v", got)
	}
}

// Until a session is pinged its record tells of those peers that are to be.
func TestNoPulses(t *testing.T) {
	for _, c := range []limits{
		{}, {pingInterval: time.Minute, pingClient: true}, {pingInterval: time.Minute, pingUpstream: true}, {pingInterval: time.Minute, pingClient: true, pingUpstream: true},
	} {
		got := c.settled().unpinged
		if (got != nil) != (c.pingInterval > 0) {
			t.Fatalf("%+v: %+v", c, got)
		}
		if got != nil && ((got.Client != nil) != c.pingClient || (got.Upstream != nil) != c.pingUpstream) {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// pinged is a session whose peers are to be pinged.
func pinged() *session {
	set := newSettings(limits{pingInterval: time.Minute, pingClient: true, pingUpstream: true})
	return newSession(newPeer(clientPeer, nil), newPeer(upstreamPeer, nil), plain, set, nil)
}

// A peer may put what it likes into a pong.
func TestRoundTripsMadeUp(t *testing.T) {
	s := pinged()
	h := newHeartbeat(s.upstream)
	s.upstream.heart = h
	for _, sent := range [][]byte{bytes.Repeat([]byte{0xFF}, 8), bytes.Repeat([]byte{0x7F}, 8)} {
		notePong(s.upstream, sentAt(join(payloadOf(h)[:tokenSize], sent)), time.Hour)
	}
	if got := pulseOf(s.upstream); *got != (pulse{}) || h.answered != 0 {
		t.Errorf("the record tells %+v", *got)
	}
}

// payloadOf is the payload of the latest ping.
func payloadOf(h *heartbeat) []byte {
	return append([]byte(nil), h.payload...)
}

func TestPingFrames(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingClient: true, pingUpstream: true})
	for _, f := range s.directions {
		toUpstream := f.to.name == upstreamPeer
		peer := f.to.conn.(*script)
		size := len(controlFrame(opPing, make([]byte, pingSize), toUpstream))
		for i := 1; i < 4; i++ {
			stamp(s, f, time.Duration(i))
			h := f.to.heart
			if err := ping(f.to); err != nil {
				t.Fatal(err)
			}
			got := peer.written()[(i-1)*size:]
			if len(got) != size || got[0] != finBit|opPing || (got[1] >= maskBit) != toUpstream {
				t.Fatalf("a ping is %x", got)
			}
			if payload := controlPayload(got); !bytes.Equal(payload, payloadOf(h)) || sentAt(payload) != time.Duration(i) {
				t.Errorf("a ping's payload is %x, want %x", payload, payloadOf(h))
			}
			if i > 1 && toUpstream && bytes.Equal(got[2:6], peer.written()[(i-2)*size+2:][:4]) {
				t.Errorf("the masking key %x is used twice", got[2:6])
			}
		}
		if f.to.pinged != 1 || f.to.heart.pings != 3 {
			t.Errorf("the first unanswered ping was sent at %v, of %d", f.to.pinged, f.to.heart.pings)
		}
	}
}

// Only the pong to the latest ping shows that the peer has read all that it was sent.
func TestLatestPong(t *testing.T) {
	s := pinged()
	for i, toUpstream := range []bool{true, false} {
		f := s.directions[i]
		back := reverse(s, f)
		stamp(s, f, 7)
		h := f.to.heart
		pong := controlFrame(opPong, payloadOf(h), !toUpstream)
		if !isLatest(h, pong) {
			t.Errorf("%x is not known", pong)
		}
		for at := range pong {
			other := append([]byte(nil), pong...)
			other[at] ^= 1
			if isLatest(h, other) {
				t.Errorf("with byte %d changed it is known all the same", at)
			}
		}
		stamp(s, f, 8)
		if isLatest(h, pong) {
			t.Error("after another ping it is still known")
		}
		if !isPong(s, back, pong) || f.to.hasRead || h.answered != 7 {
			t.Errorf("the pong to an earlier ping: all is read %v, answered is %v", f.to.hasRead, h.answered)
		}
		if !isPong(s, back, controlFrame(opPong, payloadOf(h), !toUpstream)) || !f.to.hasRead || h.answered != 8 {
			t.Errorf("the pong to the latest ping: all is read %v, answered is %v", f.to.hasRead, h.answered)
		}
	}
}

func TestTokensDiffer(t *testing.T) {
	seen := map[uint64]bool{0: true}
	for i := 0; i < 2; i++ {
		for _, f := range pinged().directions {
			token := f.parser.token
			if seen[token] || binary.BigEndian.Uint64(newHeartbeat(f.from).payload) != token {
				t.Errorf("token %x, after %v", token, seen)
			}
			seen[token] = true
		}
	}
}

// The pong to a ping of ours ends the parse wherever a chunk ends before it, and counts as
// nothing that has passed. So it does when it is compared with others.
func TestWalkEndsBeforeOurPong(t *testing.T) {
	payload := []byte("12345678sometime")
	token := binary.BigEndian.Uint64(payload)
	for _, mask := range []bool{false, true} {
		ours := frame(finBit|opPong, payload, mask)
		before := join(frame(0x81, []byte("x"), mask), frame(finBit|opPing, payload, mask), frame(finBit|opPong, payload[1:], mask))
		stream := join(before, ours, frame(0x81, []byte("y"), mask))
		for cut := 0; cut <= len(stream); cut++ {
			tr := newParser(plain, mask)
			tr.pongSize = tr.header + pingSize
			tr.token = token
			at := parseChunk(tr, stream[:cut])
			if tr.pong == nil {
				at += parseChunk(tr, stream[at:])
			}
			if at != len(before) || !bytes.Equal(tr.pong, payload) || tr.frames != 3 || tr.fault != nil {
				t.Fatalf("masked %v, cut at %d: the parse ends at %d with %+v", mask, cut, at, *tr)
			}
		}
		other := newParser(plain, mask)
		if at := parseChunk(other, stream); at != len(stream) || other.control != int64(len(stream)-2*len(frame(0x81, []byte("x"), mask))) {
			t.Errorf("without a token the parse ends at %d of %d, %d bytes in control frames", at, len(stream), other.control)
		}
	}
}

func TestAbsorb(t *testing.T) {
	f := pinged().toUpstream
	f.from.heart = newHeartbeat(f.from)
	pong := controlFrame(opPong, payloadOf(f.from.heart), true)
	f.buf = join([]byte("before"), pong, []byte("after"))
	f.parser.pong = controlPayload(pong)
	n := absorb(f, len("before"), len(f.buf))
	noteTrips(f)
	if string(f.buf[:n]) != "beforeafter" || f.absorbed != 1 || f.from.heart.pongs != 1 || f.parser.pong != nil {
		t.Errorf("%q is left of the buffer, %+v", f.buf[:n], f.from.heart)
	}
}

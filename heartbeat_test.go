package wsfw

import (
	"bytes"
	"testing"
	"time"
)

func TestRoundTrips(t *testing.T) {
	h := newHeartbeat(false)
	if got := h.pulse(); *got != (pulse{}) {
		t.Errorf("before any ping the record tells %+v", *got)
	}
	h.pings = 3
	notePong(h, 2*time.Second, 2*time.Second+500*time.Microsecond)
	notePong(h, time.Second, 2*time.Second+500*time.Microsecond)
	if got, want := h.pulse(), (pulse{Pings: 3, Pongs: 2, Least: 0.5, Mean: 500.5, Most: 1000.5}); *got != want {
		t.Errorf("the record tells %+v, want %+v", *got, want)
	}
	if h.answered != 2*time.Second {
		t.Errorf("the latest ping answered was sent at %v", h.answered)
	}
	var none *heartbeat
	if none.pulse() != nil {
		t.Error("the record tells of a side that is not pinged")
	}
}

// A peer may put what it likes into a pong.
func TestRoundTripsMadeUp(t *testing.T) {
	h := newHeartbeat(true)
	for _, sent := range [][]byte{bytes.Repeat([]byte{0xFF}, 8), bytes.Repeat([]byte{0x7F}, 8)} {
		notePong(h, sentAt(join(h.token(), sent)), time.Hour)
	}
	if got := h.pulse(); *got != (pulse{}) || h.answered != 0 {
		t.Errorf("the record tells %+v", *got)
	}
}

func TestPingFrames(t *testing.T) {
	s := restingSession(limits{pingInterval: time.Minute, pingClient: true, pingUpstream: true})
	for _, f := range s.flows {
		toUpstream := f.to.name == upstreamSide
		h, peer := f.to.heart, f.to.conn.(*script)
		size := len(controlFrame(opPing, h.payload, toUpstream))
		for i := 1; i < 4; i++ {
			stamp(s, f, time.Duration(i))
			if err := ping(f.to); err != nil {
				t.Fatal(err)
			}
			got := peer.written()[(i-1)*size:]
			if len(got) != size || got[0] != finBit|opPing || (got[1] >= maskBit) != toUpstream {
				t.Fatalf("a ping is %x", got)
			}
			if payload := controlPayload(got); !bytes.Equal(payload, h.payload) || sentAt(payload) != time.Duration(i) {
				t.Errorf("a ping's payload is %x, want %x", payload, h.payload)
			}
			if i > 1 && toUpstream && bytes.Equal(got[2:6], peer.written()[(i-2)*size+2:][:4]) {
				t.Errorf("the masking key %x is used twice", got[2:6])
			}
		}
		if f.to.pinged != 1 || h.pings != 3 {
			t.Errorf("the first unanswered ping was sent at %v, of %d", f.to.pinged, h.pings)
		}
	}
}

func TestLatestPong(t *testing.T) {
	for _, toUpstream := range []bool{false, true} {
		h := newHeartbeat(toUpstream)
		s := restingSession(limits{})
		f := &flow{to: &side{heart: h}}
		stamp(s, f, 7)
		pong := controlFrame(opPong, h.payload, !toUpstream)
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
	}
}

func TestTokensDiffer(t *testing.T) {
	s := newSession(newSide(clientSide, nil), newSide(upstreamSide, nil), plain, newSettings(limits{pingInterval: time.Minute, pingClient: true, pingUpstream: true}), nil)
	client, upstream := s.client.heart.token(), s.upstream.heart.token()
	if len(client) != tokenSize || bytes.Equal(client, upstream) {
		t.Errorf("tokens %x and %x", client, upstream)
	}
}

// The pong to a ping of ours ends the walk wherever a chunk ends before it, and counts as
// nothing that has passed. So it does when it is compared with others.
func TestWalkEndsBeforeOurPong(t *testing.T) {
	token := []byte("12345678")
	payload := join(token, []byte("sometime"))
	for _, mask := range []bool{false, true} {
		ours := frame(finBit|opPong, payload, mask)
		before := join(frame(0x81, []byte("x"), mask), frame(finBit|opPing, payload, mask), frame(finBit|opPong, payload[1:], mask))
		stream := join(before, ours, frame(0x81, []byte("y"), mask))
		for cut := 0; cut <= len(stream); cut++ {
			tr := newTrack(plain, mask)
			tr.token = token
			at := walk(tr, stream[:cut])
			if tr.pong == nil {
				at += walk(tr, stream[at:])
			}
			if at != len(before) || !bytes.Equal(tr.pong, payload) || tr.frames != 3 || tr.fault != nil {
				t.Fatalf("masked %v, cut at %d: the walk ends at %d with %+v", mask, cut, at, *tr)
			}
		}
		other := newTrack(plain, mask)
		if at := walk(other, stream); at != len(stream) || other.control != int64(len(stream)-2*len(frame(0x81, []byte("x"), mask))) {
			t.Errorf("without a token the walk ends at %d of %d, %d bytes in control frames", at, len(stream), other.control)
		}
	}
}

func TestAbsorb(t *testing.T) {
	s := newSession(newSide(clientSide, nil), newSide(upstreamSide, nil), plain, newSettings(limits{pingInterval: time.Minute, pingClient: true}), nil)
	f := s.toUpstream
	pong := controlFrame(opPong, f.from.heart.payload, true)
	f.buf = join([]byte("before"), pong, []byte("after"))
	f.track.pong = controlPayload(pong)
	n := f.absorb(len("before"), len(f.buf))
	if string(f.buf[:n]) != "beforeafter" || f.absorbed != 1 || f.from.heart.pongs != 1 || f.track.pong != nil {
		t.Errorf("%q is left of the buffer, %+v", f.buf[:n], f.from.heart)
	}
}

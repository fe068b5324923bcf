package wsfw

import (
	"bytes"
	"testing"
	"time"
)

func TestRoundTrips(t *testing.T) {
	h := &heartbeat{token: newToken(), started: time.Now().Add(-time.Hour)}
	if got := h.pulse(); *got != (pulse{}) {
		t.Errorf("before any ping the record tells %+v", *got)
	}
	early := h.ping()
	h.started = h.started.Add(-time.Second)
	h.pong(h.ping())
	h.pong(early)
	got := h.pulse()
	if got.Pongs != 2 || got.Least > 500 || got.Most < 1000 || got.Most > 1500 || got.Mean < 500 || got.Mean > 1000 {
		t.Errorf("the record tells %+v, want round trips of about 0 and 1000 ms", *got)
	}
	if (&heartbeat{}).pulse() != nil {
		t.Error("the record tells of a side that is not pinged")
	}
}

// A peer may put what it likes into a pong.
func TestRoundTripsMadeUp(t *testing.T) {
	h := &heartbeat{token: newToken(), started: time.Now()}
	for _, sent := range [][]byte{bytes.Repeat([]byte{0xFF}, 8), bytes.Repeat([]byte{0x7F}, 8)} {
		h.pong(join(h.token, sent))
	}
	if got := h.pulse(); *got != (pulse{}) || h.answered != 0 {
		t.Errorf("the record tells %+v", *got)
	}
}

func TestTokensDiffer(t *testing.T) {
	s := newSession(newSide(clientSide, nil, nil), newSide(upstreamSide, nil, nil), plain, &settings{limits: limits{pingInterval: time.Minute, pingClient: true, pingUpstream: true}}, nil)
	client, upstream := s.toUpstream.from.heart.token, s.toUpstream.to.heart.token
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
			at := walk(&tr, stream[:cut])
			if tr.pong == nil {
				at += walk(&tr, stream[at:])
			}
			if at != len(before) || !bytes.Equal(tr.pong, payload) || tr.frames != 3 || tr.fault != nil {
				t.Fatalf("masked %v, cut at %d: the walk ends at %d with %+v", mask, cut, at, tr)
			}
		}
		other := newTrack(plain, mask)
		if at := walk(&other, stream); at != len(stream) || other.control != int64(len(stream)-2*len(frame(0x81, []byte("x"), mask))) {
			t.Errorf("without a token the walk ends at %d of %d, %d bytes in control frames", at, len(stream), other.control)
		}
	}
}

func TestAbsorb(t *testing.T) {
	s := newSession(newSide(clientSide, nil, nil), newSide(upstreamSide, nil, nil), plain, &settings{limits: limits{pingInterval: time.Minute, pingClient: true}}, nil)
	f := s.toUpstream
	pong := controlFrame(opPong, f.from.heart.ping(), true)
	f.buf = join([]byte("before"), pong, []byte("after"))
	f.track.pong = controlPayload(pong)
	n := f.absorb(len("before"), len(f.buf))
	if string(f.buf[:n]) != "beforeafter" || f.absorbed != 1 || f.from.heart.pongs != 1 || f.track.pong != nil {
		t.Errorf("%q is left of the buffer, %+v", f.buf[:n], f.from.heart)
	}
}

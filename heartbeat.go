package wsfw

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"time"
)

// The payload of a ping of ours, in bytes: a token that only the pinged side is shown, by
// which its pong is known from all others, and when the ping was sent, in nanoseconds
// since the session's start.
const (
	tokenSize = 8
	pingSize  = tokenSize + 8
)

// heartbeat is our pings to one side, and what has come of them. Its memory is taken once:
// idle sessions do little else than this.
type heartbeat struct {
	masks bool // pings are masked, pongs are not; or the other way round

	// Written with session.mu and with the pen of the flow to the side, read with either.
	payload []byte        // of the latest ping; in frame itself, where that is not masked
	sent    time.Duration // when that was sent

	// Of whoever holds the pen.
	frame []byte // the latest ping
	pings int64

	pad []byte // a masking key, over and over: that of the latest ping, or what a pong seems to have

	// Of the pump from the side.
	pongs                  int64
	answered               time.Duration // when the latest ping that was answered had been sent
	shortest, longest, sum time.Duration // of round trips
}

// newHeartbeat is the heartbeat of a side that is about to be pinged first.
func newHeartbeat(x *side) *heartbeat {
	toUpstream := x.name == upstreamSide
	payload := make([]byte, pingSize)
	binary.BigEndian.PutUint64(payload, x.token)
	h := &heartbeat{masks: toUpstream, payload: payload, frame: controlFrame(opPing, payload, toUpstream), pad: make([]byte, pingSize)}
	if !toUpstream {
		h.payload = h.frame[2:]
	}
	return h
}

// stamp notes that f's destination is being pinged, and makes the payload for it. Needs
// session.mu and the pen.
func stamp(s *session, f *flow, now time.Duration) {
	x := f.to
	if x.pinged == 0 {
		x.pinged = now
		if s.pongTimeout > 0 {
			x.pongBy = now + s.pongTimeout
			x.doubted = false
		}
	}
	x.owes = true
	x.fed = !f.idle
	if x.heart == nil {
		x.heart = newHeartbeat(x)
		s.pinged = true
	}
	h := x.heart
	h.sent = now
	binary.BigEndian.PutUint64(h.payload[tokenSize:], uint64(now))
}

// ping sends the ping that was stamped to x, which stands between two frames. Towards the
// upstream it is masked under a fresh key (RFC 6455 section 5.3). Needs the pen.
func ping(x *side) error {
	h := x.heart
	if h.masks {
		_, _ = rand.Read(h.pad[:maskSize])
		copy(h.pad[maskSize:], h.pad[:maskSize])
		copy(h.pad[2*maskSize:], h.pad[:2*maskSize])
		copy(h.frame[2:], h.pad[:maskSize])
		subtle.XORBytes(h.frame[2+maskSize:], h.payload, h.pad)
	}
	h.pings++
	_, err := x.conn.Write(h.frame)
	return err
}

// isLatest reports whether a frame of the length of a pong of ours is that to the latest
// ping. Needs session.mu.
func isLatest(h *heartbeat, pong []byte) bool {
	if pong[0] != finBit|opPong {
		return false
	}
	if h.masks {
		return pong[1] == pingSize && bytes.Equal(pong[2:], h.payload)
	}
	// What is left of a masked payload when the payload is taken off it is the key, over and over.
	key, rest := pong[2:2+maskSize], h.pad
	subtle.XORBytes(rest, pong[2+maskSize:], h.payload)
	return pong[1] == maskBit|pingSize && bytes.Equal(rest[:maskSize], key) && bytes.Equal(rest[maskSize:], rest[:pingSize-maskSize])
}

// notePong notes the answer at now to a ping that was sent then.
func notePong(h *heartbeat, sent, now time.Duration) {
	trip := now - sent
	if sent < 0 || trip < 0 {
		return // not what we sent: the peer has made it up
	}
	if h.pongs == 0 || trip < h.shortest {
		h.shortest = trip
	}
	if trip > h.longest {
		h.longest = trip
	}
	if sent > h.answered {
		h.answered = sent
	}
	h.sum += trip
	h.pongs++
}

// sentAt is when the ping with this payload was sent, as far as its peer can be trusted.
func sentAt(payload []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint64(payload[tokenSize:]))
}

// pulse is a heartbeat in the record; times are in milliseconds.
type pulse struct {
	Pings int64   `json:"pings"`
	Pongs int64   `json:"pongs"`
	Least float64 `json:"rttMin"`
	Mean  float64 `json:"rttAvg"`
	Most  float64 `json:"rttMax"`
}

// pulses are those of a session's sides that are pinged.
type pulses struct {
	Client   *pulse `json:"client,omitempty"`
	Upstream *pulse `json:"upstream,omitempty"`
}

// noPulses are those of a session that was not pinged yet, nil where it is not to be.
func (l limits) noPulses() *pulses {
	if l.pingInterval == 0 {
		return nil
	}
	none := new(pulses)
	if l.pingClient {
		none.Client = noPulse
	}
	if l.pingUpstream {
		none.Upstream = noPulse
	}
	return none
}

var noPulse = &pulse{}

// pulsesOf are a session's heartbeats for the record.
func pulsesOf(s *session) *pulses {
	return &pulses{Client: pulseOf(s.client), Upstream: pulseOf(s.upstream)}
}

// pulseOf is a side's heartbeat for the record, nil where it was not to be pinged.
func pulseOf(x *side) *pulse {
	h := x.heart
	if x.token == 0 {
		return nil
	}
	if h == nil {
		return noPulse
	}
	p := &pulse{Pings: h.pings, Pongs: h.pongs, Least: milliseconds(h.shortest), Most: milliseconds(h.longest)}
	if h.pongs > 0 {
		p.Mean = milliseconds(h.sum / time.Duration(h.pongs))
	}
	return p
}

// milliseconds is d to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

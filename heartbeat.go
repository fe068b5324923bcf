package wsfw

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// The payload of a ping of ours, in bytes: a token that only the pinged side is shown, by
// which its pong is known from all others, and when the ping was sent.
const (
	tokenSize = 8
	pingSize  = tokenSize + 8
)

// heartbeat is what our pings to one side have brought about. The pings belong to the
// pump to the side, the pongs to the pump from it, and all to the record after both.
type heartbeat struct {
	token   []byte    // nil where the side is not pinged
	started time.Time // the session, from which times count

	pings int64

	pongs            int64
	answered         time.Duration // when the latest ping that was answered had been sent
	least, most, sum time.Duration // of the round trips
}

// newToken is a token that nobody can guess.
func newToken() []byte {
	token := make([]byte, tokenSize)
	_, _ = rand.Read(token) // the error is always nil on the platforms that Traefik runs on
	return token
}

// ping is the payload of a ping that is sent now.
func (h *heartbeat) ping() []byte {
	payload := make([]byte, pingSize)
	copy(payload, h.token)
	binary.BigEndian.PutUint64(payload[tokenSize:], uint64(time.Since(h.started)))
	return payload
}

// pong notes the pong that answers a ping of ours.
func (h *heartbeat) pong(payload []byte) {
	sent := time.Duration(binary.BigEndian.Uint64(payload[tokenSize:]))
	trip := time.Since(h.started) - sent
	if sent < 0 || trip < 0 {
		return // not what we sent: the peer has made it up
	}
	if h.pongs == 0 || trip < h.least {
		h.least = trip
	}
	if trip > h.most {
		h.most = trip
	}
	if sent > h.answered {
		h.answered = sent
	}
	h.sum += trip
	h.pongs++
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

// pulses are the heartbeats for the record, nil where nobody is pinged.
func (s *session) pulses() *pulses {
	if s.pingInterval <= 0 {
		return nil
	}
	return &pulses{Client: s.toUpstream.from.heart.pulse(), Upstream: s.toUpstream.to.heart.pulse()}
}

// pulse is the heartbeat for the record, nil where the side was not pinged.
func (h *heartbeat) pulse() *pulse {
	if h.token == nil {
		return nil
	}
	p := &pulse{Pings: h.pings, Pongs: h.pongs, Least: milliseconds(h.least), Most: milliseconds(h.most)}
	if h.pongs > 0 {
		p.Mean = milliseconds(h.sum / time.Duration(h.pongs))
	}
	return p
}

// milliseconds is d to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

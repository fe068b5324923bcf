package wsfw

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"time"
)

// The payload of a ping of ours, in bytes: a token that only the pinged peer is shown, by
// which its pong is known from all others, and when the ping was sent, in nanoseconds
// since the session's start.
const (
	tokenSize = 8
	pingSize  = tokenSize + 8
)

// mostInFlight is more bytes than wait in the buffers of two systems, and a gateway between them: a peer that has taken as
// many behind a ping of ours has read that.
const mostInFlight = 16 << 20

// A peer makes room by reading for what is written to it behind a write that has blocked. What buffers have room for they take
// for anybody. A write has blocked where leastQueue bytes or more may wait to be read, which any buffers hold, and the pump
// looks up later than it was to by leastBlock.
const (
	leastBlock = 10 * time.Millisecond
	leastQueue = 16 << 10
)

// slowestReader is how many bytes a second a peer reads that is not taken for dead behind a queue of data. bufferStep is how
// many it reads before its kernel, or ours, lets a blocked write go on: a third of what Linux lets a send buffer become.
const (
	slowestReader = 256 << 10
	bufferStep    = 4 << 20 / 3
)

// heartbeat is our pings to one peer, and what has come of them. Its memory is taken once:
// idle sessions do little else than this.
type heartbeat struct {
	masks   bool   // pings are masked, pongs are not; or the other way round
	frame   []byte // the latest ping
	payload []byte // of that, unmasked: a part of frame where it is not masked
	pong    []byte // room for the payload of a masked pong

	// Written with session.mu and with writeMu of the direction to the peer, read with either.
	sent time.Duration // when the latest ping was

	// session.mu guards the following.
	pings                  int64
	pongs                  int64
	answered               time.Duration // when the latest ping that was answered had been sent
	shortest, longest, sum time.Duration // of round trips
}

// newHeartbeat is the heartbeat of a peer that is about to be pinged first.
func newHeartbeat(x *peer) *heartbeat {
	payload := binary.BigEndian.AppendUint64(make([]byte, 0, pingSize), x.token)[:pingSize]
	masks := x.name == upstreamPeer
	h := &heartbeat{masks: masks, frame: controlFrame(opPing, payload, masks), payload: payload}
	if !masks {
		h.payload = h.frame[2:]
		h.pong = payload
	}
	return h
}

// takePings has those peers of a session pinged that are to be. The scheduler does that where it cannot block: a peer that has
// not answered all that it was sent is left to its pump, and so is one that is pinged first, one whose pump is at work, and a
// service, whose pipe holds nothing. Needs session.mu.
func takePings(w *scheduler, s *session, now time.Duration) {
	s.pingBy += s.pingInterval
	if s.pingBy <= now {
		s.pingBy = now + s.pingInterval // what has been missed is not made up for
	}
	for _, f := range s.directions {
		if f.to.hasRead && f.writeMu.TryLock() {
			w.toPing = append(w.toPing, f)
			stamp(s, f, now)
		} else if f.to.token > 0 {
			f.pingDue = true
			setDeadlines(s, f) // which wakes the pump
			// A pump at work may be blocked in a write, and send no ping: silence counts from now.
			if !f.idle && s.pongTimeout > 0 && f.to.pongBy == forever {
				owes(s, f.to, now+s.pongTimeout)
			}
		}
	}
}

// pingAtRest pings whom takePings has found, and lets go of the writeMu that it holds.
func pingAtRest(w *scheduler, s *session) {
	by := time.Now().Add(pingTimeout)
	for len(w.toPing) > 0 {
		f := w.toPing[0]
		conn := f.to.conn
		_ = conn.SetWriteDeadline(by)
		err := ping(f.to)
		if err == nil {
			_ = conn.SetWriteDeadline(never)
		} else {
			go failPing(s, f, err)
		}
		w.toPing = w.toPing[1:]
		f.writeMu.Unlock()
	}
}

// pingTimeout bounds the write of a ping by the scheduler. It is not met: there is room for a ping where all that was sent
// before has been answered.
const pingTimeout = 10 * time.Second

// failPing, in a goroutine of its own, follows up a ping that could not be written.
func failPing(s *session, f *direction, cause error) {
	defer recovered(s)
	unwritable(s, f, cause)
}

// takePing has f's pump ping its destination where that is due and the destination stands between two frames. Needs
// session.mu.
func takePing(s *session, f *direction, now time.Duration) {
	due := f.pingDue && !s.closing
	f.pinging = due && f.parser.left == 0
	f.finishing = due && !f.pinging
	f.pingDue = f.finishing
	if f.finishing {
		f.idle = false // the pump has something to do yet
	}
	if f.pinging {
		stamp(s, f, now)
	}
}

// stamp notes that f's destination is being pinged, and makes the payload for it. Needs session.mu and writeMu.
func stamp(s *session, f *direction, now time.Duration) {
	x := f.to
	if x.heart == nil {
		x.heart = newHeartbeat(x)
		s.pinged = true
	}
	h := x.heart
	h.sent = now
	h.pings++
	if x.counts != nil {
		countPing(x.counts)
	}
	binary.BigEndian.PutUint64(h.payload[tokenSize:], uint64(now))
	x.hasRead = false
	x.fed = !f.idle
	if x.pinged == 0 {
		x.pinged = now
		x.pingAt = f.bytes
		if s.pongTimeout > 0 {
			owes(s, x, now+s.pongTimeout+timeToRead(f.bytes-x.readAt))
		}
	}
}

// timeToRead is how long a slow reader may need for what it has been sent and is not known to have read: a ping of ours waits
// behind that.
func timeToRead(bytes int64) time.Duration {
	if bytes > mostInFlight {
		bytes = mostInFlight
	}
	return time.Duration(bytes) * time.Second / slowestReader
}

// ping sends the ping that was stamped to x, which stands between two frames. Towards the
// upstream it is masked under a fresh key (RFC 6455 section 5.3). Needs writeMu.
func ping(x *peer) error {
	h := x.heart
	if h.masks {
		_, _ = rand.Read(h.frame[2 : 2+maskSize])
		unmask(h.frame[2+maskSize:], h.frame, h.payload)
	}
	_, err := x.conn.Write(h.frame)
	return err
}

// unmask puts the payload of a ping or pong of ours into dst, masked where it is not and the other way round, under the key of
// that frame.
func unmask(dst, frame, payload []byte) {
	subtle.XORBytes(dst, payload, bytes.Repeat(frame[2:2+maskSize], pingSize/maskSize))
}

// isLatest reports whether a frame of the length of a pong of ours is that to the latest ping. Needs session.mu.
func isLatest(h *heartbeat, frame []byte) bool {
	length := byte(pingSize)
	payload := frame[2:]
	if !h.masks {
		length = maskBit | pingSize
		payload = h.pong
		unmask(payload, frame, frame[2+maskSize:])
	}
	return frame[0] == finBit|opPong && frame[1] == length && bytes.Equal(payload, h.payload)
}

// isPong reports whether what a pump at rest has read, a frame of the length of a pong of ours, is one, and notes it.
func isPong(s *session, f *direction, frame []byte) bool {
	x, now := f.from, time.Since(s.started)
	s.mu.Lock()
	h := x.heart
	if h == nil {
		s.mu.Unlock()
		return false
	}
	sent := h.sent
	if isLatest(h, frame) {
		x.hasRead = !x.fed && x.pipes == nil
	} else if payload := answers(f.parser, frame); payload != nil {
		sent = sentAt(payload)
	} else {
		s.mu.Unlock()
		return false
	}
	x.readAt = x.pingAt
	alive(x)
	notePong(x, sent, now)
	s.mu.Unlock()
	f.parser.frames++
	f.parser.controls++
	return true
}

// owes notes until when x owes us a sign of life. Needs session.mu.
func owes(s *session, x *peer, until time.Duration) {
	x.pongBy = until
	x.doubted = false
	lookBy(s, until)
}

// alive notes that x owes us nothing. Needs session.mu.
func alive(x *peer) {
	x.pinged = 0
	x.pongBy = forever
}

// notSilent notes that x lives, but may not have answered the ping that it owes a pong to: until then it is given time. Needs
// session.mu.
func notSilent(s *session, x *peer, until time.Duration) {
	if x.pongBy == forever {
		return
	}
	if until < x.pongBy {
		until = x.pongBy
	}
	owes(s, x, until)
}

// noteWritten notes that f's destination has been written to since the last look: it lives if that shows that it reads, and its
// answer to a ping may have to wait behind what it has not read. Needs session.mu.
func noteWritten(s *session, f *direction, now time.Duration) {
	x, unread := f.to, f.bytes-f.to.readAt
	if f.bytes-x.pingAt >= mostInFlight {
		if x.pongBy < forever && x.pongBy > now+s.pongTimeout {
			x.pongBy = now + s.pongTimeout // it has come to our ping
			lookBy(s, x.pongBy)
		}
	} else if isBlocked(f, now) && unread >= leastQueue {
		notSilent(s, x, now+s.pongTimeout+timeToRead(unread))
	}
}

// isSilent reports whether f's source, which owes us a sign of life, is dead. It is listened to once more when it is first
// found to be overdue, so that what came while the whole process stood still is heard; and for longer where a write to it is
// blocked: it may be reading, and the write goes on by a bufferStep at a time. Needs session.mu.
func isSilent(s *session, f *direction, now time.Duration) bool {
	if !f.idle && f.looked < now {
		wake(s, f)
		return false
	}
	if f.from.doubted {
		return true
	}
	f.from.doubted = true
	patience := s.grace
	if isBlocked(reverse(s, f), now) {
		patience = timeToRead(bufferStep)
		if patience < s.pongTimeout/2 {
			patience = s.pongTimeout / 2
		}
	}
	f.from.pongBy = now + patience
	return false
}

// isBlocked reports whether f's pump has been kept from looking up, by a write. Needs session.mu.
func isBlocked(f *direction, now time.Duration) bool {
	return !f.idle && now-leastBlock > f.readBy
}

// trip is when a ping was sent, and when its pong came.
type trip struct{ sent, back time.Duration }

// noteTrips notes the pongs that came amid data since the last look. Needs session.mu.
func noteTrips(f *direction) {
	for _, t := range f.trips {
		notePong(f.from, t.sent, t.back)
	}
	f.trips = f.trips[:0]
}

// notePong notes x's answer at now to a ping that was sent then. Needs session.mu.
func notePong(x *peer, sent, now time.Duration) {
	h := x.heart
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
	if x.counts != nil {
		countTrip(x.counts, trip)
	}
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

// pulses are those of a session's peers that are pinged.
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

// pulsesOf are a session's heartbeats for the record. Needs session.mu.
func pulsesOf(s *session) *pulses {
	return &pulses{Client: pulseOf(s.client), Upstream: pulseOf(s.upstream)}
}

// pulseOf is a peer's heartbeat for the record, nil where it was not to be pinged.
func pulseOf(x *peer) *pulse {
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

package wsfw

import (
	"net"
	"os"
	"sync"
	"time"
)

// warmUp is for the first New of the interpreter, which all middlewares share.
var warmUp sync.Once

// warm goes through what the pumps of a session do, one after the other, with one that has
// ended already. Yaegi resolves the types of a function when it first runs, and without a
// lock: the two pumps of the very first session would race for it.
func warm() {
	conn, peer := net.Pipe()
	_ = peer.Close()
	set := newSettings(limits{
		pingInterval: time.Hour, pingClient: true, pongTimeout: time.Hour, maxInactivity: time.Hour, messageRate: 1, messageBurst: 1,
	})
	s := joined(conn, plainText, set)
	s.arrived.Store(-5)
	pump(s, s.toUpstream) // the client has gone: this ends the session
	pump(s, s.toClient)
	f := s.toUpstream
	rouse(s, f)
	stamp(s, s.toClient, 1)
	_ = ping(s.client)
	isPong(s, f, controlFrame(opPong, f.from.heart.payload, true))
	toil(s, f, 0, os.ErrDeadlineExceeded)
	toil(s, f, copy(f.buf, controlFrame(opPong, f.from.heart.payload, true)), nil)
	equip(f)
	_, _ = relay(f, copy(f.buf, []byte{finBit | opText, maskBit | 1, 0, 0, 0, 0, 'a'}), nil)
	_, _ = bulk(f)
	_, _ = spellOut(f)
	warmTexts(f)
	beat(&metronome{due: []*session{s}})
	takeTurns(&metronome{turns: 1, turn: time.Hour, started: time.Now()})
	ring(&alarm{session: s})
	s.dismiss(restarting(s))
	_ = copyOn(s, f, 1)
	pipe(s, s.toUpstream)
	pipe(s, s.toClient)
	warmEnds(conn)
}

// joined is a session with conn on both sides.
func joined(conn net.Conn, rules *grammar, set *settings) *session {
	return newSession(newSide(clientSide, conn), newSide(upstreamSide, conn), rules, set, func(string, error) {})
}

// warmEnds goes through the ends that sessions come to, which at a drain are many at once. conn is
// closed at its other end.
func warmEnds(conn net.Conn) {
	set := newSettings(limits{closeTimeout: time.Hour, drainTimeout: time.Hour})
	var sessions []*session
	for i := 0; i < 5; i++ {
		s := joined(conn, plain, set)
		s.toUpstream.buf = make([]byte, smallBuffer)
		s.toClient.buf = s.toUpstream.buf
		begin(s, serverless)
		sessions = append(sessions, s)
	}
	warmDrain(sessions[0])
	sleepOn(sessions[0], sessions[0].toClient)
	isOver(sessions[0])
	warmClose(sessions[1])
	sessions[2].breach(&flow{from: sessions[2].client, to: sessions[2].upstream, track: &track{fault: errRate}})
	sessions[3].unwritable(sessions[3].toUpstream, os.ErrDeadlineExceeded)
	endOfStream(sessions[4], sessions[4].toClient)
	for _, s := range sessions {
		end(s)
	}
}

// warmDrain has a session drained.
func warmDrain(s *session) {
	s.drain()
	s.dismiss(restarting(s))
	for _, f := range s.flows {
		f.pen.Lock()
		_ = look(s, f)
		s.bidFarewell(f, f.to.farewell)
		hearOut(s, f)
	}
}

// warmClose has a client close a session.
func warmClose(s *session) {
	f := s.toUpstream
	isClose(f, copy(f.buf, controlFrame(opClose, []byte{3, 232}, true)))
	passClose(s, f)
	hearOut(s, f)
}

package wsfw

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// warmUp is for the first New of the interpreter, which all middlewares share.
var warmUp sync.Once

// warm goes through what a session does, one step after the other, with sessions that have ended already. Yaegi resolves the
// types of a function when it first runs, and without a lock: the two pumps of the very first session would race for it.
func warm() {
	conn, other := net.Pipe()
	_ = other.Close()
	set := newSettings(limits{
		pingInterval: time.Hour, pingClient: true, pongTimeout: time.Hour, maxInactivity: time.Hour, messageRate: 1, messageBurst: 1,
		closeTimeout: time.Hour, drainTimeout: time.Hour,
	})
	s := joined(conn, plainText, set)
	s.arrived.Store(-5)
	pump(s, s.toUpstream) // the client has gone: this ends the session
	pump(s, s.toClient)
	f := s.toUpstream
	leaveRest(s, f)
	f.idle = true
	s.client.heart = newHeartbeat(s.client)
	takePings(s, 1)
	pingAtRest(s)
	pong := controlFrame(opPong, f.from.heart.payload, true)
	isPong(s, f, pong)
	enterWork(s, f, 0, os.ErrDeadlineExceeded)
	enterWork(s, f, copy(f.buf, pong), nil)
	takeSmall(f)
	text := []byte{finBit | opText, maskBit | 1, 0, 0, 0, 0, 'a'}
	_, _ = relay(f, copy(f.buf, text), nil)
	parseChunk(f.parser, append(text, opText, maskBit|1, 0, 0, 0, 0, 0xc3))
	skipMessages(f.parser, text, 0)
	_, _ = finishFrame(f)
	_, _ = bulk(f)
	schedule(s, 1)
	lookAtDue(&scheduler{due: []*session{s}})
	goOff(wheel)
	workTunnel(s, f, 1)
	warmEnds(conn)
}

// joined is a session with conn on both sides.
func joined(conn net.Conn, rules *frameRules, set *settings) *session {
	return newSession(newPeer(clientPeer, conn), newPeer(upstreamPeer, conn), rules, set, func(string, error) {})
}

// warmEnds goes through the ends that sessions come to, which at a drain are many at once. conn is closed at its other end.
func warmEnds(conn net.Conn) {
	set := newSettings(limits{closeTimeout: time.Hour, drainTimeout: time.Hour})
	for _, ending := range []func(s *session, f *direction){
		func(s *session, f *direction) {
			drainSession(s)
			dismiss(s, restarting(s))
			housekeep(s, f)
			sayGoodbye(s, f, f.to.pendingClose)
		},
		func(s *session, f *direction) {
			isClose(f, copy(f.buf, controlFrame(opClose, []byte{3, 232}, true)))
			passClose(s, f)
			drain(s, f)
		},
		func(s *session, f *direction) { f.parser.fault = errRate; breach(s, f) },
		func(s *session, f *direction) { unwritable(s, f, os.ErrDeadlineExceeded) },
		func(s *session, _ *direction) { endOfStream(s, s.toClient) },
		func(s *session, f *direction) { endTunnel(s, f, io.EOF) },
	} {
		s := joined(conn, plain, set)
		begin(s, serverless)
		ending(s, s.toUpstream)
		end(s)
	}
}

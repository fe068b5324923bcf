package wsfw

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"time"
)

// The close handshake, RFC 6455 section 7. A close frame of one peer goes on to the other, whose answer comes back. wsfw ends
// a session by a close frame of its own to both. Each peer is sent one close frame at most, by the pump to it, which then
// only drains what still comes from the other one:
//
//	what happens at a direction's source        its destination is sent           its source is sent    then
//	a close frame comes                         it, or what is pending            -                     drain
//	a frame breaks the rules                    what is pending, or a loss        the fault's code      drain, to its close frame
//	the stream ends: of the upstream            what is pending, or a loss        -                     end
//	                 of the client              what is pending                   -                     end
//	the destination blocks a write for too long nothing: its connection is closed a loss                drain
//	wsfw ends the session                       what has come, what is pending    -                     drain, to its close frame
//
// Nothing is sent to a peer that has been sent a close frame. One that stands inside a frame, which cannot be finished, has
// its connection closed instead. A tunnel has no frames: the end of a stream goes on as such.

// closeState is how far the close handshake with a peer has come.
type closeState int

const (
	open          closeState = iota
	closeSent                // it has been sent a close frame, and owes one
	closeReceived            // it has sent one, or nothing is expected of it any more, and is owed one
	closed                   // both: its connection is closed
	gone                     // its stream has ended
)

// Events in the close handshake with a peer.
const (
	sentClose = iota
	receivedClose
	streamEnded
)

// closeTable is the state of a peer after an event.
var closeTable = [][]closeState{
	// sentClose, receivedClose, streamEnded
	{closeSent, closeReceived, gone}, // open
	{closeSent, closed, gone},        // closeSent
	{closed, closeReceived, gone},    // closeReceived
	{closed, closed, closed},         // closed
	{gone, gone, gone},               // gone
}

// outcome is how a session ended: who ended it, with which close code and reason. The code is closeAbnormal where a peer went
// without a close frame, and 0 where a tunnel's end has none.
type outcome struct {
	endedBy string
	code    int
	reason  string
}

// closeCause is why wsfw ends a session by itself. The upstream's peer goes away; the client is told a code.
type closeCause struct {
	reason     string
	code       int
	lost       *peer // that no answer is waited for, or nil
	clientLast bool  // the client's connection is closed last: Traefik exits when there are no more of them
	prompt     bool  // it has to be over within promptClosing, whatever is in flight
}

var (
	lifetimeReached = &closeCause{reason: "session lifetime reached", code: closeGoingAway}
	inactive        = &closeCause{reason: "inactivity timeout", code: closeGoingAway}
	tokenExpired    = &closeCause{reason: "token expired", code: closeUnauthorized, prompt: true}
	tokenRevoked    = &closeCause{reason: "token revoked", code: closeUnauthorized, prompt: true}
)

// promptClosing is how long a session whose login has ended may take to close. With the grace of peers at work, and a tick, it
// is over within a second.
const promptClosing = 700 * time.Millisecond

// hurry has a session be cut by then at the latest. Needs session.mu.
func hurry(s *session, by time.Duration) {
	if by < s.cutBy {
		s.cutBy = by
	}
	if s.closing && s.cutBy < s.closeBy {
		s.closeBy = s.cutBy
		lookBy(s, s.closeBy)
	}
}

// restarting is the cause at a shutdown. A Traefik that shuts down exits as soon as it has no client's connection any more,
// and ends the upstreams' with that.
func restarting(s *session) *closeCause {
	return &closeCause{reason: "service restart", code: s.restartCode, clientLast: true}
}

// heartbeatTimeout is the cause where a peer owes us a sign of life.
func heartbeatTimeout(s *session, x *peer) *closeCause {
	cause := &closeCause{reason: x.name + " heartbeat timeout", code: closeGoingAway, lost: x}
	if x.name == upstreamPeer {
		cause.code = s.upstreamLostCode
	}
	return cause
}

// lossFrame tells x that the other peer is lost: the upstream's peer goes away, the client's gateway has got no answer (RFC
// 6455 section 7.4.1 and the IANA registry).
func lossFrame(s *session, x *peer, reason string) []byte {
	return closeFrame(lossCode(s, x), reason, x.name == upstreamPeer)
}

// lossCode is the close code of lossFrame.
func lossCode(s *session, x *peer) int {
	if x.name == upstreamPeer {
		return closeGoingAway
	}
	return s.upstreamLostCode
}

// dismiss ends the session by close frames of ours to both peers, unless it is ending already: then it is false. A tunnel is
// cut.
func dismiss(s *session, cause *closeCause) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cause.prompt {
		hurry(s, time.Since(s.started)+promptClosing)
	}
	if s.closing || s.over || s.outcome.endedBy != "" {
		return false
	}
	s.outcome = outcome{endedBy: gateway, reason: cause.reason}
	setClosing(s)
	if s.tunnel {
		go expire(s)
		return true
	}
	s.outcome.code = cause.code
	s.waits = cause.clientLast
	if cause.lost != nil {
		cause.lost.state = closeTable[cause.lost.state][receivedClose]
	}
	leaveClose(s, s.toClient, closeFrame(cause.code, cause.reason, false))
	leaveClose(s, s.toUpstream, closeFrame(closeGoingAway, cause.reason, true))
	return true
}

// leaveClose gives f's pump a close frame to send to its destination, unless that has been sent one, or is to be. Needs
// session.mu.
func leaveClose(s *session, f *direction, frame []byte) {
	x := f.to
	if x.pendingClose != nil || x.state != open && x.state != closeReceived {
		return
	}
	x.pendingClose = frame
	if x.state == closeReceived {
		limitWrite(s, f, time.Since(s.started)+partingTimeout)
	}
	setDeadlines(s, f) // which wakes the pump
}

// partingTimeout is how long a peer that nothing is expected of may take for what it is still sent.
const partingTimeout = time.Second

// passClose is the end of a direction by a close frame of its source, before which its parsing has ended. The frame goes on
// to the destination, and is answered, or is the answer. Where a close frame of ours is meant for the destination, the
// source has answered that which it was sent. It takes few steps, for almost every session ends here, and an interpreted
// session's end costs as much as its beginning.
func passClose(s *session, f *direction) {
	x, y, p := f.from, f.to, f.parser
	s.mu.Lock()
	if s.outcome.endedBy == "" { // before the write, for the answer may come before that returns
		s.outcome = outcome{endedBy: x.name, code: p.said.code, reason: p.said.reason}
	}
	if !s.closing {
		setClosing(s)
	}
	pending := y.pendingClose
	x.state = closeTable[x.state][receivedClose] // before it, too: y may hang up on it
	s.mu.Unlock()
	if pending != nil {
		sendClose(s, f, pending)
		advance(s, x, receivedClose)
		drain(s, f)
		return
	}
	n, err := y.conn.Write(p.closing)
	if err != nil {
		unwritable(s, f, err)
		drain(s, f)
		return
	}
	p.frames++
	f.bytes += int64(n)
	s.mu.Lock()
	y.state = closeTable[y.state][sentClose]
	settled := x.state >= closed && y.state >= closed
	s.mu.Unlock()
	if settled {
		cut(s)
	} else {
		awaitEnd(s, f)
	}
}

// awaitEnd is drain where all that is usually left is that the other direction ends the session.
func awaitEnd(s *session, f *direction) {
	if f.idle {
		_, err := f.from.reader.Read(f.buf)
		if err != nil && isOver(s) {
			return
		}
	}
	drain(s, f)
}

// breach answers a fault of f's source: both peers are told, each by the pump to it. But for text, a fault is found before
// anything of its frame is passed on. Where it is not, the destination is left in the middle of a frame, and its connection
// is closed. A close frame that is not legal is still the source's last one.
func breach(s *session, f *direction) {
	fault := f.parser.fault
	conclude(s, gateway, fault.code, f.from.name+": "+fault.reason)
	frame := startClosing(s, f)
	s.mu.Lock()
	f.idle = false // until it drains
	leaveClose(s, reverse(s, f), closeFrame(fault.code, fault.reason, f.from.name == upstreamPeer))
	s.mu.Unlock()
	if endsByFault(f) {
		advance(s, f.from, receivedClose)
	}
	if f.parser.left > 0 {
		closePeer(f.to)
		return
	}
	if frame == nil {
		frame = lossFrame(s, f.to, f.from.name+" "+faultKind(fault))
	}
	sendClose(s, f, frame)
}

// endsByFault reports whether it is a close frame that breaks the rules: what is held begins with that, but where a fault is
// found inside a frame.
func endsByFault(f *direction) bool {
	fault := f.parser.fault
	return fault != nil && fault != errText && f.held > 0 && f.parser.left == 0 && f.buf[0]&0x0F == opClose
}

// unwritable follows up a failed write. A destination that has blocked is cut; one that has gone is left to its own pump,
// which will learn why.
func unwritable(s *session, f *direction, cause error) {
	if f.parser.closing != nil {
		conclude(s, f.from.name, f.parser.said.code, f.parser.said.reason)
		advance(s, f.from, receivedClose)
	}
	startClosing(s, f)
	if !errors.Is(cause, os.ErrDeadlineExceeded) || isOver(s) {
		return
	}
	reason := f.to.name + " write timeout"
	conclude(s, gateway, lossCode(s, f.from), reason)
	s.mu.Lock()
	leaveClose(s, reverse(s, f), lossFrame(s, f.from, reason))
	s.mu.Unlock()
	closePeer(f.to) // wakes the pump to f.from, too
}

// endOfStream follows up the end of f's source and is the last act of its pump. A client that goes without a close frame has
// vanished: the upstream sees its connection close, as it would without wsfw. So does a client that has sent its close frame,
// and whose upstream goes without an answer. The client of an upstream that has vanished is told.
func endOfStream(s *session, f *direction) {
	x, y := f.from, f.to
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return // both connections are being closed: there is nothing left to do
	}
	f.idle = true // nobody waits for this pump to look up
	frame, told := y.pendingClose, y.state == closeSent || y.state == closed
	vanished := frame == nil && !told && x.state <= closeSent
	unheard := x.name == clientPeer || y.state == closeReceived // nobody is left to be told
	if vanished && s.outcome.endedBy == "" {
		s.outcome = outcome{endedBy: x.name, code: closeAbnormal, reason: "connection lost"}
	}
	s.mu.Unlock()
	if vanished && unheard {
		cut(s)
		return
	}
	if vanished {
		closePeer(x) // what the client still says reaches nobody
		frame = lossFrame(s, y, "upstream connection lost")
	}
	startClosing(s, f)
	advance(s, x, streamEnded)
	if told || frame == nil {
		return
	}
	if f.parser.left > 0 {
		cut(s) // y stands inside a frame
	} else {
		sendClose(s, f, frame)
	}
}

// endTunnel is endOfStream for a tunnel: the end of a stream is passed on as such, and starts the wait for the other one,
// which closes both connections.
func endTunnel(s *session, f *direction, cause error) {
	if !errors.Is(cause, io.EOF) {
		failTunnel(s, f, cause)
		return
	}
	s.mu.Lock()
	if s.outcome.endedBy == "" {
		s.outcome.endedBy = f.from.name
	}
	f.from.state = gone
	last := s.over || f.to.state == gone
	if !last {
		setClosing(s)
	}
	s.mu.Unlock()
	if last || !closeWrite(f.to) {
		cut(s)
	}
}

// failTunnel ends a tunnel for a failed read or write, unless it is over.
func failTunnel(s *session, f *direction, cause error) {
	by, reason := f.from.name, "connection lost"
	if isWrite(cause) {
		by = f.to.name
	}
	if errors.Is(cause, os.ErrDeadlineExceeded) {
		by = gateway
		reason = f.to.name + " write timeout"
	}
	conclude(s, by, 0, reason)
	cut(s)
}

// isWrite reports whether it is a write that has failed. Where the whole process has stood still, reads are late, too.
func isWrite(cause error) bool {
	var failed *net.OpError
	return errors.As(cause, &failed) && failed.Op == "write"
}

// sendClose writes a close frame to f's destination, which stands between two frames. The error of the write is not looked
// at: what the destination has to say about it, the pump from it will read.
func sendClose(s *session, f *direction, frame []byte) {
	startClosing(s, f)
	_, _ = f.to.conn.Write(frame)
	advance(s, f.to, sentClose)
}

// advance takes the close handshake with a peer on by an event, and the session to its end when nothing more is expected of
// either peer. It closes the connection of a peer that nothing more is to be said to, or heard of: so no peer has to wait for
// the other's answer.
func advance(s *session, x *peer, event int) {
	s.mu.Lock()
	x.state = closeTable[x.state][event]
	if event == sentClose {
		x.pendingClose = nil
	}
	settled := s.client.state >= closed && s.upstream.state >= closed
	parted, waits := x.state == closed, s.waits && x.name == clientPeer
	s.mu.Unlock()
	if settled {
		cut(s)
	} else if parted && (!waits || !closeWrite(x)) {
		closePeer(x)
	}
}

// conclude gives the session its outcome, unless it has one.
func conclude(s *session, endedBy string, code int, reason string) {
	s.mu.Lock()
	if s.outcome.endedBy == "" {
		s.outcome = outcome{endedBy: endedBy, code: code, reason: reason}
	}
	s.mu.Unlock()
}

// startClosing gives the session closeTimeout to come to its end by itself, and f's pump a deadline for what it still
// writes. It returns the close frame of ours that is pending for f's destination, or nil.
func startClosing(s *session, f *direction) (pending []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		setClosing(s)
	}
	now := time.Since(s.started)
	by := later(now, s.writeTimeout)
	if f.to.state == closeReceived && f.to.pendingClose != nil && by > now+partingTimeout {
		by = now + partingTimeout
	}
	limitWrite(s, f, by)
	setDeadlines(s, f)
	return f.to.pendingClose
}

// setClosing is startClosing for whoever holds session.mu.
func setClosing(s *session) {
	s.closing = true
	s.closingAt = time.Since(s.started)
	s.closeBy = s.closingAt + s.closeTimeout
	schedule(s, s.closingAt+s.closeTimeout/4)
	if s.cutBy < forever {
		hurry(s, s.cutBy)
	}
}

// progress gives a session that is closing closeTimeout anew, for data still flows. One that wsfw ends has not more than
// mostClosings of them: a peer that is told to go could stay for as long as it likes. Needs session.mu.
func progress(s *session, now time.Duration) {
	if !s.closing {
		return
	}
	by, latest := now+s.closeTimeout, s.closingAt+mostClosings*s.closeTimeout
	if s.outcome.endedBy == gateway && by > latest {
		by = latest
	}
	if by > s.cutBy {
		by = s.cutBy
	}
	if by > s.closeBy {
		s.closeBy = by
		s.warned = false
	}
}

// mostClosings is how many times closeTimeout a session that wsfw ends may take to close.
const mostClosings = 3

// expire, in a goroutine of its own, cuts a session that has had its time: to close a TLS connection may take seconds.
func expire(s *session) {
	defer recovered(s)
	cut(s)
}

// sendPending brings the frame that is being passed on to its end and sends our close frame after it.
func sendPending(s *session, f *direction, frame []byte) {
	p := f.parser
	for p.left > 0 {
		readErr, writeErr := finishFrame(f)
		if p.fault != nil {
			closePeer(f.to) // which stands inside a frame
			break
		}
		if writeErr != nil {
			unwritable(s, f, writeErr)
			break
		}
		if readErr != nil && (!errors.Is(readErr, os.ErrDeadlineExceeded) || !readOn(s, f)) {
			endOfStream(s, f)
			return
		}
	}
	if p.left == 0 && p.fault == nil {
		sendClose(s, f, frame)
	}
	drain(s, f)
}

// drain is the end of a direction that may say nothing more. It reads what still comes, so that the close frame on the other
// way is not lost in a reset connection, and notes a close frame of f's source.
func drain(s *session, f *direction) {
	if !f.idle {
		s.mu.Lock()
		f.idle = true // nobody waits for this pump to look up
		s.mu.Unlock()
	}
	if f.parser.closing == nil && !endsByFault(f) {
		drainFrames(s, f)
	}
	for {
		n, err := readDrained(s, f, f.buf)
		if err != nil && n == 0 {
			break
		}
		if n == len(f.buf) {
			_ = grow(f)
		}
	}
	endOfStream(s, f)
}

// drainFrames reads from a peer that may say nothing more, until its close frame, or the end of its stream.
func drainFrames(s *session, f *direction) {
	_ = grow(f) // whoever is in full flow is to be heard out before closeTimeout
	rest := newParser(lax, f.parser.masked)
	rest.left = f.parser.left
	held := f.held
	f.held = 0
	for {
		frames := rest.frames
		pass := parseChunk(rest, f.buf[:held])
		if rest.closing != nil {
			advance(s, f.from, receivedClose)
			return
		}
		if pass > largeBuffer/2 && rest.frames-frames > int64(pass/denseFrame) {
			time.Sleep(drainPause)
		}
		held = copy(f.buf, f.buf[pass:held])
		n, err := readDrained(s, f, f.buf[held:])
		if err != nil && n == 0 {
			return
		}
		held += n
	}
}

// readDrained reads from f's source and is not woken: there is nothing more to look for.
func readDrained(s *session, f *direction, buf []byte) (int, error) {
	for {
		n, err := f.from.reader.Read(buf)
		if n > 0 {
			s.mu.Lock()
			progress(s, time.Since(s.started))
			s.mu.Unlock()
			return n, err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !readOn(s, f) {
			return n, err
		}
	}
}

// readOn undoes that a pump was woken. It is false where the session is over.
func readOn(s *session, f *direction) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.woken = false
	f.pingDue = false
	f.readBy = forever
	f.told = true
	setDeadlines(s, f)
	return !s.over
}

// closeWrite ends the stream to a peer and leaves the way back open. It is false where the connection cannot do that. It goes by
// reflection, for the interpreter does not see the methods of a compiled value through an interface of ours.
func closeWrite(x *peer) bool {
	if x.pipes != nil {
		return x.pipes.writes.Close() == nil
	}
	method := reflect.ValueOf(x.conn).MethodByName("CloseWrite")
	if !method.IsValid() {
		return false
	}
	method.Call(nil)
	return true
}

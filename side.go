package wsfw

import (
	"bytes"
	"io"
	"net"
	"time"
)

// Names of those who can end a session, in the record and in reasons.
const (
	clientSide   = "client"
	upstreamSide = "upstream"
	gatewaySide  = "wsfw"
)

// side is one end of a session. Its connection is read only by the pump from it and
// written only by whoever holds the pen of the flow to it; closeQuietly is for everybody.
type side struct {
	name    string    // "client" or "upstream"
	conn    net.Conn  // to be written
	source  net.Conn  // to be read: conn, unless this is a service
	reader  io.Reader // source, after what it gave together with the handshake
	service *service  // that the connection leads to, if that is Traefik's own
	back    *side     // the other one
	token   uint64    // begins the payload of our pings to it; 0 where it is not pinged

	// Guarded by session.mu. So are the deadlines of conn's reads, until a pump discards
	// what comes from it.
	closeReceived bool   // it has sent a close frame
	closeSent     bool   // it has been sent a close frame
	ended         bool   // it has nothing more to say: end of stream, reset, or cut
	lost          bool   // it will not answer any more
	farewell      []byte // a close frame of ours, for the pump to this side to send

	// Guarded by session.mu. Times count from the session's start.
	heart   *heartbeat    // nil until it is pinged first
	pinged  time.Duration // when it was sent the first ping that it has not answered, 0 is none
	pongBy  time.Duration // until when it owes us a sign of life for that
	doubted bool          // that has been put off for the last time
	owes    bool          // it has not answered the latest ping,
	fed     bool          // or has been sent something since: so it may not have read all that it was sent
}

// newSide makes a side of conn that has given nothing yet.
func newSide(name string, conn net.Conn) *side {
	return &side{name: name, conn: conn, source: conn, reader: conn}
}

// after reads early and then source.
func after(early []byte, source io.Reader) io.Reader {
	return io.MultiReader(bytes.NewReader(early), source)
}

// lossFrame tells x that the other side is lost: the upstream's peer goes away, the
// client's gateway has got no answer (RFC 6455 section 7.4.1 and the IANA registry).
func lossFrame(s *session, x *side, reason string) []byte {
	return closeFrame(lossCode(s, x), reason, x.name == upstreamSide)
}

// lossCode is the close code of lossFrame.
func lossCode(s *session, x *side) int {
	if x.name == upstreamSide {
		return closeGoingAway
	}
	return s.upstreamLostCode
}

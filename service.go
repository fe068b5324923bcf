package wsfw

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// lingerTimeout is how long a service that has lost its session may go on with what it still
// has to send upstream.
const lingerTimeout = time.Second

// service is the session's end of the connection to Traefik's service. What the service writes
// comes out of one pipe, and what is written to it goes into another: either direction can end
// by itself.
type service struct {
	reads, writes       net.Conn
	farReads, farWrites net.Conn // the service's ends of the same
	closing             atomic.Bool
	flushed             chan struct{} // closed when the service has passed on all that it was given
}

// hijackedConn is the service's end, which it takes for the client's connection. Reader and
// Writer are embedded, for so compiled code calls theirs: a method of ours would cost each
// message some 15 µs.
type hijackedConn struct {
	io.Reader // reads
	io.Writer // writes
	*standIn

	reads, writes net.Conn
	flushed       chan struct{} // the session's end has nothing more to say
}

// standIn has the addresses of the client's connection, and nothing that hijackedConn has itself. Each
// method of ours would keep half a KiB for as long as the session.
type standIn struct{ net.Conn }

// joinService makes both ends of a connection that stands for client's.
func joinService(client net.Conn) (*service, *hijackedConn) {
	fromService, toSession := net.Pipe()
	fromSession, toService := net.Pipe()
	near := &service{
		reads: fromService, writes: toService, farReads: fromSession, farWrites: toSession, flushed: make(chan struct{}),
	}
	far := &hijackedConn{
		Reader: fromSession, Writer: toSession, standIn: &standIn{client}, reads: fromSession, writes: toSession, flushed: near.flushed,
	}
	return near, far
}

// servicePeer makes a peer of the service.
func servicePeer(c *service, early []byte) *peer {
	x := &peer{name: upstreamPeer, conn: c.writes, source: c.reads, reader: c.reads, service: c}
	if len(early) > 0 {
		x.reader = after(early, c.reads)
	}
	return x
}

// closeService closes the session's end. It does not wait for the service.
func closeService(c *service) {
	if c.closing.CompareAndSwap(false, true) {
		_ = c.reads.Close()
		_ = c.writes.SetWriteDeadline(past)
		go flush(c)
	}
}

// abandon closes the service's end for it.
func (c *service) abandon() {
	_ = c.farWrites.Close()
	_ = c.farReads.Close()
}

// flush ends what the service reads once it has passed on what it was given: an empty write
// comes back when it is there to read more.
func flush(c *service) {
	defer flushed(c)
	// Not a deadline, which a pump that is about to write would undo.
	late := time.AfterFunc(lingerTimeout, func() {
		defer func() { _ = recover() }()
		_ = c.writes.Close()
	})
	_ = c.writes.SetWriteDeadline(time.Time{})
	_, _ = c.writes.Write(nil)
	_ = c.writes.Close()
	late.Stop()
}

// flushed, deferred, lets the service go.
func flushed(c *service) {
	_ = recover()
	close(c.flushed)
}

// Close implements net.Conn. A proxy closes its client's connection when its upstream has
// nothing more to say, and the upstream's right after that. So this comes back only when there
// is nothing more to be said to the upstream either, such as the answer to its close frame.
func (c *hijackedConn) Close() error {
	_ = c.writes.Close()
	<-c.flushed
	return c.reads.Close()
}

// SetDeadline implements net.Conn.
func (c *hijackedConn) SetDeadline(t time.Time) error {
	_ = c.reads.SetReadDeadline(t)
	return c.writes.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *hijackedConn) SetReadDeadline(t time.Time) error { return c.reads.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *hijackedConn) SetWriteDeadline(t time.Time) error { return c.writes.SetWriteDeadline(t) }

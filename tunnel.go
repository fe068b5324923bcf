package wsfw

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"time"
)

// carry is attend for a tunnel, where there are no frames and no close codes. What comes is copied until
// nothing has for a tick: then it is true. The end of a stream is passed on as such, and starts the wait
// for the other one.
func carry(s *session, f *flow, n int, err error) bool {
	if n > 0 {
		err = copyOn(s, f, n)
	}
	if err == nil {
		return true
	}
	if errors.Is(err, io.EOF) {
		passEnd(s, f)
	} else {
		conclude(s, failedSide(f, err), 0, "connection lost")
		cut(s)
	}
	return false
}

// passEnd passes on the end of f's source in a tunnel. The second one ends the session.
func passEnd(s *session, f *flow) {
	s.mu.Lock()
	f.from.ended = true
	last := f.to.ended
	if s.outcome.endedBy == "" {
		s.outcome.endedBy = f.from.name
	}
	if !last {
		setClosing(s)
	}
	s.mu.Unlock()
	if last || !closeWrite(f.to.conn) {
		cut(s)
	}
}

// copyOn copies what comes, from the first n bytes on, until nothing has for a tick. Its error is the end
// of the stream, or a failed read or write.
func copyOn(s *session, f *flow, n int) error {
	missed := tickOn(s, f)
	written, err := f.to.conn.Write(f.buf[:n])
	f.bytes += int64(written)
	if err != nil {
		return explained(s, f, err)
	}
	buf := borrow(&largeBuffers, largeBuffer)
	defer largeBuffers.Put(buf)
	// As they are, connections would do the copying themselves, with a buffer that stays with the session.
	source, destination := io.LimitReader(f.from.reader, unlimited), io.MultiWriter(f.to.conn)
	for {
		copied, err := io.CopyBuffer(destination, source, *buf)
		f.bytes += copied
		if err == nil {
			return io.EOF
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || s.writeTimeout > 0 && time.Now().After(missed) {
			return explained(s, f, err)
		}
		if copied == 0 {
			_ = f.from.source.SetReadDeadline(never)
			return nil
		}
		missed = tickOn(s, f)
	}
}

// tickOn sets the deadlines of a copy. A read's is the tick, at which a write's is moved on: missed is when
// that has failed.
func tickOn(s *session, f *flow) (missed time.Time) {
	now := time.Now()
	missed = now.Add(s.writeTimeout + s.tick)
	_ = f.from.source.SetReadDeadline(now.Add(s.tick))
	if s.writeTimeout > 0 {
		_ = f.to.conn.SetWriteDeadline(missed)
	}
	return missed
}

// explained is why a copy has failed. Where that is for time, it was a write, and the session's end.
func explained(s *session, f *flow, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		conclude(s, gatewaySide, 0, f.to.name+" write timeout")
	}
	return err
}

// failedSide names the side that a copy has failed at.
func failedSide(f *flow, cause error) string {
	var failed *net.OpError
	if errors.As(cause, &failed) && failed.Op == "write" {
		return f.to.name
	}
	return f.from.name
}

// closeWrite ends the stream to a connection and leaves the way back open. It is
// false where the connection cannot do that. By reflection where it is Traefik's, for the interpreter
// does not see the methods of a compiled value through an interface of ours.
func closeWrite(conn net.Conn) bool {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		return true
	}
	method := reflect.ValueOf(conn).MethodByName("CloseWrite")
	if !method.IsValid() {
		return false
	}
	method.Call(nil)
	return true
}

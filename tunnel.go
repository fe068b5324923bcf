package wsfw

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"time"
)

// pipe is pump for a tunnel, where there are no frames and no close codes. The end of a stream is passed on as such,
// and starts the wait for the other one. A stream that fails ends the session, unless that is over.
func pipe(s *session, f *flow) {
	defer arrive(s)
	for {
		n, err := f.from.reader.Read(f.buf)
		if n > 0 {
			err = copyOn(s, f, n)
		}
		if err == nil {
			continue
		}
		//nolint:errorlint // most ends are this one as it is, which spares them a call
		if err == io.EOF || errors.Is(err, io.EOF) {
			passEnd(s, f)
		} else {
			conclude(s, failedSide(f, err), 0, "connection lost")
			cut(s)
		}
		return
	}
}

// passEnd passes on the end of f's source in a tunnel. After the second one end closes both connections.
func passEnd(s *session, f *flow) {
	s.mu.Lock()
	f.from.ended = true
	last := f.to.ended || s.over
	if !last {
		expectEnd(s, f)
	}
	s.mu.Unlock()
	if !last && !closeWrite(f.to.conn) {
		cut(s)
	}
}

// expectEnd has the other direction of a tunnel end within closeTimeout after f: by deadlines, for an alarm would
// take twice as many steps. Needs session.mu.
func expectEnd(s *session, f *flow) {
	if s.outcome.endedBy == "" {
		s.outcome.endedBy = f.from.name
	}
	s.closing = true
	s.closeBy = time.Since(s.started) + s.closeTimeout
	by := s.started.Add(s.closeBy)
	_ = f.to.source.SetReadDeadline(by)
	_ = f.from.conn.SetWriteDeadline(by)
}

// copyOn copies what comes, from the first n bytes on, until nothing has for a tick. Its error is the end
// of the stream, or a failed read or write.
func copyOn(s *session, f *flow, n int) error {
	missed, _ := tickOn(s, f, false)
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
		if !errors.Is(err, os.ErrDeadlineExceeded) || s.writeTimeout > 0 && time.Now().After(missed) && isWrite(err) {
			return explained(s, f, err)
		}
		next, late := tickOn(s, f, copied == 0)
		if late {
			return err
		}
		if copied == 0 {
			return nil
		}
		missed = next
	}
}

// tickOn sets the deadlines of a copy, or of its rest. A read's is the tick, at which a write's is moved on: missed
// is when that has failed. None is later than closeBy, and late tells that this has passed.
func tickOn(s *session, f *flow, rests bool) (missed time.Time, late bool) {
	now := time.Now()
	missed = now.Add(s.writeTimeout + s.tick)
	reads, writes := now.Add(s.tick), missed
	s.mu.Lock()
	defer s.mu.Unlock()
	if rests {
		reads = never
	}
	if s.writeTimeout == 0 {
		writes = never
	}
	if s.closing {
		by := s.started.Add(s.closeBy)
		late = !now.Before(by)
		reads = earlier(reads, by)
		writes = earlier(writes, by)
	}
	if !s.over {
		_ = f.from.source.SetReadDeadline(reads)
		_ = f.to.conn.SetWriteDeadline(writes)
	}
	return missed, late
}

// earlier is the earlier one of a deadline, which may be never, and a time.
func earlier(deadline, at time.Time) time.Time {
	if deadline.IsZero() || at.Before(deadline) {
		return at
	}
	return deadline
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
	if isWrite(cause) {
		return f.to.name
	}
	return f.from.name
}

// isWrite reports whether it is a write that has failed. Where the whole process has stood still, reads are late, too.
func isWrite(cause error) bool {
	var failed *net.OpError
	return errors.As(cause, &failed) && failed.Op == "write"
}

// closeWrite ends the stream to a connection and leaves the way back open. It is
// false where the connection cannot do that.
func closeWrite(conn net.Conn) bool {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		return true
	}
	return closeWriteOf(conn)
}

// closeWriteOf is closeWrite for a connection that is not TCP's own, as Traefik's: by reflection, for the
// interpreter does not see the methods of a compiled value through an interface of ours.
func closeWriteOf(conn net.Conn) bool {
	method := reflect.ValueOf(conn).MethodByName("CloseWrite")
	if !method.IsValid() {
		return false
	}
	method.Call(nil)
	return true
}

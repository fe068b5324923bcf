package wsfw

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"time"
)

// pipe copies one direction as it comes to its end, for a tunnel: no frames, no close codes.
// The end of a stream is passed on as such, and starts the wait for the other one.
func pipe(s *session, f *flow) {
	err := copyOn(s, f)
	if err != nil {
		conclude(s, failedSide(f, err), 0, "connection lost")
		cut(s)
		return
	}
	conclude(s, f.from.name, 0, "")
	startClosing(s)
	if !closeWrite(f.to.conn) {
		cut(s)
	}
	mark(s, &f.from.ended)
}

// copyOn copies one direction to its end. Only its write deadline can fail it on
// time; a missed read deadline is the tick at which that deadline is moved on.
func copyOn(s *session, f *flow) error {
	for {
		now := time.Now()
		missed := now.Add(s.writeTimeout + s.tick)
		_ = f.from.source.SetReadDeadline(now.Add(s.tick))
		if s.writeTimeout > 0 {
			_ = f.to.conn.SetWriteDeadline(missed)
		}
		n, err := io.Copy(f.to.conn, f.from.reader)
		f.bytes += n
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if s.writeTimeout > 0 && time.Now().After(missed) {
			conclude(s, gatewaySide, 0, f.to.name+" write timeout")
			return err
		}
	}
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
// false where the connection cannot do that. By reflection, for the interpreter
// does not see the methods of a compiled value through an interface of ours.
func closeWrite(conn net.Conn) bool {
	method := reflect.ValueOf(conn).MethodByName("CloseWrite")
	if !method.IsValid() {
		return false
	}
	method.Call(nil)
	return true
}

package wire

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// RawHTTP2 is a client's connection of HTTP/2 whose frames a case makes itself, legal or not. It opens the windows of what it
// gets neither for a stream nor for the connection: a case does. It is for one goroutine.
type RawHTTP2 struct {
	*http2.Framer

	conn     *tls.Conn
	settings map[http2.SettingID]uint32
	block    bytes.Buffer
	encoder  *hpack.Encoder // which writes into block
	next     uint32         // stream to be opened
	kept     []Arrival      // on streams that nobody has asked for since
}

// Arrival is what has come from the server on a stream, or, as a GOAWAY, on the connection.
type Arrival struct {
	Type   http2.FrameType
	Stream uint32
	Fields map[string]string // of HEADERS, pseudo-header fields included
	Data   []byte            // of DATA
	Ended  bool              // END_STREAM
	Code   http2.ErrCode     // of RST_STREAM and GOAWAY
}

// String describes it in a test's message.
func (a Arrival) String() string {
	return fmt.Sprintf("%v on stream %d, END_STREAM %v, code %v, %v, %.40q", a.Type, a.Stream, a.Ended, a.Code, a.Fields, a.Data)
}

// DialRawHTTP2 connects to a gateway over TLS, and returns when each end has the other's settings.
func DialRawHTTP2(addr string, settings ...http2.Setting) (*RawHTTP2, error) {
	conn, err := dialTLS(addr)
	if err != nil {
		return nil, err
	}
	r := &RawHTTP2{Framer: http2.NewFramer(conn, conn), conn: conn, settings: map[http2.SettingID]uint32{}, next: 1}
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.encoder = hpack.NewEncoder(&r.block)
	if err := r.greet(settings); err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

// greet is the connection's preface (RFC 9113 section 3.4).
func (r *RawHTTP2) greet(settings []http2.Setting) error {
	if err := r.conn.SetDeadline(time.Now().Add(Timeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(r.conn, http2.ClientPreface); err != nil {
		return err
	}
	if err := r.WriteSettings(settings...); err != nil {
		return err
	}
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return err
		}
		theirs, ok := f.(*http2.SettingsFrame)
		if ok && theirs.IsAck() {
			return nil
		}
		if _, err := r.take(f); err != nil {
			return err
		}
	}
}

// Close ends the connection.
func (r *RawHTTP2) Close() error { return r.conn.Close() }

// Reset ends the connection with a RST of TCP.
func (r *RawHTTP2) Reset() error { return tcp{r.conn.NetConn().(*net.TCPConn)}.Reset() }

// SetDeadline bounds what follows, in place of [Timeout] from the connection's beginning.
func (r *RawHTTP2) SetDeadline(t time.Time) error { return r.conn.SetDeadline(t) }

// Setting is one of the server's settings; false where it has not sent it.
func (r *RawHTTP2) Setting(id http2.SettingID) (value uint32, ok bool) {
	value, ok = r.settings[id]
	return value, ok
}

// Ask sends the HEADERS of an extended CONNECT on a new stream. Lines change it as those of [Carrier.Dial] do. With end they
// have END_STREAM.
func (r *RawHTTP2) Ask(end bool, lines ...string) (stream uint32, err error) {
	stream = r.next
	r.next += 2
	return stream, r.WriteFields(stream, end, askFields(lines))
}

// WriteFields sends HEADERS on a stream, with fields such as ":path: /" in this order.
func (r *RawHTTP2) WriteFields(stream uint32, end bool, fields []string) error {
	r.block.Reset()
	for _, line := range fields {
		name, value := split(line)
		if err := r.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
			return err
		}
	}
	return r.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: r.block.Bytes(), EndStream: end, EndHeaders: true,
	})
}

// askFields are those of RFC 8441 section 5.1, changed by lines.
func askFields(lines []string) []string {
	fields := []string{
		":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /socket", ":authority: " + secureName,
		"sec-websocket-version: 13",
	}
	for _, line := range lines {
		name, value := split(line)
		at := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, name+": ") })
		switch {
		case at < 0:
			fields = append(fields, line)
		case value == "":
			fields = slices.Delete(fields, at, at+1)
		default:
			fields[at] = line
		}
	}
	return fields
}

// split is a line's name and value. The names of pseudo-header fields begin with a colon.
func split(line string) (name, value string) {
	colon := strings.Index(line[1:], ":") + 1
	return line[:colon], strings.TrimSpace(line[colon+1:])
}

// Next is what comes next on a stream, or on the connection where stream is 0. What comes on others is kept for later.
func (r *RawHTTP2) Next(stream uint32) (Arrival, error) {
	for i, a := range r.kept {
		if a.Stream == stream {
			r.kept = slices.Delete(r.kept, i, i+1)
			return a, nil
		}
	}
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return Arrival{}, err
		}
		a, err := r.take(f)
		switch {
		case err != nil:
			return Arrival{}, err
		case a == nil:
		case a.Stream == stream:
			return *a, nil
		default:
			r.kept = append(r.kept, *a)
		}
	}
}

// take answers what is the connection's, and is nil for that.
func (r *RawHTTP2) take(f http2.Frame) (*Arrival, error) {
	a := &Arrival{Type: f.Header().Type, Stream: f.Header().StreamID}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return nil, r.accept(f)
	case *http2.PingFrame:
		if f.IsAck() {
			return nil, nil
		}
		return nil, r.WritePing(true, f.Data)
	case *http2.MetaHeadersFrame:
		a.Ended, a.Fields = f.StreamEnded(), map[string]string{}
		for _, field := range f.Fields {
			a.Fields[field.Name] = field.Value
		}
	case *http2.DataFrame:
		a.Ended, a.Data = f.StreamEnded(), bytes.Clone(f.Data())
	case *http2.RSTStreamFrame:
		a.Code = f.ErrCode
	case *http2.GoAwayFrame:
		a.Code = f.ErrCode
	default:
		return nil, nil // a WINDOW_UPDATE: what a case sends is less than any window
	}
	return a, nil
}

// accept keeps the server's settings.
func (r *RawHTTP2) accept(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	_ = f.ForeachSetting(func(s http2.Setting) error {
		r.settings[s.ID] = s.Val
		return nil
	})
	return r.WriteSettingsAck()
}

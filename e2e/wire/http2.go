package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// http2Carrier is a connection of HTTP/2.
type http2Carrier struct {
	conn   net.Conn
	client *http2.ClientConn
}

// ConnectHTTP2 connects to a gateway over TLS.
func ConnectHTTP2(addr string) (Carrier, error) {
	conn, err := dialTLS(addr)
	if err != nil {
		return nil, err
	}
	settings := &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow}
	transport, err := http2.ConfigureTransports(&http.Transport{HTTP2: settings, DisableCompression: true})
	if err == nil {
		var client *http2.ClientConn
		if client, err = transport.NewClientConn(conn); err == nil {
			return &http2Carrier{conn: conn, client: client}, nil
		}
	}
	conn.Close()
	return nil, err
}

// dialTLS makes a connection for HTTP/2.
func dialTLS(addr string) (*tls.Conn, error) {
	dialer := &net.Dialer{Timeout: Timeout}
	config := &tls.Config{InsecureSkipVerify: true, ServerName: secureName, NextProtos: []string{http2.NextProtoTLS}}
	return tls.DialWithDialer(dialer, "tcp", addr, config)
}

// Close implements [Carrier].
func (c *http2Carrier) Close() error { return c.client.Close() }

// Dial implements [Carrier].
func (c *http2Carrier) Dial(lines ...string) (*Peer, error) {
	h, err := newHandshake(lines)
	if err != nil {
		return nil, err
	}
	s := &http2Stream{over: c.conn, sent: make(chan struct{}), release: func() {}}
	var body, answer net.Conn
	s.out, body = net.Pipe()
	s.in, answer = net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	resp, err := s.open(ctx, c.client, h, body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = refusal(resp)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	s.body = resp.Body
	go s.receive(answer)
	return newStreamPeer(s, resp.Header), nil
}

// http2Stream is a stream of HTTP/2. The transport has neither deadlines nor a word for the end of what is sent: the
// pipes have.
type http2Stream struct {
	in, out net.Conn      // the ends of pipes from and to the transport
	body    io.ReadCloser // the answer's, which goes into the first
	failure error         // why it ended; to be read when in has
	sent    chan struct{} // closed once the transport sends nothing more
	over    net.Conn      // of which this is a stream
	cancel  context.CancelFunc
	release func()

	once  sync.Once
	ended atomic.Bool // by us
}

// open does the handshake. What is read from body is what the stream sends.
func (s *http2Stream) open(
	ctx context.Context, client *http2.ClientConn, h *handshake, body io.ReadCloser,
) (*http.Response, error) {
	timer := time.AfterFunc(Timeout, s.cancel)
	defer timer.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { close(s.sent) },
	})
	req := &http.Request{Method: h.method, URL: h.url, Host: h.url.Host, Header: h.header, Body: body}
	if h.protocol != "" {
		req.Header[":protocol"] = []string{h.protocol}
	}
	return client.RoundTrip(req.WithContext(ctx))
}

// receive passes the answer's body on until its end.
func (s *http2Stream) receive(to net.Conn) {
	if _, err := io.Copy(to, s.body); err != nil {
		s.failure = resetError(err)
	}
	to.Close()
}

// Read implements [net.Conn].
func (s *http2Stream) Read(b []byte) (int, error) {
	n, err := s.in.Read(b)
	if errors.Is(err, io.EOF) && s.failure != nil {
		err = s.failure
	}
	return n, s.explained(err)
}

// Write implements [net.Conn]. What it has written the transport has taken, not sent.
func (s *http2Stream) Write(b []byte) (int, error) {
	n, err := s.out.Write(b)
	return n, s.explained(err)
}

// explained tells what a closed pipe stands for.
func (s *http2Stream) explained(err error) error {
	switch {
	case !errors.Is(err, io.ErrClosedPipe):
		return err
	case s.ended.Load():
		return net.ErrClosed
	}
	return resetError(err)
}

// CloseWrite implements [Conn].
func (s *http2Stream) CloseWrite() error { return s.out.Close() }

// Close implements [net.Conn]: what has been written goes out, then the stream's end. What comes thereafter is refused, as
// TCP does.
func (s *http2Stream) Close() error {
	s.once.Do(func() {
		s.ended.Store(true)
		s.in.Close()
		s.out.Close()
		go func() {
			select {
			case <-s.sent:
			case <-time.After(parting):
			}
			s.abort()
		}()
	})
	return nil
}

// Reset implements [Conn].
func (s *http2Stream) Reset() error {
	s.once.Do(func() {
		s.ended.Store(true)
		s.abort()
		s.in.Close()
		s.out.Close()
	})
	return nil
}

// abort sends a RST_STREAM, code CANCEL, where the stream has not ended both ways.
func (s *http2Stream) abort() {
	s.body.Close()
	s.cancel()
	s.release()
}

// endsWith implements stream.
func (s *http2Stream) endsWith(carrier Carrier) {
	s.release = func() { carrier.Close() }
}

// SetDeadline implements [net.Conn].
func (s *http2Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (s *http2Stream) SetReadDeadline(t time.Time) error { return s.in.SetReadDeadline(t) }

// SetWriteDeadline implements [net.Conn].
func (s *http2Stream) SetWriteDeadline(t time.Time) error { return s.out.SetWriteDeadline(t) }

// SetReadBuffer implements [Conn].
func (*http2Stream) SetReadBuffer(int) error { return nil }

// LocalAddr implements [net.Conn].
func (s *http2Stream) LocalAddr() net.Addr { return s.over.LocalAddr() }

// RemoteAddr implements [net.Conn].
func (s *http2Stream) RemoteAddr() net.Addr { return s.over.RemoteAddr() }

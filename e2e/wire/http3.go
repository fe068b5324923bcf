package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// http3Carrier is a connection of HTTP/3.
type http3Carrier struct {
	conn   *quic.Conn
	client *http3.ClientConn
}

// init has quic-go keep to itself how large the kernel's buffers are: for the suite they do.
func init() {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
}

// ConnectHTTP3 connects to a gateway over QUIC.
func ConnectHTTP3(addr string) (Carrier, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: secureName, NextProtos: []string{http3.NextProtoH3}}
	conn, err := quic.DialAddr(ctx, addr, config, &quic.Config{
		InitialStreamReceiveWindow: streamWindow,
		MaxStreamReceiveWindow:     streamWindow,
		KeepAlivePeriod:            Timeout / 4,
	})
	if err != nil {
		return nil, err
	}
	client := (&http3.Transport{DisableCompression: true}).NewClientConn(conn)
	c := &http3Carrier{conn: conn, client: client}
	select {
	case <-client.ReceivedSettings():
	case <-ctx.Done():
		c.Close()
		return nil, ctx.Err()
	}
	if !client.Settings().EnableExtendedConnect {
		c.Close()
		return nil, errors.New("the gateway does not offer an extended CONNECT")
	}
	return c, nil
}

// Close implements [Carrier].
func (c *http3Carrier) Close() error {
	return c.client.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

// Dial implements [Carrier].
func (c *http3Carrier) Dial(lines ...string) (*Peer, error) {
	h, err := newHandshake(lines)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	opened, err := c.client.OpenRequestStream(ctx)
	if err != nil {
		return nil, err
	}
	s := &http3Stream{RequestStream: opened, over: c.conn, release: func() {}}
	if err := s.SetDeadline(time.Now().Add(Timeout)); err != nil {
		return nil, err
	}
	// The protocol of a request to be sent is that of its CONNECT.
	req := &http.Request{Method: h.method, Proto: h.protocol, URL: h.url, Host: h.url.Host, Header: h.header}
	if err := s.SendRequestHeader(req); err != nil {
		s.cut()
		return nil, err
	}
	resp, err := s.ReadResponse()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = refusal(resp)
	}
	if err != nil {
		s.cut()
		return nil, err
	}
	return newStreamPeer(s, resp.Header), nil
}

// http3Stream is a stream of HTTP/3.
type http3Stream struct {
	*http3.RequestStream

	over    *quic.Conn // of which this is a stream
	release func()
	writing sync.Mutex // for quic-go takes one write at a time
	once    sync.Once
	ended   atomic.Bool // by us
}

// Read implements [net.Conn].
func (s *http3Stream) Read(b []byte) (int, error) {
	n, err := s.RequestStream.Read(b)
	return n, s.explained(err)
}

// Write implements [net.Conn].
func (s *http3Stream) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	n, err := s.RequestStream.Write(b)
	return n, s.explained(err)
}

// explained tells an end that is out of order as TCP does.
func (s *http3Stream) explained(err error) error {
	var reset *http3.Error
	switch {
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case s.ended.Load():
		return net.ErrClosed
	case errors.As(err, &reset) && reset.Remote:
		return resetError(err)
	}
	return err
}

// CloseWrite implements [Conn].
func (s *http3Stream) CloseWrite() error { return s.RequestStream.Close() }

// Close implements [net.Conn]: what has been written goes out, then the stream's end. What comes thereafter is refused, as
// TCP does.
func (s *http3Stream) Close() error {
	var err error
	s.once.Do(func() {
		err = s.CloseWrite()
		s.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
		s.ended.Store(true)
		s.release()
	})
	return err
}

// Reset implements [Conn].
func (s *http3Stream) Reset() error {
	s.once.Do(func() {
		s.ended.Store(true)
		s.cut()
		s.release()
	})
	return nil
}

// cut sends a RESET_STREAM and a STOP_SENDING, code H3_REQUEST_CANCELLED.
func (s *http3Stream) cut() {
	s.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
}

// endsWith implements stream. A connection that ends takes along what is still to be read of its streams.
func (s *http3Stream) endsWith(carrier Carrier) {
	s.release = func() { time.AfterFunc(parting, func() { carrier.Close() }) }
}

// SetReadBuffer implements [Conn].
func (*http3Stream) SetReadBuffer(int) error { return nil }

// LocalAddr implements [net.Conn].
func (s *http3Stream) LocalAddr() net.Addr { return s.over.LocalAddr() }

// RemoteAddr implements [net.Conn].
func (s *http3Stream) RemoteAddr() net.Addr { return s.over.RemoteAddr() }

package wsfw

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// newTunnel is a tunnel that rests when nothing has come for a tick, with the far ends of its connections.
func newTunnel(t *testing.T) (s *session, client, upstream net.Conn) {
	near, client := net.Pipe()
	far, upstream := net.Pipe()
	set := newSettings(limits{writeTimeout: 400 * time.Millisecond, closeTimeout: time.Minute})
	set.tunnel = true
	s = newSession(newSide(clientSide, near), newSide(upstreamSide, far), plain, set, nil)
	for _, conn := range []net.Conn{near, client, far, upstream} {
		t.Cleanup(func() { conn.Close() })
	}
	return s, client, upstream
}

// A tunnel's pump gives its buffer back once nothing more comes, and goes on from there.
func TestTunnelRests(t *testing.T) {
	s, client, upstream := newTunnel(t)
	f := s.toUpstream
	got := make(chan string, 1)
	go func() {
		buf := make([]byte, 10)
		n, _ := io.ReadFull(upstream, buf[:5])
		got <- string(buf[:n])
	}()
	go func() { _, _ = io.WriteString(client, "lo") }()
	if !carry(s, f, copy(f.buf, "hel"), nil) {
		t.Fatal("a tunnel does not rest")
	}
	if passed := <-got; passed != "hello" || f.bytes != 5 {
		t.Errorf("passed on %q, counted %d", passed, f.bytes)
	}
	go func() {
		_, _ = io.WriteString(client, "again")
		client.Close()
	}()
	n, err := f.from.reader.Read(f.buf) // without a deadline that has been missed
	if n != 5 || err != nil {
		t.Fatalf("at rest it reads %d: %v", n, err)
	}
	go func() {
		all, _ := io.ReadAll(upstream)
		got <- string(all)
	}()
	if carry(s, f, n, nil) {
		t.Error("a tunnel rests at the end of its stream")
	}
	if passed := <-got; passed != "again" || s.outcome != (outcome{endedBy: clientSide}) {
		t.Errorf("passed on %q, outcome %+v", passed, s.outcome)
	}
}

// What a peer does not read is its loss, and not the other's.
func TestTunnelBlocked(t *testing.T) {
	s, client, _ := newTunnel(t)
	f := s.toUpstream
	go func() { _, _ = io.WriteString(client, "more") }()
	if carry(s, f, copy(f.buf, "some"), nil) {
		t.Error("a tunnel rests with a blocked write")
	}
	if want := (outcome{gatewaySide, 0, "upstream write timeout"}); s.outcome != want {
		t.Errorf("outcome %+v, want %+v", s.outcome, want)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
}

package wsfw

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// newTunnel is a tunnel that rests when nothing has come for a tick, with the far ends of its connections.
func newTunnel(t *testing.T, closeTimeout time.Duration) (s *session, client, upstream net.Conn) {
	near, client := net.Pipe()
	far, upstream := net.Pipe()
	set := newSettings(limits{writeTimeout: 400 * time.Millisecond, closeTimeout: closeTimeout})
	set.tunnel = true
	s = newSession(newPeer(clientPeer, near), newPeer(upstreamPeer, far), plain, set, nil)
	enroll(s)
	t.Cleanup(func() { withdraw(s) })
	for _, conn := range []net.Conn{near, client, far, upstream} {
		t.Cleanup(func() { conn.Close() })
	}
	return s, client, upstream
}

// A tunnel's pump gives its buffer back once nothing more comes, and goes on from there.
func TestTunnelRests(t *testing.T) {
	s, client, upstream := newTunnel(t, time.Minute)
	f := s.toUpstream
	got := make(chan string, 1)
	go func() {
		buf := make([]byte, 10)
		n, _ := io.ReadFull(upstream, buf[:5])
		got <- string(buf[:n])
	}()
	go func() { _, _ = io.WriteString(client, "lo") }()
	if !onRead(s, f, copy(f.buf, "hel"), nil) || f.small != nil || f.large != nil {
		t.Fatal("a tunnel does not rest")
	}
	if passed := <-got; passed != "hello" || f.bytes != 5 {
		t.Errorf("passed on %q, counted %d", passed, f.bytes)
	}
	go func() {
		_, _ = io.WriteString(client, "again")
		client.Close()
	}()
	go func() {
		all, _ := io.ReadAll(upstream)
		got <- string(all)
	}()
	pump(s, f) // begins at rest, without a deadline that has been missed
	if passed := <-got; passed != "again" || s.outcome != (outcome{endedBy: clientPeer}) {
		t.Errorf("passed on %q, outcome %+v", passed, s.outcome)
	}
}

// What a peer does not read is its loss, and not the other's.
func TestTunnelBlocked(t *testing.T) {
	s, client, _ := newTunnel(t, time.Minute)
	f := s.toUpstream
	go func() { _, _ = io.WriteString(client, "some") }()
	pump(s, f)
	if want := (outcome{gateway, 0, "upstream write timeout"}); s.outcome != want {
		t.Errorf("outcome %+v, want %+v", s.outcome, want)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
}

// The other direction of a stream that has ended is kept to closeTimeout, whether it rests, is in a copy, or blocks.
func TestTunnelCloses(t *testing.T) {
	for _, way := range []string{"at rest", "in a copy", "blocked"} {
		s, client, _ := newTunnel(t, 250*time.Millisecond)
		far, upstream := overTCP(t)
		s.upstream.conn, s.upstream.source, s.upstream.reader = far, far, far
		begin(s, serverless)
		defer end(s)
		lasts := make(chan time.Duration, 1)
		go func() {
			pump(s, s.toClient)
			lasts <- time.Since(s.started)
		}()
		if way != "at rest" {
			_, _ = io.WriteString(upstream, "a")
		}
		if way == "in a copy" {
			_, _ = client.Read(make([]byte, 1))
		}
		endTunnel(s, s.toUpstream, io.EOF)
		if took := <-lasts; took < s.closeTimeout || took > s.closeTimeout+20*time.Second {
			t.Errorf("%s: the other direction lasts %v, want %v", way, took, s.closeTimeout)
		}
		if want := (outcome{endedBy: clientPeer}); s.outcome != want || !isOver(s) {
			t.Errorf("%s: outcome %+v, over: %v", way, s.outcome, isOver(s))
		}
	}
}

// overTCP is both ends of a connection that can be closed half.
func overTCP(t *testing.T) (one, other net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	one, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = one.Close()
		_ = other.Close()
	})
	return one, other
}

// A read that comes late, for the process has stood still, is no write that has blocked.
func TestOnlyWritesTimeOut(t *testing.T) {
	late := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	blocked := &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}
	if isWrite(late) || !isWrite(blocked) || isWrite(io.EOF) {
		t.Errorf("a late read is a write: %v, and a blocked write: %v", isWrite(late), isWrite(blocked))
	}
}

package wsfw

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestServiceIsHeardOut has a proxy close its client's connection while it still passes on what
// it was given: it is held up until that is done and the session has ended.
func TestServiceIsHeardOut(t *testing.T) {
	client, peer := net.Pipe()
	defer peer.Close()
	near, far := newPipes(client)
	last := []byte("the answer to a close frame")
	read, passOn, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		buf := make([]byte, 100)
		_, _ = far.Read(buf)
		close(read)
		<-passOn
		_, _ = io.Copy(io.Discard, far)
	}()
	go func() {
		_ = far.Close()
		close(closed)
	}()
	if n, err := near.reads.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("the session reads %d bytes (%v) of a service that has closed, want the end", n, err)
	}
	if _, err := near.writes.Write(last); err != nil {
		t.Fatalf("the way to a service that has closed is closed, too: %v", err)
	}
	<-read
	closePipes(near)
	if isClosed(closed) {
		t.Error("the service is let go before it has passed on what it read")
	}
	close(passOn)
	<-closed
	if _, err := near.writes.Write(last); err == nil {
		t.Error("the session can still write to a service that has gone")
	}
}

// TestStuckServiceIsGivenUp has nobody read what was written.
func TestStuckServiceIsGivenUp(t *testing.T) {
	near, far := newPipes(nil)
	wrote := make(chan error)
	go func() {
		_, err := near.writes.Write([]byte("x"))
		wrote <- err
	}()
	start := time.Now()
	closePipes(near)
	if err := <-wrote; err == nil {
		t.Error("a write that nobody reads succeeds")
	}
	_ = far.Close()
	if took := time.Since(start); took > 10*lingerTimeout {
		t.Errorf("a service that does not read was given up after %v", took)
	}
}

// isClosed reports whether c is closed; nobody sends on it.
func isClosed(c chan struct{}) bool {
	done := make(chan bool, 2)
	go func() {
		<-c
		done <- true
	}()
	time.AfterFunc(10*time.Millisecond, func() { done <- false })
	is := <-done
	return is
}

// TestTakeoverHandsOnAnswers is a service that answers an upgrade without taking it over, and
// one that tries to, where it cannot.
func TestTakeoverHandsOnAnswers(t *testing.T) {
	set := newSettings(limits{})
	set.inline = true
	m := &Middleware{name: "answering", settings: set, counts: newCounts(), report: func(string, error) {}, next: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/take" {
			_, _, err := http.NewResponseController(rw).Hijack()
			http.Error(rw, "the proxy's own: "+err.Error(), http.StatusBadGateway)
			return
		}
		rw.Header().Set("X-Own", "yes")
		rw.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(rw, "nothing here")
	})}
	answer := func(path string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", versionHeader: "13", keyHeader: "dGhlIHNhbXBsZSBub25jZQ=="} {
			req.Header.Set(name, value)
		}
		rw := httptest.NewRecorder()
		m.ServeHTTP(rw, req)
		return rw
	}
	if rw := answer("/"); rw.Code != 404 || rw.Body.String() != "nothing here" || rw.Header().Get("X-Own") != "yes" {
		t.Errorf("the service's answer came as %d %q %v", rw.Code, rw.Body, rw.Header())
	}
	if rw := answer("/take"); rw.Code != 500 || rw.Body.String() != refuseHijack.sentence+"\n" {
		t.Errorf("a connection that cannot be taken over is answered %d %q", rw.Code, rw.Body)
	}
	if left := counted(m.name); left != 0 {
		t.Errorf("%d sessions count that have come to nothing", left)
	}
}

// TestCloseLingersNoLonger has a pump that is about to write take back every deadline while the
// service reads nothing more.
func TestCloseLingersNoLonger(t *testing.T) {
	near, _ := newPipes(nil)
	var flushed atomic.Bool
	go func() {
		<-near.flushed
		flushed.Store(true)
	}()
	start := time.Now()
	closePipes(near)
	for !flushed.Load() {
		if time.Since(start) > 10*lingerTimeout {
			t.Fatalf("the service is still waited for after %v", time.Since(start))
		}
		_ = near.writes.SetWriteDeadline(time.Time{})
		runtime.Gosched()
	}
}

// TestProxyLeavesItsConnection has a server push with its 101, and the proxy before it leave the
// connection: nothing is lost, nobody copies, and the proxy returns when the session has ended.
func TestProxyLeavesItsConnection(t *testing.T) {
	const pushed = "\x81\x04push"
	heard := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
			acceptFor(req.Header.Get(keyHeader))+"\r\n\r\n"+pushed)
		told, _ := io.ReadAll(conn)
		heard <- string(told)
	}))
	defer server.Close()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	set := newSettings(limits{})
	set.inline = true
	set.rules = plain
	m := &Middleware{name: "leaving", settings: set, counts: newCounts(), report: func(_ string, cause error) { t.Error(cause) }, next: httputil.NewSingleHostReverseProxy(target)}
	left := make(chan struct{})
	gateway := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		m.ServeHTTP(rw, req)
		close(left)
	}))
	defer gateway.Close()
	client, err := net.Dial("tcp", strings.TrimPrefix(gateway.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	reader := bufio.NewReader(client)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the answer is %v (%v)", answer, err)
	}
	got := make([]byte, len(pushed))
	if _, err = io.ReadFull(reader, got); err != nil || string(got) != pushed {
		t.Errorf("the client gets %q (%v), want %q", got, err, pushed)
	}
	const said = "\x81\x82\x00\x00\x00\x00hi"
	_, _ = io.WriteString(client, said)
	ticker := time.NewTicker(time.Millisecond) // nothing announces the end of the proxy's goroutines
	defer ticker.Stop()
	for deadline := time.Now().Add(5 * time.Second); strings.Contains(allStacks(), "switchProtocolCopier"); {
		if time.Now().After(deadline) {
			t.Fatal("the proxy still copies")
		}
		<-ticker.C
	}
	if !strings.Contains(allStacks(), "handleUpgradeResponse") {
		t.Error("the proxy has returned before the session has ended")
	}
	_ = client.Close()
	<-left
	if is := <-heard; is != said {
		t.Errorf("the server gets %q, want %q", is, said)
	}
}

// allStacks is what all goroutines are doing.
func allStacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// TestWhoTakesOver tells Traefik's proxy from others by its stack.
func TestWhoTakesOver(t *testing.T) {
	const (
		wrapper = "github.com/traefik/yaegi/interp.genFunctionWrapper.func1.1({0x1, 0x2})\nreflect.callReflect(0x1)\n"
		proxy   = "net/http/httputil.(*ReverseProxy).handleUpgradeResponse(0x1)\nnet/http/httputil.(*ReverseProxy).ServeHTTP(0x1)\n"
	)
	for name, c := range map[string]struct {
		stack string
		want  bool
	}{
		"the proxy":                        {wrapper + proxy + wrapper, true},
		"the proxy, all of it compiled":    {proxy, true},
		"another plugin":                   {wrapper + wrapper, false},
		"a plugin between it and us":       {wrapper + wrapper + proxy, false},
		"what stands beyond what was read": {wrapper + proxy[:20], false},
	} {
		if got := leadsToProxy(c.stack); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

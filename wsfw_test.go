package wsfw

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// sampleKey is the key of RFC 6455 section 1.3, sampleAccept its proof.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// upgradeTo checksText an upgrade request for target.
func upgradeTo(target string, headers ...string) string {
	lines := append([]string{
		"GET " + target + " HTTP/1.1", "Host: example.com", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey,
	}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// echoUpstream answers an upgrade together with one frame, returns what it then gets
// unmasked, and closes after a close frame.
func echoUpstream(rw http.ResponseWriter, req *http.Request) {
	conn, buffered, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n%s",
		acceptFor(req.Header.Get(keyHeader)), hello)
	for {
		head := make([]byte, 2+maskSize)
		if _, err := io.ReadFull(buffered, head); err != nil {
			return
		}
		payload := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(buffered, payload); err != nil {
			return
		}
		_, _ = conn.Write(frame(head[0], masked(payload, head[2:]), false))
		if head[0] == finBit|opClose {
			return
		}
	}
}

// capture runs f and returns the line that it makes wsfw write to standard output.
// The line ends a session: it comes when the client has long seen its end.
func capture(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	output = &lineQueue{} // that has not opened another yet
	defer func() { os.Stdout = stdout }()
	f()
	_ = r.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// object is a configuration as Traefik decodes it.
type object = map[string]any

// start serves a middleware with config in front of next.
func start(t *testing.T, config object, next http.Handler) *httptest.Server {
	t.Helper()
	handler, err := New(context.Background(), next, &Config{Options: config}, "test@file")
	if err != nil {
		t.Fatal(err)
	}
	return httptest.NewServer(handler)
}

// connect sends a request and reads the answer's header.
func connect(t *testing.T, server *httptest.Server, request string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, reader, answer
}

func TestForward(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(echoUpstream))
	defer upstream.Close()
	config := object{"upstreamEndpoint": upstream.URL + "/ws"}
	line := capture(t, func() {
		server := start(t, config, http.NotFoundHandler())
		defer server.Close()
		conn, reader, answer := connect(t, server, upgradeTo("/chat?token=secret")+string(helloMasked))
		defer func() { _ = conn.Close() }()
		if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get(acceptHeader) != sampleAccept {
			t.Errorf("answer %d, accept %q", answer.StatusCode, answer.Header.Get(acceptHeader))
		}
		_, _ = conn.Write(closeFrame(4001, "bye", true))
		got, err := io.ReadAll(reader)
		if want := join(hello, hello, closeFrame(4001, "bye", false)); err != nil || string(got) != string(want) {
			t.Errorf("client got %q, %v; want %q", got, err, want)
		}
	})
	var r sessionLine
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	if r.Name != "test@file" || r.Path != "/chat" || r.EndedBy != clientPeer || r.Code != 4001 || r.Reason != "bye" {
		t.Errorf("record %+v", r)
	}
	if want := (traffic{Frames: 2, Messages: 1, Bytes: 22}); *r.FromClient != want {
		t.Errorf("from the client %+v, want %+v", r.FromClient, want)
	}
	if want := (traffic{Frames: 3, Messages: 2, Bytes: 21}); *r.FromUpstream != want {
		t.Errorf("from the upstream %+v, want %+v", r.FromUpstream, want)
	}
	if strings.Contains(line, "secret") {
		t.Errorf("the query is in the log: %s", line)
	}
}

func TestDeadUpstream(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	config := object{"upstreamEndpoint": "ws://" + address}
	line := capture(t, func() {
		server := start(t, config, http.NotFoundHandler())
		defer server.Close()
		conn, _, answer := connect(t, server, upgradeTo("/"))
		defer func() { _ = conn.Close() }()
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusBadGateway || string(body) != refuseGateway.sentence+"\n" {
			t.Errorf("answer %d %q", answer.StatusCode, body)
		}
	})
	if !strings.Contains(line, `"msg":"upstream ws://`+address+` failed"`) {
		t.Errorf("log %q", line)
	}
}

func TestNotHijackable(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(echoUpstream))
	defer upstream.Close()
	config := &Config{Options: object{"upstreamEndpoint": upstream.URL}}
	handler, err := New(context.Background(), http.NotFoundHandler(), config, "test")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(upgradeTo("/"))))
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	line := capture(t, func() { handler.ServeHTTP(recorder, req) })
	if recorder.Code != http.StatusInternalServerError || !strings.Contains(line, "move wsfw before it") {
		t.Errorf("status %d, log %q", recorder.Code, line)
	}
}

// A panic in New would freeze Traefik's dynamic configuration.
func TestNewNeverPanics(t *testing.T) {
	handler, err := New(context.Background(), nil, nil, "test")
	if handler != nil || err == nil || !strings.HasPrefix(err.Error(), "wsfw test: internal error") {
		t.Errorf("New of no config: %v, %v", handler, err)
	}
}

// A middleware before wsfw may rewrite a path to what no request line can hold.
func TestRewrittenPath(t *testing.T) {
	config := &Config{Options: object{"upstreamEndpoint": "ws://127.0.0.1:1", "upstreamPath": "append"}}
	handler, err := New(context.Background(), http.NotFoundHandler(), config, "test")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(upgradeTo("/a"))))
	if err != nil {
		t.Fatal(err)
	}
	req.URL.RawPath = "/a HTTP/1.1\r\nX-Injected: 1"
	req.URL.Path = req.URL.RawPath
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, req)
	if recorder.Code != http.StatusBadRequest {
		t.Errorf("status %d", recorder.Code)
	}
}

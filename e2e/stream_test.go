package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// mirror is a server of streams by itself, to judge the suite's clients by: it sends back what comes.
type mirror struct {
	ends chan error // of what came of each stream; nil is the stream's end
}

// ServeHTTP implements [http.Handler].
func (m *mirror) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	asked := req.Header.Get(":protocol")
	if req.ProtoMajor == 3 {
		asked = req.Proto
	}
	if asked != "websocket" || req.Method != http.MethodConnect {
		http.Error(rw, "no session for "+asked, http.StatusTeapot)
		return
	}
	rw.Header().Set("X-Path", req.URL.Path)
	rw.WriteHeader(http.StatusOK)
	control := http.NewResponseController(rw)
	err := control.Flush()
	buffer := make([]byte, 4096)
	for err == nil {
		var n int
		if n, err = req.Body.Read(buffer); n == 0 {
			continue
		}
		if _, failed := rw.Write(buffer[:n]); failed != nil {
			err = failed
		} else if failed = control.Flush(); failed != nil {
			err = failed
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	m.ends <- err
}

// onMirrors runs a case on streams of both kinds, each of which the mirror serves in the plugin's place.
func onMirrors(t *testing.T, run func(t *testing.T, gateway *engine.Gateway, m *mirror)) {
	t.Helper()
	for _, e := range engine.All() {
		if e.Name() != "compiled" {
			continue
		}
		for _, version := range streamWays {
			m := &mirror{ends: make(chan error, 1)}
			gateway := engine.Over{Engine: e, HTTP: version}.Start(t, engine.Setup{
				Next: "http://127.0.0.1:9", Wrap: func(http.Handler) http.Handler { return m },
			})
			t.Run(fmt.Sprintf("http%d", version), func(t *testing.T) { run(t, gateway, m) })
		}
	}
}

// TestStreamClients is about the suite's own clients over HTTP/2 and HTTP/3, without the plugin: they are connections like
// any other.
func TestStreamClients(t *testing.T) {
	join := func(t *testing.T, gateway *engine.Gateway, lines ...string) *wire.Peer {
		client, err := dial(gateway, lines...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client
	}
	onMirrors(t, func(t *testing.T, gateway *engine.Gateway, m *mirror) {
		t.Run("echo and end", func(t *testing.T) {
			client := join(t, gateway, ":path: /other")
			if path := client.Header.Get("X-Path"); path != "/other" {
				t.Errorf("the server was asked for %q, want /other", path)
			}
			for _, size := range []int{1, 100_000} {
				sent := make(chan error, 1)
				go func() { sent <- client.Send(wire.Binary(payload(size))) }()
				f, err := client.ReadFrame()
				if err != nil || !bytes.Equal(f.Payload, payload(size)) {
					t.Fatalf("the client got %v (%v), want its %d bytes", f, err, size)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			expectEnd(t, client)
			if err := <-m.ends; err != nil {
				t.Errorf("the server saw %v, want the stream's end", err)
			}
		})
		t.Run("deadlines", func(t *testing.T) {
			client := join(t, gateway)
			client.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := client.ReadFrame(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a read ended with %v, want its deadline", err)
			}
			client.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			// The mirror stops to read when its answers fill the client's window.
			if _, err := io.Copy(client, endless{}); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a write ended with %v, want its deadline", err)
			}
			if err := client.Reset(); err != nil {
				t.Fatal(err)
			}
			if err := <-m.ends; err == nil {
				t.Error("the server saw the stream's end, want an error")
			}
			if _, err := client.Write([]byte("late")); err == nil {
				t.Error("a stream that has been reset is written to")
			}
		})
		t.Run("close", func(t *testing.T) {
			client := join(t, gateway)
			send(t, client, wire.Text("last"))
			if f, err := client.ReadFrame(); err != nil {
				t.Fatal(f, err)
			}
			client.Close()
			if err := <-m.ends; err != nil {
				t.Errorf("the server saw %v, want the stream's end", err)
			}
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a read after Close ended with %v", err)
			}
		})
		t.Run("refusal", func(t *testing.T) {
			for _, protocol := range []string{"chat", ""} {
				_, err := dial(gateway, ":protocol: "+protocol)
				var refusal *wire.Refusal
				if !errors.As(err, &refusal) || refusal.Status != http.StatusTeapot || refusal.Body == "" {
					t.Errorf("protocol %q got %v, want a refusal with 418 and a body", protocol, err)
				}
			}
		})
	})
}

// endless is a stream without an end.
type endless struct{}

// Read implements [io.Reader].
func (endless) Read(b []byte) (int, error) { return len(b), nil }

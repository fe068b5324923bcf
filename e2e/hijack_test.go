package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// relayed has the gateway relay what its service says.
var relayed = object{"mode": "inline", "closeTimeout": "500ms"}

// TestHeavyHijackByLibraries has libraries take the connection over from the gateway itself, with no proxy between.
func TestHeavyHijackByLibraries(t *testing.T) {
	conversations := map[string]func(*testing.T, forwardCase){"echo": echoes, "server closes": upstreamCloses}
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		for _, server := range forwardLibraries {
			handler, ends := server.handler()
			gateway := e.Start(t, engine.Setup{Config: relayed, Service: handler})
			for _, client := range forwardLibraries {
				for name, converse := range conversations {
					t.Run(name+" "+client.name+" to "+server.name, func(t *testing.T) { converse(t, forwardCase{client, gateway, ends}) })
				}
			}
		}
	})
}

// switching is a valid 101 to a request that has reached its handler.
func switching(req *http.Request) string {
	return peerHead{"GET / HTTP/1.1", "Sec-WebSocket-Key: " + req.Header.Get("Sec-WebSocket-Key")}.switching()
}

// hijack is a way of a handler to take the connection over and answer with head and a frame.
type hijack struct {
	name   string
	take   func(rw http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error)
	answer func(conn net.Conn, buffered *bufio.ReadWriter, head, frame string) error
	leaves bool // the handler returns, and has the session go on elsewhere
}

func takeDirectly(rw http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
	return rw.(http.Hijacker).Hijack()
}

func takeByController(rw http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(rw).Hijack()
}

// writeAll writes texts one by one.
func writeAll(w io.Writer, texts ...string) error {
	for _, text := range texts {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

var hijacks = []hijack{
	{"by the connection", takeDirectly, func(conn net.Conn, _ *bufio.ReadWriter, head, frame string) error {
		return writeAll(conn, head, frame)
	}, false},
	{"by the controller", takeByController, func(conn net.Conn, _ *bufio.ReadWriter, head, frame string) error {
		return writeAll(conn, head, frame)
	}, false},
	{"by the buffer", takeDirectly, func(_ net.Conn, buffered *bufio.ReadWriter, head, frame string) error {
		return errors.Join(writeAll(buffered, head, frame), buffered.Flush())
	}, false},
	{"with a frame in the same write", takeDirectly, func(conn net.Conn, _ *bufio.ReadWriter, head, frame string) error {
		return writeAll(conn, head+frame)
	}, false},
	{"with half a frame in the same write", takeDirectly, func(conn net.Conn, _ *bufio.ReadWriter, head, frame string) error {
		return writeAll(conn, head+frame[:4], frame[4:])
	}, false},
	{"byte by byte", takeDirectly, func(conn net.Conn, _ *bufio.ReadWriter, head, frame string) error {
		return writeAll(conn, strings.Split(head+frame, "")...)
	}, false},
	{"with deadlines", takeDirectly, func(conn net.Conn, _ *bufio.ReadWriter, head, frame string) error {
		return errors.Join(conn.SetDeadline(time.Now().Add(wire.Timeout)), writeAll(conn, head, frame), conn.SetDeadline(time.Time{}))
	}, false},
	{"to go on elsewhere", takeDirectly, func(conn net.Conn, _ *bufio.ReadWriter, head, frame string) error {
		return writeAll(conn, head, frame)
	}, true},
}

// Frames that a hijacker and its client say.
var (
	hijackerSays = string(wire.Text("the hijacker").Bytes())
	clientSays   = string(wire.Text("the client").Masking(true).Bytes())
)

// serve takes a connection over, answers, wants the client's frame, answers that, and closes. The channel gets the error.
func (h hijack) serve(done chan<- error) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		conn, buffered, err := h.take(rw)
		if err != nil {
			done <- err
			return
		}
		session := func() {
			defer conn.Close()
			err := h.answer(conn, buffered, switching(req), hijackerSays)
			got := make([]byte, len(clientSays))
			_, readErr := io.ReadFull(buffered, got)
			err = errors.Join(err, readErr, writeAll(conn, hijackerSays))
			if err == nil && string(got) != clientSays {
				err = fmt.Errorf("the hijacker got %q", got)
			}
			done <- err
		}
		if h.leaves {
			go session()
			return
		}
		session()
	})
}

// TestHijack has handlers take the connection over in the ways that they do. The client's frame comes with its request.
func TestHijack(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		for _, h := range hijacks {
			t.Run(h.name, func(t *testing.T) {
				done := make(chan error, 1)
				gateway := e.Start(t, engine.Setup{Config: relayed, Service: h.serve(done)})
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1")+clientSays)
				if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("status is %d, want 101", resp.StatusCode)
				}
				client.expect(t, hijackerSays+hijackerSays+string(wire.Close(1014, "upstream connection lost").Bytes()))
				if err := <-done; err != nil {
					t.Error(err)
				}
				g := &ground{gateway: gateway, owed: 1}
				client.expectEnd(t)
				g.expectOutcome(t, "upstream", 1006, "connection lost")
				g.expectNothingLeft(t)
			})
		}
	})
}

// TestHijackedConnection wants a hijacker to find what it would find at the server: the addresses, deadlines that pass
// and can be set anew, and nothing more to be had from the response writer.
func TestHijackedConnection(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		done := make(chan error, 1)
		gateway := e.Start(t, engine.Setup{Config: relayed, Service: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			done <- inspect(rw, req)
		})})
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		client.answer(t)
		client.expect(t, hijackerSays)
		client.send(t, clientSays)
		if err := <-done; err != nil {
			t.Error(err)
		}
		client.expect(t, string(wire.Close(1014, "upstream connection lost").Bytes()))
		if record := gateway.WaitRecord(t); record["upstream"] != "" {
			t.Errorf("the record tells of the upstream %v, and nobody has dialled one", record["upstream"])
		}
	})
}

// inspect takes the connection over and returns what is wrong with it.
func inspect(rw http.ResponseWriter, req *http.Request) error {
	conn, buffered, err := takeDirectly(rw)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, _, err := takeDirectly(rw); !errors.Is(err, http.ErrHijacked) {
		return fmt.Errorf("taking it over once more tells %w, want http.ErrHijacked", err)
	}
	if n, err := rw.Write([]byte("more")); n > 0 || !errors.Is(err, http.ErrHijacked) {
		return fmt.Errorf("writing %d bytes to the response tells %w, want http.ErrHijacked", n, err)
	}
	local, _ := req.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if conn.RemoteAddr().String() != req.RemoteAddr || conn.LocalAddr().String() != local.String() {
		return fmt.Errorf("the addresses are %v and %v, want %v and %v", conn.RemoteAddr(), conn.LocalAddr(), req.RemoteAddr, local)
	}
	if err := errors.Join(writeAll(conn, switching(req)), conn.SetReadDeadline(time.Now().Add(20*time.Millisecond))); err != nil {
		return err
	}
	if b, err := buffered.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("reading gets %v and tells %w, want the deadline to pass", b, err)
	}
	if err := errors.Join(conn.SetReadDeadline(time.Time{}), writeAll(conn, hijackerSays)); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, len(clientSays)))
	return err
}

// TestHijackForOtherAnswer has a handler take the connection over and give another answer than a 101.
func TestHijackForOtherAnswer(t *testing.T) {
	answer := raw("HTTP/1.1 403 Forbidden", "Connection: close", "Content-Length: 3145728") + string(payload(3<<20))
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		gateway := e.Start(t, engine.Setup{Config: relayed, Service: sayOnce(answer)})
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		client.expect(t, answer)
		if rest, err := io.ReadAll(client.in); err != nil || len(rest) > 0 {
			t.Errorf("after the answer there are %d bytes and %v", len(rest), err)
		}
		(&ground{gateway: gateway}).expectNothingLeft(t)
	})
}

// sayOnce is a handler that takes the connection over, says one thing, and closes.
func sayOnce(text string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := takeDirectly(rw)
		if err != nil {
			return // and the client gets something else
		}
		defer conn.Close()
		_ = writeAll(conn, text) // the client sees what is missing
	})
}

// TestHijackForNoAnswer has a handler take the connection over and say nothing that is HTTP.
func TestHijackForNoAnswer(t *testing.T) {
	texts := map[string]string{
		"nothing": "", "half a head": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n", "no HTTP": "SSH-2.0-OpenSSH_9.6\r\n",
		"untrue": raw("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: mine"),
	}
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		for name, text := range texts {
			t.Run(name, func(t *testing.T) {
				gateway := e.Start(t, engine.Setup{Config: relayed, Service: sayOnce(text)})
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
				client.refusal(t, http.StatusBadGateway)
				client.expectEnd(t)
				await(t, wire.Timeout, func() string {
					lines := gateway.Lines()
					if len(lines) == 1 && lines[0]["level"] == "error" && lines[0]["error"] != "" {
						return ""
					}
					return fmt.Sprintf("the log has %v, want one error with its cause", lines)
				})
				(&ground{gateway: gateway}).expectNothingLeft(t)
			})
		}
	})
}

// TestHijackAwaitsContext has a handler take the connection over and wait for the end of its request, not of the
// connection: that comes with the session's.
func TestHijackAwaitsContext(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		gateway := e.Start(t, engine.Setup{Config: relayed, Service: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			conn, _, err := takeDirectly(rw)
			if err != nil {
				return // and the client gets no 101
			}
			defer conn.Close()
			_ = writeAll(conn, switching(req)) // or the client gets none either
			<-req.Context().Done()
		})})
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status is %d, want 101", resp.StatusCode)
		}
		client.Close()
		g := &ground{gateway: gateway, owed: 1}
		g.expectOutcome(t, "client", 1006, "connection lost")
		g.expectNothingLeft(t)
	})
}

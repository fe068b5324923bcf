package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// forwardEnd is how one end saw its session end.
type forwardEnd struct {
	code   int
	reason string
}

// forwardSpeaker is one end of a session, whichever library it speaks through.
type forwardSpeaker interface {
	say(binary bool, message []byte) error

	// hear returns the next message, or the error that ends the session.
	hear() (binary bool, message []byte, err error)

	// bye closes the session and returns the code of the answer.
	bye(code int, reason string) int

	// ended reads the other end's close frame from an error of hear.
	ended(err error) forwardEnd

	quit()
}

type gorillaSpeaker struct{ conn *gorilla.Conn }

func (s gorillaSpeaker) say(binary bool, message []byte) error {
	if binary {
		return s.conn.WriteMessage(gorilla.BinaryMessage, message)
	}
	return s.conn.WriteMessage(gorilla.TextMessage, message)
}

func (s gorillaSpeaker) hear() (bool, []byte, error) {
	kind, message, err := s.conn.ReadMessage()
	return kind == gorilla.BinaryMessage, message, err
}

func (s gorillaSpeaker) bye(code int, reason string) int {
	if err := s.conn.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, reason)); err != nil {
		return 0
	}
	_, _, err := s.hear()
	return s.ended(err).code
}

func (s gorillaSpeaker) ended(err error) forwardEnd {
	var end *gorilla.CloseError
	if errors.As(err, &end) {
		return forwardEnd{end.Code, end.Text}
	}
	return forwardEnd{reason: fmt.Sprint(err)}
}

func (s gorillaSpeaker) quit() { s.conn.Close() }

type coderSpeaker struct {
	ctx  context.Context
	conn *coder.Conn
}

func (s coderSpeaker) say(binary bool, message []byte) error {
	if binary {
		return s.conn.Write(s.ctx, coder.MessageBinary, message)
	}
	return s.conn.Write(s.ctx, coder.MessageText, message)
}

func (s coderSpeaker) hear() (bool, []byte, error) {
	kind, message, err := s.conn.Read(s.ctx)
	return kind == coder.MessageBinary, message, err
}

func (s coderSpeaker) bye(code int, reason string) int {
	// Close wants the same code in the answer.
	if err := s.conn.Close(coder.StatusCode(code), reason); err != nil {
		return s.ended(err).code
	}
	return code
}

func (s coderSpeaker) ended(err error) forwardEnd {
	var end coder.CloseError
	if errors.As(err, &end) {
		return forwardEnd{int(end.Code), end.Reason}
	}
	return forwardEnd{reason: fmt.Sprint(err)}
}

func (s coderSpeaker) quit() { s.conn.CloseNow() }

// forwardLibrary opens sessions: as a client, and as a server that speaks "chat".
type forwardLibrary struct {
	name string
	dial func(ctx context.Context, url string, protocols []string) (forwardSpeaker, *http.Response, error)
	take func(ctx context.Context, rw http.ResponseWriter, req *http.Request) (forwardSpeaker, error)
}

var forwardLibraries = []forwardLibrary{
	{
		name: "gorilla",
		dial: func(ctx context.Context, url string, protocols []string) (forwardSpeaker, *http.Response, error) {
			dialer := gorilla.Dialer{Subprotocols: protocols, EnableCompression: true}
			conn, resp, err := dialer.DialContext(ctx, url, nil)
			if err != nil {
				return nil, resp, err
			}
			conn.SetReadDeadline(time.Now().Add(rawTimeout))
			return gorillaSpeaker{conn}, resp, nil
		},
		take: func(_ context.Context, rw http.ResponseWriter, req *http.Request) (forwardSpeaker, error) {
			upgrader := gorilla.Upgrader{Subprotocols: []string{"chat"}, EnableCompression: true}
			conn, err := upgrader.Upgrade(rw, req, nil)
			if err != nil {
				return nil, err
			}
			conn.SetReadDeadline(time.Now().Add(rawTimeout))
			return gorillaSpeaker{conn}, nil
		},
	},
	{
		name: "coder",
		dial: func(ctx context.Context, url string, protocols []string) (forwardSpeaker, *http.Response, error) {
			options := &coder.DialOptions{Subprotocols: protocols, CompressionMode: coder.CompressionContextTakeover}
			conn, resp, err := coder.Dial(ctx, url, options)
			if err != nil {
				return nil, resp, err
			}
			conn.SetReadLimit(-1)
			return coderSpeaker{ctx, conn}, resp, nil
		},
		take: func(ctx context.Context, rw http.ResponseWriter, req *http.Request) (forwardSpeaker, error) {
			options := &coder.AcceptOptions{Subprotocols: []string{"chat"}, CompressionMode: coder.CompressionContextTakeover}
			conn, err := coder.Accept(rw, req, options)
			if err != nil {
				return nil, err
			}
			conn.SetReadLimit(-1)
			return coderSpeaker{ctx, conn}, nil
		},
	},
}

// serverBye is with what a server of the library says good-bye once it is told to.
var serverBye = forwardEnd{4002, "upstream is done"}

// serve runs an upstream that sends back every message, until it gets the text "bye". Ends gets how each of its
// sessions ended.
func (l forwardLibrary) serve(t *testing.T) (endpoint string, ends <-chan forwardEnd) {
	handler, ends := l.handler()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL, ends
}

// handler is what such an upstream does.
func (l forwardLibrary) handler() (handler http.Handler, ends <-chan forwardEnd) {
	ended := make(chan forwardEnd, 1)
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		ctx, cancel := context.WithTimeout(context.Background(), rawTimeout)
		defer cancel()
		speaker, err := l.take(ctx, rw, req)
		if err != nil {
			ended <- forwardEnd{reason: fmt.Sprint(err)}
			return
		}
		defer speaker.quit()
		ended <- echoUntilBye(speaker)
	}), ended
}

// echoUntilBye returns the other end's close frame, or only the code where it is an answer.
func echoUntilBye(speaker forwardSpeaker) forwardEnd {
	for {
		binary, message, err := speaker.hear()
		if err != nil {
			return speaker.ended(err)
		}
		if string(message) == "bye" {
			return forwardEnd{code: speaker.bye(serverBye.code, serverBye.reason)}
		}
		if err := speaker.say(binary, message); err != nil {
			return forwardEnd{reason: fmt.Sprint(err)}
		}
	}
}

// forwardCase is a session of one library's client with another's server, up to its close.
type forwardCase struct {
	client  forwardLibrary
	gateway *engine.Gateway
	ends    <-chan forwardEnd
}

// eachForward runs a case for every pair of libraries.
func eachForward(t *testing.T, options object, run func(t *testing.T, c forwardCase)) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, server := range forwardLibraries {
			endpoint, ends := server.serve(t)
			gateway := forwardTo(t, e, endpoint, options)
			for _, client := range forwardLibraries {
				t.Run(client.name+" to "+server.name, func(t *testing.T) { run(t, forwardCase{client, gateway, ends}) })
			}
		}
	})
}

func (c forwardCase) dial(t *testing.T) (forwardSpeaker, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rawTimeout)
	t.Cleanup(cancel)
	speaker, resp, err := c.client.dial(ctx, "ws://"+c.gateway.Addr+"/", []string{"superchat", "chat"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(speaker.quit)
	return speaker, resp
}

// exchange sends a message and wants it back.
func (c forwardCase) exchange(t *testing.T, speaker forwardSpeaker, binary bool, message []byte) {
	t.Helper()
	if err := speaker.say(binary, message); err != nil {
		t.Fatal(err)
	}
	gotBinary, got, err := speaker.hear()
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(message), err)
	}
	if gotBinary != binary || !bytes.Equal(got, message) {
		t.Errorf("%d bytes, binary: %v, came back as %d bytes, binary: %v", len(message), binary, len(got), gotBinary)
	}
}

// checkRecord wants the session's record to tell who ended it and how.
func (c forwardCase) checkRecord(t *testing.T, by string, end forwardEnd) map[string]any {
	t.Helper()
	record := c.gateway.WaitRecord(t)
	if record["endedBy"] != by || record["code"] != float64(end.code) || record["reason"] != end.reason {
		t.Errorf("the record is %v, want it ended by the %s with %v", record, by, end)
	}
	if record["subprotocol"] != "chat" {
		t.Errorf("the record's subprotocol is %q, want chat", record["subprotocol"])
	}
	return record
}

// clientBye is with what a client says good-bye.
var clientBye = forwardEnd{4001, "client is done"}

func TestHeavyEcho(t *testing.T) { eachForward(t, nil, echoes) }

// echoes has the client say messages of all sizes, and close.
func echoes(t *testing.T, c forwardCase) {
	client, resp := c.dial(t)
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "chat" {
		t.Errorf("the subprotocol is %q, want chat", got)
	}
	for _, size := range echoed {
		c.exchange(t, client, true, payload(size))
		c.exchange(t, client, false, payload(size))
	}
	c.exchange(t, client, false, []byte("Grüße, 世界"))
	if code := client.bye(clientBye.code, clientBye.reason); code != clientBye.code {
		t.Errorf("the answer to the client's close is %d, want %d", code, clientBye.code)
	}
	if got := <-c.ends; got != clientBye {
		t.Errorf("the server saw %v, want %v", got, clientBye)
	}
	c.checkRecord(t, "client", clientBye)
}

func TestUpstreamCloses(t *testing.T) { eachForward(t, nil, upstreamCloses) }

// upstreamCloses has the server close.
func upstreamCloses(t *testing.T, c forwardCase) {
	client, _ := c.dial(t)
	if err := client.say(false, []byte("bye")); err != nil {
		t.Fatal(err)
	}
	_, _, err := client.hear()
	if got := client.ended(err); got != serverBye {
		t.Errorf("the client saw %v, want %v", got, serverBye)
	}
	if got := <-c.ends; got.code != serverBye.code {
		t.Errorf("the answer to the server's close is %v, want %d", got, serverBye.code)
	}
	c.checkRecord(t, "upstream", serverBye)
}

// TestCompression tells compressed sessions by their size on the wire.
func TestCompression(t *testing.T) {
	const size = 64 << 10
	compressible := []byte(strings.Repeat("0123456789abcdef", size/16))
	for policy, compressed := range map[string]bool{"pass": true, "off": false} {
		t.Run(policy, func(t *testing.T) {
			eachForward(t, object{"compression": policy}, func(t *testing.T, c forwardCase) {
				client, resp := c.dial(t)
				extensions := resp.Header.Get("Sec-WebSocket-Extensions")
				if strings.HasPrefix(extensions, "permessage-deflate") != compressed {
					t.Errorf("the extensions are %q", extensions)
				}
				c.exchange(t, client, false, compressible)
				client.bye(4001, "")
				<-c.ends
				record := c.checkRecord(t, "client", forwardEnd{code: 4001})
				for _, direction := range []string{"fromClient", "fromUpstream"} {
					traffic := record[direction].(map[string]any)
					if small := traffic["bytes"].(float64) < size/2; small != compressed {
						t.Errorf("%s is %v", direction, traffic)
					}
					if traffic["messages"] != 1.0 || traffic["frames"].(float64) < 2 {
						t.Errorf("%s is %v, want one message, and a close frame", direction, traffic)
					}
				}
			})
		})
	}
}

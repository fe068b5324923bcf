package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// echo runs a WebSocket service that chooses the subprotocol "chat", sets a cookie, and sends every message back.
func echo(t *testing.T) string {
	upgrader := gorilla.Upgrader{
		Subprotocols:      []string{"chat"},
		EnableCompression: true,
		CheckOrigin:       func(*http.Request) bool { return true },
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		conn, err := upgrader.Upgrade(rw, req, http.Header{"Set-Cookie": {"seen=yes"}})
		if err != nil {
			return // Upgrade has answered
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return // with a close frame, gorilla has answered it
			}
			if conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// echoed are payload sizes around the limits of RFC 6455's three length forms, and one of many reads.
var echoed = []int{0, 1, 125, 126, 65535, 65536, 1 << 20}

func TestEchoThroughNext(t *testing.T) {
	clients := map[string]func(t *testing.T, url string){"gorilla": gorillaEcho, "coder": coderEcho}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		gateway := e.Start(t, engine.Setup{Next: echo(t)})
		for name, client := range clients {
			t.Run(name, func(t *testing.T) { client(t, "ws://"+gateway.Addr+"/socket") })
		}
	})
}

// payload makes text that does not shrink much, so that a compressed message still takes many reads.
func payload(size int) []byte {
	random := make([]byte, size/2+1)
	rand.NewChaCha8([32]byte{}).Read(random)
	return []byte(hex.EncodeToString(random))[:size]
}

func gorillaEcho(t *testing.T, url string) {
	dialer := gorilla.Dialer{Subprotocols: []string{"superchat", "chat"}, EnableCompression: true}
	conn, resp, err := dialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	checkHandshake(t, resp, conn.Subprotocol())
	conn.SetReadDeadline(time.Now().Add(rawTimeout))
	for _, size := range echoed {
		sent := payload(size)
		if err := conn.WriteMessage(gorilla.BinaryMessage, sent); err != nil {
			t.Fatal(err)
		}
		kind, got, err := conn.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if kind != gorilla.BinaryMessage || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came back as %d bytes of kind %d", size, len(got), kind)
		}
	}
	bye := gorilla.FormatCloseMessage(4000, "bye")
	if err := conn.WriteMessage(gorilla.CloseMessage, bye); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); !gorilla.IsCloseError(err, 4000) {
		t.Errorf("the answer to close 4000 is %v", err)
	}
}

func coderEcho(t *testing.T, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), rawTimeout)
	defer cancel()
	conn, resp, err := coder.Dial(ctx, url, &coder.DialOptions{
		Subprotocols:    []string{"superchat", "chat"},
		CompressionMode: coder.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	checkHandshake(t, resp, conn.Subprotocol())
	conn.SetReadLimit(-1)
	for _, size := range echoed {
		sent := payload(size)
		if err := conn.Write(ctx, coder.MessageText, sent); err != nil {
			t.Fatal(err)
		}
		kind, got, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if kind != coder.MessageText || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came back as %d bytes of kind %v", size, len(got), kind)
		}
	}
	if err := conn.Close(4000, "bye"); err != nil {
		t.Errorf("the answer to close 4000 is %v", err)
	}
}

func checkHandshake(t *testing.T, resp *http.Response, subprotocol string) {
	t.Helper()
	if subprotocol != "chat" {
		t.Errorf("subprotocol is %q, want chat", subprotocol)
	}
	if cookie := resp.Header.Get("Set-Cookie"); cookie != "seen=yes" {
		t.Errorf("Set-Cookie is %q, want seen=yes", cookie)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// testTimeout bounds a scenario.
const testTimeout = 15 * time.Second

// begin runs a demo until the test ends, and wants nothing left of it then.
func begin(t *testing.T, o options) *demo {
	t.Helper()
	before := runtime.NumGoroutine()
	d, err := start(o, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.stop()
		http.DefaultClient.CloseIdleConnections()
		for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				t.Errorf("goroutines are left: %s", stacks[:runtime.Stack(stacks, true)])
				return
			}
		}
	})
	return d
}

// eachHost runs a test on those of the demo's two hosts that are among the suite's engines.
func eachHost(t *testing.T, test func(t *testing.T, d *demo)) {
	for _, e := range engine.All() {
		o := options{listen: "127.0.0.1:0"}
		switch e.Name() {
		case "compiled":
			continue // the demo does not compile the plugin
		case "traefik":
			binary, err := engine.Binary()
			if err != nil {
				t.Fatal(err)
			}
			o.traefik = binary
		}
		t.Run(e.Name(), func(t *testing.T) { test(t, begin(t, o)) })
	}
}

// TestDemo holds the demo to what its page promises.
func TestDemo(t *testing.T) {
	eachHost(t, func(t *testing.T, d *demo) {
		t.Run("group", func(t *testing.T) {
			checkAll(t, d)
			checkActs(t, d)
			for name, check := range map[string]func(*testing.T, *demo){
				"heartbeat": checkHeartbeat, "limit": checkLimit, "restart": checkRestart, "routes": checkRoutes,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					check(t, d)
				})
			}
		})
	})
}

// checkAll runs the scenarios.
func checkAll(t *testing.T, d *demo) {
	for _, s := range d.scenarios {
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			if s.Expect.Status != http.StatusSwitchingProtocols {
				checkRefused(t, d, s)
				return
			}
			checkSession(t, d, s)
			checkRecord(t, d, s)
		})
	}
}

// ask gets JSON from the host, as the page does.
func ask(t *testing.T, d *demo, path string, query url.Values, into any) {
	t.Helper()
	resp, err := http.Get("http://" + d.addr + path + "?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s is answered %s: %s", path, resp.Status, body)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func checkRefused(t *testing.T, d *demo, s scenario) {
	var got answer
	ask(t, d, "/probe", url.Values{
		"route": {s.ID}, "suffix": {s.Suffix}, "offer": {s.Offer}, "origin": {"http://" + d.addr},
	}, &got)
	if got.Status != s.Expect.Status || !strings.Contains(got.Body, s.Expect.First) {
		t.Errorf("the answer is %d %q, want %d with %q", got.Status, got.Body, s.Expect.Status, s.Expect.First)
	}
}

// checkSession uses a client that, unlike gorilla's, knows the close code 1014.
func checkSession(t *testing.T, d *demo, s scenario) {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	conn, _, err := coder.Dial(ctx, "ws://"+d.addr+routePrefix+s.ID+s.Suffix, &coder.DialOptions{
		CompressionMode: coder.CompressionContextTakeover,
		HTTPHeader:      http.Header{"Origin": {"http://" + d.addr}},
		Subprotocols:    strings.FieldsFunc(s.Offer, func(r rune) bool { return r == ',' || r == ' ' }),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	if s.Expect.First != "" {
		_, first, err := conn.Read(ctx)
		if err != nil || !strings.Contains(string(first), s.Expect.First) {
			t.Fatalf("the first message is %q (%v), want %q in it", first, err, s.Expect.First)
		}
	}
	if s.Message != "" {
		checkEcho(ctx, t, conn, s.Message)
	}
	burst := bytes.Repeat([]byte("x"), s.Size)
	for range s.Burst {
		_ = conn.Write(ctx, coder.MessageBinary, burst) // fails where the session has ended already
	}
	if code, reason := closeOf(ctx, conn, s.HangUp); code != s.Expect.Code || reason != s.Expect.Reason {
		t.Errorf("closed with %d %q, want %d %q", code, reason, s.Expect.Code, s.Expect.Reason)
	}
}

func checkEcho(ctx context.Context, t *testing.T, conn *coder.Conn, message string) {
	t.Helper()
	if err := conn.Write(ctx, coder.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := conn.Read(ctx); err != nil || string(got) != message {
		t.Fatalf("%q came back as %q (%v)", message, got, err)
	}
}

// closeOf ends a session or waits for its end, and returns its close code as a browser would put it.
func closeOf(ctx context.Context, conn *coder.Conn, hangUp bool) (code int, reason string) {
	var err error
	if hangUp {
		if err = conn.Close(coder.StatusNormalClosure, ""); err == nil {
			return int(coder.StatusNormalClosure), ""
		}
	}
	for err == nil {
		_, _, err = conn.Read(ctx)
	}
	var closed coder.CloseError
	if errors.As(err, &closed) {
		return int(closed.Code), closed.Reason
	}
	return int(coder.StatusAbnormalClosure), ""
}

// checkRecord wants the session's record, or none where the session was not wsfw's.
func checkRecord(t *testing.T, d *demo, s scenario) {
	var got struct {
		Entries []struct {
			Line struct {
				Msg, EndedBy, Reason string
				Code                 int
			}
		}
	}
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(20 * time.Millisecond) {
		ask(t, d, "/lines", url.Values{"route": {s.ID}}, &got)
		if len(got.Entries) > 0 || s.Expect.EndedBy == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("there is no record")
		}
	}
	if s.Expect.EndedBy == "" {
		if len(got.Entries) > 0 {
			t.Errorf("a record was written: %v", got.Entries)
		}
		return
	}
	if line := got.Entries[0].Line; line.EndedBy == "" || !strings.Contains(s.Expect.EndedBy, line.EndedBy) || line.Msg != "websocket session" {
		t.Errorf("the record is %+v, want one of a session that was ended by %q", line, s.Expect.EndedBy)
	}
}

// TestTakenPort wants the page all the same.
func TestTakenPort(t *testing.T) {
	first := begin(t, options{listen: "127.0.0.1:0"})
	second := begin(t, options{listen: first.addr})
	resp, err := http.Get("http://" + second.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("<title>wsfw demo</title>")) {
		t.Errorf("the page is %s, %d bytes", resp.Status, len(body))
	}
}

// TestStopInSession wants the demo to end completely with sessions of all kinds open.
func TestStopInSession(t *testing.T) {
	d := begin(t, options{listen: "127.0.0.1:0"})
	attendPair(t, d)
	attend[restartEvent](t, d, "/restart").until(t, "its beginning", func(e restartEvent) bool { return e.Kind == "begun" })
	for _, id := range []string{"echo", "tunnel", "mute", "stuck", "check"} {
		if _, _, err := coder.Dial(t.Context(), "ws://"+d.addr+routePrefix+id, nil); err != nil {
			t.Fatal(err)
		}
	}
}

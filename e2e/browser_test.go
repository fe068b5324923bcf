package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	gorilla "github.com/gorilla/websocket"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalBrowser has a page in Chromium, which came through the gateway itself, talk to its server in compressed messages.
// It sees how each session ends, and comes back when a gateway shuts down.
func TestExternalBrowser(t *testing.T) {
	const open = "open chat permessage-deflate"
	browser := newBrowser(t)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := newPageServer(t)
		s := newSite(t, e, server.url+"/socket", object{
			"path": "/socket", "protocols": "chat", "allowedOrigins": "same-host",
		})
		page := browser.open(t, "http://"+s.addr)

		page.run(t, "connect()")
		page.expect(t, open)
		page.run(t, `socket.send("grüße 🌍")`)
		page.expect(t, "text grüße 🌍")
		page.run(t, "socket.send(Uint8Array.of(0, 128, 255))")
		page.expect(t, "binary 0,128,255")
		page.run(t, fmt.Sprintf(`socket.send("large".repeat(%d))`, largeCount))
		page.expect(t, "text "+strings.Repeat("large", largeCount))
		page.run(t, `socket.send("bye")`)
		page.expect(t, fmt.Sprintf("closed %d %s", serverBye.code, serverBye.reason))
		server.expectEnd(t, forwardEnd{code: serverBye.code})
		expectCompressed(t, s.first.WaitRecord(t), parting{"chat", "upstream", serverBye.code})

		page.run(t, "connect()")
		page.expect(t, open)
		page.run(t, `socket.close(4000, "the page has seen enough")`)
		page.expect(t, "closed 4000 ")
		server.expectEnd(t, forwardEnd{4000, "the page has seen enough"})
		expectParting(t, s.first.WaitRecord(t), parting{"chat", "client", 4000})

		page.run(t, "connect()")
		page.expect(t, open)
		s.first.Terminate(t)
		page.expect(t, "closed 1012 "+restartReason)
		server.expectEnd(t, forwardEnd{1001, restartReason})
		expectParting(t, s.first.WaitRecord(t), parting{"chat", "wsfw", 1012})
		page.expect(t, open)
		page.run(t, `socket.send("back again")`)
		page.expect(t, "text back again")
	})
}

// pageServer serves a page, and to the page a session that sends back every message, until it gets the text "bye".
type pageServer struct {
	url  string
	ends chan forwardEnd // of its sessions
}

func newPageServer(t *testing.T) *pageServer {
	s := &pageServer{ends: make(chan forwardEnd, 1)}
	mux := http.NewServeMux()
	for path, file := range map[string]string{"/{$}": "peers/page.html", "/told.js": "peers/told.js"} {
		mux.HandleFunc("GET "+path, func(rw http.ResponseWriter, req *http.Request) {
			http.ServeFile(rw, req, file)
		})
	}
	mux.HandleFunc("GET /socket", s.echo)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// echo compresses what it sends. The gateway has seen to the origin.
func (s *pageServer) echo(rw http.ResponseWriter, req *http.Request) {
	upgrader := gorilla.Upgrader{
		EnableCompression: true, Subprotocols: []string{"chat"}, CheckOrigin: func(*http.Request) bool { return true },
	}
	conn, err := upgrader.Upgrade(rw, req, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(3 * wire.Timeout))
	s.ends <- echoUntilBye(gorillaSpeaker{conn})
}

// expectEnd wants the next session to end like this at the server.
func (s *pageServer) expectEnd(t *testing.T, want forwardEnd) {
	t.Helper()
	select {
	case got := <-s.ends:
		if got != want {
			t.Errorf("the server tells %v, want %v", got, want)
		}
	case <-time.After(wire.Timeout):
		t.Errorf("the server has not seen the session's end within %v", wire.Timeout)
	}
}

// browser is a Chromium that runs until the test ends.
type browser struct{ ctx context.Context }

// newBrowser starts one with these further flags.
func newBrowser(t *testing.T, flags ...chromedp.ExecAllocatorOption) browser {
	t.Helper()
	options := slices.Concat(chromedp.DefaultExecAllocatorOptions[:], flags, []chromedp.ExecAllocatorOption{
		chromedp.ExecPath("chromium"),
		chromedp.NoSandbox, // which root cannot have
	})
	allocator, release := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(release)
	ctx, _ := chromedp.NewContext(allocator) // which Cancel ends
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	t.Cleanup(func() {
		limited, cancel := context.WithTimeout(ctx, wire.Timeout)
		defer cancel()
		if err := chromedp.Cancel(limited); err != nil {
			t.Errorf("ending Chromium: %v", err)
		}
	})
	return browser{ctx}
}

// open loads a page into a tab of its own.
func (b browser) open(t *testing.T, url string) page {
	t.Helper()
	tab, leave := chromedp.NewContext(b.ctx)
	t.Cleanup(leave)
	if err := chromedp.Do(tab); err != nil {
		t.Fatal(err)
	}
	p := page{tab}
	limited, cancel := p.limited()
	defer cancel()
	if err := chromedp.Do(limited, chromedp.Navigate(url)); err != nil {
		t.Fatalf("loading %s: %v", url, err)
	}
	return p
}

// page is one that tells by peers/told.js what happens.
type page struct{ tab context.Context }

// limited is for one thing that the page does.
func (p page) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.tab, wire.Timeout)
}

// close closes the page's tab.
func (p page) close(t *testing.T) {
	t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		t.Fatalf("closing the page: %v", err)
	}
}

// run has the page run a statement.
func (p page) run(t *testing.T, statement string) {
	t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void](statement)); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// expect wants the page to tell this next.
func (p page) expect(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[string]("next()", chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("waiting for %.80q: %v", want, err)
	}
	if got != want {
		t.Fatalf("the page tells %.80q, want %.80q", got, want)
	}
}

// awaitValue waits until an expression has a value in the page, or in that which takes its place.
func (p page) awaitValue(t *testing.T, expression, want string) {
	t.Helper()
	await(t, wire.Timeout, func() string {
		ctx, cancel := p.limited()
		defer cancel()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
		if err != nil || got != want {
			return fmt.Sprintf("%s is %q (%v), want %q", expression, got, err, want)
		}
		return ""
	})
}

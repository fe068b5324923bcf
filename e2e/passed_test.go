package e2e

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httputil"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// headTimeout is how long a head may take that does not wait for its body.
const headTimeout = 2 * time.Second

// TestPassedAnswer is about upstreams that answer something other than 101: that is for the client to know.
func TestPassedAnswer(t *testing.T) {
	rows := []struct {
		name   string
		answer string
		status int
		header http.Header
		body   string
	}{
		{
			name:   "unauthorized",
			answer: raw("HTTP/1.1 401 Unauthorized", `WWW-Authenticate: Basic realm="chat"`, "Content-Length: 5") + "login",
			status: 401, body: "login",
			header: http.Header{"Www-Authenticate": {`Basic realm="chat"`}, "Content-Length": {"5"}},
		},
		{
			name:   "redirect",
			answer: raw("HTTP/1.1 302 Found", "Location: https://chat.example.com/login?to=%2Fws", "Content-Length: 0"),
			status: 302, header: http.Header{"Location": {"https://chat.example.com/login?to=%2Fws"}},
		},
		{
			name:   "not found",
			answer: raw("HTTP/1.1 404 Not Found", "Content-Type: text/html; charset=utf-8", "Content-Length: 11") + "<p>Gone</p>",
			status: 404, body: "<p>Gone</p>",
			header: http.Header{"Content-Type": {"text/html; charset=utf-8"}, "X-Content-Type-Options": nil},
		},
		{
			name:   "internal error without a length",
			answer: raw("HTTP/1.1 500 Internal Server Error", "Connection: close") + "until the end",
			status: 500, body: "until the end",
		},
		{
			name:   "unavailable",
			answer: raw("HTTP/1.1 503 Service Unavailable", "Retry-After: 120", "Content-Length: 0"),
			status: 503, header: http.Header{"Retry-After": {"120"}},
		},
		{
			name:   "OK",
			answer: raw("HTTP/1.1 200 OK", "Content-Length: 2") + "OK",
			status: 200, body: "OK",
		},
		{
			name:   "no content",
			answer: raw("HTTP/1.1 204 No Content"),
			status: 204,
		},
		{
			name:   "after an informational answer",
			answer: raw("HTTP/1.1 103 Early Hints", "X-Early: 1") + raw("HTTP/1.1 403 Forbidden", "Content-Length: 2") + "no",
			status: 403, body: "no", header: http.Header{"X-Early": nil},
		},
		{
			name: "cookies and hop-by-hop headers",
			answer: raw("HTTP/1.1 403 Forbidden", "Set-Cookie: a=1", "Set-Cookie: b=2", "X-Own: first", "X-Own: second",
				"Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
				"Proxy-Authenticate: Basic", "Content-Length: 0"),
			status: 403,
			header: http.Header{
				"Set-Cookie": {"a=1", "b=2"}, "X-Own": {"first", "second"},
				"X-Hop": nil, "Keep-Alive": nil, "Proxy-Connection": nil, "Proxy-Authenticate": nil,
			},
		},
		{
			name:   "chunks",
			answer: raw("HTTP/1.1 403 Forbidden", "Transfer-Encoding: chunked") + "5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n",
			status: 403, body: "hello there",
		},
		{
			name:   "more than a header may have",
			answer: raw("HTTP/1.1 403 Forbidden", "Content-Length: 3145728") + string(payload(3<<20)),
			status: 403, body: string(payload(3 << 20)),
		},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
				upstream, _ := server.request(t)
				go func() {
					defer upstream.Close()
					_, _ = io.WriteString(upstream, row.answer) // the answer's reader sees what is missing
				}()
				resp := client.answerOf(t, e)
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatalf("reading the body: %v", err)
				}
				if resp.StatusCode != row.status || string(body) != row.body {
					t.Errorf("the answer is %d %.80q, want %d %.80q", resp.StatusCode, body, row.status, row.body)
				}
				checkHeader(t, resp.Header, row.header)
			})
		}
	})
}

// TestPassedAnswerStreamed wants a part of the body before the upstream sends the next.
func TestPassedAnswerStreamed(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		upstream, _ := server.request(t)
		upstream.send(t, raw("HTTP/1.1 403 Forbidden", "Transfer-Encoding: chunked")+"5\r\nfirst\r\n")
		client.in = bufio.NewReader(client.answer(t).Body)
		client.expect(t, "first")
		chunked := httputil.NewChunkedWriter(upstream)
		for _, part := range []string{"second", string(payload(100 << 10)), "last"} {
			if _, err := io.WriteString(chunked, part); err != nil {
				t.Fatal(err)
			}
			client.expect(t, part)
		}
		upstream.send(t, "0\r\n\r\n")
		if rest, err := io.ReadAll(client.in); err != nil || len(rest) > 0 {
			t.Errorf("after the body's end there are %d bytes and %v", len(rest), err)
		}
		if !isInline(e) { // where Traefik's proxy keeps it for the next request
			upstream.expectEnd(t)
		}
	})
}

// TestPassedAnswerHead wants the status and headers before the upstream sends any of the body.
func TestPassedAnswerHead(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		upstream, _ := server.request(t)
		upstream.send(t, raw("HTTP/1.1 403 Forbidden", "Content-Length: 5"))
		client.SetReadDeadline(time.Now().Add(headTimeout))
		if resp := client.answer(t); resp.StatusCode != http.StatusForbidden {
			t.Errorf("status is %d, want 403", resp.StatusCode)
		}
	})
}

// TestPassedAnswerCut wants a client to see that a body is not all there.
func TestPassedAnswerCut(t *testing.T) {
	for name, answer := range map[string]string{
		"length": raw("HTTP/1.1 403 Forbidden", "Content-Length: 10") + "hello",
		"chunks": raw("HTTP/1.1 403 Forbidden", "Transfer-Encoding: chunked") + "5\r\nhello\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			eachUse(t, func(t *testing.T, e engine.Engine) {
				server := peerListen(t)
				gateway := forwardTo(t, e, server.endpoint(), nil)
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
				upstream, _ := server.request(t)
				upstream.send(t, answer)
				upstream.Close()
				resp, err := http.ReadResponse(client.in, nil) // Traefik's proxy may break off before it has sent anything
				if err != nil {
					return
				}
				if body, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("half a body, %q, passes for a whole one", body)
				}
			})
		})
	}
}

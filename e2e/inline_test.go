package e2e

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// answered is all that a client sees of an answer other than 101.
type answered struct {
	hints   []int // statuses of informational answers before it
	status  string
	header  http.Header // less Date
	length  int64
	coding  []string
	body    string
	broken  string // error that ended the body
	trailer http.Header
}

// String is the answer in a test's message.
func (a answered) String() string {
	return fmt.Sprintf("%v %s, header %.300v, length %d %v, body %.60q %s, trailer %v",
		a.hints, a.status, a.header, a.length, a.coding, a.body, a.broken, a.trailer)
}

// loosely is the answer without what tells where its body ends. Where a handler leaves that open, the server tells as it
// likes.
func (a answered) loosely() answered {
	a.length, a.coding = 0, nil
	a.header.Del("Content-Length")
	return a
}

// ask sends an upgrade, has its answer sent, and reads that to the end.
func ask(t *testing.T, gateway *engine.Gateway, answer func()) answered {
	t.Helper()
	client := peerDial(t, gateway, upgrade("GET / HTTP/1.1", "Accept-Encoding: gzip"))
	answer()
	var got answered
	resp := client.answer(t)
	for ; resp.StatusCode < http.StatusOK; resp = client.answer(t) {
		got.hints = append(got.hints, resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		got.broken = err.Error()
	}
	got.status, got.header, got.trailer = resp.Status, resp.Header, resp.Trailer
	got.length, got.coding, got.body = resp.ContentLength, resp.TransferEncoding, string(body)
	got.header.Del("Date")
	return got
}

// inChunks spells a body of chunks of a kilobyte, and a trailer.
func inChunks(body string, trailer ...string) string {
	var b strings.Builder
	chunks := httputil.NewChunkedWriter(&b)
	for chunk := range slices.Chunk([]byte(body), 1000) {
		_, _ = chunks.Write(chunk) // a builder takes everything
	}
	return b.String() + raw(append([]string{"0"}, trailer...)...)
}

// inlineAnswer is what a service answers: with a Content-Type, for without one some servers guess it.
type inlineAnswer struct {
	name   string
	status string
	lines  []string // of its header
	body   string
}

// wire is the answer as the service spells it.
func (a inlineAnswer) wire() string {
	return raw(append([]string{"HTTP/1.1 " + a.status, "Content-Type: text/html"}, a.lines...)...) + a.body
}

func inlineAnswers() []inlineAnswer {
	const chunked = "Transfer-Encoding: chunked"
	large := string(payload(3 << 20))
	return []inlineAnswer{
		{"body of known length", "200 OK", []string{"Content-Length: 9"}, "<p>OK</p>"},
		{"body until the end", "200 OK", []string{"Connection: close"}, "until the end"},
		{"body of nothing", "200 OK", []string{"Content-Length: 0"}, ""},
		{"compressed body", "200 OK", []string{"Content-Encoding: gzip", "Content-Length: 4"}, "\x1f\x8b\x08\x00"},
		{"no content", "204 No Content", []string{"X-Own: 1"}, ""},
		{"redirect", "302 Found", []string{"Location: /login?to=%2Fws", "Set-Cookie: a=1", "Set-Cookie: b=2", "Content-Length: 0"}, ""},
		{"not modified", "304 Not Modified", []string{`ETag: "1"`}, ""},
		{"unauthorized", "401 Unauthorized", []string{`WWW-Authenticate: Basic realm="chat"`, "Content-Length: 5"}, "login"},
		{"not found", "404 Not Found", []string{"Content-Length: 4"}, "gone"},
		{"upgrade required", "426 Upgrade Required", []string{"Sec-WebSocket-Version: 13", "Content-Length: 0"}, ""},
		{"internal error", "500 Internal Server Error", []string{"Content-Length: 4"}, "oops"},
		{"unavailable", "503 Service Unavailable", []string{"Retry-After: 120", "Content-Length: 0"}, ""},
		{"large header", "403 Forbidden", []string{"X-Large: " + large[:200000], "Content-Length: 0"}, ""},
		{"large body", "403 Forbidden", []string{"Content-Length: 3145728"}, large},
		{"large body in chunks", "403 Forbidden", []string{chunked}, inChunks(large)},
		{"trailer", "200 OK", []string{chunked, "Trailer: X-Sum"}, inChunks("sum", "X-Sum: 3")},
		{"trailer of nothing", "200 OK", []string{chunked, "Trailer: X-Sum"}, inChunks("", "X-Sum: 0")},
		{"trailer not announced", "200 OK", []string{chunked}, inChunks("sum", "X-Sum: 3")},
		{"body broken off", "200 OK", []string{chunked}, "5\r\nhello\r\n"},
		{"other protocol", "101 Switching Protocols", []string{"Upgrade: h2c", "Connection: Upgrade"}, ""},
	}
}

// TestInlineAnswer wants whatever a service answers but a 101 of this protocol to reach the client as it does where the
// gateway only checks the upgrade.
func TestInlineAnswer(t *testing.T) {
	texts := map[string]string{
		"no HTTP": "SSH-2.0-OpenSSH_9.6\r\n", "no answer": "", "HTTP 1.0": raw("HTTP/1.0 200 OK", "Content-Type: text/html") + "until the end",
		"hints": raw("HTTP/1.1 103 Early Hints", "Link: </a.css>") + inlineAnswer{status: "404 Not Found", lines: []string{"Content-Length: 0"}}.wire(),
	}
	const refused = "50" // by Traefik's proxy, with 500 or 502
	wants := map[string]string{"other protocol": refused, "no HTTP": refused, "no answer": refused, "HTTP 1.0": "200", "hints": "404"}
	for _, answer := range inlineAnswers() {
		texts[answer.name] = answer.wire()
		if wants[answer.name] == "" {
			wants[answer.name] = answer.status
		}
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateways := map[string]*engine.Gateway{}
		for use, config := range nextUses {
			gateways[use] = e.Start(t, engine.Setup{Config: config, Next: "http://" + server.addr})
		}
		for name, text := range texts {
			t.Run(name, func(t *testing.T) {
				got := map[string]answered{}
				for use, gateway := range gateways {
					got[use] = ask(t, gateway, func() { server.answerOnce(t, text) })
					if wants[name] == refused {
						got[use] = got[use].loosely()
					}
				}
				if !strings.HasPrefix(got["check"].status, wants[name]) || !reflect.DeepEqual(got["inline"], got["check"]) {
					t.Errorf("the client gets\n%v, without relaying\n%v; want %s", got["inline"], got["check"], wants[name])
				}
			})
		}
	})
}

// answerOnce takes a connection, reads the request, answers, and closes.
func (u *peerUpstream) answerOnce(t *testing.T, answer string) {
	t.Helper()
	upstream, _ := u.request(t)
	go func() {
		defer upstream.Close()
		_, _ = io.WriteString(upstream, answer) // the answer's reader sees what is missing
	}()
}

// TestInlineAnswerStreamed wants the parts of a body of known length one by one, as Traefik's own proxy has them flushed.
func TestInlineAnswerStreamed(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for use, config := range nextUses {
			t.Run(use, func(t *testing.T) {
				server := peerListen(t)
				gateway := e.Start(t, engine.Setup{Config: config, Next: "http://" + server.addr})
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
				upstream, _ := server.request(t)
				upstream.send(t, raw("HTTP/1.1 403 Forbidden", "Content-Length: 15"))
				upstream.send(t, "first")
				client.in = bufio.NewReader(client.answer(t).Body)
				client.expect(t, "first")
				for _, part := range []string{"after", "after"} {
					upstream.send(t, part)
					client.expect(t, part)
				}
			})
		}
	})
}

// TestInlineServiceDown wants Traefik's own answer where nobody listens, and no word of it in the log: there has been no
// session.
func TestInlineServiceDown(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		next := "http://" + peerDeadAddr(t)
		got := map[string]answered{}
		for use, config := range nextUses {
			gateway := e.Start(t, engine.Setup{Config: config, Next: next})
			got[use] = ask(t, gateway, func() {}).loosely()
			if lines := gateway.Lines(); len(lines) > 0 {
				t.Errorf("%s: the log has %v", use, lines)
			}
		}
		if got["check"].status != "502 Bad Gateway" || !reflect.DeepEqual(got["inline"], got["check"]) {
			t.Errorf("the client gets %+v, without relaying %+v", got["inline"], got["check"])
		}
	})
}

// TestRecordNames wants a record to name both ends of its session, and nothing secret.
func TestRecordNames(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		client := peerDial(t, gateway, upgrade("GET /chat/a%2Fb?token=hunter2 HTTP/1.1", "Cookie: a=hunter2", offeredProtocol))
		upstream, head := server.request(t)
		upstream.send(t, head.switching("Sec-WebSocket-Protocol: superchat"))
		client.answer(t)
		from := client.LocalAddr().String()
		client.Close()
		record := gateway.WaitRecord(t)
		told := object{"upstream": server.endpoint(), "client": from, "path": "/chat/a%2Fb", "subprotocol": "superchat"}
		for name, want := range told {
			if record[name] != want {
				t.Errorf("the record's %s is %v, want %v", name, record[name], want)
			}
		}
		checkSecretLines(t, gateway)
	})
}

// TestInlineRequest wants the service to get an upgrade's headers as the client sent them, and Traefik's own forwarding
// headers, in a session.
func TestInlineRequest(t *testing.T) {
	own := []string{
		"Cookie: a=1; b=2", "Authorization: Bearer mine", "Origin: https://app.example.com", "X-Own: first", "X-Own: second",
		offeredProtocol, offeredExtension,
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		heads := map[string]map[string]bool{}
		for use, config := range nextUses {
			options := object{"allowedOrigins": []string{"https://app.example.com"}, "protocols": []string{"chat", "superchat"}}
			maps.Copy(options, config)
			gateway := e.Start(t, engine.Setup{Config: options, Next: "http://" + server.addr})
			client := peerDial(t, gateway, upgrade("GET /a%2Fb/?q=1&q=%26 HTTP/1.1", own...))
			upstream, head := server.request(t)
			upstream.send(t, head.switching())
			if resp := client.answer(t); resp.Header.Get("Sec-WebSocket-Accept") != wire.Accept(sampleKey) {
				t.Errorf("%s: the answer to the client's key is %v", use, resp.Header)
			}
			heads[use] = map[string]bool{}
			for _, line := range head {
				heads[use][line] = true
			}
		}
		if !reflect.DeepEqual(heads["inline"], heads["check"]) {
			t.Errorf("the service gets %v, without relaying %v", heads["inline"], heads["check"])
		}
	})
}

package e2e

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// refusingUses are options of all uses in which requests are refused before anybody else sees them.
func refusingUses(t *testing.T) map[string]engine.Setup {
	next := "http://" + peerDeadAddr(t)
	return map[string]engine.Setup{
		"check":   {Next: next},
		"inline":  {Next: next, Config: object{"mode": "inline"}},
		"forward": {Next: next, Config: object{"upstreamEndpoint": strings.Replace(next, "http", "ws", 1)}},
	}
}

// TestUnsentBody is about requests that announce a body and do not send it: the answer does not wait for it, and says that
// the connection ends, for what comes next on it would be that body.
func TestUnsentBody(t *testing.T) {
	const get, post = "GET / HTTP/1.1", "POST / HTTP/1.1"
	bodies := map[string]string{"length": "Content-Length: 5", "large length": "Content-Length: 1000000000", "chunks": "Transfer-Encoding: chunked"}
	rows := []struct {
		name    string
		request func(body string) string
		status  int
		options []string // of Connection
	}{
		{"upgrade", func(body string) string { return upgrade(get, body) }, http.StatusBadRequest, []string{"close"}},
		{"upgrade that expects to be told to go on", func(body string) string {
			return upgrade(get, body, "Expect: 100-continue")
		}, http.StatusBadRequest, []string{"close"}},
		{"post without an upgrade", func(body string) string {
			return raw(post, "Host: chat.example.com", body)
		}, http.StatusUpgradeRequired, []string{"close", "Upgrade"}},
		{"post with an upgrade", func(body string) string { return upgrade(post, body) }, http.StatusMethodNotAllowed, []string{"close"}},
		{"upgrade of a wrong version", func(body string) string {
			return upgrade(get, body, "Sec-WebSocket-Version: 8")
		}, http.StatusUpgradeRequired, []string{"close", "Upgrade"}},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for use, setup := range refusingUses(t) {
			gateway := e.Start(t, setup)
			for _, row := range rows {
				for kind, body := range bodies {
					t.Run(use+"/"+row.name+", "+kind, func(t *testing.T) {
						client := peerDial(t, gateway, row.request(body))
						checkConnectionOptions(t, client.refusalHead(t, row.status), row.options)
					})
				}
			}
		}
	})
}

// refusalHead reads an answer of the gateway's own, holds it to its form, and returns its head.
func (p *peerConn) refusalHead(t *testing.T, status int) peerHead {
	t.Helper()
	head := p.readHead(t)
	again := strings.NewReader(raw(head...))
	p.in.Reset(io.MultiReader(again, p.buffered(t), p.Conn))
	p.refusal(t, status)
	return head
}

// buffered is what has come already and nobody has read.
func (p *peerConn) buffered(t *testing.T) io.Reader {
	t.Helper()
	held, err := p.in.Peek(p.in.Buffered())
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReader(string(held))
}

// checkConnectionOptions wants these options in Connection, in any order and case, over any lines, and no others.
func checkConnectionOptions(t *testing.T, head peerHead, want []string) {
	t.Helper()
	got := head.items("Connection")
	slices.SortFunc(got, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	if !slices.EqualFunc(got, want, strings.EqualFold) {
		t.Errorf("Connection says %q, want %q", got, want)
	}
}

// TestRefusalHTTP2 has clients ask over HTTP/2, whose answers must have no header that concerns one connection only
// (RFC 9113 section 8.2.2). They are told which HTTP it takes.
func TestRefusalHTTP2(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, ResponseHeaderTimeout: rawTimeout}
	t.Cleanup(transport.CloseIdleConnections)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for use, setup := range refusingUses(t) {
			gateway := e.Start(t, setup)
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
				t.Run(use+"/"+method, func(t *testing.T) { checkRefusalHTTP2(t, transport, method, "http://"+gateway.Addr+"/socket") })
			}
		}
	})
}

// checkRefusalHTTP2 sends a request over HTTP/2, and wants it refused.
func checkRefusalHTTP2(t *testing.T, transport http.RoundTripper, method, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, body, err := fetch(transport, req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUpgradeRequired {
		t.Fatalf("the answer is %s %s, want HTTP/2 426", resp.Proto, resp.Status)
	}
	checkHeader(t, resp.Header, http.Header{
		"Upgrade": nil, "Connection": nil, "Keep-Alive": nil, "Proxy-Connection": nil, "Transfer-Encoding": nil,
	})
	if method == http.MethodHead {
		return
	}
	checkSentence(t, resp, body)
	if !strings.Contains(body, "HTTP/1.1") {
		t.Errorf("the sentence is %q, want it to name HTTP/1.1", body)
	}
}

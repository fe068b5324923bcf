package e2e

import (
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// caller is a client of a gateway.
type caller struct {
	gateway *engine.Gateway
	header  http.Header // of its requests
	tls     *tls.Config // nil: no TLS
	http2   bool        // for plain requests; it needs TLS
}

func newCaller(gateway *engine.Gateway, header http.Header) *caller {
	return &caller{gateway: gateway, header: header}
}

// url is a path at the gateway, by a scheme or, with TLS, its secure twin.
func (c *caller) url(scheme, path string) string {
	if c.tls != nil {
		scheme += "s"
	}
	return scheme + "://" + c.gateway.Addr + path
}

// ask opens a session, or returns the answer with which that is refused.
func (c *caller) ask(t *testing.T) (*gorilla.Conn, *http.Response) {
	t.Helper()
	dialer := gorilla.Dialer{EnableCompression: true, HandshakeTimeout: rawTimeout, TLSClientConfig: c.tls}
	conn, resp, err := dialer.Dial(c.url("ws", "/socket"), c.header)
	if resp == nil {
		t.Fatal(err)
	}
	if conn != nil {
		t.Cleanup(func() { conn.Close() })
		conn.SetReadDeadline(time.Now().Add(rawTimeout))
	}
	return conn, resp
}

// join opens a session, and returns its handshake's answer too. Of a session that has just ended Traefik may not know
// yet, and refuse one too many.
func (c *caller) join(t *testing.T) (speaker gorillaSpeaker, resp *http.Response) {
	t.Helper()
	await(t, soon, func() string {
		speaker.conn, resp = c.ask(t)
		if resp.StatusCode == http.StatusTooManyRequests {
			return "no further session is let in"
		}
		return ""
	})
	if speaker.conn == nil {
		t.Fatalf("status is %d, want 101", resp.StatusCode)
	}
	return speaker, resp
}

// refused wants a session to be refused with a status, and returns the answer's beginning.
func (c *caller) refused(t *testing.T, status int) string {
	t.Helper()
	conn, resp := c.ask(t)
	if conn != nil || resp.StatusCode != status {
		t.Fatalf("status is %d, want %d", resp.StatusCode, status)
	}
	body, err := io.ReadAll(resp.Body) // which gorilla has cut to 1 KiB
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// transport is for the client's plain requests.
func (c *caller) transport() *http.Transport {
	return &http.Transport{
		DisableCompression: true, TLSClientConfig: c.tls.Clone(), ForceAttemptHTTP2: c.http2, ResponseHeaderTimeout: rawTimeout,
	}
}

// plain sends a request that asks for no upgrade.
func (c *caller) plain(t *testing.T) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url("http", "/plain"), nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, c.header)
	transport := c.transport()
	defer transport.CloseIdleConnections()
	resp, body, err := fetch(transport, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// fetch sends a request, and returns the answer and the whole of its body.
func fetch(transport http.RoundTripper, req *http.Request) (*http.Response, string, error) {
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// talk has messages of several sizes echoed.
func talk(t *testing.T, speaker gorillaSpeaker) {
	t.Helper()
	c := forwardCase{}
	c.exchange(t, speaker, false, []byte("Grüße, 世界"))
	c.exchange(t, speaker, true, payload(70000))
}

// works wants sessions, closed by either end, and plain requests to come through to a server.
func (c *caller) works(t *testing.T, server *bystander, records bool) {
	t.Helper()
	c.closes(t, server, records)
	c.isClosed(t, server, records)
	c.plainWorks(t)
}

// closes has the client close a session.
func (c *caller) closes(t *testing.T, server *bystander, records bool) {
	t.Helper()
	clientBye := forwardEnd{4001, "client is done"}
	client, _ := c.join(t)
	<-server.heads
	talk(t, client)
	if code := client.bye(clientBye.code, clientBye.reason); code != clientBye.code {
		t.Errorf("the answer to the client's close is %d, want %d", code, clientBye.code)
	}
	client.quit()
	if got := <-server.ends; got != clientBye {
		t.Errorf("the server saw %v, want %v", got, clientBye)
	}
	c.recorded(t, server, records, "client", clientBye)
}

// isClosed has the server close one.
func (c *caller) isClosed(t *testing.T, server *bystander, records bool) {
	t.Helper()
	client, _ := c.join(t)
	<-server.heads
	talk(t, client)
	if err := client.say(false, []byte("bye")); err != nil {
		t.Fatal(err)
	}
	_, _, err := client.hear()
	if got := client.ended(err); got != serverBye {
		t.Errorf("the client saw %v, want %v", got, serverBye)
	}
	client.quit()
	if got := <-server.ends; got.code != serverBye.code {
		t.Errorf("the answer to the server's close is %d, want %d", got.code, serverBye.code)
	}
	c.recorded(t, server, records, "upstream", serverBye)
}

// recorded wants the record of a session with a server, where there are records.
func (c *caller) recorded(t *testing.T, server *bystander, records bool, by string, end forwardEnd) {
	t.Helper()
	if !records {
		return
	}
	record := c.gateway.WaitRecord(t)
	upstream := strings.Replace(server.url, "http", "ws", 1)
	if record["upstream"] != upstream || record["endedBy"] != by || record["code"] != float64(end.code) {
		t.Fatalf("the record is %v, want a session with %s that the %s ended with %v", record, upstream, by, end)
	}
}

// plainWorks wants a plain request answered by a server, once it is let in: see join.
func (c *caller) plainWorks(t *testing.T) {
	t.Helper()
	var resp *http.Response
	var body string
	await(t, soon, func() string {
		if resp, body = c.plain(t); resp.StatusCode == http.StatusTooManyRequests {
			return "no further request is let in"
		}
		return ""
	})
	whole := resp.Header.Get("Content-Encoding") != "" || len(body) >= largePlain-len("plain ")
	if resp.StatusCode != http.StatusOK || resp.Header.Get(serverMark) == "" || !whole {
		t.Errorf("a plain request gets %d, %d bytes and headers %v", resp.StatusCode, len(body), resp.Header)
	}
}

package wsfw

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// opened has c's middleware open a session, or none, for a request with header, and returns what it asks the upstream
// for by a key that is written KEY here. The upstream, which is called endpoint, says answer, with its ACCEPT filled in.
func opened(t *testing.T, c object, header http.Header, rw http.ResponseWriter, answer string) (asked string, v *upgrade) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options := object{"upstreamEndpoint": "ws://" + listener.Addr().String() + "/"}
	for key, value := range c {
		options[key] = value
	}
	set, err := parse(&Config{Options: options}, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	if set.upstream.endpoint.host == listener.Addr().String() {
		set.upstream.endpoint.host = "endpoint"
	}
	requests := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			requests <- err.Error()
			return
		}
		defer func() { _ = conn.Close() }()
		request, reader := "", bufio.NewReader(conn)
		for !strings.HasSuffix(request, "\r\n\r\n") && err == nil {
			var line string
			line, err = reader.ReadString('\n')
			request += line
		}
		key := askedKey.FindStringSubmatch(request)[1]
		_, _ = io.WriteString(conn, strings.Replace(answer, "ACCEPT", acceptFor(key), 1))
		requests <- strings.Replace(request, key, "KEY", 1)
	}()
	m := &Middleware{name: t.Name(), settings: set, counts: newCounts(), report: func(string, error) {}}
	v = newUpgrade(m, rw, &http.Request{
		Method: "GET", ProtoMajor: 1, ProtoMinor: 1, Host: "client", RemoteAddr: "192.0.2.1:1", URL: &url.URL{Path: "/"}, Header: header,
	})
	if refused := admit(v, set); refused != nil {
		refuse(v, refused)
	} else {
		forward(v, set.upstream)
	}
	_ = listener.Close()
	request := <-requests
	via := "Via: 1.1 " + pseudonym + "\r\n"
	if strings.Count(request, via) != 1 {
		t.Errorf("the request has not %q once: %q", via, request)
	}
	return strings.Replace(request, via, "", 1), v
}

// askedKey finds the key in a request.
var askedKey = regexp.MustCompile("Sec-WebSocket-Key: (.*)\r\n")

// upgrading is header, which asks for an upgrade besides.
func upgrading(header http.Header) http.Header {
	full := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, versionHeader: {"13"}, keyHeader: {sampleKey}}
	for name, values := range header {
		full[name] = values
	}
	return full
}

// sent is the opening handshake that c makes of a request with header.
func sent(t *testing.T, c object, header http.Header) string {
	t.Helper()
	asked, v := opened(t, c, header, httptest.NewRecorder(), "HTTP/1.1 204 No Content\r\n\r\n")
	giveBack(v)
	return asked
}

func TestSend(t *testing.T) {
	const head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\n"
	const forwarding = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: client\r\nX-Forwarded-Proto: http\r\n"
	cases := []struct {
		name   string
		config object
		header http.Header
		host   string
		want   string
	}{
		{"nothing", nil, http.Header{}, "endpoint", forwarding},
		{"end to end", nil, http.Header{"Cookie": {"a=b"}, "Te": {"trailers"}, "Keep-Alive": {"5"}, "Host": {"x"}, "Content-Length": {"0"}}, "endpoint", "Cookie: a=b\r\n" + forwarding},
		{"handshake", nil, http.Header{keyHeader: {sampleKey}, versionHeader: {"13"}}, "endpoint", forwarding},
		{"named", nil, http.Header{"Connection": {"Upgrade, X-Hop"}, "X-Hop": {"1"}, "X-Other": {"2"}}, "endpoint", forwarding + "X-Other: 2\r\n"},
		{"named, and said of it", nil, http.Header{"Connection": {"Upgrade, x-forwarded-for, X-Forwarded-Proto", "x-forwarded-host, connection"}, "X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Host": {"h"}, "X-Forwarded-Proto": {"wss"}}, "endpoint", forwarding},
		{"offer", nil, http.Header{protocolHeader: {"a,b"}, extensionsHeader: {"x"}}, "endpoint", "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: x\r\n" + forwarding},
		{"cut", object{"compression": "off"}, http.Header{extensionsHeader: {"x"}}, "endpoint", forwarding},
		{"proxies", nil, http.Header{"X-Forwarded-For": {"10.0.0.1", "10.0.0.2"}, "X-Forwarded-Host": {"h"}, "X-Forwarded-Proto": {"wss"}}, "endpoint", "X-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.1\r\nX-Forwarded-Host: h\r\nX-Forwarded-Proto: wss\r\n"},
		{"empty", nil, http.Header{"X-Forwarded-Host": {""}, "X-Forwarded-Proto": {"wss"}}, "endpoint", strings.Replace(forwarding, "http", "wss", 1)},
		{"passHostHeader", object{"passHostHeader": true}, http.Header{}, "client", forwarding},
		{"headers", object{"passHostHeader": true, "headers": object{"host": "set", "cookie": "", "x-forwarded-for": "", "x-own": "1"}}, http.Header{"Cookie": {"a=b"}, "X-Own": {"2"}}, "set", "X-Forwarded-Host: client\r\nX-Forwarded-Proto: http\r\nX-Own: 1\r\n"},
	}
	for _, c := range cases {
		want := "GET / HTTP/1.1\r\nHost: " + c.host + "\r\n" + head + c.want + "\r\n"
		header := upgrading(c.header)
		before := len(header)
		if got := sent(t, c.config, header); got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
		if len(header) != before {
			t.Errorf("%s: the client's headers have been changed to %v", c.name, header)
		}
	}
}

// A usual request is passed on as it is, one after the other.
func TestSendUsual(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: endpoint\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\n"
	const forwarding = "X-Forwarded-Host: client\r\nX-Forwarded-Proto: http\r\n"
	for _, c := range []struct {
		headers map[string]string
		cookie  string
		want    string
	}{
		{map[string]string{"x-own": "1"}, "a=b", "X-Forwarded-For: 192.0.2.1\r\nCookie: a=b\r\n" + forwarding + "X-Own: 1\r\n\r\n"},
		{map[string]string{"x-own": "1"}, "c", "X-Forwarded-For: 192.0.2.1\r\nCookie: c\r\n" + forwarding + "X-Own: 1\r\n\r\n"},
		{map[string]string{"x-forwarded-for": ""}, "d", "Cookie: d\r\n" + forwarding + "\r\n"},
	} {
		header := upgrading(http.Header{"Cookie": {c.cookie}, "X-Forwarded-Host": {"client"}, "X-Forwarded-Proto": {"http"}})
		if got := sent(t, object{"headers": c.headers}, header); got != head+c.want {
			t.Errorf("sent %q, want %q", got, head+c.want)
		}
	}
}

// asksFor is an upgrade that asks for a target of a middleware without a path.
func asksFor(path, query string) *upgrade {
	return &upgrade{middleware: &Middleware{settings: &settings{}}, path: path, req: &http.Request{URL: &url.URL{RawQuery: query}}}
}

func TestTargetsThatBreakTheRequestLine(t *testing.T) {
	e := endpointOf(t, "ws://h/ws")
	for _, to := range []*upstream{{endpoint: e}, {endpoint: e, appendPath: true}} {
		for _, query := range []string{"a b", "a\r\n"} {
			if got := targetFor(asksFor("/x", query), to, e); got != "" {
				t.Errorf("the query %q makes %q", query, got)
			}
		}
	}
	for _, path := range []string{"/..", "/ ", "*"} {
		if got := targetFor(asksFor(path, ""), &upstream{endpoint: e, appendPath: true}, e); got != "" {
			t.Errorf("%q makes %q", path, got)
		}
	}
}

// endpointOf takes an endpoint apart that is right.
func endpointOf(t *testing.T, value string) *endpoint {
	t.Helper()
	m := &mistakes{}
	e := newOptions(m, "", nil).endpoint("upstreamEndpoint", value)
	if len(m.list) > 0 {
		t.Fatal(m.list)
	}
	return e
}

func TestVerify(t *testing.T) {
	set, text, off := &settings{rules: plain, deflated: compressed}, &settings{rules: plainText, deflated: compressedText, checkText: true}, &settings{rules: lax, deflated: lax}
	cases := []struct {
		name        string
		set         *settings
		offered     http.Header
		agreed      http.Header
		rules       *frameRules
		subprotocol string
		fails       bool
	}{
		{"nothing", set, nil, nil, plain, "", false},
		{"in other words", set, nil, http.Header{"Upgrade": {"WebSocket"}, "Connection": {"keep-alive, upgrade"}}, plain, "", false},
		{"nothing but text", text, nil, nil, plainText, "", false},
		{"nothing unchecked", off, nil, nil, lax, "", false},
		{"compression", set, http.Header{extensionsHeader: {deflate}}, http.Header{extensionsHeader: {deflate}}, compressed, "", false},
		{"compression of text", text, http.Header{extensionsHeader: {deflate}}, http.Header{extensionsHeader: {deflate}}, compressedText, "", false},
		{"compression unchecked", off, http.Header{extensionsHeader: {deflate}}, http.Header{extensionsHeader: {deflate}}, lax, "", false},
		{"with parameters", set, http.Header{extensionsHeader: {deflate + "; a, x"}}, http.Header{extensionsHeader: {deflate + "; b=1"}}, compressed, "", false},
		{"another", set, http.Header{extensionsHeader: {deflate, "x"}}, http.Header{extensionsHeader: {"x"}}, extended, "", false},
		{"two", set, http.Header{extensionsHeader: {deflate, "x"}}, http.Header{extensionsHeader: {deflate, "x"}}, extended, "", false},
		{"not offered", set, nil, http.Header{extensionsHeader: {deflate}}, nil, "", true},
		{"not this one", set, http.Header{extensionsHeader: {deflate}}, http.Header{extensionsHeader: {"x"}}, nil, "", true},
		{"subprotocol", set, http.Header{protocolHeader: {"a, b"}}, http.Header{protocolHeader: {"b"}}, plain, "b", false},
		{"subprotocol not offered", set, http.Header{extensionsHeader: {deflate}}, http.Header{protocolHeader: {"b"}, extensionsHeader: {deflate}}, nil, "", true},
		{"two subprotocols", set, http.Header{protocolHeader: {"a, b"}}, http.Header{protocolHeader: {"a, b"}}, nil, "", true},
		{"no upgrade", set, nil, http.Header{"Connection": {"close"}}, nil, "", true},
		{"no proof", set, nil, http.Header{acceptHeader: {"another"}}, nil, "", true},
		{"two proofs", set, nil, http.Header{acceptHeader: {sampleAccept, sampleAccept}}, nil, "", true},
	}
	for _, c := range cases {
		answer := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, acceptHeader: {sampleAccept}}
		for name, values := range c.agreed {
			answer[name] = values
		}
		v := &upgrade{middleware: &Middleware{settings: c.set}, offer: offerOf(c.set, c.offered)}
		err := verify(v, answer, sampleAccept)
		if err != nil != c.fails || err == nil && (v.rules != c.rules || v.subprotocol != c.subprotocol) {
			t.Errorf("%s: %v, %q", c.name, err, v.subprotocol)
		}
	}
}

// An answer's Connection is known whatever net/http makes of it, and whatever came before.
func TestConnectionOfAnswers(t *testing.T) {
	const early = "HTTP/1.1 103 then 101 x\r\nLink: <a>\r\n\r\n"
	const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\nX-A: b\r\n\r\nbehind"
	for _, said := range []string{answer, early + answer, early + early + answer} {
		head := new(bytes.Buffer)
		reader := bufio.NewReaderSize(io.TeeReader(strings.NewReader(said), head), answerBufferBytes)
		got, err := readAnswer(reader, head)
		if err != nil || guardUpgrade(got.Header) != nil || got.Header.Get("X-A") != "b" {
			t.Errorf("%q is read as %v (%v)", said, got, err)
		}
		if rest, _ := io.ReadAll(reader); string(rest) != "behind" {
			t.Errorf("behind it there is %q", rest)
		}
	}
}

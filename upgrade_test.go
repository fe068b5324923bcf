package wsfw

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestAcceptFor(t *testing.T) {
	if got := acceptFor(sampleKey); got != sampleAccept {
		t.Errorf("acceptFor = %q, want %q", got, sampleAccept)
	}
}

func TestBelow(t *testing.T) {
	cases := []struct {
		prefix, target string
		rest           string
		ok             bool
	}{
		{"", "/", "", true},
		{"", "/a/b", "/a/b", true},
		{"/socket", "/socket", "", true},
		{"/socket/", "/socket", "", true},
		{"/socket", "/socket/", "/", true},
		{"/socket", "/socket/a%20b", "/a%20b", true},
		{"/socket", "/socket//a", "//a", true},
		{"/socket", "/socketry", "", false},
		{"/socket", "/socket%2Fa", "", false},
		{"/socket", "/%73ocket/a", "/a", true},
		{"/socket", "//socket", "", false},
		{"/socket", "/", "", false},
		{"/a b/c", "/a%20b/c/%C3%A4", "/%C3%A4", true},
		{"/a%20b", "/a%20b", "", true},
		{"/a/b", "/a", "", false},
	}
	for _, c := range cases {
		m := &mistakes{}
		prefix := newOptions(m, "", object{"path": c.prefix}).path()
		u, err := url.ParseRequestURI(c.target)
		if err != nil || len(m.list) > 0 {
			t.Fatalf("%q, %q: %v, %v", c.prefix, c.target, err, m.list)
		}
		if rest, ok := below(prefix, sentPath(u)); rest != c.rest || ok != c.ok {
			t.Errorf("below %q of %q is %q, %v; want %q, %v", c.prefix, c.target, rest, ok, c.rest, c.ok)
		}
	}
}

func TestSentPathKeepsWhatShouldHaveBeenEscaped(t *testing.T) {
	u, err := url.ParseRequestURI(`/a"b|c/ä%2F`)
	if err != nil {
		t.Fatal(err)
	}
	if got := sentPath(u); got != `/a"b|c/ä%2F` {
		t.Errorf("sentPath = %q", got)
	}
	u.Path = "/changed" // by a middleware that knows nothing of RawPath
	if got := sentPath(u); got != "/changed" {
		t.Errorf("sentPath of a changed path = %q", got)
	}
}

func TestClimbs(t *testing.T) {
	for path, want := range map[string]bool{
		"": false, "/a/b": false, "/a/..": true, "/./a": true, "/%2e%2E/a": true, "/..a": false, "/%zz": true, "/a%2F..%2fb": true,
		"/..;/x": true, "/..;a=b/x": true, "/.;": true, "/..%5cx": true, `/a\..`: true, "/%252e%252E/x": true, "/%25252e./x": true,
		"/a;../b": false, "/..;": true, "/a%253b..": false, "/...": false, "/a%25zz": false, "/100%25": false,
		"/%252e%252e/admin/%25": true, "/%252e%252e/%25zz": true, "/..%20/x": true, "/..%00": true, "/.%2e%3bx": true, "/%2525252525252525": true,
	} {
		if got := climbs(path); got != want {
			t.Errorf("climbs(%q) = %v", path, got)
		}
	}
}

func TestTarget(t *testing.T) {
	cases := []struct {
		endpoint string
		add      bool
		below    string
		query    string
		want     string
	}{
		{"ws://h", false, "/x", "", "/"},
		{"ws://h/ws", false, "/x", "a=1", "/ws?a=1"},
		{"ws://h/ws/?k=v", false, "", "a=1&b", "/ws/?k=v&a=1&b"},
		{"ws://h/ws?k=v", false, "", "", "/ws?k=v"},
		{"ws://h/ws", true, "", "", "/ws"},
		{"ws://h/ws", true, "/", "", "/ws/"},
		{"ws://h/ws/", true, "/a%2Fb", "", "/ws/a%2Fb"},
		{"ws://h/a%20b", true, "//c", "q=%20", "/a%20b//c?q=%20"},
		{"ws://h", true, "/c", "", "/c"},
	}
	for _, c := range cases {
		to := &upstream{endpoint: endpointOf(t, c.endpoint), appendPath: c.add}
		u := asksFor("/at"+c.below, c.query)
		u.middleware.settings.path = []string{"at"}
		if got := targetFor(u, to, to.endpoint); got != c.want {
			t.Errorf("%s with %q, %q: %q, want %q", c.endpoint, c.below, c.query, got, c.want)
		}
	}
}

func TestOfferIsCutInTheClientsOrder(t *testing.T) {
	s := &settings{protocols: []string{"a", "b"}, noCompression: true}
	header := http.Header{protocolHeader: {"c, b", "a"}, extensionsHeader: {"permessage-deflate; x=1"}}
	o := offerOf(s, header)
	cut := withOffer(&http.Request{Header: header}, o).Header
	if !o.cut || cut.Get(protocolHeader) != "b, a" || len(cut[extensionsHeader]) != 0 {
		t.Errorf("offer %+v, header %v", o, cut)
	}
}

func TestCopyEndToEnd(t *testing.T) {
	src := http.Header{
		"Connection": {"Upgrade, X-Hop"}, "X-Hop": {"1"}, "Te": {"trailers"}, "Keep-Alive": {"5"},
		"Cookie": {"a=b"}, "Set-Cookie": {"c=d"}, "Server": {"upstream"},
	}
	dst := http.Header{"Set-Cookie": {"first=1"}, "Server": {"outer"}}
	copyEndToEnd(dst, src)
	if len(dst) != 3 || dst.Get("Cookie") != "a=b" || len(dst["Set-Cookie"]) != 2 || dst.Get("Server") != "upstream" {
		t.Errorf("copied %v", dst)
	}
}

func TestAsksUpgrade(t *testing.T) {
	cases := []struct {
		upgrade, connection []string
		asks                bool
	}{
		{[]string{"websocket"}, []string{"Upgrade"}, true},
		{[]string{"websocket"}, []string{"keep-alive, Upgrade"}, true},
		{[]string{"WebSocket"}, []string{"upgrade"}, true},
		{[]string{"h2c, websocket"}, []string{"Upgrade"}, true},
		{[]string{"h2c", "websocket"}, []string{"Upgrade"}, true},
		{[]string{"websocket"}, []string{"Upgrade", "X-Hop"}, true},
		{[]string{"websocket"}, []string{"X-Hop,upgrade"}, true},
		{[]string{"websocket"}, []string{"keep-alive"}, false},
		{[]string{"websocket"}, nil, false},
		{nil, []string{"Upgrade"}, false},
		{[]string{"h2c ,\twebsocket , x"}, []string{"a,UPGRADE,b"}, true},
		{[]string{"web", "socket"}, []string{"Upgrade"}, false},
		{[]string{strings.Repeat(",", maxItems)}, []string{"Upgrade"}, true}, // for the guards to refuse
		{[]string{"websockets"}, []string{"Upgrade"}, false},
	}
	for _, c := range cases {
		header := http.Header{"Upgrade": c.upgrade, "Connection": c.connection}
		if asks := guardUpgrade(header) != refuseNoUpgrade; asks != c.asks {
			t.Errorf("%.80v asks: %v", header, asks)
		}
	}
}

// The guards refuse for the first reason that there is.
func TestCheck(t *testing.T) {
	request := func() *http.Request {
		return &http.Request{
			Method: "GET", ProtoMajor: 1, ProtoMinor: 1, Host: "host", URL: &url.URL{Path: "/"}, RemoteAddr: "192.0.2.1:1",
			Header: upgrading(nil),
		}
	}
	header := func(name string, values ...string) func(*http.Request) {
		return func(req *http.Request) { req.Header[name] = values }
	}
	cases := []struct {
		name   string
		change func(*http.Request)
		want   *refusal
	}{
		{"a browser", func(*http.Request) {}, nil},
		{"Firefox", header("Connection", "keep-alive, Upgrade"), nil},
		{"in lower case", header("Connection", "upgrade"), nil},
		{"with a hop", header("Connection", "Upgrade, X-Hop"), nil},
		{"in two lines", header("Connection", "keep-alive", "Upgrade"), nil},
		{"in other words", header("Upgrade", "WebSocket"), nil},
		{"no upgrade", header("Connection", "keep-alive"), refuseNoUpgrade},
		{"not in quotes", header("Upgrade", `websocket"] ["Upgrade`), refuseNoUpgrade},
		{"two versions", header(versionHeader, "13", "13"), refuseVersion},
		{"two keys", header(keyHeader, sampleKey, sampleKey), refuseKey},
		{"a long key", header(keyHeader, "A"+sampleKey), refuseKey},
		{"a key in two lines", header(keyHeader, sampleKey+"\n"), refuseKey},
		{"a key of other bytes", header(keyHeader, "-"+sampleKey[1:]), refuseKey},
		{"POST", func(req *http.Request) { req.Method = "POST" }, refuseMethod},
		{"HTTP/1.0", func(req *http.Request) { req.ProtoMinor = 0 }, refuseProtocol},
		{"HTTP/2", func(req *http.Request) { req.ProtoMajor, req.ProtoMinor = 2, 0 }, refuseProtocol},
		{"a long Connection", header("Connection", "Upgrade"+strings.Repeat(",", maxItems)), refuseLength},
		{"a long offer", header(protocolHeader, strings.Repeat("a,", maxItems)+"a"), refuseLength},
		{"a full offer", header(protocolHeader, strings.Repeat("a,", maxItems-1)+"a"), nil},
		{"an empty offer", header(protocolHeader, ""), nil},
		{"a long path", func(req *http.Request) { req.URL.Path = strings.Repeat("/a", maxItems+1) }, refuseLength},
		{"a body", func(req *http.Request) { req.ContentLength = 1 }, refuseBody},
		{"chunks", func(req *http.Request) { req.ContentLength = -1 }, refuseBody},
	}
	for _, c := range cases {
		req, answer := request(), httptest.NewRecorder()
		c.change(req)
		m := &Middleware{name: t.Name(), settings: &settings{limits: &limits{}}}
		u := newUpgrade(m, answer, req)
		refused := admit(u, m.settings)
		if refused != nil {
			refuse(u, refused)
		}
		giveBack(u)
		want := ""
		if c.want != nil {
			want = c.want.sentence + "\n"
		}
		if answer.Body.String() != want || refused != c.want {
			t.Errorf("%s: answered %q", c.name, answer.Body)
		}
		if connection := answer.Header()["Connection"]; req.ProtoMajor > 1 && connection != nil {
			t.Errorf("%s: Connection is %q on HTTP/%d", c.name, connection, req.ProtoMajor)
		}
	}
}

func TestOffersAreSpelled(t *testing.T) {
	header := http.Header{protocolHeader: {"a,b"}, extensionsHeader: {"x; y=1", "z"}}
	if got := offerOf(&settings{}, header).lines; got != "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: x; y=1, z\r\n" {
		t.Errorf("the offer of two is %q", got)
	}
	for extension, usual := range compression {
		header := http.Header{extensionsHeader: {extension}}
		if o := offerOf(&settings{}, header); o != usual || o.lines != "Sec-WebSocket-Extensions: "+extension+"\r\n" {
			t.Errorf("the offer of %q is %+v", extension, o)
		}
		if o := offerOf(&settings{noCompression: true}, header); o.lines != "" || !o.cut {
			t.Errorf("withheld, the offer of %q is %+v", extension, o)
		}
	}
}

func TestSwitchTo(t *testing.T) {
	const head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + sampleAccept + "\r\n"
	const answer = "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: HOW\r\nSec-WebSocket-Accept: ACCEPT\r\nKeep-Alive: 5\r\n" +
		"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Extensions: x\r\nSet-Cookie: c=d\r\nServer: upstream\r\nX-Hop: 1\r\n\r\n"
	cases := []struct {
		connection string
		header     http.Header
		want       string
	}{
		{"Upgrade", http.Header{}, "Server: upstream\r\nSet-Cookie: c=d\r\nX-Hop: 1\r\n"},
		{"Upgrade, X-Hop", nil, "Server: upstream\r\nSet-Cookie: c=d\r\n"},
		{"Upgrade", http.Header{"Set-Cookie": {"first=1"}, "Server": {"outer"}, "X-Outer": {"1"}}, "Server: upstream\r\nSet-Cookie: first=1\r\nSet-Cookie: c=d\r\nX-Hop: 1\r\nX-Outer: 1\r\n"},
	}
	for _, c := range cases {
		answer := strings.Replace(answer, "HOW", c.connection, 1)
		client := newScript(nil, 1, true)
		rw := &hijackable{httptest.NewRecorder(), client, bufio.NewReadWriter(bufio.NewReader(client), nil)}
		for name, values := range c.header {
			rw.Header()[name] = values
		}
		offer := http.Header{protocolHeader: {"a"}, extensionsHeader: {"x"}}
		if _, v := opened(t, nil, upgrading(offer), rw, answer); v.session == nil {
			t.Fatalf("%s: no session", c.connection)
		}
		if got := string(client.written()); got != head+"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Extensions: x\r\n"+c.want+"\r\n" {
			t.Errorf("%s: %q", c.connection, got)
		}
	}
}

// hijackable gives away conn, of which it has read through a buffer.
type hijackable struct {
	http.ResponseWriter
	conn     net.Conn
	buffered *bufio.ReadWriter
}

// Hijack implements http.Hijacker.
func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, h.buffered, nil }

// The server keeps the reader that it gives away: it is to be small, and what it held is not to be lost.
func TestTakeOverLeavesTheServerNoBuffer(t *testing.T) {
	conn := newScript([]byte("early"), 100, true)
	reader := bufio.NewReader(conn)
	if _, err := reader.Peek(1); err != nil {
		t.Fatal(err)
	}
	rw := &hijackable{httptest.NewRecorder(), conn, bufio.NewReadWriter(reader, nil)}
	client := takeClient(&upgrade{rw: rw})
	got := make([]byte, 10)
	if n, err := client.reader.Read(got); err != nil || string(got[:n]) != "early" {
		t.Errorf("taken over with %q: %v", got[:n], err)
	}
	if reader.Size() >= 100 {
		t.Errorf("the server keeps a buffer of %d bytes", reader.Size())
	}
}

// What a server has said of the connection is not said twice.
func TestRefusalsCloseOnce(t *testing.T) {
	for name, c := range map[string]struct {
		said    []string
		refused *refusal
		length  int64
		want    string
	}{
		"nothing":           {nil, refuseOrigin, 0, ""},
		"a body":            {nil, refuseBody, 5, "close"},
		"said before":       {[]string{"close"}, refuseOrigin, 0, "close"},
		"said, and a body":  {[]string{"close"}, refuseBody, -1, "close"},
		"said, and Upgrade": {[]string{"close"}, refuseVersion, 0, "close, Upgrade"},
	} {
		answer := httptest.NewRecorder()
		if c.said != nil {
			answer.Header()["Connection"] = c.said
		}
		answerRefusal(answer, &http.Request{ProtoMajor: 1, ProtoMinor: 1, ContentLength: c.length}, c.refused)
		if got := strings.Join(answer.Header()["Connection"], ", "); got != c.want {
			t.Errorf("%s: Connection is %q, want %q", name, got, c.want)
		}
	}
}

package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// object is a configuration as YAML has it.
type object = map[string]any

// row is one request and what must come of it.
type row struct {
	name    string
	request string
	status  int         // 200 is next's
	header  http.Header // that the answer must have
	except  string      // the engine for which the row does not hold
}

// table is a list of requests to one gateway.
type table struct {
	name   string
	config object
	rows   []row
}

func run(t *testing.T, tables []table) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		next := recorder(t)
		for _, table := range tables {
			t.Run(table.name, func(t *testing.T) {
				gateway := e.Start(t, engine.Setup{Config: table.config, Next: next})
				for _, row := range table.rows {
					if row.except != e.Name() {
						t.Run(row.name, func(t *testing.T) { row.check(t, gateway) })
					}
				}
			})
		}
	})
}

func (r row) check(t *testing.T, gateway *engine.Gateway) {
	resp, body := exchange(t, gateway.Addr, r.request)
	if resp.StatusCode != r.status {
		t.Fatalf("status is %d (%.80q), want %d", resp.StatusCode, body, r.status)
	}
	if byNext := resp.Header.Get(nextMark) != ""; byNext != (r.status == http.StatusOK) {
		t.Errorf("answered by next: %v; status %d", byNext, r.status)
	}
	for name, want := range r.header {
		if got := resp.Header.Values(name); !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if r.status != http.StatusOK && !strings.HasPrefix(r.request, "HEAD ") {
		checkSentence(t, resp, body)
	}
}

// checkSentence holds a refusal to its form: one plain-text sentence, with no address in it.
func checkSentence(t *testing.T, resp *http.Response, body string) {
	t.Helper()
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("Content-Type is %q, want text/plain", kind)
	}
	sentence := strings.TrimSuffix(body, "\n")
	if sentence == "" || strings.Contains(sentence, "\n") {
		t.Errorf("body is %q, want one sentence", body)
	}
	if strings.Contains(body, "127.0.0.1") {
		t.Errorf("body %q gives an address away", body)
	}
}

// nextMark is a header that only next sets.
const nextMark = "X-Next"

// recorder runs a service that answers 200 with the request as it arrived.
func recorder(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(recordRequest))
	t.Cleanup(server.Close)
	return server.URL
}

func recordRequest(rw http.ResponseWriter, req *http.Request) {
	dump, err := httputil.DumpRequest(req, true)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.Header().Set(nextMark, "yes")
	_, _ = rw.Write(dump) // the client sees what is missing
}

var (
	// upgradeRequired is what every 426 carries.
	upgradeRequired = http.Header{
		"Upgrade":               {"websocket"},
		"Connection":            {"Upgrade"},
		"Sec-Websocket-Version": {"13"},
	}

	// upgradeRequired10 is what is left of that for HTTP/1.0: net/http drops Connection there.
	upgradeRequired10 = http.Header{
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
	}

	allowGET = http.Header{"Allow": {"GET"}}
)

func TestUpgradeTokens(t *testing.T) {
	const get = "GET / HTTP/1.1"
	refused := func(name string, edits ...string) row {
		return row{name: name, request: upgrade(get, edits...), status: 426, header: upgradeRequired}
	}
	passed := func(name string, edits ...string) row {
		return row{name: name, request: upgrade(get, edits...), status: 200}
	}
	// Traefik keeps only the first Upgrade line (pkg/middlewares/forwardedheaders).
	lines := passed("upgrade over lines", "Upgrade: h2c", "Upgrade: websocket")
	lines.except = "traefik"
	run(t, []table{{name: "reject", rows: []row{
		{name: "plain", request: raw(get, "Host: chat.example.com"), status: 426, header: upgradeRequired},
		{name: "plain post", request: raw("POST / HTTP/1.1", "Host: chat.example.com", "Content-Length: 0"), status: 426, header: upgradeRequired},
		refused("no upgrade", "!Upgrade"),
		refused("no connection", "!Connection"),
		refused("other upgrade", "Upgrade: h2c"),
		refused("longer upgrade", "Upgrade: websockets"),
		refused("two words", "Upgrade: web socket"),
		refused("other connection", "Connection: keep-alive"),
		refused("longer connection", "Connection: keep-alive, upgraded"),
		passed("as in the RFC"),
		passed("upper case", "UPGRADE: WEBSOCKET", "CONNECTION: UPGRADE"),
		passed("mixed case", "Upgrade: WebSocket", "Connection: uPGRADE"),
		passed("connection list", "Connection: keep-alive, Upgrade"),
		passed("connection list without spaces", "Connection:Upgrade,keep-alive"),
		passed("connection over lines", "Connection: keep-alive", "Connection: Upgrade"),
		passed("upgrade list", "Upgrade: h2c, websocket"),
		lines,
	}}})
}

func TestNonWebSocketPass(t *testing.T) {
	run(t, []table{{name: "pass", config: object{"nonWebSocket": "pass"}, rows: []row{
		{name: "plain", request: raw("GET /index.html HTTP/1.1", "Host: chat.example.com"), status: 200},
		{name: "post", request: raw("POST /form HTTP/1.1", "Host: chat.example.com", "Content-Length: 5") + "hello", status: 200},
		{name: "http 1.0", request: raw("GET / HTTP/1.0"), status: 200},
		{name: "other upgrade", request: upgrade("GET / HTTP/1.1", "Upgrade: h2c"), status: 200},
		{name: "valid upgrade", request: upgrade("GET / HTTP/1.1"), status: 200},
		{name: "upgrade of a wrong version", request: upgrade("GET / HTTP/1.1", "Sec-WebSocket-Version: 8"), status: 426, header: upgradeRequired},
		{name: "upgrade without a key", request: upgrade("GET / HTTP/1.1", "!Sec-WebSocket-Key"), status: 400},
	}}})
}

func TestMethodAndProtocol(t *testing.T) {
	rows := []row{{
		name:    "http 1.0",
		request: upgrade("GET / HTTP/1.0"),
		status:  426,
		header:  upgradeRequired10,
	}}
	for _, method := range []string{"HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		request := upgrade(method+" / HTTP/1.1", "Content-Length: 0")
		rows = append(rows, row{name: method, request: request, status: 405, header: allowGET})
	}
	run(t, []table{{name: "check", rows: rows}})
}

func TestVersion(t *testing.T) {
	rows := []row{{
		name:    "none",
		request: upgrade("GET / HTTP/1.1", "!Sec-WebSocket-Version"),
		status:  426,
		header:  upgradeRequired,
	}}
	for _, version := range []string{"0", "8", "12", "14", "130", "13.0", "thirteen"} {
		request := upgrade("GET / HTTP/1.1", "Sec-WebSocket-Version: "+version)
		rows = append(rows, row{name: version, request: request, status: 426, header: upgradeRequired})
	}
	run(t, []table{{name: "check", rows: rows}})
}

func TestKeyAndBody(t *testing.T) {
	const get, key = "GET / HTTP/1.1", "Sec-WebSocket-Key: "
	refused := func(name string, edits ...string) row {
		return row{name: name, request: upgrade(get, edits...), status: 400}
	}
	run(t, []table{{name: "check", rows: []row{
		refused("no key", "!Sec-WebSocket-Key"),
		refused("empty", key),
		refused("15 bytes", key+"AAECAwQFBgcICQoLDA0O"),
		refused("17 bytes", key+"AAECAwQFBgcICQoLDA0ODxA="),
		refused("no padding", key+strings.TrimRight(sampleKey, "=")),
		refused("URL alphabet", key+"_-ECAwQFBgcICQoLDA0ODw=="),
		refused("not base64", key+"the sample nonce not encoded"),
		refused("twice", key+sampleKey, key+sampleKey),
		refused("two in a line", key+sampleKey+", "+sampleKey),
		{name: "standard alphabet", request: upgrade(get, key+"/+ECAwQFBgcICQoLDA0ODw=="), status: 200},
		{name: "body", request: upgrade(get, "Content-Length: 5") + "hello", status: 400},
		{name: "chunked body", request: upgrade(get, "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", status: 400},
		{name: "body of no bytes", request: upgrade(get, "Content-Length: 0"), status: 200},
	}}})
}

// from spells an upgrade of a page at these origins.
func from(origins ...string) string {
	var edits []string
	for _, origin := range origins {
		edits = append(edits, "Origin: "+origin)
	}
	return upgrade("GET / HTTP/1.1", edits...)
}

// origins is a table of upgrades by their origin; "" stands for none.
func origins(name string, allowed []string, passed, refused []string) table {
	upgrades := table{name: name}
	if allowed != nil {
		upgrades.config = object{"allowedOrigins": allowed}
	}
	add := func(origin string, status int) {
		request := from(origin)
		if origin == "" {
			request = from()
		}
		upgrades.rows = append(upgrades.rows, row{name: "from " + origin, request: request, status: status})
	}
	for _, origin := range passed {
		add(origin, 200)
	}
	for _, origin := range refused {
		add(origin, 403)
	}
	return upgrades
}

func TestOrigin(t *testing.T) {
	const app = "https://app.example.com"
	tables := []table{
		origins("any", nil, []string{"", "null", app, "http://chat.example.com"}, nil),
		origins("same host", []string{"same-host"},
			[]string{"http://chat.example.com", "http://CHAT.example.com"},
			[]string{
				"", "null", app, "http://example.com", "http://chat.example.com:8080",
				"http://chat.example.com.evil.test", "http://evilchat.example.com", "http://chat.example.com@evil.test",
			}),
		origins("exact", []string{app, "http://localhost:3000"},
			[]string{app, "http://localhost:3000"},
			[]string{
				"", "null", "http://app.example.com", app + ":8443", app + ".evil.test",
				"https://www.app.example.com", "http://localhost", "http://chat.example.com",
			}),
		origins("wildcard", []string{"https://*.example.com"},
			[]string{app, "https://chat.example.com"},
			[]string{
				"", "null", "https://example.com", "https://.example.com", "https://a.b.example.com",
				"http://app.example.com", app + ":8443", "https://evil.test/.example.com", "https://appexample.com",
			}),
		origins("none", []string{"none"}, []string{""}, []string{"null", app, "http://chat.example.com"}),
		origins("none or exact", []string{"none", app}, []string{"", app}, []string{"http://app.example.com"}),
	}
	exact := &tables[2]
	exact.rows = append(exact.rows, row{name: "two", request: from(app, "https://evil.test"), status: 403})
	same := &tables[1]
	for _, host := range []struct{ name, host, origin string }{
		{"port", "chat.example.com:8080", "http://chat.example.com:8080"},
		{"IPv6", "[::1]:8080", "http://[::1]:8080"},
	} {
		request := upgrade("GET / HTTP/1.1", "Host: "+host.host, "Origin: "+host.origin)
		same.rows = append(same.rows, row{name: host.name, request: request, status: 200})
	}
	run(t, tables)
}

func TestPath(t *testing.T) {
	segments := table{name: "segments", config: object{"path": "/socket"}}
	// A plain request tells the two apart: checked ones are refused, others reach next.
	for status, targets := range map[int][]string{
		426: {"/socket", "/socket/", "/socket/a", "/socket/a/b", "/socket?room=1", "/socket/?room=1"},
		200: {"/", "/socketry", "/socket-a", "/socket.a", "/Socket", "/sock", "/a/socket", "/?/socket", "/socketry/socket"},
	} {
		for _, target := range targets {
			request := raw("GET "+target+" HTTP/1.1", "Host: chat.example.com")
			segments.rows = append(segments.rows, row{name: "at " + target, request: request, status: status})
		}
	}
	segments.rows = append(segments.rows,
		row{name: "valid upgrade", request: upgrade("GET /socket/a HTTP/1.1"), status: 200},
		row{name: "broken upgrade", request: upgrade("GET /socket/a HTTP/1.1", "!Sec-WebSocket-Key"), status: 400},
		row{name: "broken upgrade elsewhere", request: upgrade("GET /a HTTP/1.1", "!Sec-WebSocket-Key"), status: 200},
	)
	run(t, []table{segments})
}

// TestNextUntouched compares what next gets of a valid upgrade with what the client sent.
func TestNextUntouched(t *testing.T) {
	const target = "/a%2Fb/c%20d;e?q=1&q=%26"
	headers := []string{
		"Origin: https://app.example.com",
		"Cookie: session=1; theme=dark",
		"Authorization: Bearer secret",
		"User-Agent: probe/1.0",
		"Sec-WebSocket-Protocol: chat, superchat",
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
		"X-Own: first",
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for use, config := range nextUses {
			t.Run(use, func(t *testing.T) {
				gateway := e.Start(t, engine.Setup{Config: config, Next: recorder(t)})
				checkUntouched(t, gateway, target, headers)
			})
		}
	})
}

func checkUntouched(t *testing.T, gateway *engine.Gateway, target string, headers []string) {
	t.Helper()
	resp, body := exchange(t, gateway.Addr, upgrade("GET "+target+" HTTP/1.1", headers...))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status is %d (%q), want 200", resp.StatusCode, body)
	}
	seen := strings.Split(strings.ToLower(body), "\r\n")
	want := slices.Concat(headers, []string{
		"GET " + target + " HTTP/1.1", "Host: chat.example.com", "Upgrade: websocket",
		"Connection: Upgrade", "Sec-WebSocket-Key: " + sampleKey, "Sec-WebSocket-Version: 13",
	})
	for _, line := range want {
		if !slices.Contains(seen, strings.ToLower(line)) {
			t.Errorf("next did not get %q; it got:\n%s", line, body)
		}
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Content-Type", "Expect", "TE", "Trailer"} {
		if values := peerHead(seen).values(name); values != nil {
			t.Errorf("next got %s: %q of a request without a body", name, values)
		}
	}
	if _, rest, _ := strings.Cut(body, "\r\n\r\n"); rest != "" {
		t.Errorf("next got a body, %q", rest)
	}
}

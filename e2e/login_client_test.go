package e2e

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

// signed is a JWT with these claims and a key of the gateway's, or of another one's.
func signed(t *testing.T, key string, claims object) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(key)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// aliceToken is a token of alice's.
func aliceToken(t *testing.T) string {
	t.Helper()
	return signed(t, hmacSecret, object{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
}

// forgedToken is one that says the same, of somebody who has not the key.
func forgedToken(t *testing.T) string {
	t.Helper()
	return signed(t, strings.Repeat("another.", 8), object{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
}

// eavesdropper stands before a server, passes everything on, and keeps what it is sent. Messages of clients are masked, so all that
// can be read there is heads, and the bodies of plain requests.
type eavesdropper struct {
	addr string

	mu   sync.Mutex
	sent bytes.Buffer
}

// newEavesdropper is one before the server at an address, until the test ends.
func newEavesdropper(t *testing.T, server string) *eavesdropper {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	w := &eavesdropper{addr: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			go w.pass(conn, server)
		}
	}()
	return w
}

// pass passes on what goes over a connection.
func (w *eavesdropper) pass(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return // and so the client is told
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(io.MultiWriter(w, server), client)
		_ = server.(*net.TCPConn).CloseWrite()
	})
	both.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.(*net.TCPConn).CloseWrite()
	})
	both.Wait()
}

// Write implements [io.Writer].
func (w *eavesdropper) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent.Write(p)
}

// lines are those of all that was sent.
func (w *eavesdropper) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Split(w.sent.String(), "\r\n")
}

// told wants the server to have been told a token where that belongs, and nowhere else.
func (w *eavesdropper) told(t *testing.T, token string) {
	t.Helper()
	belongs := "Authorization: Bearer " + token
	lines := w.lines()
	if !slices.Contains(lines, belongs) {
		t.Errorf("the server is not told the token: %.2000q", lines)
	}
	rest := slices.DeleteFunc(lines, func(line string) bool { return line == belongs })
	checkNoToken(t, "what the server is sent", strings.Join(rest, "\n"), token)
}

// loginLibrary is a client of somebody else's that logs in, and its server.
type loginLibrary struct {
	client, server func(flags ...string) *outsider
	carrier        string // where its tokens are
	endpoint       string // below the server's address
	path           string // of the client's URL
	subprotocol    string // that the session has
	secure         bool   // the client speaks TLS only
}

var loginLibraries = map[string]loginLibrary{
	"phoenix": {
		client: scripted("peers/phoenix.js"), server: scripted("peers/phoenix.js"), carrier: "protocol:" + phoenix,
		endpoint: "/socket/websocket?vsn=2.0.0", path: "/socket", subprotocol: "phoenix",
	},
	"openai": {
		client: scripted("peers/openai.js"), server: scripted("peers/openai.js"), carrier: "protocol:openai-insecure-api-key.",
		endpoint: "/v1/realtime", path: "/v1", subprotocol: "realtime", secure: true,
	},
}

// scripted is an outsider on Node.
func scripted(script string) func(flags ...string) *outsider {
	return func(flags ...string) *outsider { return newOutsider(append([]string{"node", script}, flags...)...) }
}

// TestExternalLoginPhoenix has Phoenix's client give its authToken, which is a subprotocol.
func TestExternalLoginPhoenix(t *testing.T) { loginLibraries["phoenix"].test(t) }

// TestExternalLoginOpenAI has OpenAI's client of the realtime API give its key, which is a subprotocol. The server is a stand-in.
func TestExternalLoginOpenAI(t *testing.T) { loginLibraries["openai"].test(t) }

func (l loginLibrary) test(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		if l.secure {
			e = secured(e)
		}
		server := l.server()
		seen := newEavesdropper(t, strings.TrimPrefix(server.listen(t), "ws://"))
		gateway := e.Start(t, engine.Setup{Config: object{
			"upstreamEndpoint": "ws://" + seen.addr + l.endpoint, "userFrom": "claim:sub",
			"token": object{"from": l.carrier, "signingSecret": hmacSecret},
		}})
		token, forged := aliceToken(t), forgedToken(t)
		client := l.client("--token", token)
		client.visit(t, l.url(gateway))
		client.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largeCount)
		client.close(t, 1000, "the client has heard enough")
		record := gateway.WaitRecord(t)
		if record["user"] != "alice" || record["subprotocol"] != l.subprotocol {
			t.Errorf("the record is %v, want alice and the subprotocol %s", record, l.subprotocol)
		}
		stranger := l.client("--token", forged)
		stranger.start(t, "--connect", l.url(gateway))
		if told := stranger.await(t, wire.Timeout, eventOpen, eventError); !strings.Contains(told.Text, "401") {
			t.Errorf("the client tells %v, want that it is refused with 401", told)
		}
		seen.told(t, token)
		checkNoToken(t, "the log", gateway.Text(), token, forged)
	})
}

// url is where the client finds a gateway.
func (l loginLibrary) url(gateway *engine.Gateway) string {
	if l.secure {
		return "https://" + gateway.AddrHTTP2 + l.path
	}
	return "ws://" + gateway.Addr + l.path
}

// secured is an engine whose gateways have TLS, too.
func secured(e engine.Engine) engine.Engine {
	if inline, ok := e.(engine.Inline); ok {
		return engine.Inline{Engine: engine.Over{Engine: inline.Engine, HTTP: 2}}
	}
	return engine.Over{Engine: e, HTTP: 2}
}

// TestExternalLoginKubernetes has a client of ws give its token as browsers do to Kubernetes.
func TestExternalLoginKubernetes(t *testing.T) {
	const channel = "v5.channel.k8s.io"
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server, token := newNode("--echo"), aliceToken(t)
		seen := newEavesdropper(t, strings.TrimPrefix(server.listen(t), "ws://"))
		gateway := e.Start(t, engine.Setup{Config: object{
			"upstreamEndpoint": "ws://" + seen.addr, "protocols": channel,
			"token": object{"from": "protocol:" + kubernetes, "signingSecret": hmacSecret},
		}})
		client := newNode("--protocol", channel, "--protocol", kubernetes+base64URL(token))
		client.dial(t, gateway.Addr)
		client.sayAndHear(t, largeCount)
		client.close(t, 1000, "")
		if record := gateway.WaitRecord(t); record["subprotocol"] != channel {
			t.Errorf("the record is %v, want the subprotocol %s", record, channel)
		}
		seen.told(t, token)
		checkNoToken(t, "the log", gateway.Text(), token, base64URL(token))
	})
}

// TestExternalLoginBrowser has a page in Chromium come by all that a browser has to give a token: a subprotocol, a cookie that the
// page cannot read, and the query, by Microsoft's client of SignalR.
func TestExternalLoginBrowser(t *testing.T) {
	browser := newBrowser(t)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		token, forged := aliceToken(t), forgedToken(t)
		gateway, seen := newLoginSite(t, e, token)
		page := browser.open(t, "http://"+gateway.Addr)
		defer page.close(t)

		page.run(t, `connect(["bearer", "`+token+`"])`)
		page.says(t, "open bearer")
		page.run(t, `socket.close(4000, "bye")`)
		page.expect(t, "closed 4000 ")
		expectUser(t, gateway, "alice")
		page.run(t, `connect(["bearer", "`+forged+`"])`)
		page.expect(t, "lost 1006 ")

		page.run(t, "connect()")
		page.expect(t, "lost 1006 ")
		page.run(t, `fetch("/login").then(() => connect())`)
		page.says(t, "open ")
		page.run(t, `socket.close(4000, "bye")`)
		page.expect(t, "closed 4000 ")
		expectUser(t, gateway, "alice")
		page.run(t, `fetch("/logout").then(() => connect())`)
		page.expect(t, "lost 1006 ")

		page.run(t, `join("`+token+`")`)
		page.expect(t, "joined")
		page.run(t, `hub.send("say", "grüße 🌍")`)
		page.expect(t, "said grüße 🌍")
		page.run(t, "hub.stop()")
		page.expect(t, "left")
		expectUser(t, gateway, "alice")

		exp := time.Now().Add(pace.Of(2 * time.Second))
		page.run(t, `connect(["bearer", "`+signed(t, hmacSecret, object{"sub": "bob", "exp": float64(exp.UnixMilli()) / 1000})+`"])`)
		page.says(t, "open bearer")
		page.expect(t, "closed 3000 token expired")
		expectUser(t, gateway, "bob")
		seen.told(t, token)
		checkNoToken(t, "the log", gateway.Text(), token, forged)
	})
}

// says wants a session to be open, and a message to come back.
func (p page) says(t *testing.T, open string) {
	t.Helper()
	p.expect(t, open)
	p.run(t, `socket.send("grüße 🌍")`)
	p.expect(t, "text grüße 🌍")
}

// expectUser wants the next record to be of a user's session.
func expectUser(t *testing.T, gateway *engine.Gateway, user string) {
	t.Helper()
	if record := gateway.WaitRecord(t); record["user"] != user {
		t.Errorf("the record is %v, want it of %s", record, user)
	}
}

// newLoginSite is a page with sessions below /live, a login that gives a token by a cookie for these alone, and a hub of SignalR. It
// returns the gateway before it, and who has seen what that sends.
func newLoginSite(t *testing.T, e engine.Engine, token string) (*engine.Gateway, *eavesdropper) {
	t.Helper()
	hub, err := url.Parse(newOutsider(signalRPeer()).listen(t))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for path, file := range map[string]string{
		"/{$}": "peers/login.html", "/told.js": "peers/told.js", "/signalr.js": "peers/node_modules/@microsoft/signalr/dist/browser/signalr.js",
	} {
		mux.HandleFunc("GET "+path, func(rw http.ResponseWriter, req *http.Request) { http.ServeFile(rw, req, file) })
	}
	for path, age := range map[string]int{"/login": 3600, "/logout": -1} {
		mux.HandleFunc("GET "+path, func(rw http.ResponseWriter, _ *http.Request) {
			http.SetCookie(rw, &http.Cookie{
				Name: "session", Value: token, Path: "/live", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
			})
		})
	}
	mux.HandleFunc("/live/socket", (&pageServer{ends: make(chan forwardEnd, 10)}).echo)
	mux.Handle("/live/", http.StripPrefix("/live", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: hub.Host})
		r.Out.Header.Del("Origin") // that of the gateway
	}}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	seen := newEavesdropper(t, strings.TrimPrefix(server.URL, "http://"))
	options := object{
		"path": "/live", "nonWebSocket": "pass", "upstreamEndpoint": "ws://" + seen.addr + "/live", "userFrom": "claim:sub",
		"token": object{
			"from":          []string{"protocolAfter:bearer", "cookie:session", "query:access_token"},
			"signingSecret": hmacSecret, "endSessions": true, "leeway": "0",
		},
	}
	if !isInline(e) {
		options["upstreamPath"] = "append"
	}
	return e.Start(t, engine.Setup{Next: "http://" + seen.addr, Config: options}), seen
}

package e2e

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	gorilla "github.com/gorilla/websocket"
)

// recipes are the examples whose dynamic configuration goes beside that of the file provider's example.
var recipes = []string{"chat", "mqtt", "stomp", "graphql", "private-ca", "regions", "observability", "login"}

// exampleVisits are requests to the file provider's example and the recipes in it. An answer that is 101 or 200 comes
// from an upstream, which is told by its name and the path that it has got.
var exampleVisits = []struct {
	name string
	request
	status     int
	upstreams  []string // one of these
	protocol   string
	middleware string // of the record
}{
	{
		name: "file", request: request{url: "ws://app.example.com/live/room", header: origin("http://app.example.com")},
		status: 101, upstreams: []string{"app.internal/live/room"}, middleware: "live@file",
	},
	{name: "file, no origin", request: request{url: "ws://app.example.com/live"}, status: 403},
	{name: "file, no upgrade", request: request{url: "http://app.example.com/live"}, status: 426},
	{name: "file, other path", request: request{url: "http://app.example.com/lively"}, status: 200, upstreams: []string{"app.internal/lively"}},
	{
		name: "chat", request: request{url: "ws://chat.example.com/socket/lobby", header: origin("https://www.example.com")},
		status: 101, upstreams: []string{"chat.internal/socket/lobby"}, middleware: "chat@file",
	},
	{name: "chat, foreign origin", request: request{url: "ws://chat.example.com/socket", header: origin("https://example.org")}, status: 403},
	{
		name: "mqtt", request: request{url: "ws://mqtt.example.com/mqtt", offer: []string{"mqttv3.1", "mqtt"}},
		status: 101, upstreams: []string{"mqtt.internal/mqtt"}, protocol: "mqtt", middleware: "mqtt@file",
	},
	{
		name: "mqtt, other subprotocol", request: request{url: "ws://mqtt.example.com/mqtt", offer: []string{"mqttv3.1"}},
		status: 400,
	},
	{
		name: "stomp", request: request{"ws://stomp.example.com/ws", origin("http://stomp.example.com"), []string{"v10.stomp", "v11.stomp", "v12.stomp"}, ""},
		protocol: "v12.stomp",
		status:   101, upstreams: []string{"stomp-1.internal/ws", "stomp-2.internal/ws"}, middleware: "stomp@file",
	},
	{
		name: "stomp, 1.0", request: request{"ws://stomp.example.com/ws", origin("http://stomp.example.com"), []string{"v10.stomp"}, ""},
		status: 400,
	},
	{
		name: "graphql", request: request{"ws://api.example.com/graphql", origin("https://app.example.com"), []string{"graphql-transport-ws"}, ""},
		protocol: "graphql-transport-ws",
		status:   101, upstreams: []string{"api.internal/graphql"}, middleware: "graphql@file",
	},
	{
		name: "graphql, older subprotocol", request: request{"ws://api.example.com/graphql", origin("https://app.example.com"), []string{"graphql-ws"}, ""},
		status: 400,
	},
	{name: "graphql, query", request: request{url: "http://api.example.com/graphql"}, status: 200, upstreams: []string{"api.internal/graphql"}},
	{
		name: "private CA", request: request{url: "ws://trading.example.com/"},
		status: 101, upstreams: []string{"trading.internal/feed"}, middleware: "trading@file",
	},
	{
		name: "regions", request: request{url: "ws://live.example.com/live/a"},
		status: 101, upstreams: []string{"live-us.internal/live/a"}, middleware: "regions@file",
	},
	{
		name: "regions, header", request: request{url: "ws://live.example.com/live/a", header: http.Header{"X-Region": {"eu"}}},
		status: 101, upstreams: []string{"live-eu.internal/live/a"}, middleware: "regions@file",
	},
	{
		name: "regions, query", request: request{url: "ws://live.example.com/live/a?region=eu"},
		status: 101, upstreams: []string{"live-eu.internal/live/a"}, middleware: "regions@file",
	},
	{name: "observability", request: request{url: "http://ops.example.com/wsfw/metrics"}, status: 200},
	{name: "observability, page", request: request{url: "http://ops.example.com/wsfw/"}, status: 200},
}

func origin(value string) http.Header { return http.Header{"Origin": {value}} }

// exampleUpstreams are where the examples have them, and the subprotocols that they speak, by preference.
var exampleUpstreams = map[string][]string{
	"app.internal:8080": nil, "chat.internal:4000": nil, "mqtt.internal:9001": {"mqtt"},
	"stomp-1.internal:15674": {"v12.stomp", "v11.stomp"}, "stomp-2.internal:15674": {"v12.stomp", "v11.stomp"},
	"api.internal:4000": {"graphql-transport-ws"}, "live-us.internal:7000": nil, "live-eu.internal:7000": nil,
	"trading.internal:8443": nil,
}

// TestExamples has the file provider's example and the recipes in one Traefik, which is started as its README tells.
func TestExamples(t *testing.T) {
	onOwnMachine(t, func(t *testing.T) {
		named(t, "app.example.com", "chat.example.com", "mqtt.example.com", "stomp.example.com", "api.example.com",
			"trading.example.com", "live.example.com", "ops.example.com", "app.internal", "chat.internal", "mqtt.internal", "stomp-1.internal",
			"stomp-2.internal", "api.internal", "live-us.internal", "live-eu.internal", "trading.internal")
		secured := layOutCertificates(t)
		for addr, protocols := range exampleUpstreams {
			config := (*tls.Config)(nil)
			if addr == "trading.internal:8443" {
				config = secured
			}
			serveExample(t, addr, protocols, config)
		}
		log := startExamples(t)
		for _, v := range exampleVisits {
			t.Run(v.name, func(t *testing.T) {
				client, resp := v.gets(t, v.status)
				if from := resp.Header.Get(serverMark); v.upstreams != nil && !slices.Contains(v.upstreams, from) {
					t.Errorf("the answer is from %q, want %v", from, v.upstreams)
				}
				if v.status != http.StatusSwitchingProtocols {
					return
				}
				if protocol := client.conn.Subprotocol(); protocol != v.protocol {
					t.Errorf("the subprotocol is %q, want %q", protocol, v.protocol)
				}
				forwardCase{}.exchange(t, client, false, []byte("Grüße, 世界"))
				leave(t, client, v.name)
				awaitRecord(t, log, v.middleware, v.name)
			})
		}
	})
}

// startExamples runs Traefik as the README of the file provider's example tells, with the recipes in its directory. It
// returns what Traefik writes.
func startExamples(t *testing.T) (log func() string) {
	t.Helper()
	dir := t.TempDir()
	examples, root := examplesDir(t)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(examples, "file"))); err != nil {
		t.Fatal(err)
	}
	for _, recipe := range recipes {
		text, err := os.ReadFile(filepath.Join(examples, recipe, "dynamic.yml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "dynamic", recipe+".yml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	linkPlugin(t, root, dir)
	return startTraefik(t, dir, "--configFile=traefik.yml")
}

// layOutCertificates puts the files in place that the private CA's recipe names, and returns what its upstream has.
func layOutCertificates(t *testing.T) *tls.Config {
	t.Helper()
	const dir = "/etc/traefik/upstream"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	authority := newTLSAuthority(t)
	pair := authority.client(t)
	for name, content := range map[string][]byte{
		"ca.pem": authority.pem, "client.pem": certPEM(pair), "client.key": keyPEM(t, pair),
	} {
		tlsDir(dir).write(t, name, content)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{authority.server(t, "feed.trading.internal")},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority.pool(),
	}
}

// authorizationMark tells what authorization an upstream got.
const authorizationMark = "X-Authorization"

// serveExample runs an upstream that echoes messages. It says which it is, and what path and authorization it got.
func serveExample(t *testing.T, addr string, protocols []string, config *tls.Config) {
	t.Helper()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set(serverMark, host+req.URL.Path)
		rw.Header().Set(authorizationMark, req.Header.Get("Authorization"))
		if !gorilla.IsWebSocketUpgrade(req) {
			return
		}
		upgrader := gorilla.Upgrader{Subprotocols: protocols, CheckOrigin: func(*http.Request) bool { return true }}
		conn, err := upgrader.Upgrade(rw, req, rw.Header())
		if err != nil {
			return // Upgrade has answered
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	}))
	server.Listener.Close()
	server.Listener = listener
	if config != nil {
		server.TLS = config
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
}

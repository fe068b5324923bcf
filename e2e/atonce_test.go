package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// gatheringSize is how many upgrades of a gathering come together.
const gatheringSize = 64

// gathering is a way for upgrades to be answered, and the status that each gets.
type gathering struct {
	name    string
	server  func(t *testing.T) string // the service's URL, or the upstream's
	options object
	next    bool // next leads to the server; else the plugin forwards to it
	status  int
}

var gatherings = []gathering{
	{name: "forward", server: echo, status: http.StatusSwitchingProtocols},
	{name: "every_limit", server: echo, status: http.StatusSwitchingProtocols, options: object{
		"pingInterval": "1s", "pongTimeout": "10s", "maxInactivity": "1h", "maxLifetime": "1h", "messageRate": 1000,
		"maxConnections": 1000, "maxConnectionsPerClient": 1000, "validate": "utf8", "maxFrameSize": "1MiB", "maxMessageSize": "1MiB",
	}},
	{name: "every_policy", server: echo, status: http.StatusSwitchingProtocols, options: object{
		"upstreamPath": "append", "passHostHeader": true, "headers": object{"X-Crowd": "yes"},
		"allowedOrigins": []any{"none", "same-host", "https://*.example.com"}, "protocols": []any{"chat"}, "compression": "off",
	}},
	{name: "tunnel", server: echo, status: http.StatusSwitchingProtocols, options: object{"mode": "tunnel"}},
	{name: "inline", server: echo, status: http.StatusSwitchingProtocols, next: true, options: object{"pingInterval": "1s"}},
	{name: "check", server: echo, status: http.StatusSwitchingProtocols, next: true, options: object{"compression": "off"}},
	{name: "bad_origin", server: echo, status: http.StatusForbidden, options: object{"allowedOrigins": "https://*.example.com"}},
	{name: "bad_offer", server: echo, status: http.StatusBadRequest, options: object{"protocols": "mqtt"}},
	{name: "refused", server: refusing, status: http.StatusForbidden},
	{name: "refused_inline", server: refusing, status: http.StatusForbidden, next: true, options: object{"pingInterval": "1s"}},
	{name: "untrue", server: untrue, status: http.StatusBadGateway},
	{name: "untrue_inline", server: untrue, status: http.StatusBadGateway, next: true, options: object{"pingInterval": "1s"}},
}

// refusing runs a server that lets nobody in.
func refusing(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "closed today", http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// untrue runs a server whose 101 proves nothing.
func untrue(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Connection", "Upgrade")
		rw.Header().Set("Upgrade", "websocket")
		rw.Header().Set("Sec-WebSocket-Accept", "untrue")
		rw.WriteHeader(http.StatusSwitchingProtocols)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// start runs the gathering's gateway.
func (c gathering) start(t *testing.T, e engine.Engine) *engine.Gateway {
	t.Helper()
	server := c.server(t)
	if c.next {
		return e.Start(t, engine.Setup{Config: c.options, Next: server})
	}
	config := object{"upstreamEndpoint": "ws" + strings.TrimPrefix(server, "http")}
	maps.Copy(config, c.options)
	return e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
}

// visit is one of a gathering: it comes, says something, hears it, and leaves.
func (c gathering) visit(gateway *engine.Gateway) error {
	dialer := gorilla.Dialer{Subprotocols: []string{"chat", "talk"}, EnableCompression: true, HandshakeTimeout: shipmentTimeout}
	conn, resp, err := dialer.Dial("ws://"+gateway.Addr+"/socket", nil)
	if resp == nil {
		return err
	}
	if resp.StatusCode != c.status {
		return fmt.Errorf("status is %d, want %d", resp.StatusCode, c.status)
	}
	if conn == nil {
		return nil
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(shipmentTimeout))
	if err := conn.WriteMessage(gorilla.TextMessage, []byte("hello")); err != nil {
		return err
	}
	if _, message, err := conn.ReadMessage(); err != nil || string(message) != "hello" {
		return fmt.Errorf("heard %q, %w", message, err)
	}
	if err := conn.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "")); err != nil {
		return err
	}
	if _, _, err := conn.ReadMessage(); !gorilla.IsCloseError(err, gorilla.CloseNormalClosure) {
		return fmt.Errorf("the close handshake ended with %w", err)
	}
	return nil
}

// TestAtOnce has gatherings come at once, and each of them be answered right.
func TestAtOnce(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, c := range gatherings {
			t.Run(c.name, func(t *testing.T) {
				gateway := c.start(t, e)
				var visits []func() error
				for range gatheringSize {
					visits = append(visits, func() error { return c.visit(gateway) })
				}
				if err := together(visits...); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// TestHeavyFirstAtOnce has gatherings be the first that an interpreter sees, one each, under the race detector: Yaegi resolves the
// types of functions when they run first, and without a lock.
func TestHeavyFirstAtOnce(t *testing.T) {
	for _, e := range engine.All() {
		if e.Name() == "interpreted" {
			t.Run(e.Name(), firstAtOnce)
		}
	}
}

func firstAtOnce(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "e2e.test")
	finishChild(t, exec.CommandContext(t.Context(), "go", "test", "-c", "-race", "-o", binary, "."))
	for _, c := range gatherings {
		t.Run(c.name, func(t *testing.T) {
			name := "TestAtOnce/interpreted/" + c.name
			pattern := "^" + strings.ReplaceAll(name, "/", "$/^") + "$"
			output := finishChild(t, exec.CommandContext(t.Context(), binary,
				"-test.run="+pattern, "-test.count=1", "-test.timeout=5m", "-test.v"), "WSFW_ENGINES=interpreted", "GOMAXPROCS=4")
			if !strings.Contains(output, "--- PASS: "+name+" ") {
				t.Errorf("%s has not run:\n%s", name, output)
			}
		})
	}
}

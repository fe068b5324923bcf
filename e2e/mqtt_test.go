package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalMQTT has a client of MQTT.js publish and subscribe at Mosquitto. It keeps the session alive, comes back to what it
// has subscribed to when a gateway shuts down, and leaves.
func TestExternalMQTT(t *testing.T) {
	const (
		subprotocol = "mqtt"
		largest     = largeCount / 10 // to Debian's broker (2.0.11) 64 KiB are too many, without a gateway, too
	)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		broker, port := mosquitto(t)
		client := newOutsider("node", "peers/mqtt.js")
		s := newSite(t, e, "ws://127.0.0.1:"+port, nil)
		client.visit(t, "ws://"+s.addr+"/mqtt")
		client.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largest)
		client.awaitKeepAlive(t, eventPong, 1)

		s.first.Terminate(t)
		client.expectClosed(t, 0, "")
		s.expectDrained(t, subprotocol)
		client.arrive(t)
		client.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largest)

		client.do(t, object{"do": "close"})
		broker.await(t, wire.Timeout, "Client peer disconnected.")
		// The client says no code, and the broker nothing where it is the first to go.
		s.expectLeft(t, parting{subprotocol, "client", 1005}, parting{subprotocol, "upstream", 1006})
	})
}

// mosquitto runs the broker. Debian's one (2.0.11) does not start with WebSocket listeners alone, so it listens on a
// socket in the file system, too, for which it has to stay the user who owns the directory.
func mosquitto(t *testing.T) (broker *program, port string) {
	t.Helper()
	port = freePort(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "mosquitto.conf")
	lines := []string{
		"user root", "allow_anonymous true",
		"listener " + port + " 127.0.0.1", "protocol websockets",
		"listener 0 " + filepath.Join(dir, "mosquitto.sock"),
	}
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broker = runProgram(t, []string{"mosquitto", "-v", "-c", config})
	broker.await(t, wire.Timeout, " running")
	return broker, port
}

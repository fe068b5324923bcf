package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalSTOMP has a client of stompjs publish and subscribe at RabbitMQ. Both keep the session alive, the client comes
// back when a gateway shuts down, and leaves.
func TestExternalSTOMP(t *testing.T) {
	const subprotocol = "v12.stomp"
	port := rabbitMQ(t)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		client := newOutsider("node", "peers/stomp.js")
		// The broker leaves out a heartbeat where it has sent anything since the last one, a pong, too. Those that answer the
		// gateway do not reach the client, which would miss the heartbeat: so the broker is not pinged.
		// The subprotocol has a dot in it: the record tells it because it is a configured one.
		s := newSite(t, e, "ws://127.0.0.1:"+port+"/ws", object{"pingTarget": "client", "protocols": []string{subprotocol}})
		client.visit(t, "ws://"+s.addr+"/ws")
		client.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largeCount)
		client.awaitKeepAlive(t, eventPong, 2)

		s.first.Terminate(t)
		client.expectClosed(t, 1012, restartReason)
		s.expectDrained(t, subprotocol)
		client.arrive(t)
		client.await(t, wire.Timeout, eventSubscribed)
		client.sayAndHear(t, largeCount)

		client.do(t, object{"do": "close"})
		// The broker closes with a code when the client has said that it goes, and the client without one when the broker
		// has said that it knows.
		s.expectLeft(t, parting{subprotocol, "upstream", 1000}, parting{subprotocol, "client", 1005})
	})
}

// rabbitMQ runs the broker in a directory of its own, with a listener for STOMP over WebSocket alone, and returns its
// port.
func rabbitMQ(t *testing.T) (port string) {
	t.Helper()
	port = freePort(t)
	distribution, mapper := freePort(t), freePort(t)
	dir := t.TempDir()
	files := map[string][]string{
		"plugins": {"[rabbitmq_web_stomp]."},
		"rabbitmq.conf": {
			"listeners.tcp = none", "stomp.listeners.tcp = none",
			"web_stomp.tcp.ip = 127.0.0.1", "web_stomp.tcp.port = " + port,
			"log.console = true", "log.file = false",
		},
	}
	for name, lines := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Else the broker starts Erlang's port mapper, which outlives it.
	runProgram(t, []string{"epmd", "-address", "127.0.0.1", "-port", mapper})
	awaitListener(t, mapper)
	broker := runProgram(t, []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "-noinput"},
		"RABBITMQ_ALLOW_INPUT=true", // the script then becomes the broker and does not wait for it
		"RABBITMQ_NODENAME=wsfw@localhost",
		"RABBITMQ_BASE="+dir,
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"),
		"RABBITMQ_DIST_PORT="+distribution,
		"ERL_EPMD_PORT="+mapper,
		"HOME="+dir, // for the cookie that nodes know each other by
	)
	broker.await(t, wire.Timeout, "Server startup complete")
	return port
}

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gorilla "github.com/gorilla/websocket"
)

// The nodes of a Swarm (RFC 5737 addresses).
const (
	firstNode  = "192.0.2.1"
	secondNode = "192.0.2.2"
)

// swarm is hosts by their addresses, each of which has a Traefik.
type swarm map[string]host

// formSwarm makes one of two engines, with a cable between: the machine itself, and one in further namespaces.
func formSwarm(t *testing.T) swarm {
	t.Helper()
	first := startDocker(t)
	second := startDocker(t, "unshare", "--mount", "--net", "sh", "-c", boot, "boot", t.TempDir())
	l := line{}
	l.ip(t, fmt.Sprintf("link add cable type veth peer name cable netns %d", second.pid))
	l.ip(t, "address add "+firstNode+"/24 dev cable")
	l.ip(t, "link set cable up")
	for _, command := range []string{"address add " + secondNode + "/24 dev cable", "link set cable up"} {
		inside := append([]string{"--target", fmt.Sprint(second.pid), "--net", "ip"}, strings.Fields(command)...)
		finish(t, nil, exec.Command("nsenter", inside...))
	}
	first.docker(t, nil, "swarm", "init", "--advertise-addr", firstNode)
	token := first.docker(t, nil, "swarm", "join-token", "--quiet", "manager")
	second.docker(t, nil, "swarm", "join", "--advertise-addr", secondNode, "--token", token, firstNode+":2377")
	return swarm{firstNode: first, secondNode: second}
}

// TestDockerSwarm runs the Swarm example on two nodes.
func TestDockerSwarm(t *testing.T) {
	onOwnMachine(t, func(t *testing.T) {
		s := formSwarm(t)
		examples, _ := examplesDir(t)
		deploy := s[firstNode].command("stack", "deploy", "--compose-file", "stack.yml", "gateway")
		deploy.Dir = filepath.Join(examples, "swarm")
		finish(t, nil, deploy)
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(s[firstNode].docker(t, nil, "service", "ps", "--no-trunc", "gateway_traefik", "gateway_chat", "gateway_live"))
			}
		})
		t.Run("uses", s.isUsed)
		t.Run("label", s.isRelabelled)
		t.Run("restart", s.restarts)
	})
}

// on is a request to a node's Traefik.
func on(node, url string) request { return request{url: url, at: node + ":80"} }

// isUsed has sessions of each router by each node's Traefik.
func (s swarm) isUsed(t *testing.T) {
	for node, h := range s {
		t.Run(node, func(t *testing.T) {
			for url, middleware := range map[string]string{
				"chat.localhost/socket": "chat@swarm", "live.localhost/echo": "care@swarm", "feed.localhost/echo": "",
			} {
				client, _ := on(node, "ws://"+url).gets(t, http.StatusSwitchingProtocols)
				talk(t, client)
				leave(t, client, url)
				if middleware != "" {
					awaitRecord(t, h.traefikLog(t), middleware, url)
				}
				on(node, "http://"+url).gets(t, http.StatusUpgradeRequired)
			}
			foreign := on(node, "ws://feed.localhost/echo")
			foreign.header = origin("https://example.org")
			foreign.gets(t, http.StatusForbidden)
		})
	}
}

// traefikLog is what the host's Traefik writes.
func (h host) traefikLog(t *testing.T) (log func() string) {
	t.Helper()
	container := h.docker(t, nil, "ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=gateway_traefik")
	return func() string { return h.docker(t, nil, "logs", container) }
}

// isRelabelled changes a label of a service under a session with it: its tasks stay.
func (s swarm) isRelabelled(t *testing.T) {
	narrowed(t, on(secondNode, "ws://live.localhost/echo"), func() {
		label := "traefik.http.middlewares.care.plugin.wsfw.maxMessageSize=" + narrow
		s[firstNode].docker(t, nil, "service", "update", "--detach", "--label-add", label, "gateway_live")
	})
}

// restarts has one Traefik after the other restarted, with a session each. The client comes back by the other one.
func (s swarm) restarts(t *testing.T) {
	const url = "ws://chat.localhost/socket"
	others := map[string]string{firstNode: secondNode, secondNode: firstNode}
	clients := map[string]gorillaSpeaker{}
	for node := range s {
		clients[node], _ = on(node, url).gets(t, http.StatusSwitchingProtocols)
	}
	s[firstNode].docker(t, nil, "service", "update", "--force", "--detach", "gateway_traefik")
	for node, client := range clients {
		sees(t, client, gorilla.CloseServiceRestart)
		again, _ := on(others[node], url).gets(t, http.StatusSwitchingProtocols)
		talk(t, again)
	}
	for node := range s {
		client, _ := on(node, url).gets(t, http.StatusSwitchingProtocols)
		leave(t, client, "back")
	}
}

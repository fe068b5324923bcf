package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// cluster is as much of a Kubernetes API server as Traefik's providers need: objects that are there from the start.
type cluster map[string][]object // by kind in the plural, as in URLs

// apply reads objects as kubectl does.
func (c cluster) apply(t *testing.T, text string) {
	t.Helper()
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o object
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if written, ok := o["stringData"].(object); ok {
			data := object{}
			for key, value := range written {
				data[key] = base64.StdEncoding.EncodeToString([]byte(value.(string)))
			}
			o["data"] = data
		}
		kind := strings.ToLower(o["kind"].(string)) + "s"
		c[kind] = append(c[kind], o)
	}
}

// noWatchList is the answer of an API server that has no streaming lists: clients then list and watch as ever.
var noWatchList = object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": http.StatusUnprocessableEntity}

// ServeHTTP implements [http.Handler]: it lists objects, and has no news for those who watch.
func (c cluster) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	if req.URL.Query().Get("sendInitialEvents") != "" {
		rw.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(rw).Encode(noWatchList) // fails where the client has gone
		return
	}
	if req.URL.Query().Get("watch") != "" {
		rw.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(rw).Flush() // fails where the client has gone
		<-req.Context().Done()
		return
	}
	objects := c[path.Base(req.URL.Path)]
	if objects == nil {
		objects = []object{}
	}
	_ = json.NewEncoder(rw).Encode(object{"metadata": object{"resourceVersion": "1"}, "items": objects}) // likewise
}

// liveService is what a cluster knows of the service that the example of the inline use asks for.
const liveService = `
apiVersion: v1
kind: Service
metadata: {name: live, namespace: live}
spec: {ports: [{name: http, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: live-1, namespace: live, labels: {kubernetes.io/service-name: live}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [%s], conditions: {ready: true}}]
`

// chartArgs are the arguments that Traefik's Helm chart makes of the example's values, but for where the plugin is.
func chartArgs(t *testing.T, text string) []string {
	t.Helper()
	var values struct {
		Experimental struct {
			Plugins map[string]struct {
				ModuleName string `yaml:"moduleName"`
			}
		}
		Deployment struct {
			Grace int `yaml:"terminationGracePeriodSeconds"`
		}
		Ports struct {
			Web struct {
				Transport struct {
					LifeCycle struct {
						GraceTimeOut int `yaml:"graceTimeOut"`
					} `yaml:"lifeCycle"`
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	grace := values.Ports.Web.Transport.LifeCycle.GraceTimeOut
	if values.Deployment.Grace <= grace {
		t.Errorf("pods are killed after %d s, before the %d s are over that sessions have", values.Deployment.Grace, grace)
	}
	return []string{
		"--experimental.localPlugins.wsfw.moduleName=" + values.Experimental.Plugins["wsfw"].ModuleName,
		fmt.Sprintf("--entryPoints.web.transport.lifeCycle.graceTimeOut=%d", grace),
		"--entryPoints.web.address=:80",
	}
}

// TestKubernetes has Traefik read the Kubernetes example from an API server.
func TestKubernetes(t *testing.T) {
	const chat, liveAddr = "chat.chat.svc.cluster.local", "127.0.2.1"
	onOwnMachine(t, func(t *testing.T) {
		named(t, "chat.example.com", "live.example.com", chat)
		serveExample(t, chat+":4000", nil, nil)
		serveExample(t, liveAddr+":8080", nil, nil)
		examples, root := examplesDir(t)
		file := func(name string) string {
			text, err := os.ReadFile(filepath.Join(examples, "kubernetes", name))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		c := cluster{}
		c.apply(t, file("chat.yaml"))
		c.apply(t, file("live.yaml"))
		c.apply(t, fmt.Sprintf(liveService, liveAddr))
		api := httptest.NewServer(c)
		t.Cleanup(func() {
			api.CloseClientConnections() // of those who watch
			api.Close()
		})
		dir := t.TempDir()
		linkPlugin(t, root, dir)
		log := startTraefik(t, dir, append(chartArgs(t, file("values.yaml")),
			"--providers.kubernetesCRD.endpoint="+api.URL, "--providers.kubernetesCRD.token=none")...)

		chatting := request{url: "ws://chat.example.com/socket/lobby", header: origin("http://chat.example.com")}
		client, resp := chatting.gets(t, http.StatusSwitchingProtocols)
		talk(t, client)
		leave(t, client, "chat")
		awaitRecord(t, log, "chat-chat@kubernetescrd", "chat")
		if from := resp.Header.Get(serverMark); from != chat+"/socket/lobby" {
			t.Errorf("the session is with %q", from)
		}
		if got := resp.Header.Get(authorizationMark); got != "Bearer change-me" {
			t.Errorf("the upstream got the authorization %q, want the secret's", got)
		}

		watching := request{url: "ws://live.example.com/", header: origin("http://live.example.com")}
		client, resp = watching.gets(t, http.StatusSwitchingProtocols)
		talk(t, client)
		leave(t, client, "live")
		awaitRecord(t, log, "live-live@kubernetescrd", "live")
		if cookies := resp.Cookies(); len(cookies) != 1 || cookies[0].Name != "live" {
			t.Errorf("the session's answer sets the cookies %v, want the service's", cookies)
		}
		request{url: "http://live.example.com/"}.gets(t, http.StatusOK)
		request{url: "ws://live.example.com/"}.gets(t, http.StatusForbidden)
	})
}

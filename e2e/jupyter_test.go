package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	gorilla "github.com/gorilla/websocket"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalJupyter has JupyterLab's library have a kernel run something. It comes back when a gateway shuts down, and leaves.
// The server compares origins with the Host that it gets.
func TestExternalJupyter(t *testing.T) {
	j := newJupyter(t)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		options := object{"path": "/api/kernels", "nonWebSocket": "pass", "protocols": []string{jupyterSubprotocol}}
		if !isInline(e) { // where it is Traefik that passes the client's
			j.refuses(t, newSite(t, e, j.endpoint(), options))
			options["passHostHeader"] = true
		}
		s := newSite(t, e, j.endpoint(), options)
		client := j.client()
		j.visit(t, client, s)
		client.arrive(t)
		client.runs(t)
		client.awaitKeepAlive(t, eventPing, 2)

		s.first.Terminate(t)
		client.expectClosed(t, 1012, restartReason)
		s.expectDrained(t, jupyterSubprotocol)
		client.arrive(t)
		client.runs(t)

		client.do(t, object{"do": "close"})
		s.expectLeft(t, parting{jupyterSubprotocol, "client", 1005}) // for the client says no code
	})
}

// jupyterSubprotocol is that of JupyterLab. It has dots in it: records tell it because it is a configured one.
const jupyterSubprotocol = "v1.kernel.websocket.jupyter.org"

// runs wants a kernel to know what becomes of what is said, small and large.
func (o *outsider) runs(t *testing.T) {
	t.Helper()
	for code, result := range map[string]string{
		"1+1": "2",
		"len('" + strings.Repeat("large", largeCount) + "')": "250000",
		"'large' * 50_000": "'" + strings.Repeat("large", largeCount) + "'",
	} {
		o.say(t, code)
		o.expect(t, event{Text: result})
	}
}

// jupyter is a server with a kernel.
type jupyter struct{ addr, kernel string }

// newJupyter runs one that knows its users by nothing: it does not ask those with a token for their origin.
func newJupyter(t *testing.T) jupyter {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	server := runProgram(t, []string{
		"/usr/bin/python3", "-B", "-m", "jupyter_server", "--allow-root", "--no-browser", "--ip=127.0.0.1", "--port=" + port,
		"--ServerApp.port_retries=0", "--ServerApp.token=", "--ServerApp.disable_check_xsrf=True",
		"--ServerApp.root_dir=" + dir,
	}, "HOME="+dir, "JUPYTER_RUNTIME_DIR="+dir, "JUPYTER_CONFIG_DIR="+dir, "JUPYTER_DATA_DIR="+dir, "IPYTHONDIR="+dir)
	t.Cleanup(server.stop) // which ends the kernel
	server.await(t, wire.Timeout, " is running at:")
	j := jupyter{addr: "127.0.0.1:" + port}
	j.kernel = j.start(t)
	// The answer to the first session waits until the kernel runs.
	conn, _, err := gorilla.DefaultDialer.DialContext(t.Context(), j.endpoint(), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	return j
}

// start has the server start a kernel, and returns its id.
func (j jupyter) start(t *testing.T) (id string) {
	t.Helper()
	resp, err := http.Post("http://"+j.addr+"/api/kernels", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var kernel struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&kernel); err != nil || kernel.ID == "" {
		t.Fatalf("starting a kernel: status %d (%v)", resp.StatusCode, err)
	}
	return kernel.ID
}

// endpoint is where the kernel's sessions are.
func (j jupyter) endpoint() string {
	return "ws://" + j.addr + "/api/kernels/" + j.kernel + "/channels"
}

func (j jupyter) client() *outsider {
	return newOutsider("node", "peers/jupyter.js", "--kernel", j.kernel)
}

// visit has a client come to a site.
func (j jupyter) visit(t *testing.T, client *outsider, s *site) {
	t.Helper()
	client.start(t, "--connect", "http://"+s.addr)
}

// refuses wants a site's clients refused, and the log to tell why that may be.
func (j jupyter) refuses(t *testing.T, s *site) {
	t.Helper()
	client := j.client()
	j.visit(t, client, s)
	if e := client.await(t, wire.Timeout, eventOpen, eventError); !strings.Contains(e.Text, "403") {
		t.Errorf("the client tells %v, want that it is answered 403", e)
	}
	line := s.first.Wait(t, "upstream ws://"+j.addr+" answered 403")
	if hint := hintOf(line); !strings.Contains(hint, "passHostHeader") {
		t.Errorf("the hint is %q, want one that names passHostHeader", hint)
	}
	client.kill(t)
}

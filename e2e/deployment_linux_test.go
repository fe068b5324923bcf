package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// deployTimeout bounds what Docker and Traefik do after one another: a container's end with Traefik's grace time, its
// start, and a configuration's way into force.
const deployTimeout = 30 * time.Second

// attemptTimeout bounds one request on the way there: one to a container that has just gone is answered much later.
const attemptTimeout = 2 * time.Second

// examplesDir is where the examples are, and the repository's root.
func examplesDir(t *testing.T) (examples, root string) {
	t.Helper()
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "examples"), root
}

// linkPlugin puts the plugin where a Traefik in the directory looks for it.
func linkPlugin(t *testing.T, root, dir string) {
	t.Helper()
	plugins := filepath.Join(dir, "plugins-local", "src", "github.com", "wsfw")
	if err := os.MkdirAll(plugins, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(plugins, "wsfw")); err != nil {
		t.Fatal(err)
	}
}

// startTraefik runs the binary in a directory until the test ends, and returns what it writes.
func startTraefik(t *testing.T, dir string, args ...string) (log func() string) {
	t.Helper()
	binary, err := engine.Binary()
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(t.TempDir(), "traefik.log"))
	if err != nil {
		t.Fatal(err)
	}
	log = func() string {
		text, err := os.ReadFile(output.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	traefik := exec.Command(binary, args...)
	traefik.Dir, traefik.Stdout, traefik.Stderr = dir, output, output
	engine.DieWithParent(traefik)
	if err := traefik.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = traefik.Process.Kill() // nobody waits for its sessions' ends
		_ = traefik.Wait()         // which tells of the kill only
		output.Close()
		if t.Failed() {
			t.Logf("Traefik:\n%s", log())
		}
	})
	return log
}

// request is one of a deployment's client: for a session where its URL begins with ws, else a plain one.
type request struct {
	url    string
	header http.Header
	offer  []string // of subprotocols
	at     string   // the address that is dialled; empty: the URL's
}

// dial connects to where the request goes.
func (r request) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if r.at != "" {
		addr = r.at
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, addr)
}

// send returns the answer, and its connection where that is a session.
func (r request) send(t *testing.T) (*gorilla.Conn, *http.Response, error) {
	t.Helper()
	if strings.HasPrefix(r.url, "ws") {
		dialer := gorilla.Dialer{HandshakeTimeout: attemptTimeout, Subprotocols: r.offer, NetDialContext: r.dial}
		conn, resp, err := dialer.Dial(r.url, r.header)
		if resp != nil {
			err = nil // its status tells
		}
		return conn, resp, err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, r.header)
	client := http.Client{Timeout: attemptTimeout, Transport: &http.Transport{DialContext: r.dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return nil, resp, err
}

// gets repeats the request until its answer has this status, which a deployment takes some time for.
func (r request) gets(t *testing.T, status int) (gorillaSpeaker, *http.Response) {
	t.Helper()
	var conn *gorilla.Conn
	var resp *http.Response
	await(t, deployTimeout, func() string {
		var err error
		if conn, resp, err = r.send(t); err != nil {
			return err.Error()
		}
		if conn != nil {
			t.Cleanup(func() { conn.Close() })
		}
		if resp.StatusCode != status {
			return fmt.Sprintf("%s gets %d, want %d", r.url, resp.StatusCode, status)
		}
		return ""
	})
	if conn != nil {
		conn.SetReadDeadline(time.Now().Add(deployTimeout))
	}
	return gorillaSpeaker{conn}, resp
}

// join opens a session at a URL once that is served.
func join(t *testing.T, url string) gorillaSpeaker {
	t.Helper()
	client, _ := request{url: url}.gets(t, http.StatusSwitchingProtocols)
	return client
}

// leaving is the close code of clients that have done what they came for.
const leaving = 4001

// leave closes a session for a reason that is no other session's, and wants the close answered.
func leave(t *testing.T, client gorillaSpeaker, reason string) {
	t.Helper()
	if got := client.bye(leaving, reason); got != leaving {
		t.Errorf("the answer to close %d is %d", leaving, got)
	}
}

// sees wants the session ended by this close code.
func sees(t *testing.T, client gorillaSpeaker, code int) {
	t.Helper()
	client.conn.SetReadDeadline(time.Now().Add(deployTimeout))
	_, _, err := client.hear()
	if got := client.ended(err); got.code != code && !strings.Contains(got.reason, fmt.Sprint(code)) { // gorilla does not know 1014
		t.Errorf("the client saw %v, want %d", got, code)
	}
}

// awaitRecord waits until a log has the record of a session of a middleware's that its client has left.
func awaitRecord(t *testing.T, log func() string, name, reason string) {
	t.Helper()
	await(t, soon, func() string {
		text := log()
		for line := range strings.Lines(text) {
			var record object
			if json.Unmarshal([]byte(line), &record) == nil && record["name"] == name && record["endedBy"] == "client" &&
				record["code"] == float64(leaving) && record["reason"] == reason {
				return ""
			}
		}
		return fmt.Sprintf("no record tells of a session of %s that was left for %q:\n%s", name, reason, text)
	})
}

// narrow is a maxMessageSize, and tooWide a size above it.
const (
	narrow  = "1KiB"
	tooWide = 2000
)

// narrowed has the maxMessageSize lowered under a session, which goes on under what it began with. New ones do not.
func narrowed(t *testing.T, r request, lower func()) {
	t.Helper()
	old, _ := r.gets(t, http.StatusSwitchingProtocols)
	talk(t, old)
	lower()
	await(t, deployTimeout, func() string {
		client, _ := r.gets(t, http.StatusSwitchingProtocols)
		defer client.quit()
		if err := client.say(true, payload(tooWide)); err != nil {
			return err.Error() // its container may be going
		}
		_, _, err := client.hear()
		if got := client.ended(err); got.code != gorilla.CloseMessageTooBig {
			return fmt.Sprintf("a session of the new label's ends with %v", got)
		}
		return ""
	})
	forwardCase{}.exchange(t, old, true, payload(tooWide))
	leave(t, old, "narrowed")
}

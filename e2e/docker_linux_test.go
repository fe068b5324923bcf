package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	gorilla "github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// host is a Docker engine on a machine of the test's own.
type host struct {
	socket string
	pid    int
}

// startDocker runs an engine until the machine goes. The launcher, where there is one, is a command that becomes it.
func startDocker(t *testing.T, launcher ...string) host {
	t.Helper()
	args := slices.Concat(launcher, []string{"dockerd", "--data-root", "/run/docker.data"})
	daemon := exec.Command(args[0], args[1:]...)
	var output bytes.Buffer
	daemon.Stdout, daemon.Stderr = &output, &output
	engine.DieWithParent(daemon)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM) // it has its containers end, and removes their control groups
		_ = daemon.Wait()                          // which tells how it ended: no matter
		if t.Failed() {
			t.Logf("dockerd:\n%s", output.String())
		}
	})
	h := host{fmt.Sprintf("/proc/%d/root/run/docker.sock", daemon.Process.Pid), daemon.Process.Pid}
	await(t, deployTimeout, func() string {
		if output, err := h.command("info").CombinedOutput(); err != nil {
			return string(output)
		}
		return ""
	})
	h.importTraefik(t)
	h.importWhoami(t)
	return h
}

// importTraefik makes the image that the examples ask for out of the Traefik that the suite runs.
func (h host) importTraefik(t *testing.T) {
	t.Helper()
	binary, err := engine.Binary()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"/traefik": binary}
	libraries, _ := exec.Command("ldd", binary).Output() // fails where it needs none
	for word := range strings.FieldsSeq(string(libraries)) {
		if path.IsAbs(word) {
			files[word] = word
		}
	}
	h.importImage(t, "traefik:v3.7", "/traefik", files)
}

// importWhoami makes one out of our stand-in.
func (h host) importWhoami(t *testing.T) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "whoami")
	build := exec.Command("go", "build", "-o", binary, "./whoami")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	h.importImage(t, "traefik/whoami:v1.11", "/whoami", map[string]string{"/whoami": binary})
}

// importImage makes an image of nothing but programs, by their paths in it.
func (h host) importImage(t *testing.T, name, entryPoint string, files map[string]string) {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, from := range files {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	// Traefik unpacks plugins there.
	if err := w.WriteHeader(&tar.Header{Name: "/tmp/", Typeflag: tar.TypeDir, Mode: 0o777}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h.docker(t, &archive, "import", "--change", fmt.Sprintf("ENTRYPOINT [%q]", entryPoint), "-", name)
}

// command is one of Docker's.
func (h host) command(args ...string) *exec.Cmd {
	return exec.Command("docker", append([]string{"--host", "unix://" + h.socket}, args...)...)
}

// docker runs a command of Docker's, and returns what it prints.
func (h host) docker(t *testing.T, input io.Reader, args ...string) string {
	t.Helper()
	return finish(t, input, h.command(args...))
}

// finish runs a command to its end, and returns what it prints.
func finish(t *testing.T, input io.Reader, cmd *exec.Cmd) string {
	t.Helper()
	var output, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &output, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, output.String(), complaints.String())
	}
	return strings.TrimSpace(output.String())
}

// project is an example that Docker Compose runs.
type project struct {
	host
	dir, file string
}

// openProject reads an example.
func openProject(t *testing.T, h host, name string) *project {
	t.Helper()
	examples, _ := examplesDir(t)
	dir := filepath.Join(examples, name)
	text, err := os.ReadFile(filepath.Join(dir, "compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return &project{h, dir, string(text)}
}

// up has the project as its file says now.
func (p *project) up(t *testing.T) {
	t.Helper()
	p.compose(t, "up", "--detach")
}

// compose runs a command of Docker Compose's.
func (p *project) compose(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("docker-compose", append([]string{"--file", "-"}, args...)...)
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), "DOCKER_HOST=unix://"+p.socket)
	return finish(t, strings.NewReader(p.file), cmd)
}

// relabel replaces a label's value.
func (p *project) relabel(t *testing.T, label, from, to string) {
	t.Helper()
	changed := strings.Replace(p.file, label+"="+from+"\n", label+"="+to+"\n", 1)
	if changed == p.file {
		t.Fatalf("no label is %s=%s", label, from)
	}
	p.file = changed
	p.up(t)
}

// traefikLog is what the project's Traefik writes.
func (p *project) traefikLog(t *testing.T) (log func() string) {
	t.Helper()
	container := p.compose(t, "ps", "--quiet", "traefik")
	return func() string { return p.docker(t, nil, "logs", container) }
}

// TestDockerLabels runs the Docker example in an engine of its own.
func TestDockerLabels(t *testing.T) {
	onOwnMachine(t, func(t *testing.T) {
		h := startDocker(t)
		named(t, "chat.localhost", "rooms.localhost", "live.localhost", "feed.localhost")
		p := openProject(t, h, "docker")
		p.up(t)
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(p.compose(t, "logs", "--no-color"))
			}
		})
		t.Run("uses", p.isUsed)
		t.Run("label", p.isRelabelled)
		t.Run("service", p.losesService)
		t.Run("traefik", p.losesTraefik)
	})
}

// isUsed has each router's sessions and refusals.
func (p *project) isUsed(t *testing.T) {
	foreign := http.Header{"Origin": {"https://example.org"}}
	for url, middleware := range map[string]string{
		"chat.localhost/socket": "chat@docker", "rooms.localhost/echo": "care@docker", "live.localhost/echo": "care@docker",
		"feed.localhost/echo": "",
	} {
		t.Run(url, func(t *testing.T) {
			client := join(t, "ws://"+url)
			talk(t, client)
			leave(t, client, url)
			if middleware != "" {
				awaitRecord(t, p.traefikLog(t), middleware, url)
			}
			request{url: "http://" + url}.gets(t, http.StatusUpgradeRequired)
		})
	}
	request{url: "ws://chat.localhost/socket", header: foreign}.gets(t, http.StatusForbidden)
	request{url: "ws://feed.localhost/echo", header: foreign}.gets(t, http.StatusForbidden)
	request{url: "http://chat.localhost/"}.gets(t, http.StatusOK)
}

// isRelabelled changes a label of a container under a session with another one.
func (p *project) isRelabelled(t *testing.T) {
	narrowed(t, request{url: "ws://rooms.localhost/echo"}, func() {
		p.relabel(t, "traefik.http.middlewares.care.plugin.wsfw.maxMessageSize", "1MiB", narrow)
	})
}

// losesService stops a service under a session, and starts it again. Its middleware goes with it.
func (p *project) losesService(t *testing.T) {
	client := join(t, "ws://live.localhost/echo")
	neighbour := join(t, "ws://chat.localhost/socket")
	p.compose(t, "stop", "live")
	sees(t, client, 1014)
	request{url: "ws://live.localhost/echo"}.gets(t, http.StatusNotFound)
	request{url: "ws://rooms.localhost/echo"}.gets(t, http.StatusNotFound)
	talk(t, neighbour)
	leave(t, neighbour, "neighbour")
	p.compose(t, "start", "live")
	leave(t, join(t, "ws://live.localhost/echo"), "back")
}

// losesTraefik restarts Traefik under sessions.
func (p *project) losesTraefik(t *testing.T) {
	clients := []gorillaSpeaker{join(t, "ws://chat.localhost/socket"), join(t, "ws://live.localhost/echo")}
	p.compose(t, "restart", "traefik")
	for _, client := range clients {
		sees(t, client, gorilla.CloseServiceRestart)
	}
	leave(t, join(t, "ws://chat.localhost/socket"), "back")
	leave(t, join(t, "ws://live.localhost/echo"), "back")
}

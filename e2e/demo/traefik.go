package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

const (
	// modulePath is where Traefik looks for the plugin below plugins-local/src.
	modulePath = "github.com/wsfw/wsfw"

	// readyTimeout allows for the interpreter's start on a busy machine.
	readyTimeout = 60 * time.Second

	// killTimeout is how long the process may take to end beyond its grace time.
	killTimeout = 4 * time.Second
)

// traefik is a Traefik process with the plugin, in front of the page and the scenarios.
type traefik struct {
	dir     string // working directory
	addr    string // of its one entry point
	page    string // host:port of the page
	service string // host:port of the service behind the scenarios' routers
	grace   time.Duration

	cmd    *exec.Cmd
	exited chan struct{} // closed once the process is gone and its output read
}

// start lays out what Traefik reads and runs it.
func (t *traefik) start(binary, root string, list []scenario, lines *journal) error {
	binary, err := exec.LookPath(binary)
	if err != nil {
		return err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if err := t.layOut(root, list); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	t.cmd = exec.Command(binary, "--configFile=static.yml")
	t.cmd.Dir, t.cmd.Stdout, t.cmd.Stderr = t.dir, w, w
	err = t.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return err
	}
	t.exited = make(chan struct{})
	go func() {
		defer close(t.exited)
		defer r.Close()
		lines.collect(r, os.Stderr)
		_ = t.cmd.Wait()
	}()
	return nil
}

// layOut writes the plugin and both configurations below dir.
func (t *traefik) layOut(root string, list []scenario) error {
	if err := ship(root, filepath.Join(t.dir, "plugins-local", "src", filepath.FromSlash(modulePath))); err != nil {
		return err
	}
	static, err := yaml.Marshal(t.static())
	if err != nil {
		return err
	}
	dynamic, err := t.dynamic(list)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"static.yml": string(static), "dynamic.yml": dynamic} {
		if err := os.WriteFile(filepath.Join(t.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ship copies the plugin as a release has it: no tests, no other modules.
func ship(root, to string) error {
	if err := os.CopyFS(filepath.Join(to, "vendor"), os.DirFS(filepath.Join(root, "vendor"))); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(root, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range append(names, filepath.Join(root, "go.mod"), filepath.Join(root, ".traefik.yml")) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

type object = map[string]any

// static keeps Traefik quiet, off the network and quick to end.
func (t *traefik) static() object {
	return object{
		"global": object{"checkNewVersion": false, "sendAnonymousUsage": false},
		"log":    object{"level": "ERROR"},
		"entryPoints": object{"demo": object{
			"address":   t.addr,
			"transport": object{"lifeCycle": object{"graceTimeOut": t.grace.String()}},
		}},
		"experimental": object{"localPlugins": object{"wsfw": object{"moduleName": modulePath}}},
		"providers":    object{"file": object{"filename": "dynamic.yml"}},
	}
}

// dynamic has a router and a middleware for each scenario, a router without a middleware, and one for the page.
func (t *traefik) dynamic(list []scenario) (string, error) {
	d := newDynamic()
	d.lead("page", t.page)
	d.lead("upstream", t.service)
	d.HTTP.Routers["page"] = routerConfig{Rule: "PathPrefix(`/`)", Service: "page"}
	d.HTTP.Routers[nativeRoute] = routerConfig{Rule: rule(nativeRoute), Service: "upstream"}
	for _, s := range list {
		if err := d.route(s, "upstream"); err != nil {
			return "", err
		}
	}
	return d.text()
}

// ready waits until Traefik serves the page. It has its whole configuration from one file, so the scenarios are
// there, too; a router whose middleware was refused is not, and its error is in Traefik's log.
func (t *traefik) ready(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.After(readyTimeout)
	for {
		if resp, err := client.Get("http://" + t.addr + "/scenarios"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-t.exited:
			return errors.New("the Traefik process has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("nothing is served after %v", readyTimeout)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the process and waits for its end.
func (t *traefik) stop() {
	_ = t.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-t.exited:
	case <-time.After(t.grace + killTimeout):
		_ = t.cmd.Process.Kill()
		<-t.exited
	}
}

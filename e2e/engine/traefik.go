package engine

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"
)

const (
	// poolSize is how many gateways one Traefik serves at a time. Every entry point makes every reload slower.
	poolSize = 64

	// readyPath is where an entry point tells which configuration it serves.
	readyPath = "/.wsfw-e2e/"
)

// traefik runs the plugin in the real binary. Gateways share processes, one entry point each.
type traefik struct {
	log    *Log
	binary func() (string, error)

	mu     sync.Mutex
	shared []*Process
}

func newTraefik() Engine {
	return &traefik{log: newLog(), binary: sync.OnceValues(Binary)}
}

// Binary returns the Traefik binary that WSFW_TRAEFIK names, or builds one of the newest version that a nested module pins.
func Binary() (string, error) {
	if path := os.Getenv("WSFW_TRAEFIK"); path != "" {
		return path, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "e2e", ".bin", "traefik")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	build := exec.Command("go", "run", "-C", filepath.Join(root, "e2e"), "./traefik", "3.7", path)
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Traefik: %w\n%s", err, output)
	}
	return path, nil
}

// Version is that of a Traefik binary: v3.7.13, or what else Go knows of it where it was built in another way.
func Version(binary string) (string, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return "", err
	}
	return info.Main.Version, nil
}

// Name implements [Engine].
func (e *traefik) Name() string { return "traefik" }

// Output implements [Engine]. All processes write to one log.
func (e *traefik) Output() *Log { return e.log }

// Start implements [Engine].
func (e *traefik) Start(t testing.TB, s Setup) *Gateway {
	t.Helper()
	if s.Wrap != nil || s.Service != nil {
		t.Fatal("Setup.Wrap, Setup.Service: no handler can be put before or behind the plugin in Traefik")
	}
	if s.JSON {
		t.Fatal("Setup.JSON: Traefik reads a file, and hands every number over as a string")
	}
	if !s.Dedicated && s.Traefik.static() {
		t.Fatal("Traefik has one static configuration and one output for all gateways; ask for Setup.Dedicated")
	}
	f, process := e.file(t, s.prepare(t))
	if err := f.apply(f.setup.Config); err != nil {
		t.Fatalf("traefik refuses the configuration: %v", err)
	}
	gateway := &Gateway{
		Addr:    f.entryPoint.addr,
		Name:    f.setup.Name,
		Process: process,
		log:     e.log,
		seen:    map[string]int{},
		reload: func(t testing.TB, config map[string]any, next string) {
			t.Helper()
			if next != "" {
				f.setup.Next = next
			}
			if err := f.apply(fromYAML(t, config)); err != nil {
				t.Fatalf("traefik refuses the new configuration: %v", err)
			}
		},
		terminate: func(t testing.TB) {
			t.Helper()
			if !s.Dedicated {
				t.Fatal("other gateways share this Traefik; ask for Setup.Dedicated")
			}
			if err := process.Terminate(); err != nil {
				t.Fatal(err)
			}
		},
	}
	if s.Dedicated {
		gateway.restart = f.restart
	}
	if s.Streams {
		gateway.AddrHTTP2, gateway.AddrHTTP3 = f.entryPoint.addr, f.entryPoint.addr
	}
	return gateway
}

// Refuses implements [Engine].
func (e *traefik) Refuses(t testing.TB, config map[string]any) string {
	t.Helper()
	f, _ := e.file(t, Setup{Config: config, Next: unusedNext}.prepare(t))
	err := f.apply(f.setup.Config)
	if err == nil {
		t.Fatalf("traefik accepts the configuration %v", config)
	}
	return err.Error()
}

// file reserves an entry point for the rest of the test, and the dynamic configuration file to go with it.
func (e *traefik) file(t testing.TB, s Setup) (*dynamicFile, *Process) {
	t.Helper()
	process, ep, err := e.reserve(s)
	if err != nil {
		t.Fatal(err)
	}
	f := &dynamicFile{process: process, entryPoint: ep, setup: s}
	t.Cleanup(func() {
		if s.Dedicated {
			process.Stop()
		} else if err := f.remove(); err != nil {
			t.Errorf("removing the router: %v", err)
		} else {
			process.give(ep)
		}
	})
	return f, process
}

// reserve finds a free entry point, and starts a process where there is none.
func (e *traefik) reserve(s Setup) (*Process, entryPoint, error) {
	if s.Dedicated {
		return e.grow(s, 1)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.shared {
		if p.host != s.Host || p.streams != s.Streams {
			continue
		}
		if ep, ok := p.take(); ok {
			return p, ep, nil
		}
	}
	p, ep, err := e.grow(s, poolSize)
	if err == nil {
		e.shared = append(e.shared, p)
	}
	return p, ep, err
}

func (e *traefik) grow(s Setup, entryPoints int) (*Process, entryPoint, error) {
	binary, err := e.binary()
	if err != nil {
		return nil, entryPoint{}, err
	}
	root, err := Root()
	if err != nil {
		return nil, entryPoint{}, err
	}
	p, err := startProcess(binary, root, s, entryPoints, e.log)
	if err != nil {
		return nil, entryPoint{}, err
	}
	ep, _ := p.take()
	return p, ep, nil
}

// stop ends the shared processes.
func (e *traefik) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.shared {
		p.Stop()
	}
	e.shared = nil
}

// dynamicFile is one gateway's dynamic configuration. Every version of it has a router of its own name, so that
// what Traefik tells of a router is never about an earlier version.
type dynamicFile struct {
	process    *Process
	entryPoint entryPoint
	setup      Setup
	version    int
}

func (f *dynamicFile) router() string {
	return fmt.Sprintf("%s-v%d", f.setup.Name, f.version)
}

// apply writes the next version and returns when Traefik serves it, or the error with which it does not.
func (f *dynamicFile) apply(config map[string]any) error {
	f.version++
	if err := f.write(config); err != nil {
		return err
	}
	var state router
	err := f.process.await(func() (known bool) {
		state, known = f.process.router(f.router())
		return known
	})
	if err != nil {
		return fmt.Errorf("waiting for router %s: %w", f.router(), err)
	}
	if state.Status != "enabled" {
		return errors.New(strings.Join(state.Error, "\n"))
	}
	// Traefik switches one entry point after the other: the API's may be ahead of ours.
	return f.awaitServed()
}

func (f *dynamicFile) awaitServed() error {
	return f.process.await(func() bool { return f.probe() == http.StatusOK })
}

// restart runs the process anew, with the version that it has.
func (f *dynamicFile) restart() error {
	if err := f.process.Restart(); err != nil {
		return err
	}
	return f.awaitServed()
}

// probe asks the entry point whether it serves this version: 200 if so, 404 if not. What it serves over TLS changes after
// what it serves without.
func (f *dynamicFile) probe() int {
	scheme := "http://"
	if f.setup.Streams {
		scheme = "https://"
	}
	return status(scheme + f.entryPoint.addr + readyPath + f.router())
}

// write puts the file in place in one step, so that Traefik never reads half of it.
func (f *dynamicFile) write(config map[string]any) error {
	text, err := yaml.Marshal(f.content(config))
	if err != nil {
		return err
	}
	draft := filepath.Join(f.process.dir, "draft", f.setup.Name+".yml")
	if err := os.WriteFile(draft, text, 0o644); err != nil {
		return err
	}
	return os.Rename(draft, f.path())
}

func (f *dynamicFile) path() string {
	return filepath.Join(f.process.dir, "dynamic", f.setup.Name+".yml")
}

func (f *dynamicFile) content(config map[string]any) object {
	name, entryPoints, around := f.setup.Name, []string{f.entryPoint.name}, f.setup.Traefik
	middlewares, use := f.middlewares(config)
	service := around.Service
	if service == nil {
		service = object{"loadBalancer": object{"servers": []object{{"url": f.setup.Next}}}}
	}
	behind := name
	if around.Internal != "" {
		behind = around.Internal
	}
	router := object{"rule": "PathPrefix(`/`)", "entryPoints": entryPoints, "middlewares": use, "service": behind}
	if around.TLS {
		router["tls"] = object{}
	}
	ready := object{
		"rule": "Path(`" + readyPath + f.router() + "`)", "entryPoints": entryPoints, "service": "ping@internal",
	}
	routers := object{f.router(): router, f.router() + "-ready": ready}
	if f.setup.Streams {
		secure := maps.Clone(router)
		secure["tls"] = object{}
		routers[f.router()+"-streams"] = secure
		ready["tls"] = object{}
	}
	if f.setup.Twin {
		twin := maps.Clone(router)
		twin["rule"] = "Path(`" + TwinPath + "`)"
		routers[f.router()+"-twin"] = twin
	}
	if f.setup.Status {
		middlewares[name+"-status"] = object{"plugin": object{"wsfw": statusConfig}}
		routers[f.router()+"-status"] = object{
			"rule": "PathPrefix(`" + StatusPath + "`)", "entryPoints": entryPoints,
			"middlewares": []string{name + "-status"}, "service": "noop@internal",
		}
	}
	sections := map[string]map[string]any{
		"routers":     routers,
		"middlewares": middlewares,
		"services":    {name: service},
	}
	for kind, further := range around.HTTP {
		if sections[kind] == nil {
			sections[kind] = object{}
		}
		maps.Copy(sections[kind], further)
	}
	content := object{"http": sections}
	if around.Certificates != nil {
		content["tls"] = object{"certificates": around.Certificates}
	}
	return content
}

// middlewares are the plugin and those around it, by name, and the names of those that the router uses.
func (f *dynamicFile) middlewares(config map[string]any) (all map[string]any, use []string) {
	name, around := f.setup.Name, f.setup.Traefik
	all = object{name: object{"plugin": object{"wsfw": config}}}
	add := func(name string, content map[string]any) {
		all[name] = content
		use = append(use, name)
	}
	if f.setup.Auth != "" {
		add(name+"-auth", object{"forwardAuth": object{"address": f.setup.Auth}})
	}
	for i, content := range around.Before {
		add(fmt.Sprintf("%s-before%d", name, i), content)
	}
	if config != nil && !around.Native { // Traefik never builds a middleware that no router uses
		use = append(use, name)
	}
	for i, content := range around.After {
		add(fmt.Sprintf("%s-after%d", name, i), content)
	}
	return all, use
}

// remove takes the file away and waits until the entry point no longer serves it.
func (f *dynamicFile) remove() error {
	if err := os.Remove(f.path()); err != nil {
		return err
	}
	return f.process.await(func() bool { return f.probe() == http.StatusNotFound })
}

package engine

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

// Process is one running Traefik, with entry points to hand out.
type Process struct {
	// Pid is the process's id.
	Pid int

	// API is the base URL of Traefik's API and, below /debug/pprof/, of its profiles.
	API string

	host        string        // of all its addresses
	streams     bool          // of the setup
	readTimeout time.Duration // likewise
	connect     bool          // extended, over HTTP/2
	dir         string        // working directory
	binary      string
	log         *Log     // for the plugin's output; nil where that goes to a file
	output      *os.File // of the setup
	cmd         *exec.Cmd
	exited      chan struct{} // closed once the process is gone and all its output read

	mu   sync.Mutex
	free []entryPoint
}

// entryPoint is one address on which Traefik listens.
type entryPoint struct {
	name string
	addr string
}

const (
	// awaitTimeout allows for the interpreter's start, and for New to run again for every router of a full process,
	// on a busy machine.
	awaitTimeout = 60 * time.Second

	// stopTimeout is shorter than Traefik's graceTimeOut: no case is waiting any more.
	stopTimeout = 5 * time.Second

	// exitTimeout is longer than Traefik's graceTimeOut: then it cuts what is left, and exits.
	exitTimeout = 15 * time.Second

	pollInterval = 10 * time.Millisecond
)

// startProcess runs the Traefik binary with the plugin in root and that many entry points, as s asks. The plugin's
// output goes to log, or to a file where that is nil.
func startProcess(binary, root string, s Setup, entryPoints int, log *Log) (*Process, error) {
	addrs, err := FreeAddrs(s.Host, entryPoints+1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "wsfw-traefik-")
	if err != nil {
		return nil, err
	}
	p := &Process{
		API: "http://" + addrs[0], host: s.Host, streams: s.Streams, readTimeout: s.ReadTimeout,
		connect: s.Streams && !s.Traefik.NoExtendedConnect,
		dir:     dir, binary: binary, log: log, output: s.Traefik.Output,
	}
	for i, addr := range addrs[1:] {
		p.free = append(p.free, entryPoint{name: fmt.Sprintf("ep%d", i), addr: addr})
	}
	if err := p.layOut(root, p.static(addrs[0], s.Traefik), s.Traefik.Plugins); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := p.launch(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := p.await(func() bool { return status(p.API+"/api/overview") == http.StatusOK }); err != nil {
		output, _ := os.ReadFile(filepath.Join(dir, outputFile)) // there is none where there is a log
		p.Stop()
		return nil, fmt.Errorf("starting Traefik: %w\n%s", err, output)
	}
	return p, nil
}

// Restart runs the process anew once it has exited: in the same directory, on the same addresses. It does not wait
// until that serves.
func (p *Process) Restart() error {
	select {
	case <-p.exited:
	case <-time.After(exitTimeout):
		return fmt.Errorf("the process does not exit within %v", exitTimeout)
	}
	return p.launch()
}

func (p *Process) launch() error {
	w, watch, err := p.outlet()
	if err != nil {
		return err
	}
	p.cmd = exec.Command(p.binary, "--configFile=static.yml")
	p.cmd.Dir = p.dir
	p.cmd.Env = environment(os.Environ(), p.connect)
	p.cmd.Stdout = w
	p.cmd.Stderr = w
	DieWithParent(p.cmd)
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		watch()
		return err
	}
	p.Pid = p.cmd.Process.Pid
	exited := make(chan struct{})
	p.exited = exited
	go func() {
		defer close(exited)
		watch()
		_ = p.cmd.Wait() // that Traefik has ended is told by exited; its status does not matter
	}()
	return nil
}

// outputFile has a process's output where there is no log, in its directory.
const outputFile = "output.log"

// outlet is what a process writes its output to, and watch reads that until its end. What is not the plugin's is
// Traefik's own log.
func (p *Process) outlet() (w *os.File, watch func(), err error) {
	if p.output != nil {
		return p.output, func() {}, nil
	}
	if p.log == nil {
		w, err = os.Create(filepath.Join(p.dir, outputFile))
		return w, func() {}, err
	}
	r, w, err := os.Pipe()
	watch = func() {
		defer r.Close()
		collect(r, p.log, os.Stderr)
	}
	return w, watch, err
}

// layOut fills the working directory: the plugin where Traefik looks for local ones, the static configuration, a
// directory for dynamic ones, and one beside it in which they are written.
func (p *Process) layOut(root string, static object, plugins map[string]string) error {
	goPath := filepath.Join(p.dir, "plugins-local")
	if err := ship(root, goPath); err != nil {
		return err
	}
	for name, source := range plugins {
		if err := shipFurther(name, source, goPath); err != nil {
			return err
		}
	}
	for _, name := range []string{"dynamic", "draft"} {
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o755); err != nil {
			return err
		}
	}
	text, err := yaml.Marshal(static)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "static.yml"), text, 0o644)
}

type object = map[string]any

func (p *Process) static(api string, around Surroundings) object {
	level := os.Getenv("WSFW_TRAEFIK_LOG")
	if level == "" {
		level = "FATAL" // refused configurations are part of the suite, and log errors
	}
	entryPoints := object{"traefik": object{"address": api}}
	for _, ep := range p.free {
		entryPoints[ep.name] = p.entryPoint(ep.addr, around.EntryPoint)
	}
	experimental := object{"localPlugins": around.localPlugins()}
	maps.Copy(experimental, around.Experimental)
	static := object{
		"global":       object{"checkNewVersion": false, "sendAnonymousUsage": false},
		"log":          object{"level": level},
		"api":          object{"insecure": true, "debug": !around.NoProfiles},
		"ping":         object{"manualRouting": true},
		"entryPoints":  entryPoints,
		"experimental": experimental,
		"providers": object{
			"providersThrottleDuration": "10ms",
			"file":                      object{"directory": "dynamic", "watch": true},
		},
	}
	if around.AccessLog {
		static["accessLog"] = object{"format": "json", "filePath": accessLogFile}
	}
	return static
}

// static reports whether any of it is for the whole process.
func (s Surroundings) static() bool {
	return s.AccessLog || s.Plugins != nil || s.EntryPoint != nil || s.Experimental != nil || s.Settings != nil || s.Output != nil ||
		s.NoExtendedConnect
}

// localPlugins are ours and the further ones.
func (s Surroundings) localPlugins() object {
	plugin := object{"moduleName": modulePath}
	if s.Settings != nil {
		plugin["settings"] = s.Settings
	}
	all := object{"wsfw": plugin}
	for name := range s.Plugins {
		all[name] = object{"moduleName": furtherModule(name)}
	}
	return all
}

// accessLogFile lies in the working directory.
const accessLogFile = "access.log"

// accessLog reads the lines about the routers of a gateway's plugin. A line that is not there completely is none yet.
func (p *Process) accessLog(name string) (lines []map[string]any, err error) {
	text, err := os.ReadFile(filepath.Join(p.dir, accessLogFile))
	if err != nil {
		return nil, err
	}
	for part := range bytes.Lines(text) {
		line := object{}
		if json.Unmarshal(part, &line) == nil && strings.HasPrefix(fmt.Sprint(line["RouterName"]), name+"-v") {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// entryPoint is one with the sections that a setup asks for.
func (p *Process) entryPoint(addr string, sections map[string]map[string]any) object {
	entryPoint := staticEntryPoint(addr)
	if p.streams {
		addSections(entryPoint, streamsEntryPoint(p.readTimeout))
	}
	addSections(entryPoint, sections)
	return entryPoint
}

// staticEntryPoint lets requests reach the plugin as the client sent them, which Traefik's defaults do not: they
// clean paths and drop X-Forwarded-* headers, and what encoded characters they refuse varies by version.
func staticEntryPoint(addr string) object {
	return object{
		"address":          addr,
		"forwardedHeaders": object{"insecure": true},
		"http": object{
			"sanitizePath": false,
			"encodedCharacters": object{
				"allowEncodedSlash":         true,
				"allowEncodedBackSlash":     true,
				"allowEncodedNullCharacter": true,
				"allowEncodedSemicolon":     true,
				"allowEncodedPercent":       true,
				"allowEncodedQuestionMark":  true,
				"allowEncodedHash":          true,
			},
		},
	}
}

// addSections has options go before those that the entry point has.
func addSections(entryPoint object, sections map[string]map[string]any) {
	for name, options := range sections {
		section, _ := entryPoint[name].(object)
		if section == nil {
			section = object{}
			entryPoint[name] = section
		}
		maps.Copy(section, options)
	}
}

// FreeAddrs finds n addresses of host on which nobody listens. Their ports lie below those from which kernels serve
// outgoing connections, so that no client of the suite takes one before Traefik does.
func FreeAddrs(host string, n int) ([]string, error) {
	const lowest, end = 12000, 32000
	start := lowest + rand.IntN(end-lowest)
	var addrs []string
	for i := 0; i < end-lowest && len(addrs) < n; i++ {
		addr := fmt.Sprintf("%s:%d", host, lowest+(start-lowest+i)%(end-lowest))
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer listener.Close()
		addrs = append(addrs, addr)
	}
	if len(addrs) < n {
		return nil, fmt.Errorf("only %d of %d ports are free", len(addrs), n)
	}
	return addrs, nil
}

// Terminate sends SIGTERM and does not wait.
func (p *Process) Terminate() error {
	return p.cmd.Process.Signal(syscall.SIGTERM)
}

// Exited is closed once the process is gone and its output read.
func (p *Process) Exited() <-chan struct{} {
	return p.exited
}

// Stop ends the process and removes what it left.
func (p *Process) Stop() {
	_ = p.Terminate() // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill() // it may have ended meanwhile
		<-p.exited
	}
	os.RemoveAll(p.dir)
}

func (p *Process) take() (entryPoint, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return entryPoint{}, false
	}
	ep := p.free[0]
	p.free = p.free[1:]
	return ep, true
}

func (p *Process) give(ep entryPoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, ep)
}

// await polls until done; it gives up after awaitTimeout, and at once when the process ends.
func (p *Process) await(done func() bool) error {
	deadline := time.After(awaitTimeout)
	for !done() {
		select {
		case <-p.exited:
			return errors.New("the process has ended")
		case <-deadline:
			return fmt.Errorf("time-out after %v", awaitTimeout)
		case <-time.After(pollInterval):
		}
	}
	return nil
}

// apiClient keeps no connection open: the suite counts Traefik's goroutines and file descriptors.
var apiClient = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
}

// status returns a GET's status code, or 0 where there was no answer.
func status(url string) int {
	resp, err := apiClient.Get(url)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// router is what Traefik's API tells of one.
type router struct {
	Status string   `json:"status"`
	Error  []string `json:"error"`
}

// router asks the API for a router of the file provider; false means that Traefik does not know it (yet).
func (p *Process) router(name string) (router, bool) {
	var r router
	resp, err := apiClient.Get(p.API + "/api/http/routers/" + name + "@file")
	if err != nil {
		return r, false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return r, false
	}
	err = json.NewDecoder(resp.Body).Decode(&r)
	return r, err == nil
}

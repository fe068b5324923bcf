// Package engine hosts the plugin in each of the ways it can run: compiled into the test, interpreted by
// Yaegi, and inside a real Traefik. One API over the three lets one behaviour suite judge them all.
package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/pace"
	"gopkg.in/yaml.v3"
)

// Setup is what a case asks of a gateway.
type Setup struct {
	// Config holds the middleware's options as a user writes them in YAML.
	Config map[string]any

	// JSON has Config arrive as from Kubernetes: through JSON, in which every number is a float64. In-process engines only.
	JSON bool

	// Next is the URL (http://host:port) of the service behind the router.
	Next string

	// Name is the middleware's name; it must be the only one of that name while the gateway lives.
	// Empty means one made from the test's name.
	Name string

	// Host is the address of this machine that the gateway listens on. Empty means 127.0.0.1.
	Host string

	// Auth, where not empty, is the URL of a service that is asked, with the headers of each request, before the plugin
	// is: Traefik's forwardAuth. It lets a request in by answering 200.
	Auth string

	// Traefik is what else a gateway inside a real Traefik is made of. In-process engines refuse it.
	Traefik Surroundings

	// Service, where not nil, is behind the plugin in place of Next and the proxy to it. In-process engines only.
	Service http.Handler

	// Twin asks for a second router with the same middleware, for the requests to [TwinPath].
	Twin bool

	// Status asks for a router with a middleware of mode status, for the requests below [StatusPath].
	Status bool

	// Wrap, where not nil, is put between the HTTP server and the plugin. In-process engines only.
	Wrap func(http.Handler) http.Handler

	// Streams has the gateway serve HTTP/2 and HTTP/3 over TLS, too, both with extended CONNECT.
	Streams bool

	// ReadTimeout bounds the life of a stream, as respondingTimeouts.readTimeout of an entry point does; 0 does not. Over
	// HTTP/3 that is Traefik's own doing. It needs Dedicated.
	ReadTimeout time.Duration

	// Dedicated asks for a gateway whose process no other gateway shares. In-process engines have
	// an HTTP server of its own for every gateway anyway.
	Dedicated bool
}

// Surroundings are the parts of a Traefik around the plugin, as Traefik's documentation spells their options.
type Surroundings struct {
	// Before and After are the router's middlewares ahead of the plugin and behind it, in the order of requests: each
	// without a name, such as {compress: {}}.
	Before, After []map[string]any

	// Service takes the place of the service for [Setup.Next].
	Service map[string]any

	// HTTP and Certificates are further sections of the dynamic configuration, such as the services and serversTransports
	// that the other parts name. Names in them must be the only ones while the gateway lives.
	HTTP         map[string]map[string]any
	Certificates []map[string]any

	// Native leaves the plugin out: that is Traefik by itself.
	Native bool

	// NoExtendedConnect leaves [Setup.Streams] as Traefik has them by itself: over HTTP/2 without an extended CONNECT. It needs
	// [Setup.Dedicated].
	NoExtendedConnect bool

	// TLS has clients of the router speak TLS.
	TLS bool

	// EntryPoint holds options of the entry points by section, such as {transport: {keepAliveMaxRequests: 1}}, which go
	// before those that the engine gives them. It needs [Setup.Dedicated].
	EntryPoint map[string]map[string]any

	// Experimental holds further options of the static configuration's experimental section, such as {fastProxy: {}}. They
	// need [Setup.Dedicated].
	Experimental map[string]any

	// Settings are those of the plugin in the static configuration. They need [Setup.Dedicated].
	Settings map[string]any

	// AccessLog asks for one, for [Gateway.AccessLog]. It needs [Setup.Dedicated].
	AccessLog bool

	// Plugins are the sources of further plugins, each one file, by package name. They need [Setup.Dedicated].
	Plugins map[string]string

	// Internal, where not empty, names one of Traefik's own services to take the place of [Setup.Next]'s, such as
	// noop@internal.
	Internal string

	// Output, where not nil, is the process's standard output and error, which then leave no lines in the engine's log.
	// The engine closes it once the process has it, so the gateway cannot be restarted. It needs [Setup.Dedicated].
	Output *os.File

	// NoProfiles leaves /debug/pprof out, for whose sake Traefik samples each time that a goroutine blocks. It needs
	// [Setup.Dedicated].
	NoProfiles bool
}

// TwinPath is the path of a gateway's second router.
const TwinPath = "/twin"

// StatusPath is the path of a gateway's status.
const StatusPath = "/wsfw-status"

// statusConfig is the configuration of the middleware there.
var statusConfig = map[string]any{"mode": "status", "path": StatusPath}

// Gateway is one running router with the plugin in front of [Setup.Next].
type Gateway struct {
	// Addr is the host:port that clients dial.
	Addr string

	// AddrHTTP2 and AddrHTTP3 are those for clients of [Setup.Streams], and empty without. Any certificate is good.
	AddrHTTP2, AddrHTTP3 string

	// HTTP is the version over which a case's clients are to come where it leaves that open; 0 stands for 1.1.
	HTTP int

	// Name is the name New was given, less Traefik's "@file".
	Name string

	// Process is the Traefik that runs the gateway; nil for in-process engines.
	Process *Process

	log       *Log
	seen      map[string]int                                         // by msg: how much of log Wait has been through
	reload    func(t testing.TB, config map[string]any, next string) // where next is not empty, the service changes, too
	terminate func(t testing.TB)
	restart   func() error
}

// Over is the gateway for clients that come over this version of HTTP.
func (g *Gateway) Over(version int) *Gateway {
	over := *g
	over.HTTP = version
	return &over
}

// Engine is one way to run the plugin.
type Engine interface {
	// Name is "compiled", "interpreted" or "traefik".
	Name() string

	// Start runs a gateway until the test ends. It fails the test when the configuration is refused.
	Start(t testing.TB, s Setup) *Gateway

	// Refuses returns the error with which the configuration is refused, and fails the test when it is accepted.
	Refuses(t testing.TB, config map[string]any) string

	// Output is what the plugin has written to standard output.
	Output() *Log
}

// Reload applies a new configuration to the running gateway, as a changed file does in Traefik. It
// returns once new requests get the new configuration.
func (g *Gateway) Reload(t testing.TB, config map[string]any) {
	t.Helper()
	g.reload(t, config, "")
}

// Terminate starts the gateway's graceful shutdown, as SIGTERM does in Traefik, and does not wait for its
// end. A gateway inside a shared Traefik cannot be terminated: see [Setup.Dedicated].
func (g *Gateway) Terminate(t testing.TB) {
	t.Helper()
	g.terminate(t)
}

// Restart runs a terminated gateway anew once its process has exited, at the same address and with the configuration
// that it had. It returns when that one serves. Only a dedicated Traefik can be restarted.
func (g *Gateway) Restart(t testing.TB) {
	t.Helper()
	if g.restart == nil {
		t.Fatal("this gateway has no process of its own to be restarted")
	}
	if err := g.restart(); err != nil {
		t.Fatal(err)
	}
}

// recordTimeout bounds the wait for a line of output. It is longer than any close handshake of the suite.
var recordTimeout = pace.Of(10 * time.Second)

// AccessLog is what Traefik's access log tells of the requests that the plugin's router has taken so far.
func (g *Gateway) AccessLog(t testing.TB) []map[string]any {
	t.Helper()
	lines, err := g.Process.accessLog(g.Name)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// WaitRecord returns the gateway's next session record.
func (g *Gateway) WaitRecord(t testing.TB) map[string]any {
	t.Helper()
	return g.Wait(t, "websocket session")
}

// Wait returns the gateway's next line of output with this msg that no earlier Wait has returned. It is
// not for concurrent use on one gateway.
func (g *Gateway) Wait(t testing.TB, msg string) map[string]any {
	t.Helper()
	timeout := time.After(recordTimeout)
	line, seen := g.log.next(g.Name, msg, g.seen[msg], timeout)
	if line == nil {
		t.Fatalf("%s wrote no further %q line within %v; it wrote %v", g.Name, msg, recordTimeout, g.Lines())
	}
	g.seen[msg] = seen
	return line
}

// Lines returns all that the gateway has written so far.
func (g *Gateway) Lines() []map[string]any {
	return g.log.Lines(g.Name)
}

// Text returns the same byte by byte.
func (g *Gateway) Text() string {
	return g.log.Text(g.Name)
}

var all = sync.OnceValue(func() []Engine {
	known := map[string]func() Engine{"compiled": newCompiled, "interpreted": newInterpreted, "traefik": newTraefik}
	names := os.Getenv("WSFW_ENGINES")
	if names == "" {
		names = "compiled,interpreted,traefik"
	}
	var engines []Engine
	for name := range strings.SplitSeq(names, ",") {
		create := known[strings.TrimSpace(name)]
		if create == nil {
			panic(fmt.Sprintf("WSFW_ENGINES: unknown engine %q", name))
		}
		engines = append(engines, create())
	}
	return engines
})

// All returns the engines that the environment variable WSFW_ENGINES names, separated by commas; all
// three where it is empty.
func All() []Engine {
	return all()
}

// Each runs a case as one subtest for each engine.
func Each(t *testing.T, run func(t *testing.T, e Engine)) {
	t.Helper()
	for _, e := range All() {
		t.Run(e.Name(), func(t *testing.T) { run(t, e) })
	}
}

// Stop ends the processes that the engines share. TestMain calls it once all tests have run.
func Stop() {
	for _, e := range All() {
		if t, ok := e.(*traefik); ok {
			t.stop()
		}
	}
}

var (
	gateways    atomic.Int64
	notNameable = regexp.MustCompile(`[^a-z0-9]+`)
)

// loopback is where gateways listen that nobody from outside has to reach.
const loopback = "127.0.0.1"

// prepare fills in what a case has left open, and brings the options into the generic types that a YAML file yields.
func (s Setup) prepare(t testing.TB) Setup {
	t.Helper()
	if s.Name == "" {
		name := notNameable.ReplaceAllString(strings.ToLower(t.Name()), "-")
		s.Name = fmt.Sprintf("%s-%d", strings.Trim(name, "-"), gateways.Add(1))
	}
	if s.Host == "" {
		s.Host = loopback
	}
	s.Config = fromYAML(t, s.Config)
	if s.JSON {
		s.Config = fromJSON(t, s.Config)
	}
	return s
}

func fromJSON(t testing.TB, config map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatalf("the configuration is no JSON: %v", err)
	}
	generic := map[string]any{}
	if err := json.Unmarshal(text, &generic); err != nil {
		t.Fatalf("the configuration is no JSON: %v", err)
	}
	return generic
}

func fromYAML(t testing.TB, config map[string]any) map[string]any {
	t.Helper()
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatalf("the configuration is no YAML: %v", err)
	}
	generic := map[string]any{}
	if err := yaml.Unmarshal(text, &generic); err != nil {
		t.Fatalf("the configuration is no YAML: %v", err)
	}
	return generic
}

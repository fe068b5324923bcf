// Command demo is wsfw to try out: the plugin, upstreams that behave and misbehave, and a page from which to
// connect to them. It hosts the plugin interpreted, as Traefik does, or runs a real Traefik around it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`address` of the page and of the WebSocket routes")
	flag.StringVar(&o.traefik, "traefik", "", "`path` of a Traefik binary to go through, instead of the embedded host")
	flag.Parse()
	// SIGTERM, too, so that Traefik and the temporary directory do not outlive a demo that is killed.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// options are the command's flags.
type options struct {
	listen  string
	traefik string
}

// run holds the demo open until ctx ends.
func run(ctx context.Context, o options, out io.Writer) error {
	d, err := start(o, out)
	if err != nil {
		return err
	}
	defer d.stop()
	fmt.Fprintf(out, "wsfw, hosted by %s, is at\n\n    http://%s/\n\nCtrl-C ends it.\n", d.gateway, d.addr)
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nEnding.")
		return nil
	case <-d.failed:
		return fmt.Errorf("%s has ended", d.gateway)
	}
}

// demo is all that runs.
type demo struct {
	addr      string // of the page and the routes
	gateway   string // what hosts the plugin, in words
	native    native
	scenarios []scenario
	live      scenario // the route of live sessions
	limit     scenario // the route of the limit
	drain     scenario // the route of the crowd that a restart sends away
	stage     *stage
	crowded   sync.Mutex // held while the route of the limit is in use

	// replica starts one more instance of the gateway, with the route of the crowd; ctx bounds its start.
	replica func(ctx context.Context) (*replica, error)

	failed <-chan struct{} // closed where the gateway ends by itself; nil for never

	ends []func()
}

// native says what stands beside wsfw in this demo, and how.
type native struct {
	Title  string `json:"title"`
	Text   string `json:"text"`   // what a session without the plugin goes through
	Proxy  string `json:"proxy"`  // the name of that
	Ending string `json:"ending"` // how an instance of the gateway ends
}

// start brings everything up, in the order in which one thing needs the other.
func start(o options, out io.Writer) (*demo, error) {
	d := &demo{stage: newStage()}
	if err := d.bringUp(o, out); err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

func (d *demo) bringUp(o options, out io.Writer) error {
	root, err := engine.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wsfw-demo-")
	if err != nil {
		return err
	}
	d.atEnd(func() { os.RemoveAll(dir) })
	up, err := startUpstream(dir, d.stage)
	if err != nil {
		return err
	}
	d.atEnd(up.stop)
	if err := d.layRoutes(up); err != nil {
		return err
	}
	if o.traefik != "" {
		return d.startTraefik(o, out, root, dir, up)
	}
	return d.startEmbedded(o, out, root, up)
}

// layRoutes fills in what all routes say of themselves.
func (d *demo) layRoutes(up *upstream) error {
	var err error
	if d.scenarios, err = scenarios(up); err != nil {
		return err
	}
	for s, route := range map[*scenario]scenario{&d.live: liveRoute, &d.limit: limitRoute, &d.drain: drainRoute} {
		if *s, err = up.fill(route); err != nil {
			return err
		}
	}
	return nil
}

// routes are all that have a middleware.
func (d *demo) routes() []scenario {
	return append(slices.Clone(d.scenarios), d.live, d.limit, d.drain)
}

// startEmbedded serves the page and the routes from one server.
func (d *demo) startEmbedded(o options, out io.Writer, root string, up *upstream) error {
	lines := newJournal()
	d.atEnd(lines.captureStdout())
	routes, err := newEmbedded(root, d.routes(), up)
	if err != nil {
		return err
	}
	listener, err := listen(o.listen, out)
	if err != nil {
		return err
	}
	d.gateway, d.addr = "embedded Yaegi", listener.Addr().String()
	d.native = native{
		Title: "Without wsfw",
		Text:  "net/http's ReverseProxy alone",
		Proxy: "ReverseProxy",
		Ending: "The demo plays Traefik's part here: it calls Shutdown of the old instance's http.Server, and cuts what is left after " +
			"graceTimeOut.",
	}
	d.replica = func(context.Context) (*replica, error) { return embeddedReplica(routes) }
	d.atEnd(serve(listener, newHost(d, lines, routes)).stop)
	return nil
}

// startTraefik puts Traefik in front of the page as well, so that page and routes are of one origin.
func (d *demo) startTraefik(o options, out io.Writer, root, dir string, up *upstream) error {
	reserved, err := listen(o.listen, out)
	if err != nil {
		return err
	}
	reserved.Close() // for Traefik to take
	d.gateway, d.addr = "Traefik", reserved.Addr().String()
	d.native = native{
		Title:  "Traefik without wsfw",
		Text:   "no middleware",
		Proxy:  "Traefik",
		Ending: "Two more Traefik processes run for this. The old one gets SIGTERM, and cuts what is left after its graceTimeOut.",
	}
	page, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	lines := newJournal()
	d.atEnd(serve(page, newHost(d, lines, nil)).stop)
	t := &traefik{dir: dir, addr: d.addr, page: page.Addr().String(), service: up.plain.addr, grace: time.Second}
	d.replica = func(ctx context.Context) (*replica, error) {
		return t.replica(ctx, o.traefik, root, []scenario{d.drain}, lines)
	}
	if err := t.start(o.traefik, root, d.routes(), lines); err != nil {
		return err
	}
	d.failed = t.exited
	d.atEnd(t.stop)
	return t.ready(context.Background())
}

// atEnd adds to what stop does, before all that was added earlier.
func (d *demo) atEnd(end func()) {
	d.ends = append(d.ends, end)
}

// stop ends everything and returns when it has ended.
func (d *demo) stop() {
	for len(d.ends) > 0 {
		last := len(d.ends) - 1
		d.ends[last]()
		d.ends = d.ends[:last]
	}
}

// listen takes addr, or another port of its host where that is taken: a demo should not fail on a port.
func listen(addr string, out io.Writer) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if err == nil {
		return listener, nil
	}
	host, _, failed := net.SplitHostPort(addr)
	if failed != nil {
		return nil, failed
	}
	fmt.Fprintf(out, "%v: taking a free port instead.\n", err)
	return net.Listen("tcp", net.JoinHostPort(host, "0"))
}

package engine

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsfw/wsfw"
)

// builder makes a handler of the plugin, as Traefik does for each router of each configuration.
type builder func(ctx context.Context, next http.Handler, config map[string]any, name string) (http.Handler, error)

// local runs the plugin in this process, behind an HTTP server for each gateway.
type local struct {
	name string
	load func() (builder, error)
}

func newCompiled() Engine {
	build := func(ctx context.Context, next http.Handler, config map[string]any, name string) (http.Handler, error) {
		cfg := wsfw.CreateConfig()
		if err := decode(config, cfg); err != nil {
			return nil, err
		}
		return wsfw.New(ctx, next, cfg, name)
	}
	return &local{name: "compiled", load: func() (builder, error) { return build, nil }}
}

func newInterpreted() Engine {
	load := func() (builder, error) {
		root, err := Root()
		if err != nil {
			return nil, err
		}
		plugin, err := Load(root)
		if err != nil {
			return nil, err
		}
		return plugin.Handler, nil
	}
	return &local{name: "interpreted", load: sync.OnceValues(load)}
}

// Name implements [Engine].
func (e *local) Name() string { return e.name }

// Output implements [Engine]. Both in-process engines write to one log.
func (e *local) Output() *Log { return inProcess }

// Start implements [Engine].
func (e *local) Start(t testing.TB, s Setup) *Gateway {
	t.Helper()
	if !reflect.ValueOf(s.Traefik).IsZero() {
		t.Fatal("Setup.Traefik: in-process engines have no Traefik")
	}
	s = s.prepare(t)
	r := e.route(t, s)
	if err := r.apply(s.Config); err != nil {
		t.Fatalf("%s refuses the configuration: %v", e.name, err)
	}
	var handler http.Handler = r
	if s.Wrap != nil {
		handler = s.Wrap(handler)
	}
	server, beside := serve(t, handler, s.Host), &streams{}
	if s.Streams {
		beside = serveStreams(t, handler, s)
	}
	return &Gateway{
		Addr:      server.Addr,
		AddrHTTP2: beside.addrs[0],
		AddrHTTP3: beside.addrs[1],
		Name:      s.Name,
		log:       inProcess,
		seen:      map[string]int{},
		reload: func(t testing.TB, config map[string]any, next string) {
			t.Helper()
			r.lead(t, next)
			if err := r.apply(fromYAML(t, config)); err != nil {
				t.Fatalf("%s refuses the new configuration: %v", e.name, err)
			}
		},
		terminate: func(testing.TB) {
			shutDown(server)
			beside.shutdown(shutDown)
		},
	}
}

// shutDown does not wait, as Shutdown does, for the requests that are under way: so nobody takes its error.
func shutDown(server *http.Server) {
	go func() { _ = server.Shutdown(context.Background()) }()
}

// Refuses implements [Engine].
func (e *local) Refuses(t testing.TB, config map[string]any) string {
	t.Helper()
	s := Setup{Config: config, Next: unusedNext}.prepare(t)
	err := e.route(t, s).apply(s.Config)
	if err == nil {
		t.Fatalf("%s accepts the configuration %v", e.name, config)
	}
	return err.Error()
}

// unusedNext stands for the service behind a router that never takes a request.
const unusedNext = "http://127.0.0.1:9"

func (e *local) route(t testing.TB, s Setup) *route {
	t.Helper()
	build, err := e.load()
	if err != nil {
		t.Fatalf("loading the plugin: %v", err)
	}
	r := &route{name: s.Name, auth: s.Auth, twin: s.Twin, status: s.Status, build: build, next: s.Service, cancel: func() {}}
	r.lead(t, s.Next)
	t.Cleanup(func() { r.cancel() })
	return r
}

// Proxy forwards to the service at a URL as in-process engines do for [Setup.Next].
func Proxy(service string) (http.Handler, error) {
	target, err := url.Parse(service)
	if err != nil {
		return nil, err
	}
	return reverseProxy(target), nil
}

// reverseProxy forwards as Traefik's own does (pkg/proxy/httputil): with the client's Host and its path as sent, and
// with the flushInterval that services have by default.
func reverseProxy(target *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		FlushInterval: 100 * time.Millisecond,
		Director: func(req *http.Request) {
			req.URL.Scheme = target.Scheme
			req.URL.Host = target.Host
		},
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, context.Canceled) {
				rw.WriteHeader(499) // the client has gone, and that is no news
				return
			}
			log.Printf("the service's proxy: %v", err)
			rw.WriteHeader(http.StatusBadGateway)
		},
	}
}

// admission has next preceded by the service at a URL, as Traefik's forwardAuth does; by none where that is empty.
func admission(auth string, next http.Handler) http.Handler {
	if auth == "" {
		return next
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		question, err := http.NewRequestWithContext(req.Context(), http.MethodGet, auth, nil)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		question.Header = req.Header.Clone()
		for _, name := range []string{"Connection", "Upgrade"} {
			question.Header.Del(name)
		}
		resp, err := apiClient.Do(question)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			rw.WriteHeader(resp.StatusCode)
			return
		}
		next.ServeHTTP(rw, req)
	})
}

// route is one router's middleware over all its configurations.
type route struct {
	name    string
	auth    string // of the setup
	twin    bool   // of the setup
	status  bool   // likewise
	build   builder
	next    http.Handler
	current atomic.Value // of served
	cancel  context.CancelFunc
}

// lead has the route's next configurations lead to the service at a URL; to the same as before where that is empty.
func (r *route) lead(t testing.TB, next string) {
	t.Helper()
	if next == "" && r.next != nil {
		return
	}
	proxy, err := Proxy(next)
	if err != nil {
		t.Fatalf("the service's URL: %v", err)
	}
	r.next = proxy
}

// served gives every handler one concrete type, as [atomic.Value] demands.
type served struct{ http.Handler }

// apply ends the context of the handler in use and replaces it, in Traefik's order.
func (r *route) apply(config map[string]any) error {
	r.cancel()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	handler, err := r.build(ctx, r.next, config, r.name)
	if err != nil {
		return err
	}
	if r.twin || r.status {
		path, name := TwinPath, r.name
		if r.status {
			path, name, config = StatusPath+"/", r.name+"-status", statusConfig
		}
		second, err := r.build(ctx, r.next, config, name)
		if err != nil {
			return err
		}
		routers := http.NewServeMux()
		routers.Handle("/", handler)
		routers.Handle(path, second)
		handler = routers
	}
	r.current.Store(served{admission(r.auth, handler)})
	return nil
}

// ServeHTTP implements [http.Handler].
func (r *route) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	r.current.Load().(served).ServeHTTP(rw, req)
}

// protocols are those of Traefik's entry points without TLS: HTTP/1.1, and HTTP/2 for who begins with that.
func protocols() *http.Protocols {
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	return both
}

// serve runs an HTTP server on a free port until the test ends; its Addr tells which.
func serve(t testing.TB, handler http.Handler, host string) *http.Server {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Addr: listener.Addr().String(), Handler: handler, Protocols: protocols()}
	go func() { _ = server.Serve(listener) }() // which always fails: once the server is closed
	t.Cleanup(func() { server.Close() })
	return server
}

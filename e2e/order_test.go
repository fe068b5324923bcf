package e2e

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// eachTraefik runs a case that needs more of Traefik than a handler in front of a service.
func eachTraefik(t *testing.T, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	for _, e := range engine.All() {
		if e.Name() == "traefik" {
			run(t, e)
		}
	}
}

// use is a way to use the plugin.
type use struct {
	name   string
	config object

	forward bool // to an endpoint, so that sessions pass by what stands behind the plugin
	records bool // sessions
}

var (
	checkUse   = use{name: "check"}
	forwardUse = use{name: "forward", forward: true, records: true}
	inlineUse  = use{name: "inline", config: object{"validate": "utf8"}, records: true}

	uses = []use{checkUse, forwardUse, inlineUse}
)

// before is the plugin's configuration in front of a server. Plain requests go to Traefik's service.
func (u use) before(endpoint string) object {
	config := object{"nonWebSocket": "pass"}
	maps.Copy(config, u.config)
	if u.forward {
		config["upstreamEndpoint"] = endpoint
	}
	return config
}

// neighbour is a middleware of Traefik's beside the plugin.
type neighbour struct {
	name       string
	middleware object
	http       map[string]object // what it names
	header     http.Header       // of requests that it lets in
	service    func(server *bystander) object

	// holds wants it to do its work, nil: what a working gateway shows is enough. Sees tells whether it gets to see
	// sessions.
	holds func(t *testing.T, c *caller, server *bystander, sees bool)
}

// place is where a neighbour stands.
type place struct {
	name   string
	before bool
}

var places = []place{{"before", true}, {"after", false}}

// TestOrder puts middlewares of Traefik's before the plugin and after it: sessions and plain requests come through, and
// the middleware does its work.
func TestOrder(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, n := range neighbours(t) {
			for _, p := range places {
				for _, u := range uses {
					t.Run(n.name+"/"+p.name+"/"+u.name, func(t *testing.T) {
						server := newBystander(t, (*httptest.Server).Start)
						c := newCaller(n.beside(t, e, p, u, server), n.header)
						c.works(t, server, u.records)
						if n.holds != nil {
							n.holds(t, c, server, p.before || !u.forward)
						}
					})
				}
			}
		}
	})
}

// beside runs a gateway with the neighbour at its place.
func (n neighbour) beside(t *testing.T, e engine.Engine, p place, u use, server *bystander) *engine.Gateway {
	t.Helper()
	return e.Start(t, n.setup(p, u, server))
}

func (n neighbour) setup(p place, u use, server *bystander) engine.Setup {
	around := engine.Surroundings{HTTP: n.http}
	if p.before {
		around.Before = []object{n.middleware}
	} else {
		around.After = []object{n.middleware}
	}
	if n.service != nil {
		around.Service = n.service(server)
	}
	return engine.Setup{Config: u.before(server.url), Next: server.url, Traefik: around}
}

// balancer is a service with these servers.
func balancer(urls ...string) object {
	var servers []object
	for _, url := range urls {
		servers = append(servers, object{"url": url})
	}
	return object{"loadBalancer": object{"servers": servers}}
}

// credentials are alice's, of whom basicAuth knows.
var credentials = http.Header{"Authorization": {"Basic YWxpY2U6c2VjcmV0"}}

var basicAuth = object{"basicAuth": object{"users": []string{"alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="}}}

// toldHeader is what servers are told by a middleware.
const toldHeader = "X-Told"

var telling = object{"headers": object{"customRequestHeaders": object{toldHeader: "alice"}}}

func neighbours(t *testing.T) []neighbour {
	return []neighbour{
		{name: "basicAuth", middleware: basicAuth, header: credentials, holds: turnsAway},
		{
			name: "forwardAuth", header: http.Header{"X-Token": {"open"}}, holds: turnsAwayAndTells,
			middleware: object{"forwardAuth": object{"address": doorkeeper(t), "authResponseHeaders": []string{toldHeader}}},
		},
		{
			name: "chain", header: credentials, holds: turnsAwayAndTells,
			middleware: object{"chain": object{"middlewares": []string{"order-told", "order-basic"}}},
			http: map[string]object{"middlewares": {
				"order-told":  telling,
				"order-basic": basicAuth,
			}},
		},
		{name: "inFlightReq", middleware: object{"inFlightReq": object{"amount": 1}}, holds: countsSessions},
		{
			name: "retry", middleware: object{"retry": object{"attempts": 3}}, holds: triesTheNext,
			service: func(server *bystander) object { return balancer("http://"+peerDeadAddr(t), server.url) },
		},
		{
			name: "compress", header: http.Header{"Accept-Encoding": {"gzip"}}, holds: compresses,
			middleware: object{"compress": object{}},
		},
		{name: "headers", middleware: telling, holds: tells},
		{name: "buffering", middleware: object{"buffering": object{"maxRequestBodyBytes": 1000000}}},
		{name: "circuitBreaker", middleware: object{"circuitBreaker": object{"expression": "NetworkErrorRatio() > 0.5"}}},
		{name: "rateLimit", middleware: object{"rateLimit": object{"average": 100, "burst": 100}}},
		{name: "ipAllowList", middleware: object{"ipAllowList": object{"sourceRange": []string{"127.0.0.1/32"}}}},
		{name: "contentType", middleware: object{"contentType": object{}}},
		{name: "grpcWeb", middleware: object{"grpcWeb": object{"allowOrigins": []string{"*"}}}},
		{name: "addPrefix", middleware: object{"addPrefix": object{"prefix": "/under"}}},
		{name: "stripPrefix", middleware: object{"stripPrefix": object{"prefixes": []string{"/socket"}}}},
		{name: "passTLSClientCert", middleware: object{"passTLSClientCert": object{"pem": true}}},
	}
}

// doorkeeper runs a service for forwardAuth.
func doorkeeper(t *testing.T) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Header.Get("X-Token") != "open" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set(toldHeader, "alice")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// turnsAway wants requests without credentials refused.
func turnsAway(t *testing.T, c *caller, server *bystander, sees bool) {
	t.Helper()
	stranger := newCaller(c.gateway, nil)
	if resp, _ := stranger.plain(t); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a plain request without credentials gets %d, want 401", resp.StatusCode)
	}
	if sees {
		stranger.refused(t, http.StatusUnauthorized)
	} else {
		stranger.closes(t, server, true)
	}
}

// turnsAwayAndTells also wants servers to be told who it is.
func turnsAwayAndTells(t *testing.T, c *caller, server *bystander, sees bool) {
	t.Helper()
	turnsAway(t, c, server, sees)
	tells(t, c, server, sees)
}

// tells wants servers to get a header of the middleware's.
func tells(t *testing.T, c *caller, server *bystander, sees bool) {
	t.Helper()
	want := ""
	if sees {
		want = "alice"
	}
	client, _ := c.join(t)
	if got := (<-server.heads).Get(toldHeader); got != want {
		t.Errorf("%s is %q, want %q", toldHeader, got, want)
	}
	server.dismiss(client)
}

// countsSessions wants a second request refused for as long as a session lives.
func countsSessions(t *testing.T, c *caller, server *bystander, sees bool) {
	t.Helper()
	client, _ := c.join(t)
	<-server.heads
	if !sees {
		c.plainWorks(t)
	} else {
		c.refused(t, http.StatusTooManyRequests)
		if resp, _ := c.plain(t); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a plain request beside a session gets %d, want 429", resp.StatusCode)
		}
	}
	server.dismiss(client)
	c.plainWorks(t)
}

// triesTheNext wants no request to fail for a server that refuses connections.
func triesTheNext(t *testing.T, c *caller, server *bystander, _ bool) {
	t.Helper()
	for range 3 {
		client, _ := c.join(t)
		<-server.heads
		server.dismiss(client)
		c.plainWorks(t)
	}
}

// compresses wants plain answers compressed.
func compresses(t *testing.T, c *caller, _ *bystander, _ bool) {
	t.Helper()
	resp, body := c.plain(t)
	if got := resp.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding is %q, want gzip", got)
	}
	in, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(in); err != nil || len(text) < largePlain-len("plain ") {
		t.Errorf("there are %d bytes in the answer (%v)", len(text), err)
	}
}

// TestOrderErrors puts an errors middleware beside the plugin: its page replaces the 502 of whoever is behind it.
func TestOrderErrors(t *testing.T) {
	const page = "the page for 502"
	pages := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, page) }))
	t.Cleanup(pages.Close)
	replaced := neighbour{
		middleware: object{"errors": object{"status": []string{"502"}, "service": "order-pages", "query": "/{status}"}},
		http:       map[string]object{"services": {"order-pages": balancer(pages.URL)}},
	}
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, p := range places {
			for _, u := range uses {
				t.Run(p.name+"/"+u.name, func(t *testing.T) {
					server := newBystander(t, (*httptest.Server).Start)
					newCaller(replaced.beside(t, e, p, u, server), nil).works(t, server, u.records)

					c := newCaller(replaced.beside(t, e, p, u, &bystander{url: "http://" + peerDeadAddr(t)}), nil)
					if resp, body := c.plain(t); resp.StatusCode != http.StatusBadGateway || body != page {
						t.Errorf("a plain request gets %d and %q, want 502 and %q", resp.StatusCode, body, page)
					}
					body := c.refused(t, http.StatusBadGateway)
					if want := p.before || !u.forward; (body == page) != want {
						t.Errorf("a session gets %q; that is the page: %v, want %v", body, !want, want)
					}
				})
			}
		}
	})
}

// TestOrderWithin has the plugin stand in a chain, with a middleware of Traefik's at either hand.
func TestOrderWithin(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, u := range uses {
			t.Run(u.name, func(t *testing.T) {
				name := fmt.Sprintf("within-%d", time.Now().UnixNano()) // which the chain has to know
				server := newBystander(t, (*httptest.Server).Start)
				chain := neighbour{
					middleware: object{"chain": object{"middlewares": []string{"within-auth", name, "within-told"}}},
					http: map[string]object{"middlewares": {
						"within-auth": basicAuth,
						"within-told": telling,
					}},
				}
				setup := chain.setup(places[0], u, server)
				setup.Name, setup.Traefik.Native = name, true // the router uses the chain only
				c := newCaller(e.Start(t, setup), credentials)
				c.works(t, server, u.records)
				turnsAway(t, c, server, true)
			})
		}
	})
}

// TestOrderRetryForward wants an endpoint that refuses connections to be asked once: only Traefik's services are tried
// again.
func TestOrderRetryForward(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		retry := neighbour{middleware: object{"retry": object{"attempts": 3}}}
		dead := &bystander{url: "http://" + peerDeadAddr(t)}
		c := newCaller(retry.beside(t, e, places[0], forwardUse, dead), nil)
		for range 2 {
			c.refused(t, http.StatusBadGateway)
			c.gateway.Wait(t, "upstream ws://"+dead.addr()+" failed")
		}
		if lines := c.gateway.Lines(); len(lines) != 2 {
			t.Errorf("two sessions leave %v in the log, want one failure each", lines)
		}
	})
}

// veil is a plugin as many are: it has its own response writer, through which nobody can take the connection over.
const veil = `package veil

import (
	"context"
	"net/http"
)

type Config struct{}

func CreateConfig() *Config { return &Config{} }

type writer struct{ http.ResponseWriter }

func New(_ context.Context, next http.Handler, _ *Config, _ string) (http.Handler, error) {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		next.ServeHTTP(&writer{rw}, req)
	}), nil
}
`

// TestOrderHidden puts a middleware beside the plugin that hides the connection: before it, sessions are refused with
// 500, and the log tells what to do; behind it, those are that go through it.
func TestOrderHidden(t *testing.T) {
	veiled := neighbour{middleware: object{"plugin": object{"veil": object{}}}}
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for _, p := range places {
			for _, u := range uses {
				t.Run(p.name+"/"+u.name, func(t *testing.T) {
					server := newBystander(t, (*httptest.Server).Start)
					setup := veiled.setup(p, u, server)
					setup.Dedicated, setup.Traefik.Plugins = true, map[string]string{"veil": veil}
					c := newCaller(e.Start(t, setup), nil)
					c.plainWorks(t)
					if !p.before && u.forward {
						c.works(t, server, true)
						return
					}
					body := c.refused(t, http.StatusInternalServerError)
					if !p.before || u.name == checkUse.name {
						return // the service has refused it
					}
					if want := "This connection cannot be upgraded.\n"; body != want {
						t.Errorf("a session is answered with %q, want %q", body, want)
					}
					line := c.gateway.Wait(t, "client connection not taken over")
					if advice := fmt.Sprint(line["error"]); !strings.Contains(advice, "before") {
						t.Errorf("the log tells %q, want that wsfw be moved before the middleware", advice)
					}
				})
			}
		}
	})
}

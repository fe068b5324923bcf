package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	gorilla "github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// eachService runs a case with Traefik's service carrying the sessions: by Traefik itself, and through the plugin.
func eachService(t *testing.T, run func(t *testing.T, e engine.Engine, u use, native bool)) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		t.Run("native", func(t *testing.T) { run(t, e, use{}, true) })
		for _, u := range []use{checkUse, inlineUse} {
			t.Run(u.name, func(t *testing.T) { run(t, e, u, false) })
		}
	})
}

// checkedServer is a bystander that can be made to fail its health checks.
type checkedServer struct {
	*bystander
	sick atomic.Bool
}

const healthPath = "/health"

// newCheckedServer runs one.
func newCheckedServer(t *testing.T) *checkedServer {
	p := &checkedServer{}
	p.bystander = newBystander(t, func(server *httptest.Server) {
		others := server.Config.Handler
		server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			switch {
			case req.URL.Path != healthPath:
				others.ServeHTTP(rw, req)
			case p.sick.Load():
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		server.Start()
	})
	return p
}

// sticky is a service whose servers are chosen by a cookie.
func sticky(urls ...string) object {
	service := balancer(urls...)
	service["loadBalancer"].(object)["sticky"] = object{"cookie": object{"name": "server"}}
	return service
}

// TestServiceSticky wants the answer that opens a session to set the cookie, with which all others lead to the same
// server.
func TestServiceSticky(t *testing.T) {
	eachService(t, func(t *testing.T, e engine.Engine, u use, native bool) {
		one, other := newBystander(t, (*httptest.Server).Start), newBystander(t, (*httptest.Server).Start)
		servers := map[string]*bystander{one.addr(): one, other.addr(): other}
		gateway := e.Start(t, engine.Setup{
			Config:  u.before(""),
			Traefik: engine.Surroundings{Native: native, Service: sticky(one.url, other.url)},
		})
		reached := map[string]bool{}
		for range servers {
			c := newCaller(gateway, nil)
			client, resp := c.join(t)
			server := servers[resp.Header.Get(serverMark)]
			<-server.heads
			server.dismiss(client)
			c.recorded(t, server, u.records, "client", forwardEnd{code: 1000})
			reached[server.addr()] = true

			cookies := resp.Cookies()
			if len(cookies) != 1 {
				t.Fatalf("the 101 sets the cookies %v, want one", cookies)
			}
			back := newCaller(gateway, http.Header{"Cookie": {cookies[0].Name + "=" + cookies[0].Value}})
			for range 3 {
				back.closes(t, server, u.records)
				if resp, _ := back.plain(t); resp.Header.Get(serverMark) != server.addr() {
					t.Errorf("a plain request gets to %s, want %s", resp.Header.Get(serverMark), server.addr())
				}
			}
		}
		if len(reached) != len(servers) {
			t.Errorf("without a cookie sessions get to %v, want both servers", reached)
		}
	})
}

// TestServiceHealth has a server fail its health checks: new sessions go to the other one, even those with its cookie,
// while its own goes on.
func TestServiceHealth(t *testing.T) {
	eachService(t, func(t *testing.T, e engine.Engine, u use, native bool) {
		p := newPool(t, e, u, native)
		p.failing.sick.Store(true)
		p.movesOn(t, u)
		talk(t, p.client)
		p.failing.dismiss(p.client)
		p.recorded(t, p.failing.bystander, u.records, "client", forwardEnd{code: 1000})
	})
}

// TestServiceDeath has a server die: its session ends, and new ones go to the other server.
func TestServiceDeath(t *testing.T) {
	eachService(t, func(t *testing.T, e engine.Engine, u use, native bool) {
		p := newPool(t, e, u, native)
		p.failing.die()
		<-p.failing.ends
		_, _, err := p.client.hear()
		want := "1006"
		if u.records {
			want = "1014" // which gorilla does not know
		}
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("the client saw %v, want %s", err, want)
		}
		p.client.quit()
		p.recorded(t, p.failing.bystander, u.records, "upstream", forwardEnd{code: gorilla.CloseAbnormalClosure})
		p.movesOn(t, u)
	})
}

// pool is a client of two servers whose health is checked, with a session and the cookie of one of them.
type pool struct {
	*caller
	client           gorillaSpeaker
	failing, healthy *checkedServer
}

func newPool(t *testing.T, e engine.Engine, u use, native bool) *pool {
	t.Helper()
	one, other := newCheckedServer(t), newCheckedServer(t)
	service := checked(sticky(one.url, other.url), "50ms")
	gateway := e.Start(t, engine.Setup{Config: u.before(""), Traefik: engine.Surroundings{Native: native, Service: service}})
	p := &pool{caller: newCaller(gateway, nil), failing: one, healthy: other}
	client, resp := p.join(t)
	p.client = client
	if resp.Header.Get(serverMark) == other.addr() {
		p.failing, p.healthy = other, one
	}
	<-p.failing.heads
	for _, cookie := range resp.Cookies() {
		p.header = http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}}
	}
	return p
}

// movesOn waits until Traefik knows, and wants sessions with the failing server's cookie to go to the healthy one.
func (p *pool) movesOn(t *testing.T, u use) {
	t.Helper()
	await(t, soon, func() string {
		if resp, _ := p.plain(t); resp.Header.Get(serverMark) != p.healthy.addr() {
			return "requests still get to the server that fails its health checks"
		}
		return ""
	})
	p.closes(t, p.healthy.bystander, u.records)
	p.isClosed(t, p.healthy.bystander, u.records)
}

// checked has the health of a service's servers checked.
func checked(service object, interval string) object {
	service["loadBalancer"].(object)["healthCheck"] = object{"path": healthPath, "interval": interval, "timeout": "1s"}
	return service
}

// TestServiceKinds has services of other kinds lead to a server. A mirror gets a session's request when that has ended;
// nothing may take it for the session's own server.
func TestServiceKinds(t *testing.T) {
	weighted := object{"weighted": object{"services": []object{{"name": "service-main", "weight": 1}}}}
	mirroring := object{"mirroring": object{
		"service": "service-main", "mirrors": []object{{"name": "service-spare", "percent": 100}},
	}}
	failover := object{"failover": object{"service": "service-main", "fallback": "service-spare"}}
	for name, service := range map[string]object{"weighted": weighted, "mirroring": mirroring, "failover": failover} {
		t.Run(name, func(t *testing.T) {
			eachService(t, func(t *testing.T, e engine.Engine, u use, native bool) {
				server := newBystander(t, (*httptest.Server).Start)
				gateway := e.Start(t, engine.Setup{Config: u.before(""), Traefik: engine.Surroundings{
					Native: native, Service: service,
					HTTP: map[string]object{"services": {
						"service-main":  checked(balancer(server.url), "1s"),
						"service-spare": checked(balancer(recorder(t)), "1s"),
					}},
				}})
				c := newCaller(gateway, nil)
				c.works(t, server, u.records)
				for range 20 {
					c.closes(t, server, u.records)
				}
			})
		})
	}
}

// startTLS begins a server with a certificate of an authority's, for both versions of HTTP.
func startTLS(t *testing.T, authority *tlsAuthority, protocols ...string) func(*httptest.Server) {
	return func(server *httptest.Server) {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{authority.server(t)}, NextProtos: protocols}
		server.StartTLS()
	}
}

// TestServiceTLS has Traefik speak TLS to the server, which its serversTransport trusts. Where that one speaks HTTP/2
// too, plain requests take it, and sessions do not.
func TestServiceTLS(t *testing.T) {
	for name, protocols := range map[string][]string{"HTTP/1.1": {"http/1.1"}, "HTTP/2.0": {"h2", "http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			eachService(t, func(t *testing.T, e engine.Engine, u use, native bool) {
				authority := newTLSAuthority(t)
				server := newBystander(t, func(s *httptest.Server) {
					s.EnableHTTP2 = len(protocols) > 1
					startTLS(t, authority, protocols...)(s)
				})
				service := balancer(server.url)
				service["loadBalancer"].(object)["serversTransport"] = "service-trusts"
				c := newCaller(e.Start(t, engine.Setup{Config: u.before(""), Traefik: engine.Surroundings{
					Native: native, Service: service,
					HTTP: map[string]object{"serversTransports": {"service-trusts": object{
						"rootCAs": []string{tlsDir(t.TempDir()).write(t, "ca.pem", authority.pem)},
					}}},
				}}), nil)
				c.works(t, server, u.records)
				if _, body := c.plain(t); !strings.Contains(body, " by "+name) {
					t.Errorf("a plain request gets to the server as %.40q, want %s", body, name)
				}
			})
		})
	}
}

// TestServiceUntrusted has Traefik distrust the server: sessions and plain requests are answered as Traefik answers
// them by itself.
func TestServiceUntrusted(t *testing.T) {
	eachService(t, func(t *testing.T, e engine.Engine, u use, native bool) {
		server := newBystander(t, startTLS(t, newTLSAuthority(t), "http/1.1"))
		c := newCaller(e.Start(t, engine.Setup{
			Config: u.before(""), Traefik: engine.Surroundings{Native: native, Service: balancer(server.url)},
		}), nil)
		if body := c.refused(t, http.StatusInternalServerError); body != http.StatusText(http.StatusInternalServerError) {
			t.Errorf("a session is answered with %q", body)
		}
		if resp, _ := c.plain(t); resp.StatusCode != http.StatusInternalServerError {
			t.Errorf("a plain request gets %d, want 500", resp.StatusCode)
		}
	})
}

// startH2C begins a server that speaks HTTP/2 without TLS too.
func startH2C(server *httptest.Server) {
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
}

// TestServiceH2C has Traefik speak HTTP/2 without TLS to the server, and HTTP/1.1 for sessions. Traefik before 3.6.22 and 3.7.6
// answers those with 500.
func TestServiceH2C(t *testing.T) {
	eachService(t, func(t *testing.T, e engine.Engine, u use, native bool) {
		server := newBystander(t, startH2C)
		c := newCaller(e.Start(t, engine.Setup{
			Config: u.before(""), Traefik: engine.Surroundings{Native: native, Service: balancer("h2c://" + server.addr())},
		}), nil)
		c.plainWorks(t)
		if _, body := c.plain(t); !strings.Contains(body, " by HTTP/2.0") {
			t.Errorf("a plain request gets to the server as %.40q, want HTTP/2.0", body)
		}
		c.works(t, server, u.records)
	})
}

// TestServiceH2CForward has plain requests go to such a server, and sessions go past Traefik's service.
func TestServiceH2CForward(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		server := newBystander(t, startH2C)
		c := newCaller(e.Start(t, engine.Setup{
			Config:  forwardUse.before(server.url),
			Traefik: engine.Surroundings{Service: balancer("h2c://" + server.addr())},
		}), nil)
		c.works(t, server, true)
		if _, body := c.plain(t); !strings.Contains(body, " by HTTP/2.0") {
			t.Errorf("a plain request gets to the server as %.40q, want HTTP/2.0", body)
		}
	})
}

// TestServiceFastProxy has Traefik's fastProxy carry the sessions, in place of net/http's: they get there over pipes, and their
// records name no server.
func TestServiceFastProxy(t *testing.T) {
	eachService(t, func(t *testing.T, e engine.Engine, u use, native bool) {
		server := newBystander(t, (*httptest.Server).Start)
		config := u.before(server.url)
		if u.records {
			config["drainTimeout"] = "0"
		}
		c := newCaller(e.Start(t, engine.Setup{
			Config: config, Next: server.url, Dedicated: true,
			Traefik: engine.Surroundings{Native: native, Experimental: object{"fastProxy": object{}}},
		}), nil)
		c.works(t, server, false)
		if !u.records {
			return
		}
		for _, by := range []string{"client", "upstream"} {
			if record := c.gateway.WaitRecord(t); record["endedBy"] != by || record["upstream"] != "" {
				t.Errorf("the record is %v, want a session with no server's name that the %s ended", record, by)
			}
		}
		client, _ := c.join(t)
		<-server.heads
		talk(t, client)
		c.gateway.Terminate(t)
		_, _, err := client.hear()
		if got, want := client.ended(err), (forwardEnd{1012, restartReason}); got != want {
			t.Errorf("the client saw %v, want %v", got, want)
		}
		if got, want := <-server.ends, (forwardEnd{1001, restartReason}); got != want {
			t.Errorf("the server saw %v, want %v", got, want)
		}
	})
}

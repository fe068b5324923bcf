package e2e

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// pseudonym is how a gateway names itself to upstreams (RFC 9110 section 7.6.3).
var pseudonym = regexp.MustCompile(`^1\.1 wsfw-[!#$%&'*+.^_|~0-9A-Za-z-]+$`)

// TestVia wants the gateway to name itself behind those that the request has passed before.
func TestVia(t *testing.T) {
	rows := map[string]struct{ sent, before []string }{
		"first":           {nil, nil},
		"behind one":      {[]string{"Via: 1.0 fred"}, []string{"1.0 fred"}},
		"behind two":      {[]string{"Via: 1.0 fred, 1.1 p.example.net"}, []string{"1.0 fred", "1.1 p.example.net"}},
		"behind lines":    {[]string{"Via: 1.0 fred", "via: 1.1 p.example.net (Apache/1.1)"}, []string{"1.0 fred", "1.1 p.example.net (Apache/1.1)"}},
		"another gateway": {[]string{"Via: 1.1 wsfw-0123456789abcdef"}, []string{"1.1 wsfw-0123456789abcdef"}},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		seen := map[string]bool{}
		for name, row := range rows {
			t.Run(name, func(t *testing.T) {
				got := server.head(t, gateway, upgrade("GET / HTTP/1.1", row.sent...)).items("Via")
				last := len(row.before)
				if len(got) != last+1 || !slices.Equal(got[:last], row.before) || !pseudonym.MatchString(got[last]) {
					t.Fatalf("Via is %q, want %q and a pseudonym", got, row.before)
				}
				seen[got[last]] = true
			})
		}
		gateway.Reload(t, object{"upstreamEndpoint": server.endpoint() + "/reloaded"})
		for _, item := range server.head(t, gateway, upgrade("GET / HTTP/1.1")).items("Via") {
			seen[item] = true
		}
		if len(seen) != 1 {
			t.Errorf("the gateway calls itself %v, want one pseudonym always", seen)
		}
	})
}

// TestViaServed has a client come by way of other gateways: that is no loop.
func TestViaServed(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		edits := []string{"Via: 1.1 wsfw-0123456789abcdef, 1.1 wsfw", "Via: 1.1 wsfw-"}
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1", edits...))
		upstream, head := server.request(t)
		upstream.send(t, head.switching())
		if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status is %d, want 101", resp.StatusCode)
		}
		checkEcho(t, client, upstream)
	})
}

// doorman is a service that is asked about each request before the plugin is. It counts them, and ends what goes round in
// circles.
type doorman struct{ asked atomic.Int64 }

const doormanPatience = 20

// ServeHTTP implements [http.Handler].
func (d *doorman) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	if d.asked.Add(1) > doormanPatience {
		rw.WriteHeader(http.StatusForbidden)
	}
}

// TestViaLoop has the endpoint lead back to the gateway: it dials itself once, and knows then.
func TestViaLoop(t *testing.T) {
	options := map[string]object{"fixed": {}, "append": {"upstreamPath": "append"}, "headers": {"headers": object{"X-Round": "1"}}, "host": {"passHostHeader": true}}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for name, config := range options {
			t.Run(name, func(t *testing.T) {
				config := maps.Clone(config)
				d := &doorman{}
				auth := httptest.NewServer(d)
				t.Cleanup(auth.Close)
				config["upstreamEndpoint"] = "ws://" + peerDeadAddr(t)
				gateway := e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t), Auth: auth.URL})
				config["upstreamEndpoint"] = "ws://" + gateway.Addr
				gateway.Reload(t, config)
				peerDial(t, gateway, upgrade("GET / HTTP/1.1")).refusal(t, http.StatusLoopDetected)
				if asked := d.asked.Load(); asked != 2 {
					t.Errorf("%d requests reach the gateway, want the client's and one of its own", asked)
				}
			})
		}
	})
}

package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// processing is an informational answer.
var processing = raw("HTTP/1.1 102 Processing")

// TestInformational has a 101 come after many informational answers, as from servers that say all the time that they are
// at work.
func TestInformational(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		for name, before := range map[string]string{
			"nine":           strings.Repeat(processing, 9),
			"fifty":          strings.Repeat(processing, 50),
			"a hundred":      strings.Repeat(processing, 100),
			"of other kinds": strings.Repeat(raw("HTTP/1.1 103 Early Hints", "Link: </a.css>")+processing+raw("HTTP/1.1 100 Continue"), 10),
		} {
			t.Run(name, func(t *testing.T) {
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
				upstream, head := server.request(t)
				upstream.send(t, before+head.switching())
				if resp := client.answerOf(t, e); resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("status is %d, want 101", resp.StatusCode)
				}
				checkEcho(t, client, upstream)
			})
		}
	})
}

// TestInformationalTooMany is about more of them than a forward waits for, though a 101 comes in the end. Inline they are
// for Traefik's proxy to count.
func TestInformationalTooMany(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		for name, count := range map[string]int{"one too many": 101, "very many": 5000} {
			t.Run(name, func(t *testing.T) {
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
				upstream, head := server.request(t)
				go func() { _, _ = upstream.Write([]byte(strings.Repeat(processing, count) + head.switching())) }() // nobody need read it all
				client.refusal(t, http.StatusBadGateway)
				upstream.expectEnd(t)
				checkComplaint(t, gateway, server.endpoint())
			})
		}
		client, upstream := server.join(t, gateway)
		checkEcho(t, client, upstream)
	})
}

// TestImpossibleStatus is about status codes that no server may send, and net/http panics for where a handler does
// (RFC 9110 section 15: from 100 on). They are an untrue answer: the client is told, and its place is free again.
func TestImpossibleStatus(t *testing.T) {
	statuses := []string{"000 Nothing", "000", "001 One", "099 Almost", "+12 More"}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		var ends chan any // what the handler of each row ends with; nil where nobody tells
		// As many places as there are rows, so that the session at the end has one that was given back.
		setup := engine.Setup{Config: object{"upstreamEndpoint": server.endpoint(), "maxConnections": 2 * len(statuses)}}
		if e.Name() != "traefik" {
			ends = make(chan any, 2*len(statuses)+1) // so that no handler waits for a row that has failed
			setup.Wrap = func(plugin http.Handler) http.Handler { return reporting(plugin, ends) }
		}
		gateway := e.Start(t, setup)
		for _, status := range statuses {
			for kind, lines := range map[string][]string{"": {"Content-Length: 0"}, ", upgrading": {"Upgrade: websocket", "Connection: Upgrade"}} {
				t.Run(status+kind, func(t *testing.T) {
					client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
					upstream, _ := server.request(t)
					upstream.send(t, raw(append([]string{"HTTP/1.1 " + status}, lines...)...))
					client.badGateway(t, e)
					upstream.Close() // else the proxy would keep it for the next request
					expectReturn(t, ends)
				})
			}
		}
		client, upstream := server.join(t, gateway)
		checkEcho(t, client, upstream)
	})
}

// badGateway wants a 502, behind informational answers where Traefik's proxy passes them on, and in order: a handler that
// has panicked is answered for by nobody, and in Traefik by a 500.
func (p *peerConn) badGateway(t *testing.T, e engine.Engine) {
	t.Helper()
	if resp := p.answerOf(t, e); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("status is %d, want 502", resp.StatusCode)
	}
}

// expectReturn wants a handler to return, and not to panic, while its client is still there: a proxy aborts the answer to one
// that has left.
func expectReturn(t *testing.T, ends <-chan any) {
	t.Helper()
	if ends == nil {
		return
	}
	select {
	case value := <-ends:
		if value != nil {
			t.Errorf("the server gets the panic %v", value)
		}
	case <-time.After(wire.Timeout):
		t.Error("the handler does not return")
	}
}

// reporting tells what each request ends with: the panic that its handler lets out, and passes on, or nil.
func reporting(handler http.Handler, ends chan<- any) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		defer func() {
			value := recover()
			ends <- value
			if value != nil {
				panic(value)
			}
		}()
		handler.ServeHTTP(rw, req)
	})
}

package e2e

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// pendingShare is what a client's requests that are under way may be, as the gateway is told.
	pendingShare = 100

	// pendingSize is what each of them may take, and of those that are not finished.
	pendingSize = 160 << 10

	clientHeader = "X-Client"
)

// TestFloodUpgrades has a client send requests that the upstream never answers, and others that it never finishes. They
// take what they may; those above its share are refused; another client comes in and goes on. After them nothing is left.
func TestFloodUpgrades(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		asked := make(chan struct{}, 2*pendingShare)
		g := newSilentGround(t, e, asked)
		g.offer = []string{clientHeader + ": guest"}
		before := g.floor(t)
		live := liveHeap(t, g.gateway)
		whole := upgrade("GET / HTTP/1.1", clientHeader+": flood", silentHeader+": yes")
		var all []net.Conn
		hold := func(request string) {
			conn := dialWith(t, g.gateway.Addr, request)
			t.Cleanup(func() { conn.Close() })
			all = append(all, conn)
		}
		for range pendingShare {
			hold(whole)
			hold(strings.TrimSuffix(whole, "\r\n"))
		}
		for range pendingShare {
			<-asked
		}
		for range pendingShare {
			refusedAtOnce(t, g.gateway.Addr, whole)
		}
		guest := g.join(t)
		over := make(chan struct{})
		close(over) // all that there is to come is there
		guest.goOn(t, make(chan struct{}), over)
		grown := (liveHeap(t, g.gateway) - live) / int64(len(all))
		t.Logf("each takes %d bytes of the live heap", grown)
		if grown > pendingSize {
			t.Errorf("a request that is under way takes %d bytes, want %d at most", grown, pendingSize)
		}
		for _, conn := range all {
			conn.Close()
		}
		guest.client.Close()
		guest.upstream.Close()
		g.record(t)
		before.await(t, g.gateway)
		hold(whole) // its share has been given back
		<-asked
	})
}

// silentHeader is what requests have that the upstream never answers.
const silentHeader = "X-Silent"

// newSilentGround is a ground whose upstream leaves requests unanswered that ask for it, and tells of each.
func newSilentGround(t *testing.T, e engine.Engine, asked chan<- struct{}) *ground {
	t.Helper()
	g := &ground{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Header.Get(silentHeader) == "" {
			g.server.ServeHTTP(rw, req)
			return
		}
		asked <- struct{}{}
		<-req.Context().Done()
	}))
	t.Cleanup(server.Close)
	config := object{
		"upstreamEndpoint": server.URL, "maxConnectionsPerClient": pendingShare, "clientHeader": clientHeader, "validate": "frames",
	}
	if !isInline(e) {
		maps.Copy(config, object{"upgradeTimeout": "10m"})
	}
	*g = *newGroundOf(t, e, engine.Setup{Config: config, Dedicated: true})
	return g
}

// dialWith connects and sends a request.
func dialWith(t *testing.T, addr, request string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, rawTimeout)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(wire.Timeout))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn
}

// refusedAtOnce wants a request to be one too many.
func refusedAtOnce(t *testing.T, addr, request string) {
	t.Helper()
	conn := dialWith(t, addr, request)
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("the answer is %s, Retry-After %q, want 429 and one", resp.Status, resp.Header.Get("Retry-After"))
	}
}

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// Frames of a server's in these cases.
var (
	serverSays   = string(wire.Text("from the server").Bytes())
	serverLeaves = string(wire.Close(1001, "moving").Bytes())
)

// TestInlineLeavesNothingToCopy wants the service's proxy to be out of the way of a session: once that has begun
// nothing of the proxy's copies, and what both ends say, from the 101 on, gets through.
func TestInlineLeavesNothingToCopy(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := e.Start(t, engine.Setup{Config: relayed, Next: "http://" + server.addr, Dedicated: true})
		for range 2 { // what is known of the first serves the second
			leavesNothingToCopy(t, gateway, server)
		}
	})
}

func leavesNothingToCopy(t *testing.T, gateway *engine.Gateway, server *peerUpstream) {
	client := peerDial(t, gateway, upgrade("GET / HTTP/1.1")+clientSays)
	upstream, head := server.request(t)
	upstream.send(t, head.switching()+serverSays)
	client.answer(t)
	client.expect(t, serverSays)
	await(t, 5*time.Second, func() string {
		for _, stack := range goroutines(t, gateway) {
			if strings.Contains(stack, "httputil.switchProtocolCopier") {
				return "the proxy copies:\n" + stack
			}
		}
		return ""
	})
	upstream.send(t, serverSays)
	client.expect(t, serverSays)
	client.Close()
	if record := gateway.WaitRecord(t); record["endedBy"] != "client" || record["upstream"] != server.endpoint() {
		t.Errorf("the record is %v", record)
	}
}

// TestInlineServerGoesAtOnce has a server say all that it has to say together with its 101, and go: nothing of it is
// lost, whatever the proxy has read by then.
func TestInlineServerGoesAtOnce(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := e.Start(t, engine.Setup{Config: relayed, Next: "http://" + server.addr})
		for i := range 20 {
			client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
			upstream, head := server.request(t)
			said := strings.Repeat(serverSays, 1+i*200) + serverLeaves
			upstream.send(t, head.switching()+said)
			upstream.Close()
			client.answer(t)
			client.expect(t, said)
			client.Close()
			record := gateway.WaitRecord(t)
			if told := fmt.Sprint(record["endedBy"], record["code"]); told != "upstream1001" {
				t.Fatalf("session %d: the record is %v", i, record)
			}
		}
	})
}

// stubborn is a server's connection whose reader cannot be woken.
type stubborn struct{ net.Conn }

func (stubborn) SetReadDeadline(time.Time) error { return nil }

// TestInlineProxyStays has a proxy that does not leave its server's connection: sessions go through it, and nothing that
// was said meanwhile is lost.
func TestInlineProxyStays(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: server.addr})
		proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return stubborn{conn}, err
		}}
		gateway := e.Start(t, engine.Setup{Config: relayed, Service: proxy})
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1")+clientSays)
		upstream, head := server.request(t)
		upstream.send(t, head.switching()+serverSays)
		client.answer(t)
		upstream.send(t, serverSays)
		client.expect(t, serverSays+serverSays)
		upstream.send(t, serverLeaves)
		client.expect(t, serverLeaves)
		client.Close()
		upstream.Close()
		if record := gateway.WaitRecord(t); record["endedBy"] != "upstream" {
			t.Errorf("the record is %v", record)
		}
	})
}

// shouting is a plugin whose connection, as the service gets it, makes a server's "server" a "SERVER".
const shouting = `package shouting

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
)

type Config struct{}

func CreateConfig() *Config { return &Config{} }

func New(_ context.Context, next http.Handler, _ *Config, _ string) (http.Handler, error) {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { next.ServeHTTP(&writer{rw}, req) }), nil
}

type writer struct{ http.ResponseWriter }

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.ResponseWriter.(http.Hijacker).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &shouter{conn}, buffered, nil
}

type shouter struct{ net.Conn }

func (s *shouter) Write(b []byte) (int, error) {
	return s.Conn.Write(bytes.ReplaceAll(b, []byte("server"), []byte("SERVER")))
}
`

// TestInlineBehindPlugin has another plugin stand between wsfw and the service, with a connection of its own: sessions
// go through that.
func TestInlineBehindPlugin(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := e.Start(t, engine.Setup{
			Config: relayed, Next: "http://" + server.addr, Dedicated: true,
			Traefik: engine.Surroundings{
				Plugins: map[string]string{"shouting": shouting},
				After:   []map[string]any{{"plugin": object{"shouting": object{}}}},
			},
		})
		for range 2 {
			client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
			upstream, head := server.request(t)
			upstream.send(t, head.switching())
			client.answer(t)
			for range 3 {
				upstream.send(t, serverSays)
				client.expect(t, strings.ReplaceAll(serverSays, "server", "SERVER"))
			}
		}
	})
}

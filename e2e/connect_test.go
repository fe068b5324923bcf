package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestConnectEcho wants messages of every length form to pass both ways over a stream (RFC 8441, RFC 9220), and the record to
// name the client's version of HTTP.
func TestConnectEcho(t *testing.T) {
	eachStream(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				for _, size := range echoed {
					passesOver(t, near, far, wire.New(wire.OpText, payload(size)))
					passesOver(t, near, far, wire.Binary(payload(size)))
				}
				closesOver(t, near, far)
				record := j.record(t)
				want := fmt.Sprint(j.gateway.HTTP)
				if record["http"] != want || record["code"] != 4001.0 || record["endedBy"] != by {
					t.Errorf("the record is %v, want it over HTTP/%s, ended by the %s with 4001", record, want, by)
				}
			})
		}
	})
}

// passesOver has a frame arrive while it is sent: it may be more than all buffers hold.
func passesOver(t *testing.T, near, far *wire.Peer, f wire.Frame) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { sent <- near.Send(f) }()
	expect(t, far, near.Encode(f))
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// closesOver is a close handshake that near begins.
func closesOver(t *testing.T, near, far *wire.Peer) {
	t.Helper()
	send(t, near, wire.Close(4001, "bye"))
	expect(t, far, near.Encode(wire.Close(4001, "bye")))
	send(t, far, wire.Close(4001, ""))
	expect(t, near, far.Encode(wire.Close(4001, "")))
	expectEnd(t, near)
	expectEnd(t, far)
}

// TestConnectHandshake wants the upstream to get an ordinary upgrade, and the client the upstream's answer less what is of
// HTTP/1.1 alone.
func TestConnectHandshake(t *testing.T) {
	answer := []string{"Sec-WebSocket-Protocol: chat", "X-Seen: yes", "Sec-WebSocket-Extensions: permessage-deflate"}
	eachStream(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil, answer...)
		g.offer = []string{
			":path: /socket?room=1", "Origin: https://app.example.com", "Sec-WebSocket-Protocol: superchat, chat",
			"Sec-WebSocket-Extensions: permessage-deflate", "Cookie: seen=yes",
		}
		j := g.join(t)
		checkHeader(t, j.client.Header, http.Header{
			"Sec-Websocket-Protocol": {"chat"}, "Sec-Websocket-Extensions": {"permessage-deflate"}, "X-Seen": {"yes"},
			"Sec-Websocket-Accept": nil, "Upgrade": nil, "Connection": nil, "Content-Length": nil,
		})
		checkHeader(t, j.upstream.Header, http.Header{
			"Sec-Websocket-Protocol": {"superchat, chat"}, "Sec-Websocket-Extensions": {"permessage-deflate"},
			"Origin": {"https://app.example.com"}, "Cookie": {"seen=yes"}, "Sec-Websocket-Version": {"13"},
			"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, ":protocol": nil,
		})
		if key := j.upstream.Header["Sec-Websocket-Key"]; len(key) != 1 || len(key[0]) != len(wire.SampleKey) {
			t.Errorf("the upstream's keys are %q, want one", key)
		}
		closesOver(t, j.client, j.upstream)
		if record := j.record(t); record["subprotocol"] != "chat" || record["path"] != "/socket" {
			t.Errorf("the record is %v, want subprotocol chat and path /socket", record)
		}
	})
}

// connectRefused is a handshake and its refusal.
type connectRefused struct {
	name   string
	config object
	lines  []string
	status int
	header http.Header // that the answer must have
	next   bool        // it is the proxy that answers, inline
}

var connectRefusals = []connectRefused{
	{
		name: "origin", config: object{"allowedOrigins": []string{"https://app.example.com"}},
		lines: []string{"Origin: https://evil.test"}, status: http.StatusForbidden,
	},
	{name: "version 8", lines: []string{"Sec-WebSocket-Version: 8"}, status: 426, header: connectVersion},
	{name: "no version", lines: []string{"Sec-WebSocket-Version:"}, status: 426, header: connectVersion},
	{name: "other protocol", lines: []string{":protocol: chat"}, status: 426, header: connectVersion},
	{
		name: "subprotocol", config: object{"protocols": []string{"chat"}},
		lines: []string{"Sec-WebSocket-Protocol: superchat"}, status: http.StatusBadRequest,
	},
	{name: "long path", lines: []string{":path: " + strings.Repeat("/a", 101)}, status: http.StatusBadRequest},
	{name: "dead upstream", config: object{"upstreamEndpoint": "ws://127.0.0.1:9"}, status: http.StatusBadGateway, next: true},
}

// connectVersion is what a 426 on a stream says: an Upgrade is for HTTP/1.1 (RFC 9113 section 8.2.2).
var connectVersion = http.Header{"Sec-Websocket-Version": {"13"}, "Upgrade": nil, "Connection": nil}

// TestConnectRefused wants what is refused over HTTP/1.1 refused over a stream, and no more of it to be said.
func TestConnectRefused(t *testing.T) {
	eachStream(t, func(t *testing.T, e engine.Engine) {
		for _, row := range connectRefusals {
			t.Run(row.name, func(t *testing.T) {
				g := newGround(t, e, row.config)
				refusal := refusedOver(t, g.gateway, row.status, row.lines...)
				checkHeader(t, refusal.Header, row.header)
				if !row.next || !isInline(e) {
					checkSentence(t, &http.Response{Header: refusal.Header}, refusal.Body)
				}
			})
		}
	})
}

// refusedOver wants a handshake refused.
func refusedOver(t *testing.T, gateway *engine.Gateway, status int, lines ...string) *wire.Refusal {
	t.Helper()
	client, err := dial(gateway, lines...)
	if err == nil {
		client.Close()
		t.Fatalf("the answer is 200, want %d", status)
	}
	var refusal *wire.Refusal
	if !errors.As(err, &refusal) || refusal.Status != status {
		t.Fatalf("the handshake ended with %v, want status %d", err, status)
	}
	return refusal
}

// TestConnectPlain is about an ordinary CONNECT, which asks for a tunnel: no session, and nothing that wsfw opens.
func TestConnectPlain(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		inEachStream(t, e, func(t *testing.T, e engine.Engine) {
			refusal := refusedOver(t, newGround(t, e, nil).gateway, http.StatusUpgradeRequired, ":protocol:")
			checkHeader(t, refusal.Header, connectVersion)
		})
	})
}

// TestConnectPassed wants a CONNECT that asks for no WebSocket to go to next as it is, where that is allowed.
func TestConnectPassed(t *testing.T) {
	next := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("X-Protocol", req.Header.Get(":protocol")+strings.TrimPrefix(req.Proto, "HTTP/2.0"))
		rw.Header().Set("X-Method", req.Method)
		rw.WriteHeader(http.StatusTeapot)
	})
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		for _, version := range streamWays {
			t.Run(fmt.Sprintf("http%d", version), func(t *testing.T) {
				over := engine.Over{Engine: e, HTTP: version}
				gateway := over.Start(t, engine.Setup{Config: object{"nonWebSocket": "pass"}, Service: next})
				refusal := refusedOver(t, gateway, http.StatusTeapot, ":protocol: chat")
				checkHeader(t, refusal.Header, http.Header{"X-Protocol": {"chat"}, "X-Method": {http.MethodConnect}})
			})
		}
	})
}

// TestConnectLimits wants streams to count as sessions, and their places to be given back.
func TestConnectLimits(t *testing.T) {
	limits := map[string]int{"maxConnections": http.StatusServiceUnavailable, "maxConnectionsPerClient": http.StatusTooManyRequests}
	eachStream(t, func(t *testing.T, e engine.Engine) {
		for limit, status := range limits {
			t.Run(limit, func(t *testing.T) {
				g := newGround(t, e, object{limit: 1})
				for range 2 {
					j := g.join(t)
					refusal := refusedOver(t, g.gateway, status)
					if after := refusal.Header.Get("Retry-After"); !retryAfter.MatchString(after) {
						t.Errorf("Retry-After is %q, want a number of seconds", after)
					}
					closesOver(t, j.client, j.upstream)
					j.record(t) // which is written when the place is free
				}
			})
		}
	})
}

// TestConnectDrain shuts a gateway down under sessions over HTTP/2. HTTP/3's server closes at once, and leaves no time.
func TestConnectDrain(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: object{"drainTimeout": "0"}})
		j := g.join(t)
		passesOver(t, j.client, j.upstream, wire.Text("before"))
		start := time.Now()
		g.gateway.Terminate(t)
		for _, end := range ends {
			j.toldToLeave(t, end)
		}
		for _, end := range ends {
			near, _ := j.from(end)
			send(t, near, wire.Close(restartCodes[end], ""))
		}
		expectEnd(t, j.client)
		expectEnd(t, j.upstream)
		j.expectOutcome(t, "wsfw", 1012, restartReason)
		if g.gateway.Process != nil {
			awaitExit(t, g.gateway, start)
		}
	})
}

// TestConnectShutdown shuts a gateway down under sessions over HTTP/3, whose server closes at once: both ends are let go, and
// nothing keeps the gateway.
func TestConnectShutdown(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, engine.Over{Engine: e, HTTP: 3}, func(t *testing.T, e engine.Engine) {
			g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: object{"drainTimeout": "5m"}})
			j := g.join(t)
			passesOver(t, j.client, j.upstream, wire.Text("before"))
			start := time.Now()
			g.gateway.Terminate(t)
			expectCut(t, j.client)
			expectCut(t, j.upstream)
			t.Logf("both ends are let go after %v", time.Since(start))
			if g.gateway.Process != nil {
				awaitExit(t, g.gateway, start)
			} else {
				j.expectOutcome(t, "client", 1006, "connection lost")
			}
		})
	})
}

// TestConnectCheck has next take the stream over: Traefik's own proxy.
func TestConnectCheck(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, version := range streamWays {
			t.Run(fmt.Sprintf("http%d", version), func(t *testing.T) {
				server, err := wire.Listen()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { server.Close() })
				over := engine.Over{Engine: e, HTTP: version}
				gateway := over.Start(t, engine.Setup{Config: object{}, Next: strings.Replace(server.URL, "ws", "http", 1)})
				for _, by := range ends {
					t.Run(by, func(t *testing.T) { checkedOver(t, gateway, server, by) })
				}
			})
		}
	})
}

// checkedOver is a session that wsfw leaves to next. Of that the proxy ends both sides when one has ended.
func checkedOver(t *testing.T, gateway *engine.Gateway, server *wire.Upstream, by string) {
	client, err := dial(gateway)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	upstream, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() })
	for _, size := range echoed {
		passesOver(t, client, upstream, wire.Binary(payload(size)))
		passesOver(t, upstream, client, wire.Binary(payload(size)))
	}
	near, far := client, upstream
	if by == "upstream" {
		near, far = far, near
	}
	send(t, near, wire.Close(4001, "bye"))
	expect(t, far, near.Encode(wire.Close(4001, "bye")))
	near.Close()
	expectCut(t, far)
}

// TestHeavyConnectStreams has a hundred sessions share one connection. One client reads nothing: its upstream is held up, and
// nobody else.
func TestHeavyConnectStreams(t *testing.T) {
	const sessions, heap = 100, 32 << 20
	eachStream(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"writeTimeout": "5m"})
		carrier := carrierTo(t, g.gateway)
		joined := make([]*joined, sessions)
		for i := range joined {
			client, err := carrier.Dial()
			if err != nil {
				t.Fatal(err)
			}
			joined[i] = g.meet(t, client)
		}
		slow := joined[0]
		heaped := wire.Binary(bytes.Repeat([]byte("heap"), heap/4))
		sent := make(chan error, 1)
		go func() { sent <- slow.upstream.Send(heaped) }()
		for range 3 {
			for _, j := range joined[1:] {
				passesOver(t, j.client, j.upstream, wire.Text("hello"))
				passesOver(t, j.upstream, j.client, wire.Binary(payload(10_000)))
			}
		}
		select {
		case err := <-sent:
			t.Errorf("an upstream whose client reads nothing has sent all (%v)", err)
		default:
		}
		expect(t, slow.client, heaped.Bytes())
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		var ended sync.WaitGroup
		for _, j := range joined {
			ended.Go(func() { _ = j.client.Reset() })
		}
		ended.Wait()
		for _, j := range joined {
			expectCut(t, j.upstream)
		}
		for range joined {
			if g.expectOutcome(t, "client", 1006, "connection lost"); t.Failed() {
				break // the others' records tell the same
			}
		}
	})
}

// carrierTo is a connection to a gateway over the version of HTTP that is its clients'.
func carrierTo(t *testing.T, gateway *engine.Gateway) wire.Carrier {
	t.Helper()
	carrier, err := connect(gateway)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { carrier.Close() })
	return carrier
}

// TestConnectReadTimeout wants the log to name the option that ends a session over HTTP/2 by the clock, however busy it is,
// and that session to end as one whose client has gone.
func TestConnectReadTimeout(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, engine.Over{Engine: e, HTTP: 2}, func(t *testing.T, e engine.Engine) {
			const readTimeout = 3 * time.Second // the handshake is within that
			j := newGroundOf(t, e, engine.Setup{Dedicated: true, ReadTimeout: readTimeout}).join(t)
			passesOver(t, j.client, j.upstream, wire.New(wire.OpText, payload(5)))
			line := j.gateway.Wait(t, "the entry point's readTimeout has ended a session over HTTP/2")
			checkLine(t, line, object{"level": "warn", "reason": "read_timeout"})
			if hint := hintOf(line); !strings.Contains(hint, "readTimeout: 0s") {
				t.Errorf("the hint is %q, want one that says what to write", hint)
			}
			expectEnd(t, j.client)
			expectEnd(t, j.upstream)
			if record := j.record(t); record["code"] != 1006.0 || record["endedBy"] != "client" {
				t.Errorf("the record is %v, want the client's end without a close frame", record)
			}
		})
	})
}

// connect is a connection to a gateway over the version of HTTP that is its clients'.
func connect(gateway *engine.Gateway) (wire.Carrier, error) {
	if gateway.HTTP == 3 {
		return wire.ConnectHTTP3(gateway.AddrHTTP3)
	}
	return wire.ConnectHTTP2(gateway.AddrHTTP2)
}

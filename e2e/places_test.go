package e2e

import (
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// regime is a use of the middleware; sessions are counted in each.
type regime struct {
	name    string
	options object
	relays  bool // frames
	checks  bool // and leaves sessions to next
	inline  bool
}

var regimes = []regime{
	{name: "forward", relays: true},
	{name: "inline", relays: true, inline: true},
	{name: "check", checks: true},
	{name: "tunnel", options: object{"mode": "tunnel"}},
}

// eachRegime runs a case as one subtest for each engine and regime.
func eachRegime(t *testing.T, run func(t *testing.T, e engine.Engine, r regime)) {
	t.Helper()
	engine.Each(t, func(t *testing.T, e engine.Engine) { inEachRegime(t, e, regimes, run) })
}

func inEachRegime(t *testing.T, e engine.Engine, some []regime, run func(t *testing.T, e engine.Engine, r regime)) {
	t.Helper()
	for _, r := range some {
		t.Run(r.name, func(t *testing.T) {
			if r.inline {
				run(t, engine.Inline{Engine: e}, r)
			} else {
				run(t, e, r)
			}
		})
	}
}

// setup is a gateway's to the service at an address, host:port, with more options.
func (r regime) setup(addr string, options object) engine.Setup {
	config := object{}
	if !r.checks {
		config = object{"upstreamEndpoint": "ws://" + addr, "closeTimeout": "100ms"}
	}
	maps.Copy(config, r.options)
	maps.Copy(config, options)
	return engine.Setup{Config: config, Next: "http://" + addr}
}

// house is a gateway that has only so many places.
type house struct {
	gateway *engine.Gateway
	server  *wire.Upstream
}

func newHouse(t *testing.T, e engine.Engine, r regime, options object) *house {
	t.Helper()
	h := newService(t)
	h.gateway = e.Start(t, r.setup(h.addr(), options))
	return h
}

// newService is a house that has no gateway yet.
func newService(t *testing.T) *house {
	t.Helper()
	server, err := wire.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return &house{server: server}
}

func (h *house) addr() string { return strings.TrimPrefix(h.server.URL, "ws://") }

// lodger is a session that has a place, by both of its ends.
type lodger struct{ client, upstream *wire.Peer }

// leave ends the session.
func (l lodger) leave() {
	l.client.Close()
	l.upstream.Close()
}

// enter opens a session, for which there has to be a place. Lines are further header lines of the client's handshake.
func (h *house) enter(t *testing.T, lines ...string) lodger {
	t.Helper()
	client, err := wire.Dial(h.gateway.Addr, lines...)
	if err != nil {
		t.Fatalf("there should be a place: %v", err)
	}
	return h.lodge(t, client)
}

func (h *house) lodge(t *testing.T, client *wire.Peer) lodger {
	t.Helper()
	t.Cleanup(func() { client.Close() })
	upstream, err := h.server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() })
	return lodger{client, upstream}
}

// awaitPlace opens a session as soon as there is a place for it.
func (h *house) awaitPlace(t *testing.T, lines ...string) lodger {
	t.Helper()
	return h.lodge(t, awaitPlace(t, h.gateway, lines...))
}

// awaitPlace dials until it is let in.
func awaitPlace(t *testing.T, gateway *engine.Gateway, lines ...string) *wire.Peer {
	t.Helper()
	var client *wire.Peer
	await(t, settleTimeout, func() string {
		var err error
		if client, err = wire.Dial(gateway.Addr, lines...); err != nil {
			return err.Error()
		}
		return ""
	})
	return client
}

// awaitRefusal dials until it is refused with a status, which it is with another while those linger who had the other
// places before.
func awaitRefusal(t *testing.T, gateway *engine.Gateway, status int, lines ...string) {
	t.Helper()
	await(t, settleTimeout, func() string {
		client, err := wire.Dial(gateway.Addr, lines...)
		if err == nil {
			client.Close()
			t.Fatal("there is a place where there should be none")
		}
		if strings.Contains(err.Error(), strconv.Itoa(status)) {
			return ""
		}
		return err.Error()
	})
	expectFull(t, gateway, "/socket", status, lines...)
}

// expectFull wants a session refused, with word of when to come again.
func (h *house) expectFull(t *testing.T, status int, lines ...string) {
	t.Helper()
	expectFull(t, h.gateway, "/socket", status, lines...)
}

func expectFull(t *testing.T, gateway *engine.Gateway, path string, status int, lines ...string) {
	t.Helper()
	resp, body := exchange(t, gateway.Addr, upgrade("GET "+path+" HTTP/1.1", lines...))
	if resp.StatusCode != status {
		t.Fatalf("status is %d (%.80q), want %d", resp.StatusCode, body, status)
	}
	if after := resp.Header.Get("Retry-After"); !retryAfter.MatchString(after) {
		t.Errorf("Retry-After is %q, want a number of seconds", after)
	}
	checkSentence(t, resp, body)
}

// user is the header line by which the suite's gateways tell clients apart, where they are asked to.
func user(name string) string { return "X-User: " + name }

// twoPlaces has two places, of which a client may have one.
var twoPlaces = object{"maxConnections": 2, "maxConnectionsPerClient": 1, "clientHeader": "x-user"}

// fill takes both places, and wants it told why there is no further one.
func (h *house) fill(t *testing.T) (anna, bert lodger) {
	t.Helper()
	anna = h.awaitPlace(t, user("anna"))
	awaitRefusal(t, h.gateway, http.StatusTooManyRequests, user("anna"))
	bert = h.awaitPlace(t, user("bert"))
	h.expectFull(t, http.StatusServiceUnavailable, user("carl"))
	return anna, bert
}

// expectReturn wants one place to be free soon, for one client.
func (h *house) expectReturn(t *testing.T) lodger {
	t.Helper()
	anna := h.awaitPlace(t, user("anna"))
	h.expectFull(t, http.StatusServiceUnavailable, user("carl"))
	h.expectFull(t, http.StatusServiceUnavailable, user("carl"))
	return anna
}

// checkout is a way for a session to end.
type checkout struct {
	name    string
	options object
	end     func(t *testing.T, near, far *wire.Peer) // nil where the gateway ends all sessions by itself
}

// checkouts are all of them. Who is not closed in one stays connected.
func checkouts(r regime) []checkout {
	rows := []checkout{{"close handshake", nil, func(t *testing.T, near, far *wire.Peer) {
		bye := wire.Close(1000, "bye")
		send(t, near, bye)
		expect(t, far, near.Encode(bye))
		send(t, far, bye)
		expect(t, near, far.Encode(bye))
		near.Close()
		far.Close()
	}}}
	for _, way := range vanish {
		rows = append(rows, checkout{way.name, nil, func(t *testing.T, near, far *wire.Peer) {
			if err := way.how(near); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, far) // and then it goes, too, however it has been told to
			far.Close()
		}})
	}
	if !r.relays {
		return rows
	}
	return append(
		rows,
		checkout{"broken framing", nil, func(t *testing.T, near, _ *wire.Peer) { send(t, near, wire.New(0x3, nil)) }},
		checkout{"close unanswered", nil, func(t *testing.T, near, _ *wire.Peer) { send(t, near, wire.Close(1000, "")) }},
		checkout{"lifetime", object{"maxLifetime": "200ms"}, nil},
		checkout{"inactivity", object{"maxInactivity": "200ms"}, nil},
		checkout{"no pong", object{"pingInterval": "100ms", "pongTimeout": "200ms"}, nil},
		checkout{"frame too big", object{"maxFrameSize": 10}, func(t *testing.T, near, _ *wire.Peer) { send(t, near, wire.Text("too many bytes")) }},
		checkout{"blocked write", object{"writeTimeout": "200ms"}, func(t *testing.T, near, far *wire.Peer) {
			if err := (meeting{near: near, far: far}).flood(); err != nil {
				t.Error(err)
			}
		}},
	)
}

// TestPlaces wants sessions refused for which there is no place, and places free again however a session ends.
func TestPlaces(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		plain := newHouse(t, e, r, twoPlaces)
		for _, row := range checkouts(r) {
			h := plain
			if row.options != nil {
				options := maps.Clone(twoPlaces)
				maps.Copy(options, row.options)
				h = newHouse(t, e, r, options)
			}
			if row.end == nil {
				t.Run(row.name, func(t *testing.T) {
					h.awaitPlace(t, user("anna"))
					h.awaitPlace(t, user("anna"))
				})
				continue
			}
			for _, by := range ends {
				t.Run(row.name+" by "+by, func(t *testing.T) { h.checksOut(t, by, row) })
			}
		}
	})
}

func (h *house) checksOut(t *testing.T, by string, row checkout) {
	anna, bert := h.fill(t)
	near, far := anna.client, anna.upstream
	if by == "upstream" {
		near, far = far, near
	}
	row.end(t, near, far)
	h.expectReturn(t).leave()
	bert.leave()
}

// TestPlacesByReload changes the number of places while some are taken: sessions keep theirs, and count.
func TestPlacesByReload(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		inEachRegime(t, e, regimes, func(t *testing.T, e engine.Engine, r regime) {
			for key, status := range map[string]int{"maxConnections": 503, "maxConnectionsPerClient": 429} {
				t.Run(key, func(t *testing.T) {
					h := newHouse(t, e, r, object{key: 2})
					reload := func(places int) { h.gateway.Reload(t, r.setup(h.addr(), object{key: places}).Config) }
					lodgers := []lodger{h.enter(t), h.enter(t)}
					h.expectFull(t, status)
					reload(3)
					lodgers = append(lodgers, h.enter(t))
					h.expectFull(t, status)
					reload(1)
					for _, l := range lodgers {
						h.expectFull(t, status)
						converse(t, []*joined{{client: l.client, upstream: l.upstream}})
						l.leave()
					}
					h.awaitPlace(t)
					h.expectFull(t, status)
					reload(0)
					for range 3 {
						h.enter(t)
					}
					reload(5)
					h.enter(t)
					h.expectFull(t, status)
				})
			}
		})
	})
}

// TestPlacesApart wants middlewares of different names to have places of their own.
func TestPlacesApart(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		one, other := newHouse(t, e, r, object{"maxConnections": 1}), newHouse(t, e, r, object{"maxConnections": 1})
		one.enter(t)
		one.expectFull(t, http.StatusServiceUnavailable)
		other.enter(t)
		other.expectFull(t, http.StatusServiceUnavailable)
	})
}

// TestPlacesTogether wants the routers that use one middleware to share its places.
func TestPlacesTogether(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		h := newService(t)
		setup := r.setup(h.addr(), object{"maxConnections": 2})
		setup.Twin = true
		h.gateway = e.Start(t, setup)
		h.enter(t)
		client := peerDial(t, h.gateway, upgrade("GET "+engine.TwinPath+" HTTP/1.1"))
		if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status is %d, want 101", resp.StatusCode)
		}
		h.expectFull(t, http.StatusServiceUnavailable)
		expectFull(t, h.gateway, engine.TwinPath, http.StatusServiceUnavailable)
		upstream, err := h.server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		client.Close()
		upstream.Close()
		h.awaitPlace(t)
		expectFull(t, h.gateway, engine.TwinPath, http.StatusServiceUnavailable)
	})
}

// TestPlacesAfterDrain shuts one of two servers down whose routers use one middleware: its places are free for the other.
func TestPlacesAfterDrain(t *testing.T) {
	eachInProcess(t, func(t *testing.T, e engine.Engine) {
		inEachRegime(t, e, regimes[:2], func(t *testing.T, e engine.Engine, r regime) {
			goes, stays := newService(t), newService(t)
			for _, h := range []*house{goes, stays} {
				setup := r.setup(h.addr(), object{"maxConnections": 1, "drainTimeout": "0", "closeTimeout": "10s"})
				setup.Name = "places-after-drain-" + e.Name() + "-" + r.name
				h.gateway = e.Start(t, setup)
			}
			leaving := goes.enter(t)
			stays.expectFull(t, http.StatusServiceUnavailable)
			goes.gateway.Terminate(t)
			for _, peer := range []*wire.Peer{leaving.client, leaving.upstream} {
				if err := answerClose(peer); err != nil {
					t.Error(err)
				}
			}
			stays.awaitPlace(t)
			stays.expectFull(t, http.StatusServiceUnavailable)
		})
	})
}

// TestPlacesRush has many come at once: as many as there are places get in, and no more. Then some leave while many come.
func TestPlacesRush(t *testing.T) {
	const places, leaving, clients = 10, 5, 60
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		gateway := e.Start(t, r.setup(newInn(t).addr, object{"maxConnections": places}))
		in := rush(t, gateway, clients)
		if len(in) != places {
			t.Errorf("%d clients got in, want %d", len(in), places)
		}
		for range 3 {
			for _, client := range in[:leaving] {
				client.Close()
			}
			in = append(in[leaving:], rush(t, gateway, clients)...)
			if len(in) > places {
				t.Fatalf("%d clients are in, want %d at most", len(in), places)
			}
			for len(in) < places {
				in = append(in, awaitPlace(t, gateway))
			}
			expectFull(t, gateway, "/socket", http.StatusServiceUnavailable)
		}
		for _, client := range in {
			client.Close()
		}
	})
}

// rush has many clients dial, all at the same time, and returns those who get in.
func rush(t *testing.T, gateway *engine.Gateway, clients int) []*wire.Peer {
	t.Helper()
	dialled := make(chan *wire.Peer)
	for range clients {
		go func() {
			client, err := wire.Dial(gateway.Addr)
			if err != nil && !strings.Contains(err.Error(), "503") {
				t.Error(err)
			}
			dialled <- client
		}()
	}
	var in []*wire.Peer
	for range clients {
		if client := <-dialled; client != nil {
			in = append(in, client)
		}
	}
	return in
}

// TestPlacesPerClient tells clients by their address, or by a header where they have it.
func TestPlacesPerClient(t *testing.T) {
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		const full = http.StatusTooManyRequests
		t.Run("address", func(t *testing.T) {
			h := newHouse(t, e, r, object{"maxConnectionsPerClient": 2})
			h.enter(t)
			h.enter(t, user("anna"), "X-Forwarded-For: 203.0.113.7")
			h.expectFull(t, full)
			h.expectFull(t, full, user("bert"), "X-Forwarded-For: 203.0.113.8", "X-Real-Ip: 203.0.113.9", "Forwarded: for=203.0.113.10")
		})
		t.Run("header", func(t *testing.T) {
			h := newHouse(t, e, r, object{"maxConnectionsPerClient": 2, "clientHeader": "X-User"})
			for range 2 {
				h.enter(t) // by its address
				h.enter(t, user("anna"))
				h.enter(t, "x-user: Anna")
				h.enter(t, user("127.0.0.2"))
			}
			for _, lines := range [][]string{nil, {user("anna")}, {"x-user: Anna"}, {user("127.0.0.2")}} {
				h.expectFull(t, full, lines...)
			}
			h.enter(t, user("bert"))
		})
		t.Run("refusals take no place", func(t *testing.T) {
			h := newHouse(t, e, r, twoPlaces)
			h.enter(t, user("anna"))
			for range 5 {
				h.expectFull(t, full, user("anna"))
			}
			bert := h.enter(t, user("bert"))
			for range 5 {
				h.expectFull(t, http.StatusServiceUnavailable, user("carl"))
			}
			bert.leave()
			h.awaitPlace(t, user("carl"))
		})
	})
}

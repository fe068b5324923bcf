package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	leakSessions = 2000
	leakWorkers  = 50
)

// settleTimeout is far below the ten minutes that a forgotten timer of these gateways would take.
var settleTimeout = pace.Of(20 * time.Second)

// TestHeavyLeaks opens sessions that end in every way there is, many at a time, and wants nothing left of them.
func TestHeavyLeaks(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		y := newYard(t, e)
		ways := y.ways()
		any := y.gateways["patient"]
		y.run(t, ways, len(ways)) // what is made on first use is no leak
		y.roll.awaitEmpty(t)
		await(t, settleTimeout, func() string { return excess("stacks of the plugin", ofPlugin(goroutines(t, any)), 0) })
		before := level{len(goroutines(t, any)), openFiles(t, any)}

		// A garbage collection closes connections that were forgotten.
		percent := debug.SetGCPercent(-1)
		defer debug.SetGCPercent(percent)
		y.run(t, ways, len(ways))
		before.await(t, any)
		debug.SetGCPercent(percent)

		start := time.Now()
		y.run(t, ways, leakSessions)
		t.Logf("%d sessions and refusals took %v", leakSessions, time.Since(start))
		before.await(t, any)
		y.roll.awaitEmpty(t)
		y.checkRecords(t)
	})
}

// level is what a gateway's process has open.
type level struct{ stacks, files int }

// await wants the process back at the level, and no stack of the plugin's.
func (l level) await(t *testing.T, g *engine.Gateway) {
	t.Helper()
	await(t, settleTimeout, func() string {
		left := goroutines(t, g)
		return excess("stacks of the plugin", ofPlugin(left), 0) + excess("stacks", left, l.stacks)
	})
	await(t, settleTimeout, func() string {
		if open := openFiles(t, g); open > l.files {
			return fmt.Sprintf("%d files are open, %d were before", open, l.files)
		}
		return ""
	})
}

// excess says which stacks there are where there should be fewer.
func excess(what string, stacks []string, allowed int) string {
	if len(stacks) <= allowed {
		return ""
	}
	return fmt.Sprintf("%d %s, want %d:\n%.20000s\n", len(stacks), what, allowed, strings.Join(stacks, "\n\n"))
}

// yard has gateways for every end of a session, and the upstreams behind them.
type yard struct {
	gateways map[string]*engine.Gateway
	joined   map[string]*atomic.Int64 // sessions, by gateway
	server   *wire.Upstream
	roll     *roll

	// By worker: upstream ends of its sessions, and word that its request has reached the silent upstream.
	arrived [leakWorkers]chan *wire.Peer
	silent  [leakWorkers]chan struct{}
}

// leakConfigs are the gateways' options. A patient one never ends a session by a time-out, and
// a timer that it forgets shows; a hasty one soon does.
var leakConfigs = map[string]object{
	"patient": {
		"closeTimeout": "10m", "writeTimeout": "10m", "upgradeTimeout": "10m", "connectTimeout": "10m",
		"pingInterval": "10000h", "pongTimeout": "10000h", "maxInactivity": "10000h", "maxLifetime": "10000h",
	},
	"dead upstream":  {},
	"hasty":          {"closeTimeout": "50ms", "writeTimeout": "50ms"},
	"hasty upgrade":  {"upgradeTimeout": "50ms"},
	"patient tunnel": {"closeTimeout": "10m", "writeTimeout": "10m", "mode": "tunnel"},
	"hasty tunnel":   {"closeTimeout": "50ms", "writeTimeout": "50ms", "mode": "tunnel"},
}

// Headers by which a session says what it is about.
const (
	workerHeader = "X-Leak-Worker"
	wayHeader    = "X-Leak-Way"
	toHeader     = "X-Leak-To"
)

func newYard(t *testing.T, e engine.Engine) *yard {
	t.Helper()
	server, err := wire.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	y := &yard{gateways: map[string]*engine.Gateway{}, joined: map[string]*atomic.Int64{}, server: server, roll: newRoll()}
	for i := range leakWorkers {
		y.arrived[i] = make(chan *wire.Peer, 1)
		y.silent[i] = make(chan struct{}, 1)
	}
	endpoint, dead := y.listen(t), "ws://"+peerDeadAddr(t)
	for name, config := range leakConfigs {
		if !canUse(e, config) || isInline(e) && name == "hasty upgrade" {
			continue
		}
		full := object{"upstreamEndpoint": endpoint, "allowedOrigins": []string{"none", "https://chat.example.com"}}
		if name == "dead upstream" {
			full["upstreamEndpoint"] = dead
		}
		maps.Copy(full, config)
		setup := engine.Setup{Config: full}
		if e.Name() != "traefik" {
			setup.Wrap = y.roll.wrap
		}
		y.gateways[name] = e.Start(t, setup)
		y.joined[name] = &atomic.Int64{}
	}
	return y
}

// listen runs the upstream: it joins sessions, unless it is asked for something else.
func (y *yard) listen(t *testing.T) (endpoint string) {
	others := map[string]http.HandlerFunc{
		"untrue": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Upgrade", "websocket")
			rw.Header().Set("Connection", "Upgrade")
			rw.Header().Set("Sec-WebSocket-Accept", wire.Accept("another key"))
			rw.WriteHeader(http.StatusSwitchingProtocols)
		},
		"denied": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Connection", "close") // or Traefik's proxy keeps it for the next request
			http.Error(rw, "Who are you?", http.StatusUnauthorized)
		},
		"endless": func(rw http.ResponseWriter, req *http.Request) {
			rw.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(rw, "because")
			rw.(http.Flusher).Flush()
			<-req.Context().Done()
		},
		"mute": func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() },
		"silent": func(_ http.ResponseWriter, req *http.Request) {
			worker, _ := strconv.Atoi(req.Header.Get(workerHeader))
			y.silent[worker] <- struct{}{}
			<-req.Context().Done()
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if other := others[req.Header.Get(toHeader)]; other != nil {
			other(rw, req)
			return
		}
		y.server.ServeHTTP(rw, req)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections() // Close waits for those that a leak keeps open
		server.Close()
	})
	return server.URL
}

// ways are the ends that the yard's gateways know.
func (y *yard) ways() []way {
	return slices.DeleteFunc(leakWays(), func(w way) bool { return y.gateways[w.gateway] == nil })
}

// run has workers go the ways in turn, count times in all.
func (y *yard) run(t *testing.T, ways []way, count int) {
	t.Helper()
	next := make(chan way)
	var workers sync.WaitGroup
	for i := range leakWorkers {
		workers.Go(func() {
			for w := range next {
				v := &visitor{yard: y, worker: i, way: w}
				if err := w.walk(v); err != nil {
					t.Errorf("%s: %v", w.name, err)
				}
			}
		})
	}
	for i := 0; i < count && !t.Failed(); i++ {
		next <- ways[i%len(ways)]
	}
	close(next)
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// checkRecords wants one record of each session, and no word of a failed one.
func (y *yard) checkRecords(t *testing.T) {
	t.Helper()
	for name, gateway := range y.gateways {
		want := int(y.joined[name].Load())
		for range want {
			gateway.WaitRecord(t)
		}
		count := map[string]int{}
		for _, line := range gateway.Lines() {
			count[fmt.Sprint(line["msg"])]++
		}
		if got := count["websocket session"]; got != want {
			t.Errorf("%s gateway: %d records of %d sessions", name, got, want)
		}
		if failed := count["session failed"]; failed > 0 {
			t.Errorf("%s gateway: %d sessions failed", name, failed)
		}
	}
}

// way is how one visit of a gateway ends.
type way struct {
	name    string
	gateway string
	walk    func(*visitor) error
}

// visitor is a worker on one of its ways.
type visitor struct {
	*yard
	worker int
	way    way
}

// header is what the visitor's requests carry beyond an upgrade.
func (v *visitor) header(lines ...string) []string {
	return append(lines, workerHeader+": "+strconv.Itoa(v.worker), wayHeader+": "+v.way.name)
}

// join opens a session.
func (v *visitor) join() (client, upstream *wire.Peer, err error) {
	client, err = wire.Dial(v.gateways[v.way.gateway].Addr, v.header()...)
	if err != nil {
		return nil, nil, err
	}
	v.joined[v.way.gateway].Add(1)
	// Somebody's upstream end is there, perhaps not ours: everyone takes one and hands it to its worker.
	taken, err := v.server.Accept()
	if err != nil {
		return nil, nil, err
	}
	worker, err := strconv.Atoi(taken.Header.Get(workerHeader))
	if err != nil {
		return nil, nil, err
	}
	v.arrived[worker] <- taken
	select {
	case upstream = <-v.arrived[v.worker]:
		return client, upstream, nil
	case <-time.After(wire.Timeout):
		return nil, nil, errors.New("the upstream end does not come")
	}
}

// meeting is a session on its way to its end: near is the end that brings it about.
type meeting struct {
	near, far   *wire.Peer
	farIsClient bool
}

// leakWays are all the ends that there are.
func leakWays() []way {
	bye := wire.Close(1000, "bye")
	var ways []way
	by := func(gateway, name string, end func(meeting) error) {
		for _, near := range ends {
			ways = append(ways, way{name + " by " + near, gateway, func(v *visitor) error { return v.meet(near, end) }})
		}
	}
	by("patient", "closed", func(m meeting) error { return m.close(bye) })
	by("patient", "closed without a code", func(m meeting) error { return m.close(wire.New(wire.OpClose, nil)) })
	by("patient", "FIN", func(m meeting) error { return m.lose(m.near.Close) })
	by("patient", "RST", func(m meeting) error { return m.lose(m.near.Reset) })
	by("patient", "FIN inside a frame", func(m meeting) error { return m.breakOff(m.near.Close) })
	by("patient", "RST inside a frame", func(m meeting) error { return m.breakOff(m.near.Reset) })
	by("patient", "framing broken", meeting.offend)
	by("hasty", "close unanswered", func(m meeting) error { return m.near.Send(bye) })
	by("hasty", "loss unanswered", func(m meeting) error { return m.near.Close() })
	by("hasty", "fault unanswered", func(m meeting) error { return m.near.Send(wire.New(3, nil)) })
	by("hasty", "flooded", meeting.flood)
	by("patient tunnel", "FIN", meeting.finish)
	by("patient tunnel", "RST", func(m meeting) error { return m.near.Reset() })
	by("hasty tunnel", "FIN unanswered", func(m meeting) error { return m.near.CloseWrite() })
	by("hasty tunnel", "flooded", meeting.flood)
	return append(ways, leakRefusals()...)
}

// leakRefusals are the ends before there is a session.
func leakRefusals() []way {
	asked := func(lines ...string) string { return upgrade("GET / HTTP/1.1", lines...) }
	var ways []way
	refused := func(gateway, name string, status int, request string) {
		ways = append(ways, way{name, gateway, func(v *visitor) error { return v.refused(request, status) }})
	}
	refused("patient", "426", http.StatusUpgradeRequired, asked("!Upgrade"))
	refused("patient", "403", http.StatusForbidden, asked("Origin: https://evil.example.com"))
	refused("dead upstream", "502 of a dead port", http.StatusBadGateway, asked())
	refused("patient", "502 of an untrue answer", http.StatusBadGateway, asked(toHeader+": untrue"))
	refused("patient", "401 of the upstream", http.StatusUnauthorized, asked(toHeader+": denied"))
	refused("hasty upgrade", "504", http.StatusGatewayTimeout, asked(toHeader+": mute"))
	return append(
		ways,
		way{"gone during the upgrade", "patient", func(v *visitor) error { return v.leave(asked(toHeader + ": silent")) }},
		way{"gone inside an answer", "patient", func(v *visitor) error { return v.leaveInside(asked(toHeader + ": endless")) }},
	)
}

// meet opens a session, brings it to its end, and wants both connections closed.
func (v *visitor) meet(near string, end func(meeting) error) error {
	client, upstream, err := v.join()
	if err != nil {
		return err
	}
	defer client.Close()
	defer upstream.Close()
	m := meeting{near: client, far: upstream}
	if near == "upstream" {
		m = meeting{near: upstream, far: client, farIsClient: true}
	}
	return errors.Join(end(m), ended(client), ended(upstream))
}

// ended wants a connection closed by the other end, or here.
func ended(peer *wire.Peer) error {
	if _, err := io.Copy(io.Discard, peer); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("a connection is still open")
	}
	return nil
}

// deliver sends a frame to the far end.
func (m meeting) deliver(f wire.Frame) error {
	if err := m.near.Send(f); err != nil {
		return err
	}
	_, err := m.far.ReadFrame()
	return err
}

func (m meeting) close(f wire.Frame) error {
	if err := m.deliver(f); err != nil {
		return err
	}
	return m.far.Send(f)
}

// answerClose answers a close frame of the gateway's.
func answerClose(peer *wire.Peer) error {
	f, err := peer.ReadFrame()
	if err != nil {
		return err
	}
	if f.Opcode != wire.OpClose {
		return fmt.Errorf("got %v, want a close frame", f)
	}
	return peer.Send(f)
}

// lose ends a session between two frames.
func (m meeting) lose(cut func() error) error {
	if err := m.deliver(wire.Text("last")); err != nil {
		return err
	}
	if err := cut(); err != nil || !m.farIsClient {
		return err
	}
	return answerClose(m.far)
}

// breakOff ends a session inside a large frame.
func (m meeting) breakOff(cut func() error) error {
	part := m.near.Encode(wire.Frame{Fin: true, Opcode: wire.OpBinary, Claim: 1 << 20, Payload: payload(1 << 15)})
	if _, err := m.near.Write(part); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, m.far, int64(len(part))); err != nil {
		return err
	}
	return cut()
}

// offend breaks the rules; both ends are told.
func (m meeting) offend() error {
	if err := m.near.Send(wire.New(3, nil)); err != nil {
		return err
	}
	return errors.Join(answerClose(m.near), answerClose(m.far))
}

// flood writes to a far end that does not read, until the connection is closed.
func (m meeting) flood() error {
	messages := m.near.Encode(wire.Binary(payload(1 << 16)))
	for {
		_, err := m.near.Write(messages)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("a blocked writer is never let go")
		}
		if err != nil {
			return nil
		}
	}
}

// finish ends a tunnel's streams one after the other.
func (m meeting) finish() error {
	if err := errors.Join(m.near.CloseWrite(), ended(m.far)); err != nil {
		return err
	}
	return m.far.CloseWrite()
}

// ask sends a request, with the visitor's header lines, and leaves its answer to be read.
func (v *visitor) ask(request string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", v.gateways[v.way.gateway].Addr, rawTimeout)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(wire.Timeout)); err != nil {
		conn.Close()
		return nil, err
	}
	head := strings.TrimSuffix(request, "\r\n")
	if _, err := io.WriteString(conn, head+raw(v.header()...)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// refused wants an answer other than 101.
func (v *visitor) refused(request string, status int) error {
	conn, err := v.ask(request)
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("the answer is %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// leave goes while the gateway waits for the upstream's answer.
func (v *visitor) leave(request string) error {
	conn, err := v.ask(request)
	if err != nil {
		return err
	}
	select {
	case <-v.silent[v.worker]:
	case <-time.After(wire.Timeout):
		err = errors.New("the upstream is not asked")
	}
	return errors.Join(err, conn.Close())
}

// leaveInside goes while the gateway streams an answer whose end never comes.
func (v *visitor) leaveInside(request string) error {
	conn, err := v.ask(request)
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, resp.Body, int64(len("because")))
	return err
}

// roll counts the connections that are handed to the plugin until they are garbage. A session that something still
// refers to - a timer, a goroutine, a table - keeps its connection from becoming that.
type roll struct {
	mu   sync.Mutex
	here map[string]int // by way
}

func newRoll() *roll { return &roll{here: map[string]int{}} }

func (r *roll) count(way string, by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.here[way] += by
	if r.here[way] == 0 {
		delete(r.here, way)
	}
}

// awaitEmpty wants all connections to be garbage.
func (r *roll) awaitEmpty(t *testing.T) {
	t.Helper()
	await(t, settleTimeout, func() string {
		runtime.GC()
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.here) == 0 {
			return ""
		}
		return fmt.Sprintf("something still refers to sessions that have ended: %v", r.here)
	})
}

// wrap is a [engine.Setup]'s Wrap.
func (r *roll) wrap(plugin http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		plugin.ServeHTTP(&hijackable{rw, func(conn net.Conn) net.Conn {
			way := req.Header.Get(wayHeader)
			c := &enrolled{conn.(*net.TCPConn)}
			r.count(way, 1)
			runtime.AddCleanup(c, func(way string) { r.count(way, -1) }, way)
			return c
		}}, req)
	})
}

// enrolled is a connection on the roll, with all that one of TCP can do.
type enrolled struct{ *net.TCPConn }

// hijackable is a response writer that hands out connections of another kind.
type hijackable struct {
	http.ResponseWriter
	dress func(net.Conn) net.Conn
}

// Unwrap is how [http.ResponseController] finds what else the writer can do.
func (h *hijackable) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Hijack implements [http.Hijacker].
func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return h.dress(conn), buffered, nil
}

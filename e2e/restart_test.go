package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

// outage is the longest time that a client may be without a session: from its close frame to the first echo of the next one,
// its own pause included.
var outage = pace.Of(2*time.Second) + longestPause

const (
	// longestPause is how long a client at most waits before it comes back, so that not all come at once.
	longestPause = 250 * time.Millisecond

	// companyPace is how long it takes from a message of one client to that of the next.
	companyPace = 500 * time.Microsecond
)

// TestRollingRestart has clients talk to an echo service by way of a balancer and two real Traefiks, which are
// restarted one after the other. No client sees more of that than a close frame that says so, and is served again at
// once.
func TestRollingRestart(t *testing.T) {
	clients, rounds := 100, 1
	if soaking() {
		clients, rounds = 400, 5
	}
	for _, e := range engine.All() {
		if e.Name() == "traefik" {
			t.Run(e.Name(), func(t *testing.T) {
				inEachUse(t, e, func(t *testing.T, e engine.Engine) { rollingRestart(t, e, clients, rounds) })
			})
		}
	}
}

func rollingRestart(t *testing.T, e engine.Engine, clients, rounds int) {
	setup := engine.Setup{Dedicated: true, Config: object{"upstreamEndpoint": echo(t), "drainTimeout": "2s"}}
	gateways := []*engine.Gateway{e.Start(t, setup), e.Start(t, setup)}
	regulars := welcome(t, balance(t, gateways, "roundrobin"), clients)
	regulars.awaitServed(t)
	for range rounds {
		for _, g := range gateways {
			start := time.Now()
			g.Terminate(t)
			awaitExit(t, g, start)
			regulars.awaitServed(t) // by the other one
			g.Restart(t)
		}
	}
	regulars.sayGoodbye(t, rounds)
	regulars.expectRecords(t, gateways)
}

// balance runs HAProxy in front of the gateways, which knows of their state only what it learns when it connects, and
// returns its address. The algorithm, by which it chooses between them, is one of HAProxy's.
func balance(t *testing.T, gateways []*engine.Gateway, algorithm string) string {
	t.Helper()
	lines := []string{
		"  mode tcp", "  retries 3", "  option redispatch 1",
		"listen gateways", "  bind fd@3", "  balance " + algorithm,
	}
	for i, g := range gateways {
		addr := g.Addr
		if g.HTTP == 2 {
			addr = g.AddrHTTP2
		}
		lines = append(lines, fmt.Sprintf("  server traefik%d %s", i, addr))
	}
	return haproxy(t, 1, lines...)[0]
}

// haproxy runs HAProxy until the test ends, with lines that begin in the defaults. It returns the addresses of as many
// sockets, fd@3 and so on to HAProxy. They are the test's: so nobody else can have their ports, and nobody has to wait for it.
func haproxy(t *testing.T, sockets int, lines ...string) (addrs []string) {
	t.Helper()
	lines = append([]string{
		"global", "  maxconn 4000",
		"defaults", "  timeout connect 5s", "  timeout client 5m", "  timeout server 5m",
	}, lines...)
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("haproxy", "-db", "-q", "-f", config)
	for range sockets {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		socket, err := listener.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		run.ExtraFiles = append(run.ExtraFiles, socket)
		addrs = append(addrs, listener.Addr().String())
	}
	run.Stderr = os.Stderr
	engine.DieWithParent(run)
	if err := run.Start(); err != nil {
		t.Fatalf("HAProxy, of the package haproxy: %v", err)
	}
	t.Cleanup(func() {
		_ = run.Process.Kill() // it may have ended already
		_ = run.Wait()
	})
	return addrs
}

// regular is a client that comes back whenever it is sent away, and talks all the time.
type regular struct {
	name string
	url  string
	pace time.Duration // from message to message
	done chan struct{} // closed when it has to go

	served atomic.Bool // it has a session, and has been answered in it

	// Of its own goroutine, until that has ended.
	away     time.Time     // since when it has no session
	longest  time.Duration // that it had none again
	restarts int           // sessions that ended with a restart
	refused  int           // attempts that were answered by 503
}

// company are all the clients.
type company struct {
	regulars []*regular
	done     chan struct{}
	gone     chan error
}

// welcome has clients come to addr.
func welcome(t *testing.T, addr string, clients int) *company {
	t.Helper()
	c := &company{done: make(chan struct{}), gone: make(chan error, clients)}
	for i := range clients {
		r := &regular{
			name: fmt.Sprintf("client %d", i), url: "ws://" + addr + "/socket",
			pace: time.Duration(clients) * companyPace, done: c.done,
		}
		c.regulars = append(c.regulars, r)
		go func() { c.gone <- r.live() }()
	}
	return c
}

// awaitServed wants all clients to have a session soon.
func (c *company) awaitServed(t *testing.T) {
	t.Helper()
	await(t, wire.Timeout, func() string {
		select {
		case err := <-c.gone:
			t.Fatalf("a client has gone: %v", err)
		default:
		}
		without := slices.IndexFunc(c.regulars, func(r *regular) bool { return !r.served.Load() })
		if without >= 0 {
			return c.regulars[without].name + " has no session"
		}
		return ""
	})
}

// sayGoodbye has all clients go, and wants each to have been sent away and served again at least once a round.
func (c *company) sayGoodbye(t *testing.T, rounds int) {
	t.Helper()
	close(c.done)
	for range c.regulars {
		if err := <-c.gone; err != nil {
			t.Error(err)
		}
	}
	var longest time.Duration
	refused := 0
	for _, r := range c.regulars {
		longest = max(longest, r.longest)
		refused += r.refused
		if r.restarts < rounds {
			t.Errorf("%s was sent away %d times in %d rounds", r.name, r.restarts, rounds)
		}
	}
	if longest > outage {
		t.Errorf("a client was without a session for %v, want at most %v", longest, outage)
	}
	t.Logf("nobody was without a session for more than %v; %d attempts were refused", longest, refused)
}

// expectRecords wants the gateways' records to tell of as many restarts as the clients have seen, and of nothing else
// but their goodbyes.
func (c *company) expectRecords(t *testing.T, gateways []*engine.Gateway) {
	t.Helper()
	sessions, restarts := len(c.regulars), 0
	for _, r := range c.regulars {
		sessions += r.restarts
		restarts += r.restarts
	}
	want := map[string]int{`wsfw 1012 "service restart"`: restarts, `client 1000 ""`: len(c.regulars)}
	var got map[string]int
	await(t, wire.Timeout, func() string {
		got = map[string]int{}
		lines := 0
		for _, g := range gateways {
			for _, line := range g.Lines() {
				if line["msg"] == "request refused" {
					continue
				}
				lines++
				got[fmt.Sprintf("%v %v %q", line["endedBy"], line["code"], line["reason"])]++
			}
		}
		if lines < sessions {
			return fmt.Sprintf("%d lines in the log tell of %d sessions", lines, sessions)
		}
		return ""
	})
	if !maps.Equal(got, want) {
		t.Errorf("the records tell of these ends: %v, want %v", got, want)
	}
}

// live has one session after the other until the client has to go.
func (r *regular) live() error {
	for r.away = time.Now(); ; {
		conn, err := r.connect()
		if err != nil {
			return fmt.Errorf("%s, after %d restarts: %w", r.name, r.restarts, err)
		}
		err = r.talk(conn)
		r.served.Store(false)
		if isClosed(r.done) && gorilla.IsCloseError(err, gorilla.CloseNormalClosure) {
			return nil
		}
		var told *gorilla.CloseError
		if !errors.As(err, &told) || told.Code != gorilla.CloseServiceRestart || told.Text != restartReason {
			return fmt.Errorf("%s, after %d restarts: %w", r.name, r.restarts, err)
		}
		r.restarts++
		r.away = time.Now()
		r.pause()
	}
}

// pause has a client that was sent away not come back together with all the others, RFC 6455 section 7.2.3.
func (r *regular) pause() {
	select {
	case <-r.done:
	case <-time.After(rand.N(longestPause)):
	}
}

// connect opens a session: at the first attempt, or soon after a gateway has refused it for a restart of its own.
func (r *regular) connect() (*gorilla.Conn, error) {
	for {
		conn, resp, err := gorilla.DefaultDialer.Dial(r.url, nil)
		if err == nil {
			conn.SetReadDeadline(time.Now().Add(15 * time.Minute))
			return conn, nil
		}
		if resp == nil || resp.StatusCode != http.StatusServiceUnavailable || time.Since(r.away) > outage {
			return nil, fmt.Errorf("connecting: %w", err)
		}
		r.refused++
		r.pause()
	}
}

// talk lasts as long as the session. Every echo has to be what was said next.
func (r *regular) talk(conn *gorilla.Conn) error {
	defer conn.Close()
	name := fmt.Sprintf("%s in session %d", r.name, r.restarts)
	over, spoken := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(spoken)
		r.speak(conn, name, over)
	}()
	defer func() {
		close(over)
		<-spoken
	}()
	for i := 0; ; i++ {
		_, got, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		if want := message(name, i); !bytes.Equal(got, want) {
			return fmt.Errorf("the echo is %.60q, want %.60q", got, want)
		}
		if i == 0 {
			r.served.Store(true)
			if r.restarts > 0 {
				r.longest = max(r.longest, time.Since(r.away))
			}
		}
	}
}

// speak says one message after the other, and closes the session when the client has to go. Where that fails, reading
// tells why.
func (r *regular) speak(conn *gorilla.Conn, name string, over <-chan struct{}) {
	pace := time.NewTicker(r.pace)
	defer pace.Stop()
	for i := 0; ; i++ {
		if conn.WriteMessage(gorilla.TextMessage, message(name, i)) != nil {
			return
		}
		select {
		case <-over:
			return
		case <-r.done:
			bye := gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "")
			_ = conn.WriteControl(gorilla.CloseMessage, bye, time.Now().Add(wire.Timeout))
			return
		case <-pace.C:
		}
	}
}

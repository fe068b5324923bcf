package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	restartReason = "service restart"

	// graceTimeout is Traefik's graceTimeOut, after which it cuts whatever is left.
	graceTimeout = 10 * time.Second
)

// soon is how late a busy machine may be with what is due at once.
var soon = pace.Of(3 * time.Second)

// restartCodes are what the ends of a drained session are closed with.
var restartCodes = map[string]int{"client": 1012, "upstream": 1001}

// TestHeavyDrain shuts a gateway down under a crowd: every session is closed in order, each at a time of its own, and the
// shutdown is over with the last. Half of them began under an earlier configuration, which has no heartbeats.
func TestHeavyDrain(t *testing.T) {
	sessions, spread, pace := 500, 4*time.Second, guestPace
	config := object{"drainTimeout": spread.String()}
	if soaking() {
		sessions, spread, pace = 2000, 8*time.Second, 4*guestPace
		config = object{} // the default has to fit into Traefik's graceTimeOut
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: config})
		c := &crowd{ground: g, pace: pace}
		c.grow(t, sessions/2)
		beating := object{"upstreamEndpoint": g.server.URL, "pingInterval": (5 * pace).String(), "pongTimeout": "30s"}
		maps.Copy(beating, config)
		g.gateway.Reload(t, beating)
		c.grow(t, sessions/2)
		start := c.drain(t)
		c.expectSpread(t, start, spread)
		c.expectGone(t, start)
	})
}

// TestDrainAtOnce is drainTimeout off.
func TestDrainAtOnce(t *testing.T) {
	eachOverTCP(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: object{"drainTimeout": "0"}})
		c := &crowd{ground: g, pace: guestPace}
		c.grow(t, 100)
		start := c.drain(t)
		if took := c.told()[len(c.guests)-1].Sub(start); took > soon {
			t.Errorf("the last end was told after %v, want at most %v", took, soon)
		}
		c.expectGone(t, start)
	})
}

// crowd is many sessions at a time, with a guest at either end.
type crowd struct {
	*ground
	pace   time.Duration // of the guests, from frame to frame
	guests []*guest
	ended  []chan error // by guest
}

// grow opens further sessions. Of a hundred, four talk in large frames, ten in fragments, and twenty in small messages.
func (c *crowd) grow(t *testing.T, sessions int) {
	t.Helper()
	for i := range sessions {
		var says func(name string, i int) wire.Frame
		switch {
		case i%25 == 0:
			says = largeFrame
		case i%10 == 1:
			says = fragment
		case i%5 == 2:
			says = func(name string, i int) wire.Frame { return wire.Text(string(message(name, i))) }
		}
		j := c.join(t)
		for _, end := range ends {
			near, _ := j.from(end)
			near.SetDeadline(time.Now().Add(crowdTimeout))
			c.seat(&guest{Peer: near, end: end, says: says, pace: c.pace, leaving: make(chan struct{})})
		}
	}
}

// largeFrame takes a guest several paces to say.
func largeFrame(name string, i int) wire.Frame {
	return wire.Binary(append(message(name, i), payload(4*guestPiece)...))
}

// fragment is a frame of a message of three.
func fragment(name string, i int) wire.Frame {
	f := wire.Frame{Opcode: wire.OpContinuation, Fin: i%3 == 2, Payload: message(name, i)}
	if i%3 == 0 {
		f.Opcode = wire.OpText
	}
	return f
}

func (c *crowd) seat(g *guest) {
	ended := make(chan error, 1)
	c.guests, c.ended = append(c.guests, g), append(c.ended, ended)
	go func() { ended <- g.stay() }()
}

// drain shuts the gateway down and wants every guest closed in order. It returns when that began.
func (c *crowd) drain(t *testing.T) (start time.Time) {
	t.Helper()
	start = time.Now()
	for _, g := range c.guests {
		g.SetDeadline(start.Add(2*graceTimeout + wire.Timeout))
	}
	c.gateway.Terminate(t)
	var errs []error
	for i, ended := range c.ended {
		if err := <-ended; err != nil {
			errs = append(errs, fmt.Errorf("%s of session %d: %w", c.guests[i].end, i/2, err))
		}
	}
	if len(errs) > 0 {
		t.Fatalf("%d of %d ends: %v", len(errs), len(c.guests), errors.Join(errs[:min(len(errs), 10)]...))
	}
	return start
}

// told is when the guests were sent away, in order.
func (c *crowd) told() []time.Time {
	var at []time.Time
	for _, g := range c.guests {
		at = append(at, g.told)
	}
	slices.SortFunc(at, time.Time.Compare)
	return at
}

// expectSpread wants the closes to have been spread evenly over a time since start. Of five hundred sessions, one in
// 10^62 crowds has none in the first quarter, and the fullest tenth has seventeen standard deviations to go to a third.
func (c *crowd) expectSpread(t *testing.T, start time.Time, over time.Duration) {
	t.Helper()
	at := c.told()
	first, last := at[0].Sub(start), at[len(at)-1].Sub(start)
	t.Logf("the first end was told after %v, the last after %v", first, last)
	if first < 0 || first > over/4 || last < over*3/4 || last > over+soon {
		t.Errorf("the first end was told after %v, the last after %v, want all of %v used", first, last, over)
	}
	var tenths [10]int
	for _, x := range at {
		tenths[min(9, max(0, int(10*x.Sub(start)/over)))]++
	}
	if slices.Max(tenths[:]) > len(at)/3 {
		t.Errorf("the ends told in each tenth of the time were %v, want them spread", tenths)
	}
}

// expectGone wants a record of each session, nothing left of them, and Traefik's process to exit by itself.
func (c *crowd) expectGone(t *testing.T, start time.Time) {
	t.Helper()
	last := c.told()[len(c.guests)-1]
	if c.gateway.Process != nil {
		awaitExit(t, c.gateway, start)
		if took := time.Since(last); took > soon {
			t.Errorf("Traefik exited %v after the last end was told, want at most %v", took, soon)
		}
	} else {
		c.expectNothingLeft(t)
	}
	sessions := len(c.guests) / 2
	for range sessions {
		c.expectOutcome(t, "wsfw", 1012, restartReason)
	}
	if lines := c.gateway.Lines(); len(lines) != sessions {
		t.Errorf("%d sessions leave %d lines in the log", sessions, len(lines))
	}
}

// awaitExit wants a Traefik that shuts down since start to exit, and not to wait for what only its graceTimeOut would
// end.
func awaitExit(t *testing.T, g *engine.Gateway, start time.Time) {
	t.Helper()
	select {
	case <-g.Process.Exited():
	case <-time.After(2 * graceTimeout):
		t.Fatal("Traefik does not exit")
	}
	if took := time.Since(start); took >= graceTimeout {
		t.Errorf("Traefik exited after %v, which is no sooner than its graceTimeOut makes it", took)
	}
}

const (
	// guestPace is how long a guest waits between two pieces of a frame, and guestPiece how many bytes one has: so those
	// who say large frames are inside one most of the time.
	guestPace  = 100 * time.Millisecond
	guestPiece = 8 << 10

	// crowdTimeout bounds the coming of a crowd.
	crowdTimeout = 5 * time.Minute
)

// guest is one end of a session in a crowd. It says the frames of its session, wants to hear the same from the other
// end, and answers pings and the close frame.
type guest struct {
	*wire.Peer
	end      string
	says     func(name string, i int) wire.Frame // nil where the session is idle
	pace     time.Duration                       // from frame to frame, where it has nothing more to say of one
	speaking sync.Mutex                          // held from the first byte of a frame to its last
	leaving  chan struct{}                       // closed once it has heard all there is
	told     time.Time                           // when the close frame came
}

// stay lasts as long as the session.
func (g *guest) stay() error {
	talked := make(chan error)
	go func() { talked <- g.talk() }()
	f, err := g.listen()
	g.told = time.Now()
	close(g.leaving)
	if err := errors.Join(err, <-talked); err != nil {
		return err
	}
	return g.leave(f)
}

// talk says one frame after the other, until the guest leaves.
func (g *guest) talk() error {
	if g.says == nil {
		return nil
	}
	pace := time.NewTicker(g.pace)
	defer pace.Stop()
	for i := 0; ; i++ {
		select {
		case <-g.leaving:
			return nil
		case <-pace.C:
		}
		if err := g.say(g.says(g.end, i)); err != nil {
			return fmt.Errorf("saying frame %d: %w", i, err)
		}
	}
}

// say writes a frame piece by piece, and the rest of it at once when the guest leaves.
func (g *guest) say(f wire.Frame) error {
	g.speaking.Lock()
	defer g.speaking.Unlock()
	for rest := g.Encode(f); ; {
		n, err := g.Write(rest[:min(len(rest), guestPiece)])
		rest = rest[n:]
		if err != nil || len(rest) == 0 {
			return err
		}
		select {
		case <-g.leaving:
		case <-time.After(guestPace):
		}
	}
}

// listen checks all that comes, and returns the close frame.
func (g *guest) listen() (wire.Frame, error) {
	for i := 0; ; {
		f, err := g.ReadFrame()
		switch {
		case err != nil:
			return f, fmt.Errorf("no close frame comes, after %d frames: %w", i, err)
		case f.Opcode == wire.OpClose:
			return f, nil
		case f.Opcode == wire.OpPing:
			err = g.say(wire.New(wire.OpPong, f.Payload))
		default:
			err = g.check(i, f)
			i++
		}
		if err != nil {
			return f, err
		}
	}
}

// check wants a frame to be the i-th that the other end says.
func (g *guest) check(i int, f wire.Frame) error {
	if g.says == nil {
		return fmt.Errorf("nobody says anything, and there comes %v", f)
	}
	want := g.says(opposite(g.end), i)
	if f.Fin != want.Fin || f.Opcode != want.Opcode || !bytes.Equal(f.Payload, want.Payload) {
		return fmt.Errorf("frame %d is %v, want %v", i, f, want)
	}
	return nil
}

// leave wants the close frame to be the right one and nothing to come after it, and answers it.
func (g *guest) leave(f wire.Frame) error {
	code, reason, _ := f.Status()
	if code != restartCodes[g.end] || reason != restartReason || f.Masked != (g.end == "upstream") || !f.Fin {
		return fmt.Errorf("the close frame is %v, want %d %q", f, restartCodes[g.end], restartReason)
	}
	if err := g.Send(wire.Close(code, "")); err != nil {
		return fmt.Errorf("answering the close frame: %w", err)
	}
	rest, err := io.ReadAll(g)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the close frame, and then %w", len(rest), err)
	}
	return nil
}

// toldToLeave wants the close frame of a drain at the named end.
func (j *joined) toldToLeave(t *testing.T, end string) {
	t.Helper()
	near, _ := j.from(end)
	if reason := expectClose(t, near, end == "upstream", restartCodes[end]); reason != restartReason {
		t.Errorf("the %s is closed for %q, want %q", end, reason, restartReason)
	}
}

// leaves has the named end answer the close frame, and wants its connection closed without waiting for the other.
func (j *joined) leaves(t *testing.T, end string) {
	t.Helper()
	near, _ := j.from(end)
	send(t, near, wire.Close(restartCodes[end], ""))
	expectEnd(t, near)
}

// drains wants both ends told, has both answer, and wants the session ended.
func (j *joined) drains(t *testing.T) {
	t.Helper()
	for _, end := range ends {
		j.toldToLeave(t, end)
		j.leaves(t, end)
	}
}

// TestDrainInsideFrame drains sessions of which one end has sent a part of something. What of it has been passed on is
// brought to its end before the other is told; what has not is dropped.
func TestDrainInsideFrame(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		config := object{"drainTimeout": "0", "closeTimeout": "1m"}
		g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: config})
		type speech struct {
			*joined
			by  string
			row partial
		}
		var speeches []speech
		for _, by := range ends {
			for _, row := range partials(by == "client") {
				s := speech{g.join(t), by, row}
				near, far := s.from(by)
				sendPartial(t, near, far, row)
				speeches = append(speeches, s)
			}
		}
		g.gateway.Terminate(t)
		for _, s := range speeches {
			t.Run(s.row.name+" from "+s.by, func(t *testing.T) {
				s.drainsInside(t, s.by, s.row)
				s.expectOutcome(t, "wsfw", 1012, restartReason)
			})
		}
	})
}

// drainsInside wants a session drained whose named end has sent a part of something, and then goes on.
func (j *joined) drainsInside(t *testing.T, by string, row partial) {
	t.Helper()
	near, far := j.from(by)
	j.toldToLeave(t, by)
	begun := near.Encode(row.begun)
	if row.passed > 0 {
		j.goesOn(t, by, begun[row.part:])
		expect(t, far, begun[row.passed:])
	}
	j.toldToLeave(t, opposite(by))
	if row.passed == 0 && row.part > 0 {
		j.goesOn(t, by, begun[row.part:])
	}
	if row.part > 0 && row.begun.Opcode == wire.OpClose {
		expectEnd(t, near) // this was its close frame
	} else {
		j.leaves(t, by)
	}
	j.leaves(t, opposite(by))
}

// goesOn has the named end send the rest of what it has begun.
func (j *joined) goesOn(t *testing.T, by string, rest []byte) {
	t.Helper()
	near, _ := j.from(by)
	if _, err := near.Write(rest); err != nil {
		t.Fatal(err)
	}
}

// TestDrainUnanswered has ends that do not answer their close frame, and ends that stop inside a frame for good. They
// are cut after closeTimeout, the latter without a close frame to the other end, and hold up nobody meanwhile.
func TestDrainUnanswered(t *testing.T) {
	const patience = 3 * time.Second
	half := wire.Frame{Fin: true, Opcode: wire.OpBinary, Claim: 1 << 20, Payload: payload(1 << 19)}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		config := object{"drainTimeout": "0", "closeTimeout": patience.String()}
		g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: config})
		polite, deaf, stuck := g.join(t), map[string]*joined{}, map[string]*joined{}
		for _, by := range ends {
			deaf[by], stuck[by] = g.join(t), g.join(t)
			near, far := stuck[by].from(by)
			send(t, near, half)
			expect(t, far, near.Encode(half))
		}
		start := time.Now()
		g.gateway.Terminate(t)
		polite.drains(t)
		for _, by := range ends {
			deaf[by].toldToLeave(t, by)
			deaf[by].toldToLeave(t, opposite(by))
			deaf[by].leaves(t, opposite(by))
			stuck[by].toldToLeave(t, by)
		}
		if took := time.Since(start); took >= patience {
			t.Errorf("ends that answer were let go after %v, want less than %v", took, patience)
		}
		for _, by := range ends {
			near, far := stuck[by].from(by)
			silent, _ := deaf[by].from(by)
			for _, peer := range []*wire.Peer{silent, near, far} {
				expectEnd(t, peer)
			}
		}
		if took := time.Since(start); took < patience || took > patience+soon {
			t.Errorf("ends that do not answer were cut after %v, want %v", took, patience)
		}
		for range 1 + len(deaf) + len(stuck) {
			g.expectOutcome(t, "wsfw", 1012, restartReason)
		}
	})
}

// TestDrainSlowUpstream has the last upstream of all take its time to answer. Traefik, which exits once the last client
// has gone, is there until then.
func TestDrainSlowUpstream(t *testing.T) {
	const thinking = 2 * time.Second // several times as long as Traefik takes to find that its clients have gone
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: object{"drainTimeout": "0"}})
		j := g.join(t)
		g.gateway.Terminate(t)
		j.toldToLeave(t, "client")
		j.leaves(t, "client")
		j.toldToLeave(t, "upstream")
		j.upstream.SetReadDeadline(time.Now().Add(thinking))
		if n, err := j.upstream.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the upstream got %d bytes (%v) while it was thinking, want nothing", n, err)
		}
		j.upstream.SetReadDeadline(time.Now().Add(wire.Timeout))
		j.leaves(t, "upstream")
		j.expectOutcome(t, "wsfw", 1012, restartReason)
	})
}

// TestDrainTunnel wants tunnels cut, idle ones and one that is inside something.
func TestDrainTunnel(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		config := object{"drainTimeout": "500ms", "mode": "tunnel"}
		g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: config})
		tunnels := []*joined{g.join(t), g.join(t), g.join(t)}
		converse(t, tunnels[1:])
		half := wire.Frame{Fin: true, Opcode: wire.OpBinary, Claim: 1 << 20, Payload: payload(1 << 15)}
		send(t, tunnels[2].client, half)
		expect(t, tunnels[2].upstream, tunnels[2].client.Encode(half))
		start := time.Now()
		g.gateway.Terminate(t)
		for _, j := range tunnels {
			expectCut(t, j.client)
			expectCut(t, j.upstream)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("the last tunnel was cut after %v, want at most %v", took, soon)
		}
		for range tunnels {
			g.expectOutcome(t, "wsfw", 0, restartReason)
		}
	})
}

// TestDrainDuringUpgrade shuts a gateway down while it waits for an upstream's answer to an upgrade. The session that
// comes of it is drained like the others.
func TestDrainDuringUpgrade(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		config := object{"upstreamEndpoint": server.endpoint(), "drainTimeout": "0"}
		gateway := e.Start(t, engine.Setup{Dedicated: true, Config: config})
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		upstream, head := server.request(t)
		gateway.Terminate(t)
		awaitShutdown(t, gateway)
		upstream.send(t, head.switching())
		if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status is %d, want 101", resp.StatusCode)
		}
		for end, conn := range map[string]*peerConn{"client": client, "upstream": upstream} {
			f, err := wire.ReadFrame(conn.in)
			if code, reason, _ := f.Status(); err != nil || code != restartCodes[end] || reason != restartReason {
				t.Fatalf("the %s got %v (%v), want close %d %q", end, f, err, restartCodes[end], restartReason)
			}
			conn.send(t, string(wire.Close(1000, "").Masking(end == "client").Bytes()))
			conn.expectEnd(t)
		}
		g := &ground{gateway: gateway, owed: 1}
		g.expectOutcome(t, "wsfw", 1012, restartReason)
	})
}

// awaitShutdown waits until the gateway's server takes no connections any more: it has begun to shut down.
func awaitShutdown(t *testing.T, g *engine.Gateway) {
	t.Helper()
	await(t, wire.Timeout, func() string {
		conn, err := net.DialTimeout("tcp", g.Addr, wire.Timeout)
		if err != nil {
			return ""
		}
		conn.Close()
		return "connections are still taken"
	})
}

// TestDrainOfOne shuts one of two gateways down that share the plugin: the other's sessions go on, and it takes new
// ones.
func TestDrainOfOne(t *testing.T) {
	eachUseInProcess(t, func(t *testing.T, e engine.Engine) {
		config := object{"drainTimeout": "0"}
		goes, stays := newGround(t, e, config), newGround(t, e, config)
		leaving, staying := goes.join(t), stays.join(t)
		goes.gateway.Terminate(t)
		leaving.drains(t)
		leaving.expectOutcome(t, "wsfw", 1012, restartReason)
		converse(t, []*joined{staying, stays.join(t)})
		stays.gateway.Terminate(t)
		staying.drains(t)
	})
}

// door is a service for [engine.Setup]'s Auth that holds up the requests with a header.
type door struct {
	url  string
	held chan struct{} // one for each request that comes to be held up
	open chan struct{} // closed to let them in
}

const heldHeader = "X-Held"

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{held: make(chan struct{}), open: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.Header.Get(heldHeader) == "" {
			return
		}
		d.held <- struct{}{}
		<-d.open
	}))
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// knock sends a request, and returns once it is held up.
func (d *door) knock(t *testing.T, gateway *engine.Gateway, request string) *peerConn {
	t.Helper()
	conn := peerDial(t, gateway, request)
	select {
	case <-d.held:
	case <-time.After(wire.Timeout):
		t.Fatal("the request does not come to the door")
	}
	return conn
}

// TestDrainRefuses has requests on their way to the plugin when the shutdown begins, held up by another middleware. Of
// those that reach it only then, it refuses upgrades, relayed or just checked, and passes others. A server that has
// had no upgrade before is no exception.
func TestDrainRefuses(t *testing.T) {
	held := heldHeader + ": yes"
	upgrading := upgrade("GET / HTTP/1.1", held)
	plain := raw("GET / HTTP/1.1", "Host: chat.example.com", held)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, before := range []string{"after a session", "unused"} {
			t.Run(before, func(t *testing.T) {
				d := newDoor(t)
				open := sync.OnceFunc(func() { close(d.open) })
				t.Cleanup(open) // before the door is closed, which waits for whom it holds up
				checking := object{"nonWebSocket": "pass"}
				config := object{"nonWebSocket": "pass", "drainTimeout": "0"}
				g := newMixedGround(t, e, engine.Setup{Dedicated: true, Auth: d.url, Config: config})
				var live []*joined
				if before != "unused" {
					live = append(live, g.join(t))
				}
				refused := map[string]*peerConn{"relayed": d.knock(t, g.gateway, upgrading)}
				passed := map[string]*peerConn{"relaying": d.knock(t, g.gateway, plain)}
				g.gateway.Reload(t, checking)
				refused["checked"] = d.knock(t, g.gateway, upgrading)
				passed["checking"] = d.knock(t, g.gateway, plain)
				g.gateway.Terminate(t)
				awaitShutdown(t, g.gateway)
				for _, j := range live {
					j.drains(t) // and so the plugin knows
				}
				open()
				for name, conn := range refused {
					t.Run(name, func(t *testing.T) { conn.refusedForRestart(t) })
				}
				for name, conn := range passed {
					t.Run(name, func(t *testing.T) {
						if resp := conn.answer(t); resp.StatusCode != http.StatusOK || resp.Header.Get(nextMark) == "" {
							t.Errorf("a plain request is answered %v, want the service's 200", resp)
						}
					})
				}
			})
		}
	})
}

// newMixedGround is a ground whose upstream is a part of the service, which records all that is no upgrade.
func newMixedGround(t *testing.T, e engine.Engine, setup engine.Setup) *ground {
	t.Helper()
	upgrades, err := wire.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upgrades.Close() })
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") != "" {
			upgrades.ServeHTTP(rw, req)
			return
		}
		recordRequest(rw, req)
	}))
	t.Cleanup(server.Close)
	setup.Next = server.URL
	setup.Config["upstreamEndpoint"] = server.URL
	return &ground{gateway: e.Start(t, setup), server: upgrades}
}

// retryAfter is a number of seconds.
var retryAfter = regexp.MustCompile(`^[1-9][0-9]*$`)

// refusedForRestart wants a 503 that says when to come again.
func (p *peerConn) refusedForRestart(t *testing.T) {
	t.Helper()
	resp := p.answer(t)
	if after := resp.Header.Get("Retry-After"); !retryAfter.MatchString(after) {
		t.Errorf("Retry-After is %q, want a number of seconds", after)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("status is %d (%.80q, %v), want 503", resp.StatusCode, body, err)
	}
	checkSentence(t, resp, string(body))
}

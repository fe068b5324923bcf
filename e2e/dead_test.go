package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	pingEvery  = 300 * time.Millisecond
	pongWithin = 300 * time.Millisecond
)

var (
	silenceWithin = pingEvery + pongWithin + pace.Of(time.Second) // how soon the silence of an end is found

	// promptly is far below closeTimeout: what takes no longer has not waited for that.
	promptly     = pace.Of(2 * time.Second)
	closeTimeout = pace.Of(5 * time.Second)
)

// watchful is a gateway that finds dead ends soon.
var watchful = object{
	"pingInterval": pingEvery.String(), "pongTimeout": pongWithin.String(), "closeTimeout": closeTimeout.String(),
}

// mortal is a party that falls silent without its connection's end.
type mortal interface {
	party

	// fall has it say nothing more, and returns since when.
	fall(t *testing.T) time.Time

	// learn wants its close frame and the end of its connection to have come.
	learn(t *testing.T, code int, reason string)
}

// mute is a raw peer that takes all that is sent and never says a word.
type mute struct {
	server *wire.Upstream
	peer   *wire.Peer
}

// listen implements [party].
func (m *mute) listen(t *testing.T) string {
	t.Helper()
	server, err := wire.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	m.server = server
	return server.URL
}

// arrive implements [party].
func (m *mute) arrive(t *testing.T) {
	t.Helper()
	m.join(t, m.server.Accept)
}

// dial implements [party].
func (m *mute) dial(t *testing.T, addr string) {
	t.Helper()
	m.join(t, func() (*wire.Peer, error) { return wire.Dial(addr) })
}

func (m *mute) join(t *testing.T, open func() (*wire.Peer, error)) {
	t.Helper()
	peer, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	m.peer = peer
}

// fall implements [mortal].
func (m *mute) fall(*testing.T) time.Time { return time.Now() }

// learn implements [mortal].
func (m *mute) learn(t *testing.T, code int, reason string) {
	t.Helper()
	for {
		f, err := m.peer.ReadFrame()
		if err == nil && f.Opcode == wire.OpPing {
			continue
		}
		if gotCode, got, _ := f.Status(); err != nil || gotCode != code || got != reason {
			t.Errorf("the mute end got %v (%v), want close %d %q", f, err, code, reason)
		}
		break
	}
	expectEnd(t, m.peer)
}

// frozen is a process that is stopped: its kernel takes what is sent, and nobody reads it.
type frozen struct{ *outsider }

// fall implements [mortal].
func (f frozen) fall(t *testing.T) time.Time {
	t.Helper()
	f.signal(t, syscall.SIGSTOP)
	return time.Now()
}

// learn implements [mortal].
func (f frozen) learn(t *testing.T, code int, reason string) {
	t.Helper()
	f.signal(t, syscall.SIGCONT)
	f.expectFarewell(t, code, reason)
}

// deaths are the ways of an end to fall silent.
var deaths = []struct {
	name string
	make func() mortal
}{
	{"mute", func() mortal { return &mute{} }},
	{"frozen", func() mortal { return frozen{newGWS("--mute")} }}, // gws gives up where a pong comes too late
}

// TestDeadPeer has one end fall silent, in sight of every library at the other.
func TestDeadPeer(t *testing.T) { expectDeadFound(t, onlookers) }

// TestExternalDeadPeer is TestDeadPeer in sight of others.
func TestExternalDeadPeer(t *testing.T) { expectDeadFound(t, externals) }

// expectDeadFound wants each of these libraries told that the other end is dead.
func expectDeadFound(t *testing.T, libraries []library) {
	t.Helper()
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			for _, death := range deaths {
				for _, x := range libraries {
					t.Run(fmt.Sprintf("%s %s %s", death.name, end, x.name), func(t *testing.T) {
						dies(t, e, engine.Setup{Config: watchful}, end, death.make(), x.make())
					})
				}
			}
		}
	})
}

// dies opens a session and has one end die. It wants that found in time and not too soon, both ends told, both
// connections closed with nobody waiting for the dead end, and nothing left.
func dies(t *testing.T, e engine.Engine, setup engine.Setup, end string, dead mortal, live onlooker) {
	t.Helper()
	client, upstream := party(dead), party(live)
	if end == "upstream" {
		client, upstream = upstream, client
	}
	g, begun := introduce(t, e, setup, client, upstream)
	since := dead.fall(t)
	code, reason := 1001, end+" heartbeat timeout"
	if end == "upstream" {
		code = 1014
	}
	told := awaitFarewell(t, live, silenceWithin+promptly, code, reason)
	if took := told.Sub(since); took > silenceWithin {
		t.Errorf("the silence was found after %v, want at most %v", took, silenceWithin)
	}
	if took := told.Sub(begun); took < pongWithin {
		t.Errorf("the session was ended after %v, before a pong was due", took)
	}
	live.await(t, promptly, eventEnd)
	g.expectOutcome(t, "wsfw", code, reason)
	if took := time.Since(told); took > promptly {
		t.Errorf("the session took %v to end once the silence was found", took)
	}
	g.expectNothingLeft(t)
	dead.learn(t, 1001, reason)
}

// TestDeadListener has one end fall silent while small messages go on coming to it: its kernel takes them, which is no life.
func TestDeadListener(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			for _, frozen := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s reads nothing %v", end, frozen), func(t *testing.T) {
					t.Parallel() // it waits most of the time
					newGround(t, e, watchful).join(t).dies(t, end, frozen)
				})
			}
		}
	})
}

// dies has one end answer no ping, and read or not, while the other talks to it and answers all of its own. It wants the
// silence found in time.
func (j *joined) dies(t *testing.T, end string, frozen bool) {
	t.Helper()
	dead, talker := j.from(end)
	code, reason := 1001, end+" heartbeat timeout"
	if end == "upstream" {
		code = 1014
	}
	start := time.Now()
	talker.SetDeadline(start.Add(4 * silenceWithin))
	if !frozen {
		go func() { _, _ = io.Copy(io.Discard, dead) }()
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = talkOn(talker, 1<<30, 20*time.Millisecond) // until it fails
	}()
	got, why, err := takeToClose(talker, func(f wire.Frame) error {
		if f.Opcode == wire.OpPing {
			return talker.Send(pong(f))
		}
		return nil
	})
	if took := time.Since(start); took > silenceWithin {
		t.Errorf("the silence was found after %v, want at most %v", took, silenceWithin)
	}
	if err != nil || got != code || why != reason {
		t.Errorf("the talker is closed with %d %q (%v), want %d %q", got, why, err, code, reason)
	}
	talker.Close()
	<-ended
	j.expectOutcome(t, "wsfw", code, reason)
}

// TestSilenceAfterPing has an end answer no ping, or the first ones alone, where the next ping is far away: its silence is found
// pongTimeout after the first ping that it has not answered.
func TestSilenceAfterPing(t *testing.T) {
	const interval, timeout = 1500 * time.Millisecond, 300 * time.Millisecond
	limit := timeout + pace.Of(time.Second)
	if limit > interval*9/10 {
		limit = interval * 9 / 10 // or the next ping would do
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			for answered := range 3 {
				t.Run(fmt.Sprintf("%s after %d pongs", end, answered), func(t *testing.T) {
					t.Parallel() // it waits most of the time
					j := newGround(t, e, object{
						"pingInterval": interval.String(), "pongTimeout": timeout.String(), "pingTarget": end, "closeTimeout": "100ms",
					}).join(t)
					near, far := j.from(end)
					near.SetDeadline(time.Now().Add(time.Duration(answered+1)*interval + wire.Timeout))
					for range answered {
						send(t, near, pong(expectPing(t, near, end == "upstream")))
					}
					expectPing(t, near, end == "upstream")
					start := time.Now()
					far.SetDeadline(start.Add(interval + wire.Timeout))
					if _, reason, err := readToClose(far); err != nil || reason != end+" heartbeat timeout" {
						t.Errorf("the other end is closed for %q (%v)", reason, err)
					}
					if took := time.Since(start); took < timeout/2 || took > limit {
						t.Errorf("the silence was found %v after the ping, want %v", took, timeout)
					}
				})
			}
		}
	})
}

// expectNothingLeft wants no goroutine of the plugin's soon after a session.
func (g *ground) expectNothingLeft(t *testing.T) {
	t.Helper()
	await(t, closeTimeout+pace.Of(time.Second), func() string {
		return excess("stacks of the plugin", ofPlugin(goroutines(t, g.gateway)), 0)
	})
}

// patient is a gateway whose peers have time to answer on a busy machine, too.
var patient = object{"pingInterval": "100ms", "pongTimeout": pongPatience.String()}

var pongPatience = pace.Of(time.Second)

// TestThawedPeer freezes an end for several pings, but not for pongTimeout: it lives on.
func TestThawedPeer(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			t.Run(end, func(t *testing.T) {
				t.Parallel() // it waits most of the time
				live, ice := newGWS(), frozen{newGWS("--echo")}
				client, upstream := party(live), party(ice)
				if end == "client" {
					client, upstream = upstream, client
				}
				config := object{"pingInterval": "100ms", "pongTimeout": pace.Of(1500 * time.Millisecond).String()}
				g, _ := introduce(t, e, engine.Setup{Config: config}, client, upstream)
				since := ice.fall(t)
				for range 5 {
					live.await(t, wire.Timeout, eventPing)
				}
				live.say(t, "awake?")
				ice.signal(t, syscall.SIGCONT)
				t.Logf("frozen for %v", time.Since(since))
				ice.await(t, wire.Timeout, eventMessage)
				if echo := live.await(t, wire.Timeout, eventMessage); echo.Text != "awake?" {
					t.Errorf("the thawed end sends %v", echo)
				}
				live.idle(t, pace.Of(2*time.Second)) // longer than pongTimeout: what was missed is forgiven
				live.close(t, 1000, "bye")
				awaitFarewell(t, ice, wire.Timeout, 1000, "bye")
				g.expectOutcome(t, opposite(end), 1000, "bye")
			})
		}
	})
}

// TestLivePeers has the ends of sessions say nothing but pongs, for several times pongTimeout.
func TestLivePeers(t *testing.T) { liveOn(t, onlookers) }

// TestExternalLivePeers is TestLivePeers of others.
func TestExternalLivePeers(t *testing.T) { liveOn(t, externals) }

// liveOn has sessions of these libraries be silent but for pongs.
func liveOn(t *testing.T, libraries []library) {
	t.Helper()
	eachUse(t, func(t *testing.T, e engine.Engine) {
		var clients, upstreams []onlooker
		var grounds []*ground
		for i, x := range libraries {
			client, upstream := x.make(), libraries[(i+1)%len(libraries)].make()
			g, _ := introduce(t, e, engine.Setup{Config: patient}, client, upstream)
			grounds = append(grounds, g)
			clients, upstreams = append(clients, client), append(upstreams, upstream)
		}
		clients[0].idle(t, 5*pongPatience/2)
		for i, g := range grounds {
			clients[i].idle(t, 0)
			upstreams[i].idle(t, 0)
			clients[i].leave(t)
			record := g.record(t)
			if record["endedBy"] != "client" || record["code"] != 1006.0 {
				t.Errorf("the record tells %v", record)
			}
			for end, p := range pulsesOf(t, record) {
				if p.Pings < 15 || p.Pongs > p.Pings || p.Pongs < p.Pings-3 {
					t.Errorf("the record tells %+v of the %s, want many pings and a pong to each", p, end)
				}
			}
		}
	})
}

// TestMuteTalker has an end that answers no pings send messages all the time: they are a sign of life.
func TestMuteTalker(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			t.Run(end, func(t *testing.T) {
				t.Parallel() // it waits most of the time
				talker, listener := newGWS("--mute"), newInmate("gorilla")
				client, upstream := party(talker), party(listener)
				if end == "upstream" {
					client, upstream = upstream, client
				}
				g, _ := introduce(t, e, engine.Setup{Config: patient}, client, upstream)
				pace := time.NewTicker(pongPatience / 10)
				defer pace.Stop()
				for start := time.Now(); time.Since(start) < 5*pongPatience/2; <-pace.C {
					talker.say(t, "still here")
					listener.await(t, pongPatience, eventMessage)
				}
				talker.leave(t)
				record := g.record(t)
				if record["endedBy"] != end || record["code"] != 1006.0 {
					t.Errorf("the record tells %v", record)
				}
				if p := pulsesOf(t, record)[end]; p.Pings < 15 || p.Pongs > 0 {
					t.Errorf("the record tells %+v of the talker, want many pings and no pong", p)
				}
			})
		}
	})
}

// TestKilledUpstream has the upstream's process killed: its kernel closes the connection, and each client learns of it.
func TestKilledUpstream(t *testing.T) { learnOfKill(t, onlookers) }

// TestExternalKilledUpstream is TestKilledUpstream with other clients.
func TestExternalKilledUpstream(t *testing.T) { learnOfKill(t, externals) }

// learnOfKill has clients of these libraries learn that their upstream is gone.
func learnOfKill(t *testing.T, libraries []library) {
	t.Helper()
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, x := range libraries {
			t.Run(x.name, func(t *testing.T) {
				client, upstream := x.make(), newGWS()
				g, _ := introduce(t, e, engine.Setup{Config: watchful}, client, upstream)
				since := time.Now()
				upstream.kill(t)
				awaitFarewell(t, client, closeTimeout, 1014, "upstream connection lost")
				client.await(t, closeTimeout, eventEnd)
				g.expectOutcome(t, "upstream", 1006, "connection lost")
				if took := time.Since(since); took > closeTimeout+pace.Of(time.Second) {
					t.Errorf("the session took %v to end", took)
				}
				g.expectNothingLeft(t)
			})
		}
	})
}

// TestOwnPings has the ends ping each other between our pings: each of theirs is answered by the other end, and no
// answer to one of ours comes there.
func TestOwnPings(t *testing.T) {
	gorilla, gws := func() pinger { return newInmate("gorilla") }, func() pinger { return newGWS() }
	couples := []struct {
		name             string
		client, upstream func() pinger
	}{
		{"gorilla to gws", gorilla, gws},
		{"gws to gorilla", gws, gorilla},
	}
	payloads := []string{"", "hello", strings.Repeat("s", ownPing), strings.Repeat("l", 125)}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, couple := range couples {
			t.Run(couple.name, func(t *testing.T) {
				client, upstream := couple.client(), couple.upstream()
				introduce(t, e, engine.Setup{Config: object{"pingInterval": "50ms"}}, client, upstream)
				for range 3 {
					for _, payload := range payloads {
						pings(t, client, upstream, payload)
						pings(t, upstream, client, payload)
					}
				}
			})
		}
	})
}

// pings has an end ping the other once that has been pinged by us, and wants the answer to this ping alone.
func pings(t *testing.T, near, far pinger, payload string) {
	t.Helper()
	if ours := far.await(t, wire.Timeout, eventPing); len(ours.Payload) != 2*ownPing {
		t.Fatalf("nobody but us pings, and the ping is %v", ours)
	}
	near.ping(t, payload)
	want := hex.EncodeToString([]byte(payload))
	asked := far.await(t, wire.Timeout, eventPing)
	for asked.Payload != want { // but another one of ours
		asked = far.await(t, wire.Timeout, eventPing)
	}
	if got := near.await(t, wire.Timeout, eventPong); got.Payload != want {
		t.Fatalf("the pong is %v, want the payload %q", got, want)
	}
}

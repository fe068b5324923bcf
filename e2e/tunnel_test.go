package e2e

import (
	"io"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// anything is bytes of which few are frames.
func anything() []byte {
	all := append(wire.Encode(wire.Text("legal"), wire.Close(1005, "illegal"), wire.New(0xF, nil)), payload(100000)...)
	for i := range 256 {
		all = append(all, byte(i))
	}
	return all
}

// tunnelled is a record's counts in a tunnel.
func tunnelled(fromClient, fromUpstream int) (client, upstream traffic) {
	return traffic{Bytes: fromClient}, traffic{Bytes: fromUpstream}
}

// TestTunnel has both ends send bytes that are no frames, and one after the other end its stream: what the second
// still says reaches the first.
func TestTunnel(t *testing.T) {
	all, last := anything(), []byte("last words")
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"mode": "tunnel"})
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				for _, peers := range [][2]*wire.Peer{{near, far}, {far, near}} {
					if _, err := peers[0].Write(all); err != nil {
						t.Fatal(err)
					}
					expect(t, peers[1], all)
				}
				if err := near.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				expectEnd(t, far)
				if _, err := far.Write(last); err != nil {
					t.Fatal(err)
				}
				expect(t, near, last)
				far.Close()
				expectEnd(t, near)
				want := ending{EndedBy: by}
				want.FromClient, want.FromUpstream = tunnelled(len(all), len(all)+len(last))
				if by == "upstream" {
					want.FromClient, want.FromUpstream = want.FromUpstream, want.FromClient
				}
				j.expectRecord(t, want)
			})
		}
	})
}

// TestTunnelHalfCloseLingers bounds how long the second end may take after the first has ended its stream.
func TestTunnelHalfCloseLingers(t *testing.T) {
	const closeTimeout = 400 * time.Millisecond
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"mode": "tunnel", "closeTimeout": closeTimeout.String()})
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				within(t, closeTimeout, func() {
					if err := near.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					expectEnd(t, far)
					expectEnd(t, near)
				})
				j.expectRecord(t, ending{EndedBy: by})
			})
		}
	})
}

// TestTunnelReset has one end vanish in a reset: the other end's connection ends, too.
func TestTunnelReset(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"mode": "tunnel"})
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				send(t, near, wire.Text("only"))
				expect(t, far, near.Encode(wire.Text("only")))
				if err := near.Reset(); err != nil {
					t.Fatal(err)
				}
				expectEnd(t, far)
				j.expectOutcome(t, by, 0, "connection lost")
			})
		}
	})
}

// TestTunnelWriteTimeout has one end stop reading: both connections are cut.
func TestTunnelWriteTimeout(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"mode": "tunnel", "writeTimeout": blockedAfter.String()})
		for _, blocked := range ends {
			t.Run(blocked, func(t *testing.T) {
				j := g.join(t)
				deaf, sender := j.from(blocked)
				s := newStream(sender)
				start := time.Now()
				go s.run(sender)
				expectCut(t, sender)
				if took := time.Since(start); took < blockedAfter || took > foundWithin {
					t.Errorf("the blocked write was found after %v, want %v to %v", took, blockedAfter, foundWithin)
				}
				sender.Close()
				expectPrefix(t, deaf, s)
				j.expectOutcome(t, "wsfw", 0, blocked+" write timeout")
			})
		}
	})
}

// TestTunnelMoving has one end read slowly for several writeTimeouts, and the other direction idle meanwhile.
func TestTunnelMoving(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"mode": "tunnel", "writeTimeout": blockedAfter.String()})
		for _, slow := range ends {
			t.Run(slow, func(t *testing.T) { g.join(t).moves(t, slow) })
		}
	})
}

// TestTunnelIdle has a tunnel say nothing for several writeTimeouts, and then work, twice.
func TestTunnelIdle(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, object{"mode": "tunnel", "writeTimeout": "200ms"}).join(t)
		for range 2 {
			quiet(t, j.client, time.Second)
			for _, by := range ends {
				near, far := j.from(by)
				if _, err := io.WriteString(near, "hello"); err != nil {
					t.Fatal(err)
				}
				expect(t, far, []byte("hello"))
			}
		}
		j.client.Close()
		expectEnd(t, j.upstream)
		j.upstream.Close()
		want := ending{EndedBy: "client"}
		want.FromClient, want.FromUpstream = tunnelled(10, 10)
		j.expectRecord(t, want)
	})
}

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestHeavyStreams opens sessions over a hundred connections that end in every way that a stream has, several of each
// connection at a time, and wants nothing left of them.
func TestHeavyStreams(t *testing.T) {
	const connections = 100
	rounds := 3
	if soaking() {
		rounds = 100_000 / connections / len(streamEnds)
	}
	eachStream(t, func(t *testing.T, e engine.Engine) {
		s := &streamYard{ground: newGround(t, e, object{"closeTimeout": "10m", "writeTimeout": "10m"})}
		go s.serve()
		s.run(t, 2, 1) // what is made on first use is no leak
		await(t, settleTimeout, func() string {
			return excess("stacks of the plugin", ofPlugin(goroutines(t, s.gateway)), 0)
		})
		before := level{len(goroutines(t, s.gateway)), openFiles(t, s.gateway)}
		start := time.Now()
		s.run(t, connections, rounds)
		t.Logf("%d sessions over %d connections and more took %v", s.opened.Load(), connections, time.Since(start))
		before.await(t, s.gateway)
		await(t, settleTimeout, s.missing)
	})
}

// streamYard is a ground whose upstreams know by a header how to end.
type streamYard struct {
	*ground
	opened atomic.Int64
}

// missing says how many sessions have no line. One that the log has dropped, for too many came at once, another tells of.
func (s *streamYard) missing() string {
	told := 0
	for _, line := range s.gateway.Lines() {
		switch line["msg"] {
		case "websocket session":
			told++
		case "session failed":
			return fmt.Sprintf("a session failed: %v", line)
		}
		dropped, _ := line["linesDropped"].(float64)
		told += int(dropped) // which may have been a refusal's
	}
	if opened := int(s.opened.Load()); told < opened {
		return fmt.Sprintf("%d sessions have %d lines", opened, told)
	}
	return ""
}

// streamEnd is a way for a session to end, less what both ends have in common: a message goes to and fro before, and whoever
// gets a close frame answers it.
type streamEnd struct {
	name     string
	client   func(*wire.Peer) error // nil: it waits
	upstream func(*wire.Peer) error
}

// streamEnds are those that leave a connection alone.
var streamEnds = []streamEnd{
	{name: "closed by the client", client: sayBye},
	{name: "closed by the upstream", upstream: sayBye},
	{name: "RST_STREAM", client: (*wire.Peer).Reset},
	{name: "END_STREAM", client: (*wire.Peer).CloseWrite},
	{name: "RST_STREAM inside a frame", client: func(p *wire.Peer) error { return errors.Join(sayHalf(p), p.Reset()) }},
	{name: "END_STREAM inside a frame", client: func(p *wire.Peer) error { return errors.Join(sayHalf(p), p.CloseWrite()) }},
	{name: "FIN of the upstream", upstream: (*wire.Peer).Close},
	{name: "RST of the upstream", upstream: (*wire.Peer).Reset},
	{name: "FIN of the upstream inside a frame", upstream: func(p *wire.Peer) error { return errors.Join(sayHalf(p), p.Close()) }},
	{name: "a fault", client: func(p *wire.Peer) error { return p.Send(wire.New(3, nil)) }},
}

func sayBye(p *wire.Peer) error { return p.Send(wire.Close(4001, "bye")) }

// sayHalf sends a part of a frame.
func sayHalf(p *wire.Peer) error {
	return p.Send(wire.Frame{Fin: true, Opcode: wire.OpBinary, Claim: 1 << 20, Payload: payload(1 << 10)})
}

// serve runs the upstreams until there come no more.
func (s *streamYard) serve() {
	for {
		upstream, err := s.server.Accept()
		if err != nil {
			return
		}
		go func() {
			defer upstream.Close()
			f, err := upstream.ReadFrame()
			if err != nil || upstream.Send(f.Masking(false)) != nil {
				return
			}
			for _, end := range streamEnds {
				if end.name == upstream.Header.Get(wayHeader) && end.upstream != nil {
					_ = end.upstream(upstream)
				}
			}
			_ = partsWith(upstream)
		}()
	}
}

// partsWith reads until the end, and answers a close frame.
func partsWith(peer *wire.Peer) error {
	for {
		f, err := peer.ReadFrame()
		if err != nil {
			return ended(peer)
		}
		if f.Opcode == wire.OpClose {
			_ = peer.Send(wire.New(wire.OpClose, f.Payload)) // the other end may have gone
		}
	}
}

// run has as many connections at a time have so many rounds of sessions.
func (s *streamYard) run(t *testing.T, connections, rounds int) {
	t.Helper()
	var workers sync.WaitGroup
	for i := range connections {
		workers.Go(func() {
			for round := range rounds {
				if err := s.round((i+round)%2 == 0); err != nil {
					t.Errorf("connection %d, round %d: %v", i, round, err)
					return
				}
			}
		})
	}
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// round is a connection with a session of each end at a time. Another session, and a request that is refused, are on it when
// it ends; dropped tells that nobody closes the session before.
func (s *streamYard) round(dropped bool) error {
	carrier, err := connect(s.gateway)
	if err != nil {
		return err
	}
	defer carrier.Close()
	errs := make(chan error)
	for _, end := range streamEnds {
		go func() { errs <- s.visit(carrier, end) }()
	}
	var all []error
	for range streamEnds {
		all = append(all, <-errs)
	}
	var refusal *wire.Refusal
	if _, err := carrier.Dial(":protocol: foo"); !errors.As(err, &refusal) || refusal.Status != http.StatusUpgradeRequired {
		all = append(all, fmt.Errorf("another protocol: %w", err))
	}
	last, err := s.greet(carrier, "last")
	if err == nil && !dropped {
		err = errors.Join(sayBye(last), partsWith(last))
	}
	return errors.Join(append(all, err)...)
}

// greet opens a session and has a message go to and fro.
func (s *streamYard) greet(carrier wire.Carrier, way string) (*wire.Peer, error) {
	client, err := carrier.Dial(wayHeader + ": " + way)
	if err != nil {
		return nil, err
	}
	s.opened.Add(1)
	if err := client.Send(wire.Text("hello")); err != nil {
		return client, err
	}
	f, err := client.ReadFrame()
	if err == nil && string(f.Payload) != "hello" {
		err = fmt.Errorf("the answer is %v", f)
	}
	return client, err
}

// visit is a session to its end.
func (s *streamYard) visit(carrier wire.Carrier, end streamEnd) error {
	client, err := s.greet(carrier, end.name)
	if err != nil {
		return fmt.Errorf("%s: %w", end.name, err)
	}
	defer client.Close()
	if end.client != nil {
		if err := end.client(client); err != nil {
			return fmt.Errorf("%s: %w", end.name, err)
		}
	}
	if err := partsWith(client); err != nil {
		return fmt.Errorf("%s: %w", end.name, err)
	}
	return nil
}

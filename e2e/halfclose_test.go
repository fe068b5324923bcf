package e2e

import (
	"errors"
	"io"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestHalfCloseAfterClose has a peer end its stream right behind its close frame: the answer still reaches it.
func TestHalfCloseAfterClose(t *testing.T) {
	bye, answer := wire.Close(4003, "bye"), []wire.Frame{wire.Text("last"), wire.Close(4004, "answer")}
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				send(t, near, bye)
				if err := near.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				expect(t, far, near.Encode(bye))
				send(t, far, answer...)
				expect(t, near, far.Encode(answer...))
				expectEnd(t, near)
				expectEnd(t, far)
				j.expectOutcome(t, by, 4003, "bye")
			})
		}
	})
}

// TestHalfCloseOfClient is a client gone without a close frame: it has not said that it would only listen.
func TestHalfCloseOfClient(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, nil).join(t)
		send(t, j.client, wire.Text("only"))
		if err := j.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expect(t, j.upstream, j.client.Encode(wire.Text("only")))
		expectEnd(t, j.upstream)
		expectEnd(t, j.client)
		j.expectRecord(t, ending{
			EndedBy: "client", Code: 1006, Reason: "connection lost",
			FromClient: trafficOf(j.client, wire.Text("only")),
		})
	})
}

// TestHalfCloseOfUpstream is an upstream gone: the client is told, and what it says afterwards goes nowhere.
func TestHalfCloseOfUpstream(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, nil).join(t)
		send(t, j.upstream, wire.Text("only"))
		if err := j.upstream.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expect(t, j.client, wire.Encode(wire.Text("only"), wire.Close(1014, "upstream connection lost")))
		send(t, j.client, wire.Text("late"), wire.Close(1014, ""))
		expectEnd(t, j.client)
		expectEnd(t, j.upstream)
		j.expectRecord(t, ending{
			EndedBy: "upstream", Code: 1006, Reason: "connection lost",
			FromUpstream: trafficOf(j.upstream, wire.Text("only")),
		})
	})
}

// TestSimultaneousClose has both ends close before either has seen the other's frame.
func TestSimultaneousClose(t *testing.T) {
	byClient, byUpstream := wire.Close(4005, "client"), wire.Close(4006, "upstream")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for range 20 {
			j := g.join(t)
			sent := make(chan error)
			go func() { sent <- j.upstream.Send(byUpstream) }()
			send(t, j.client, byClient)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			expect(t, j.upstream, j.client.Encode(byClient))
			expect(t, j.client, byUpstream.Bytes())
			expectEnd(t, j.client)
			expectEnd(t, j.upstream)
			got := j.endingOf(t)
			first := ending{EndedBy: "client", Code: 4005, Reason: "client"}
			if got.EndedBy == "upstream" {
				first = ending{EndedBy: "upstream", Code: 4006, Reason: "upstream"}
			}
			first.FromClient, first.FromUpstream = trafficOf(j.client, byClient), trafficOf(j.upstream, byUpstream)
			if got != first {
				t.Errorf("the record tells %+v, want %+v", got, first)
			}
		}
	})
}

// TestCloseAndGone has a peer close its connection right behind its close frame, while the other end is still
// sending, so that its kernel answers with resets: the frame arrives nonetheless, and nothing after it.
func TestCloseAndGone(t *testing.T) {
	before, bye := wire.Text("before"), wire.Close(4007, "bye")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			for _, traffic := range []string{"quiet", "busy"} {
				if isInline(e) && by == "upstream" && traffic == "busy" {
					continue // Traefik's proxy drops what it has read when it finds that it cannot write
				}
				t.Run(by+" "+traffic, func(t *testing.T) {
					for range 20 {
						j := g.join(t)
						near, far := j.from(by)
						stop := func() {}
						if traffic == "busy" {
							stop = flood(far)
						}
						send(t, near, before, bye)
						near.Close()
						expect(t, far, near.Encode(before, bye))
						stop()
						send(t, far, wire.Close(4007, ""))
						expectCut(t, far)
						j.expectOutcome(t, by, 4007, "bye")
					}
				})
			}
		}
	})
}

// flood has the peer send small messages; what it returns ends that, between two of them.
func flood(peer *wire.Peer) (stop func()) {
	message := peer.Encode(wire.Binary(payload(4000)))
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for !isClosed(done) {
			if _, err := peer.Write(message); err != nil {
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// TestNothingAfterClose has an answer follow a flood: the peer that has closed gets all of it up to the answer.
func TestNothingAfterClose(t *testing.T) {
	bye, answer := wire.Close(1001, "moving on"), wire.Close(1001, "")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				stop := flood(far)
				received := make(chan error)
				go func() { received <- onlyMessagesUntilClose(near) }()
				send(t, near, bye)
				expect(t, far, near.Encode(bye))
				stop()
				send(t, far, answer)
				if err := <-received; err != nil {
					t.Error(err)
				}
				expectEnd(t, far)
				j.expectOutcome(t, by, 1001, "moving on")
			})
		}
	})
}

// onlyMessagesUntilClose reads whole messages of a flood, its close frame, and the end of the stream.
func onlyMessagesUntilClose(peer *wire.Peer) error {
	for {
		f, err := peer.ReadFrame()
		if err != nil {
			return err
		}
		if f.Opcode == wire.OpClose {
			break
		}
		if f.Opcode != wire.OpBinary || len(f.Payload) != 4000 {
			return errors.New("a flood of binary messages brought " + f.String())
		}
	}
	rest, err := io.ReadAll(peer)
	if len(rest) > 0 {
		return errors.New("something came after the close frame")
	}
	return err
}

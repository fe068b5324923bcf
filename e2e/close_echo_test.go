package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// illegal is a frame that breaks the rules.
var illegal = wire.New(0x3, nil)

// TestFaultBehindEchoes has one end talk, the other echo, and then the first break the rules before it has read anything:
// it gets all echoes that were on their way to it, and then its close frame.
func TestFaultBehindEchoes(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			for _, size := range []int{0, 100, 20000} {
				t.Run(fmt.Sprint(by, " of ", size), func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					talk := slices.Repeat([]wire.Frame{wire.Text(string(payload(size)))}, 20)
					send(t, near, talk...)
					expect(t, far, near.Encode(talk...))
					send(t, far, talk...) // and so all of it is on its way
					send(t, near, illegal)
					expectClose(t, far, by == "client", lost(opposite(by)))
					send(t, far, wire.Close(1000, ""))
					expect(t, near, far.Encode(talk...))
					j.endsByFault(t, by)
				})
			}
		}
	})
}

// endsByFault wants an offender to get its close frame next, and the session to end with its answer.
func (j *joined) endsByFault(t *testing.T, by string) {
	t.Helper()
	near, far := j.from(by)
	expectClose(t, near, by == "upstream", 1002)
	send(t, near, wire.Close(1002, ""))
	expectEnd(t, near)
	expectEnd(t, far)
	j.expectOutcome(t, "wsfw", 1002, by)
}

// TestFaultInOneWrite has one end send its last messages and break the rules with one write, while the other echoes what it
// gets until it is closed: the echoes come before the close frame.
func TestFaultInOneWrite(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				talk := slices.Repeat([]wire.Frame{wire.Text("echo me")}, 20)
				send(t, near, append(slices.Clone(talk), illegal)...)
				if err := echoToClose(far); err != nil {
					t.Fatal(err)
				}
				expect(t, near, far.Encode(talk...))
				j.endsByFault(t, by)
			})
		}
	})
}

// echoToClose sends each frame back, a close frame, too.
func echoToClose(peer *wire.Peer) error {
	for {
		f, err := peer.ReadFrame()
		if err != nil {
			return err
		}
		if err := peer.Send(f); err != nil || f.Opcode == wire.OpClose {
			return err
		}
	}
}

// TestHeavyFaultBehindBacklog has one end read nothing until all buffers on the way to it are full, and then break the rules: it
// gets whatever had been sent to it, and then its close frame.
func TestHeavyFaultBehindBacklog(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				s := newStream(far)
				sent := untilBlocked(t, far, s)
				send(t, near, illegal)
				err := together(
					func() error {
						// The message that the deadline has cut short is brought to its end.
						if _, err := far.Write(s.message[int(sent)%len(s.message):]); err != nil {
							return fmt.Errorf("sending the last message: %w", err)
						}
						code, _, err := readToClose(far)
						if err != nil || code != lost(opposite(by)) {
							return fmt.Errorf("the %s is closed with %d (%w)", opposite(by), code, err)
						}
						return far.Send(wire.Close(1000, ""))
					},
					func() error { return s.arrives(near, int(sent)/len(s.message)+1) },
				)
				if err != nil {
					t.Fatal(err)
				}
				j.endsByFault(t, by)
			})
		}
	})
}

// arrives reads so many messages of a stream.
func (s *stream) arrives(peer *wire.Peer, messages int) error {
	for i := range messages {
		if err := same(peer, s.message); err != nil {
			return fmt.Errorf("message %d of %d: %w", i, messages, err)
		}
	}
	return nil
}

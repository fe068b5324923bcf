package e2e

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestBreachByBoth has both ends break the rules at the same time: each is sent one close frame and no more, as the
// one who has broken them or as the other.
func TestBreachByBoth(t *testing.T) {
	illegal := wire.New(0x3, nil)
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for range 20 {
			j := g.join(t)
			err := together(
				func() error { return j.client.Send(wire.Text("client"), illegal) },
				func() error { return j.upstream.Send(wire.Text("upstream"), illegal) },
			)
			if err != nil {
				t.Fatal(err)
			}
			err = together(
				func() error { return oneClose(j.client, 1002, lost("client")) },
				func() error { return oneClose(j.upstream, 1002, lost("upstream")) },
			)
			if err != nil {
				t.Error(err)
			}
			j.expectOutcome(t, "wsfw", 1002, "")
		}
	})
}

// oneClose reads past what the other end has said, wants one close frame with one of the codes, and answers it.
// Nothing may follow it.
func oneClose(peer *wire.Peer, codes ...int) error {
	f, err := peer.ReadFrame()
	for err == nil && f.Opcode == wire.OpText {
		f, err = peer.ReadFrame()
	}
	code, _, ok := f.Status()
	if err != nil || !ok || !slices.Contains(codes, code) {
		return fmt.Errorf("a peer got %v (%w), want one close frame with a code of %v", f, err, codes)
	}
	if err := peer.Send(wire.Close(code, "")); err != nil {
		return err
	}
	rest, err := io.ReadAll(peer)
	if len(rest) > 0 {
		return fmt.Errorf("after the close frame a peer got %q", rest)
	}
	return err
}

// TestNoAnswerButIllegal has an end answer a close frame with an illegal one: the first is sent a close frame in place
// of the answer, the second none, for it has one.
func TestNoAnswerButIllegal(t *testing.T) {
	bye := wire.Close(4009, "bye")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				send(t, near, bye)
				expect(t, far, near.Encode(bye))
				send(t, far, wire.New(0x3, nil))
				expectClose(t, near, by == "upstream", lost(by))
				send(t, far, wire.Close(1000, "late"))
				expectEnd(t, near)
				expectEnd(t, far)
				got := j.expectOutcome(t, by, 4009, "bye")
				if frames := got.FromClient.Frames + got.FromUpstream.Frames; frames != 1 {
					t.Errorf("the record tells %+v, want one frame", got)
				}
			})
		}
	})
}

// TestNoAnswerButGone has an end end its connection where its answer is due: the first end's connection ends soon, and
// the record tells of its close frame.
func TestNoAnswerButGone(t *testing.T) {
	bye := wire.Close(4010, "bye")
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			for _, way := range vanish {
				t.Run(by+" "+way.name, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					within(t, 0, func() {
						send(t, near, bye)
						expect(t, far, near.Encode(bye))
						if err := way.how(far); err != nil {
							t.Fatal(err)
						}
						if _, err := io.ReadAll(near); err != nil {
							t.Error(err)
						}
					})
					j.expectOutcome(t, by, 4010, "bye")
				})
			}
		}
	})
}

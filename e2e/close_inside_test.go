package e2e

import (
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// unfinished is a message of which only the beginning has been sent.
type unfinished struct {
	name   string
	frames []wire.Frame // of which half the bytes are sent
}

var unfinishedMessages = []unfinished{
	{"small frame", []wire.Frame{wire.Binary(payload(100))}},
	{"large frame", []wire.Frame{wire.Binary(payload(100000))}},
	{"message of two frames", []wire.Frame{sized(wire.OpText, false, 100), sized(wire.OpContinuation, true, 100)}},
}

// leavings are the ways in which whoever has begun a message gets out of it.
var leavings = []struct {
	name string
	how  func(peer *wire.Peer, rest []byte) error
}{
	{"finishes it and answers", func(peer *wire.Peer, rest []byte) error {
		_, err := peer.Write(append(rest, peer.Encode(wire.Close(1000, ""))...))
		return err
	}},
	{"hangs up", func(peer *wire.Peer, _ []byte) error { return peer.CloseWrite() }},
	{"resets", func(peer *wire.Peer, _ []byte) error { return peer.Reset() }},
}

// TestCloseInsideMessage has one end close and go while the other is in the middle of a message: that gets the close
// frame, and the session is over when it has answered, or has gone, too.
func TestCloseInsideMessage(t *testing.T) {
	bye := wire.Close(4011, "bye")
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, patiently)
		for _, by := range ends {
			for _, m := range unfinishedMessages {
				for _, way := range vanish {
					for _, leaving := range leavings {
						t.Run(by+" goes by "+way.name+" in a "+m.name+" whose sender "+leaving.name, func(t *testing.T) {
							j := g.join(t)
							near, far := j.from(by)
							rest := begun(t, near, far, m)
							send(t, near, bye)
							expect(t, far, near.Encode(bye))
							if err := way.how(near); err != nil {
								t.Fatal(err)
							}
							if err := leaving.how(far, rest); err != nil {
								t.Fatal(err)
							}
							start := time.Now()
							j.expectOutcome(t, by, 4011, "bye")
							if took := time.Since(start); took > atOnce {
								t.Errorf("the session took %v to end", took)
							}
						})
					}
				}
			}
		}
	})
}

// begun has far begin a message and near get what has been sent of it. It returns the rest.
func begun(t *testing.T, near, far *wire.Peer, m unfinished) (rest []byte) {
	t.Helper()
	sent := far.Encode(m.frames...)
	cut := len(sent) / 2
	if _, err := far.Write(sent[:cut]); err != nil {
		t.Fatal(err)
	}
	expect(t, near, sent[:cut])
	return sent[cut:]
}

// TestCloseInsideMessageStays is the same where the end that has closed stays for the answer: it gets the rest of the
// message before that.
func TestCloseInsideMessageStays(t *testing.T) {
	bye, answer := wire.Close(4011, "bye"), wire.Close(4012, "answer")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, patiently)
		for _, by := range ends {
			for _, m := range unfinishedMessages {
				t.Run(by+" in a "+m.name, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					rest := begun(t, near, far, m)
					send(t, near, bye)
					expect(t, far, near.Encode(bye))
					rest = append(rest, far.Encode(answer)...)
					if _, err := far.Write(rest); err != nil {
						t.Fatal(err)
					}
					expect(t, near, rest)
					j.overAtOnce(t, by, 4011, "bye")
				})
			}
		}
	})
}

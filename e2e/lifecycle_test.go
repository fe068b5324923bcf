package e2e

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

// closing is a close frame that a peer may send, and what the record makes of it.
type closing struct {
	name   string
	frame  wire.Frame
	code   int
	reason string
}

// closings are the legal ones: RFC 6455 section 7.4 and the codes that IANA has registered since.
func closings() []closing {
	longest := strings.Repeat("r", 123)
	rows := []closing{
		{"no code", wire.New(wire.OpClose, nil), 1005, ""},
		{"no reason", wire.Close(1000, ""), 1000, ""},
		{"longest reason", wire.Close(1000, longest), 1000, longest},
		{"reason beyond ASCII", wire.Close(4000, "zu Ende – 終わり 🏁"), 4000, "zu Ende – 終わり 🏁"},
	}
	codes := []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	for _, code := range codes {
		name := strconv.Itoa(code)
		rows = append(rows, closing{name, wire.Close(code, "because "+name), code, "because " + name})
	}
	return rows
}

// TestCloseHandshake has either end close: the other gets that very frame, may still send until it answers, and the
// first gets that very answer. A close frame may stand between two fragments.
func TestCloseHandshake(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, by := range ends {
			for _, row := range closings() {
				t.Run(by+" "+row.name, func(t *testing.T) { g.join(t).closes(t, by, row) })
			}
		}
	})
}

func (j *joined) closes(t *testing.T, by string, row closing) {
	near, far := j.from(by)
	opening := []wire.Frame{wire.Text("before"), {Opcode: wire.OpText, Payload: []byte("frag")}, row.frame}
	answer := []wire.Frame{wire.Binary([]byte("last")), wire.Close(row.code%1000+3000, "answer")}
	send(t, near, opening...)
	expect(t, far, near.Encode(opening...))
	send(t, far, answer...)
	expect(t, near, far.Encode(answer...))
	expectEnd(t, near)
	expectEnd(t, far)
	want := ending{EndedBy: by, Code: row.code, Reason: row.reason}
	want.FromClient, want.FromUpstream = trafficOf(near, opening...), trafficOf(far, answer...)
	if by == "upstream" {
		want.FromClient, want.FromUpstream = want.FromUpstream, want.FromClient
	}
	j.expectRecord(t, want)
}

// TestCloseHungUpOn has an upstream hang up on a client's close frame: the client, which has said its last word, gets
// nothing but the end.
func TestCloseHungUpOn(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, nil).join(t)
		send(t, j.client, wire.Close(1000, "bye"))
		expect(t, j.upstream, j.client.Encode(wire.Close(1000, "bye")))
		j.upstream.Close()
		expectEnd(t, j.client)
		j.expectOutcome(t, "client", 1000, "bye")
	})
}

// partial is what a peer has sent when it vanishes.
type partial struct {
	name   string
	whole  []wire.Frame // complete frames
	begun  wire.Frame   // of which only a part is sent
	part   int          // its length
	passed int          // how much of it goes on: payload does, headers and control frames wait to be complete
}

func partials(mask bool) []partial {
	header := 2
	if mask {
		header += 4
	}
	text := wire.Text("before")
	start := wire.Frame{Opcode: wire.OpText, Payload: []byte("frag")}
	large := wire.Binary(payload(70000))
	return []partial{
		{name: "at once"},
		{name: "between messages", whole: []wire.Frame{text}},
		{name: "between fragments", whole: []wire.Frame{text, start}},
		{name: "inside a header", whole: []wire.Frame{text}, begun: text, part: 1},
		{name: "inside a long header", whole: []wire.Frame{text}, begun: large, part: 5},
		{name: "inside a ping", whole: []wire.Frame{text}, begun: wire.New(wire.OpPing, []byte("ping")), part: header + 2},
		{name: "inside a close frame", whole: []wire.Frame{text}, begun: wire.Close(1000, "bye"), part: header + 2},
		{name: "inside a small payload", whole: []wire.Frame{text}, begun: text, part: header + 3, passed: header + 3},
		{name: "inside a large payload", begun: large, part: 40000, passed: 40000},
	}
}

// sendPartial sends it and wants what goes on to arrive.
func sendPartial(t *testing.T, near, far *wire.Peer, p partial) {
	t.Helper()
	whole, begun := near.Encode(p.whole...), near.Encode(p.begun)
	if _, err := near.Write(append(whole, begun[:p.part]...)); err != nil {
		t.Fatal(err)
	}
	expect(t, far, append(near.Encode(p.whole...), begun[:p.passed]...))
}

// vanish are the ways to go without a close frame.
var vanish = []struct {
	name string
	how  func(*wire.Peer) error
}{
	{"FIN", (*wire.Peer).Close},
	{"RST", (*wire.Peer).Reset},
}

// TestClientVanishes wants the upstream's connection closed with no frame, as it would be without a proxy.
func TestClientVanishes(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, way := range vanish {
			for _, row := range partials(true) {
				t.Run(way.name+" "+row.name, func(t *testing.T) {
					j := g.join(t)
					sendPartial(t, j.client, j.upstream, row)
					if err := way.how(j.client); err != nil {
						t.Fatal(err)
					}
					expectEnd(t, j.upstream)
					got := j.expectOutcome(t, "client", 1006, "connection lost")
					expectPartial(t, got.FromClient, j.client, row)
				})
			}
		}
	})
}

// expectPartial wants the record to count what has gone on. Whether a begun frame counts is left open.
func expectPartial(t *testing.T, got traffic, near *wire.Peer, p partial) {
	t.Helper()
	want := trafficOf(near, p.whole...)
	want.Bytes += p.passed
	if p.passed > 0 {
		want.Frames, want.Messages = got.Frames, got.Messages
	}
	if got != want {
		t.Errorf("the record tells %+v, want %+v", got, want)
	}
}

// TestUpstreamVanishes wants the client told, unless it stands inside a frame.
func TestUpstreamVanishes(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for _, way := range vanish {
			for _, row := range partials(false) {
				t.Run(way.name+" "+row.name, func(t *testing.T) {
					j := g.join(t)
					sendPartial(t, j.upstream, j.client, row)
					if err := way.how(j.upstream); err != nil {
						t.Fatal(err)
					}
					j.clientLearns(t, row.passed > 0)
					got := j.expectOutcome(t, "upstream", 1006, "connection lost")
					expectPartial(t, got.FromUpstream, j.upstream, row)
				})
			}
		}
	})
}

// clientLearns wants what the client of a lost upstream is owed.
func (j *joined) clientLearns(t *testing.T, insideFrame bool) {
	t.Helper()
	if insideFrame {
		expectEnd(t, j.client)
		return
	}
	expect(t, j.client, wire.Close(1014, "upstream connection lost").Bytes())
	send(t, j.client, wire.Close(1014, ""))
	expectEnd(t, j.client)
}

// within runs wait and wants it to take between least and a second more.
func within(t *testing.T, least time.Duration, wait func()) {
	t.Helper()
	start := time.Now()
	wait()
	if took := time.Since(start); took < least || took > least+pace.Of(time.Second) {
		t.Errorf("that took %v, want %v and at most a second more", took, least)
	}
}

// TestCloseUnanswered wants a session ended closeTimeout after a close frame that nobody answers.
func TestCloseUnanswered(t *testing.T) {
	const closeTimeout = 400 * time.Millisecond
	bye := wire.Close(4001, "bye")
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"closeTimeout": closeTimeout.String()})
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				j := g.join(t)
				near, far := j.from(by)
				within(t, closeTimeout, func() {
					send(t, near, bye)
					expect(t, far, near.Encode(bye))
					expectEnd(t, near)
					expectEnd(t, far)
				})
				j.expectOutcome(t, by, 4001, "bye")
			})
		}
		t.Run("of the gateway's", func(t *testing.T) {
			j := g.join(t)
			within(t, closeTimeout, func() {
				j.upstream.Close()
				expectClose(t, j.client, false, 1014)
				expectEnd(t, j.client)
			})
			j.expectOutcome(t, "upstream", 1006, "connection lost")
		})
	})
}

// TestDataAfterClose has the peer that has closed go on sending: nothing of that arrives, whatever it is, and the
// answer still ends the session.
func TestDataAfterClose(t *testing.T) {
	bye := wire.Close(1000, "bye")
	late := map[string]func(*wire.Peer) []byte{
		"message":      func(p *wire.Peer) []byte { return p.Encode(wire.Text("late")) },
		"second close": func(p *wire.Peer) []byte { return p.Encode(wire.Close(4002, "late")) },
		"no frame":     func(*wire.Peer) []byte { return bytes.Repeat([]byte{0xFF}, 100) },
		"a lot":        func(p *wire.Peer) []byte { return p.Encode(wire.Binary(payload(1 << 20))) },
	}
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for name, bytesOf := range late {
			for _, by := range ends {
				t.Run(name+" from "+by, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					if _, err := near.Write(append(near.Encode(bye), bytesOf(near)...)); err != nil {
						t.Fatal(err)
					}
					expect(t, far, near.Encode(bye))
					// The session is over with the answer, so what follows it may meet a closed connection.
					_, _ = far.Write(append(far.Encode(bye), bytesOf(far)...))
					expect(t, near, far.Encode(bye))
					expectCut(t, near)
					expectCut(t, far)
					j.expectRecord(t, ending{
						EndedBy: by, Code: 1000, Reason: "bye",
						FromClient: trafficOf(j.client, bye), FromUpstream: trafficOf(j.upstream, bye),
					})
				})
			}
		}
	})
}

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// shortClose is the closeTimeout of cases whose peers take several of it, with pauses far below it.
	shortClose = 500 * time.Millisecond

	// slowBuffer is the receive buffer of a peer that reads slowly, so that what it leaves unread waits at the gateway.
	slowBuffer = 64 << 10
)

// backlog is what one end sends before its close frame, and how the other gets through it.
type backlog struct {
	name     string
	messages int
	size     int           // of each
	pause    time.Duration // before each is read
	talk     int           // after how many messages the reader says one
}

// backlogs take several closeTimeouts to be read, with pauses that are far below one.
var backlogs = []backlog{
	{"each acknowledged", 64, 16 << 10, 35 * time.Millisecond, 1},
	{"talked over", 64, 16 << 10, 35 * time.Millisecond, 3},
	{"of more than the buffers on the way hold", 32, 256 << 10, 60 * time.Millisecond, 1},
}

// TestCloseBehindBacklog has one end send much, then a close frame, and wait, while the other reads it slowly and says
// something now and then: that gets all of it and the close frame, and the first end all that was said and the answer. An
// upload is a backlog of the client's, a download one of the upstream's.
func TestCloseBehindBacklog(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, by := range ends {
			for _, row := range backlogs {
				t.Run(by+" "+row.name, func(t *testing.T) {
					t.Parallel() // it waits most of the time
					newGround(t, e, object{"closeTimeout": shortClose.String()}).join(t).closesBehind(t, by, row)
				})
			}
		}
	})
}

// closesBehind is one row of that.
func (j *joined) closesBehind(t *testing.T, by string, b backlog) {
	t.Helper()
	near, far := j.from(by)
	if err := far.SetReadBuffer(slowBuffer); err != nil {
		t.Fatal(err)
	}
	err := together(
		func() error { return b.send(near) },
		func() error { return b.read(far) },
		func() error { return hearTalk(near, b.messages/b.talk) },
	)
	if err != nil {
		t.Error(err)
	}
	j.expectOutcome(t, by, 1000, "done")
}

// send sends the backlog and the close frame.
func (b backlog) send(peer *wire.Peer) error {
	message := peer.Encode(wire.Binary(payload(b.size)))
	for i := range b.messages {
		if _, err := peer.Write(message); err != nil {
			return fmt.Errorf("sending message %d: %w", i, err)
		}
	}
	return peer.Send(wire.Close(1000, "done"))
}

// read reads both slowly, talks meanwhile, and answers.
func (b backlog) read(peer *wire.Peer) error {
	pace := time.NewTicker(b.pause)
	defer pace.Stop()
	message := payload(b.size)
	for i := range b.messages {
		<-pace.C
		f, err := peer.ReadFrame()
		if err != nil || f.Opcode != wire.OpBinary || !bytes.Equal(f.Payload, message) {
			return fmt.Errorf("message %d of the backlog is %v (%w)", i, f, err)
		}
		if (i+1)%b.talk == 0 {
			if err := peer.Send(wire.Text("talk")); err != nil {
				return fmt.Errorf("saying something after message %d: %w", i, err)
			}
		}
	}
	f, err := peer.ReadFrame()
	if code, reason, _ := f.Status(); err != nil || code != 1000 || reason != "done" {
		return fmt.Errorf("behind the backlog came %v (%w), want its close frame", f, err)
	}
	return errors.Join(peer.Send(wire.Close(1000, "")), endOf(peer))
}

// hearTalk reads so many messages of the other end's, its answer to a close frame, and the end.
func hearTalk(peer *wire.Peer, messages int) error {
	for i := range messages {
		if f, err := peer.ReadFrame(); err != nil || f.Opcode != wire.OpText || string(f.Payload) != "talk" {
			return fmt.Errorf("after %d of %d messages came %v (%w)", i, messages, f, err)
		}
	}
	f, err := peer.ReadFrame()
	if code, reason, _ := f.Status(); err != nil || code != 1000 || reason != "" {
		return fmt.Errorf("after all %d messages came %v (%w), want the answer to the close frame", messages, f, err)
	}
	return endOf(peer)
}

// endOf is nil where the connection ends with nothing further, in order.
func endOf(peer *wire.Peer) error {
	rest, err := io.ReadAll(peer)
	if len(rest) > 0 {
		return fmt.Errorf("before the end came %.40x", rest)
	}
	return err
}

// TestCloseTalkedOver has one end close and the other go on talking for several closeTimeouts before it answers: all that
// it has said arrives, and the answer.
func TestCloseTalkedOver(t *testing.T) {
	const messages, pause = 50, 40 * time.Millisecond
	bye := wire.Close(1000, "done")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, by := range ends {
			t.Run(by, func(t *testing.T) {
				t.Parallel() // it waits most of the time
				j := newGround(t, e, object{"closeTimeout": shortClose.String()}).join(t)
				near, far := j.from(by)
				send(t, near, bye)
				expect(t, far, near.Encode(bye))
				err := together(
					func() error { return talkOn(far, messages, pause) },
					func() error { return hearTalk(near, messages) },
				)
				if err != nil {
					t.Error(err)
				}
				expectEnd(t, far)
				j.expectOutcome(t, by, 1000, "done")
			})
		}
	})
}

// talkOn says so many messages, and answers a close frame.
func talkOn(peer *wire.Peer, messages int, pause time.Duration) error {
	pace := time.NewTicker(pause)
	defer pace.Stop()
	for i := range messages {
		<-pace.C
		if err := peer.Send(wire.Text("talk")); err != nil {
			return fmt.Errorf("saying message %d: %w", i, err)
		}
	}
	return peer.Send(wire.Close(1000, ""))
}

// TestCloseFallsSilent has the other end talk on for a while and then say nothing more: closeTimeout after its last word
// the session is over.
func TestCloseFallsSilent(t *testing.T) {
	const pause = 50 * time.Millisecond
	bye := wire.Close(4001, "bye")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, by := range ends {
			for _, messages := range []int{0, 20} {
				t.Run(by+" after "+strconv.Itoa(messages), func(t *testing.T) {
					t.Parallel() // it waits most of the time
					j := newGround(t, e, object{"closeTimeout": shortClose.String()}).join(t)
					near, far := j.from(by)
					send(t, near, bye)
					expect(t, far, near.Encode(bye))
					pace := time.NewTicker(pause)
					defer pace.Stop()
					for range messages {
						send(t, far, wire.Text("talk"))
						expect(t, near, far.Encode(wire.Text("talk")))
						<-pace.C
					}
					last := time.Now()
					expectEnd(t, near)
					expectEnd(t, far)
					if took := time.Since(last); took < shortClose/2 || took > shortClose+soon {
						t.Errorf("it was over %v after the last word, want %v", took, shortClose)
					}
					j.expectOutcome(t, by, 4001, "bye")
				})
			}
		}
	})
}

// cause is why the gateway closes a session.
type cause struct {
	name   string
	config object
	bad    string // the end that breaks the rules, or none
	codes  [2]int // what the client is told, and the upstream
	record int    // what the record tells
}

var causes = []cause{
	{"lifetime", object{"maxLifetime": "300ms"}, "", [2]int{1001, 1001}, 1001},
	{"fault of client", nil, "client", [2]int{1002, 1001}, 1002},
	{"fault of upstream", nil, "upstream", [2]int{1014, 1002}, 1002},
}

// TestCloseOfGatewayTalkedOver has the gateway close a session of which an end goes on sending, and answers nothing ever.
// It is heard out for a while, and no longer.
func TestCloseOfGatewayTalkedOver(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, c := range causes {
			for _, talker := range ends {
				t.Run(c.name+" by "+talker, func(t *testing.T) {
					t.Parallel() // it waits most of the time
					config := object{"closeTimeout": shortClose.String()}
					for key, value := range c.config {
						config[key] = value
					}
					newGround(t, e, config).join(t).talksForEver(t, c, talker)
				})
			}
		}
	})
}

// talksForEver is one row of that.
func (j *joined) talksForEver(t *testing.T, c cause, talker string) {
	t.Helper()
	if c.bad != "" {
		near, _ := j.from(c.bad)
		send(t, near, wire.New(0x3, nil))
	}
	near, far := j.from(talker)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = talkOn(near, 1<<30, 20*time.Millisecond) // until it fails
	}()
	codes := map[string]int{"client": c.codes[0], "upstream": c.codes[1]}
	told := time.Now()
	for end, peer := range map[string]*wire.Peer{talker: near, opposite(talker): far} {
		if code, _, err := readToClose(peer); err != nil || code != codes[end] {
			t.Errorf("the %s was closed with %d (%v), want %d", end, code, err, codes[end])
		}
	}
	expectCut(t, far)
	expectCut(t, near)
	<-ended
	if took := time.Since(told); took > 4*shortClose+soon {
		t.Errorf("the session took %v to end, want %v at most", took, 4*shortClose)
	}
	j.expectOutcome(t, "wsfw", c.record, "")
}

// TestCloseAfterMessage has an upstream say something, and then leave the client's close frame without an answer: the session
// ends after closeTimeout once, for nothing flows any more.
func TestCloseAfterMessage(t *testing.T) {
	const closeTimeout = 2 * time.Second
	limit := closeTimeout + pace.Of(time.Second)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, object{"closeTimeout": closeTimeout.String()}).join(t)
		send(t, j.upstream, wire.Text("hi"))
		expect(t, j.client, wire.Encode(wire.Text("hi")))
		start := time.Now()
		send(t, j.client, wire.Close(1000, "bye"))
		expectEnd(t, j.client)
		if took := time.Since(start); took > limit {
			t.Errorf("the client's connection is closed after %v, want %v", took, closeTimeout)
		}
		j.expectOutcome(t, "client", 1000, "bye")
	})
}

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// hall is a gateway with a gorilla server behind it, which hands each connection to the test.
type hall struct {
	gateway *engine.Gateway
	arrived chan *gorilla.Conn
}

func newHall(t *testing.T, e engine.Engine, options object) *hall {
	t.Helper()
	h := &hall{arrived: make(chan *gorilla.Conn)}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		upgrader := gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		conn, err := upgrader.Upgrade(rw, req, nil)
		if err == nil { // else Upgrade has answered, and the client fails
			h.arrived <- conn
		}
	}))
	t.Cleanup(server.Close)
	config := object{"upstreamEndpoint": server.URL}
	maps.Copy(config, options)
	h.gateway = e.Start(t, engine.Setup{Config: config})
	return h
}

// talker is one end of a conversation.
type talker struct {
	*gorilla.Conn
	name  string
	pings atomic.Int64 // sent
	pongs int64        // got; belongs to whoever reads
}

// pair opens one session, which is to be over after patience, and names its ends.
func (h *hall) pair(t *testing.T, name string, patience time.Duration) (client, upstream *talker) {
	t.Helper()
	conn, _, err := gorilla.DefaultDialer.Dial("ws://"+h.gateway.Addr+"/hall", nil)
	if err != nil {
		t.Fatal(err)
	}
	client = &talker{Conn: conn, name: name + " client"}
	upstream = &talker{Conn: <-h.arrived, name: name + " upstream"}
	for _, end := range []*talker{client, upstream} {
		t.Cleanup(func() { end.Close() })
		end.SetReadDeadline(time.Now().Add(patience))
		end.SetWriteDeadline(time.Now().Add(patience))
	}
	return client, upstream
}

// message is the i-th that the talker of that name says; their lengths take all small forms.
func message(name string, i int) []byte {
	return fmt.Appendf(nil, "%s says %d %s", name, i, strings.Repeat("-", i%300))
}

// over is what a talker says last.
const over = "over"

// speak says messages for as long as there are more, and that it was all.
func (x *talker) speak(more func(i int) bool) error {
	i := 0
	for ; more(i); i++ {
		if err := x.WriteMessage(gorilla.TextMessage, message(x.name, i)); err != nil {
			return fmt.Errorf("%s, message %d: %w", x.name, i, err)
		}
	}
	return x.WriteMessage(gorilla.TextMessage, []byte(over))
}

// listen wants the other end's messages, to the last, and control frames of its own session and the gateway only.
func (x *talker) listen(other string) error {
	var strange error
	x.SetPingHandler(func(data string) error {
		if data != other+" pings" && len(data) != ownPing {
			strange = fmt.Errorf("%s got ping %q", x.name, data)
		}
		// As gorilla's own handler does, but that gives a busy machine only a second.
		err := x.WriteControl(gorilla.PongMessage, []byte(data), time.Now().Add(wire.Timeout))
		if errors.Is(err, gorilla.ErrCloseSent) {
			return nil
		}
		return err
	})
	x.SetPongHandler(func(data string) error {
		if data != x.name+" pings" {
			strange = fmt.Errorf("%s got pong %q", x.name, data)
		}
		x.pongs++
		return nil
	})
	for i := 0; ; i++ {
		_, got, err := x.ReadMessage()
		if err != nil {
			return fmt.Errorf("%s, message %d: %w", x.name, i, err)
		}
		if string(got) == over {
			return strange
		}
		if want := message(other, i); !bytes.Equal(got, want) {
			return fmt.Errorf("%s got %.60q, want %.60q", x.name, got, want)
		}
	}
}

// settle wants every ping answered. The other end answers all that it has been sent before it reads the first word, and
// only then says its second.
func (x *talker) settle() error {
	for range 2 {
		if err := x.WriteMessage(gorilla.TextMessage, []byte(over)); err != nil {
			return fmt.Errorf("%s settles: %w", x.name, err)
		}
		if _, got, err := x.ReadMessage(); err != nil || string(got) != over {
			return fmt.Errorf("%s settles, and gets %.60q (%w)", x.name, got, err)
		}
	}
	if sent := x.pings.Load(); sent != x.pongs {
		return fmt.Errorf("%s sent %d pings and got %d pongs", x.name, sent, x.pongs)
	}
	return nil
}

// mostPings is how many pings either end sends: with the pongs to the other's, and to the gateway's, a client stays below
// the 1,000 control frames that it may send at once.
const mostPings = 300

// ping pings at a pace until stop is closed, or there have been mostPings.
func (x *talker) ping(stop <-chan struct{}, pace time.Duration) error {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-ticker.C:
		}
		if x.pings.Add(1) > mostPings {
			x.pings.Add(-1)
			<-stop
			return nil
		}
		err := x.WriteControl(gorilla.PingMessage, []byte(x.name+" pings"), time.Now().Add(wire.Timeout))
		if err != nil {
			return fmt.Errorf("%s pings: %w", x.name, err)
		}
	}
}

// topic is what a conversation is like.
type topic struct {
	more    func(i int) bool // whether there is an i-th message
	pingers int              // goroutines at each end that ping
	pace    time.Duration    // of each of them
}

// first tells of so many messages that there are more.
func first(n int) func(int) bool { return func(i int) bool { return i < n } }

// discuss has both ends say messages and ping at the same time, and close.
func discuss(client, upstream *talker, about topic) error {
	var talking, pinging sync.WaitGroup
	errs := make(chan error, 4+2*about.pingers)
	stop := make(chan struct{})
	do := func(group *sync.WaitGroup, act func() error) {
		group.Add(1)
		go func() {
			defer group.Done()
			errs <- act()
		}()
	}
	for _, pair := range [][2]*talker{{client, upstream}, {upstream, client}} {
		x, other := pair[0], pair[1].name
		do(&talking, func() error { return x.speak(about.more) })
		do(&talking, func() error { return x.listen(other) })
		for range about.pingers {
			do(&pinging, func() error { return x.ping(stop, about.pace) })
		}
	}
	talking.Wait()
	close(stop)
	pinging.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	if err := together(client.settle, upstream.settle); err != nil {
		return err
	}
	return part(client, upstream)
}

// part closes a conversation.
func part(client, upstream *talker) error {
	bye := gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "bye")
	if err := client.WriteControl(gorilla.CloseMessage, bye, time.Now().Add(wire.Timeout)); err != nil {
		return err
	}
	for _, x := range []*talker{upstream, client} {
		_, got, err := x.ReadMessage()
		if !gorilla.IsCloseError(err, gorilla.CloseNormalClosure) {
			return fmt.Errorf("%s got %.60q (%w), want the close frame", x.name, got, err)
		}
	}
	return nil
}

// TestConversation has both ends of one session talk and ping as fast as they can.
func TestConversation(t *testing.T) {
	const messages = 20000
	eachUse(t, func(t *testing.T, e engine.Engine) {
		h := newHall(t, e, nil)
		client, upstream := h.pair(t, "one", 3*wire.Timeout)
		if err := discuss(client, upstream, topic{first(messages), 3, time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		if client.pongs == 0 || upstream.pongs == 0 {
			t.Errorf("the client got %d pongs, the upstream %d, want some", client.pongs, upstream.pongs)
		}
		record := h.gateway.WaitRecord(t)
		for _, direction := range []string{"fromClient", "fromUpstream"} {
			if sum, _ := record[direction].(map[string]any); sum["messages"] != float64(messages+3) {
				t.Errorf("%s is %v, want %d messages and 3 to end with", direction, sum, messages)
			}
		}
	})
}

// TestHeavyManyConversations wants each of many sessions to get its own messages and control frames only.
func TestHeavyManyConversations(t *testing.T) {
	const sessions, messages = 50, 200
	eachUse(t, func(t *testing.T, e engine.Engine) {
		h := newHall(t, e, nil)
		h.discussAll(t, sessions, 3*wire.Timeout, topic{first(messages), 1, time.Millisecond})
		for range sessions {
			checkClosed(t, h.gateway.WaitRecord(t))
		}
	})
}

// discussAll holds that many conversations side by side.
func (h *hall) discussAll(t *testing.T, sessions int, patience time.Duration, about topic) {
	t.Helper()
	errs := make(chan error, sessions)
	var all [][2]*talker
	for i := range sessions {
		client, upstream := h.pair(t, fmt.Sprintf("session %d", i), patience)
		all = append(all, [2]*talker{client, upstream})
	}
	for _, pair := range all {
		go func() { errs <- discuss(pair[0], pair[1], about) }()
	}
	for range all {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// checkClosed wants a conversation to have been closed by the client.
func checkClosed(t *testing.T, record map[string]any) {
	t.Helper()
	if record["code"] != 1000.0 || record["endedBy"] != "client" {
		t.Errorf("a record tells %v", record)
	}
}

// TestHeavyPingedConversations has many sessions pinged all the time while both ends talk, and ping each other: not a word of
// theirs is lost, every ping of theirs is answered by the other end, and of the gateway's own no pong reaches anyone.
func TestHeavyPingedConversations(t *testing.T) {
	// A hundred sessions at this pace leave a small machine some room.
	const sessions, talkPace = 100, 20 * time.Millisecond
	during := 5 * time.Second
	if soaking() {
		during = 10 * time.Minute
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		h := newHall(t, e, object{"pingInterval": "50ms", "pongTimeout": "10s"})
		until := sync.OnceValue(func() time.Time { return time.Now().Add(during) })
		more := func(int) bool {
			<-time.After(talkPace)
			return time.Now().Before(until())
		}
		h.discussAll(t, sessions, during+3*wire.Timeout, topic{more, 1, talkPace})
		for range sessions {
			record := h.gateway.WaitRecord(t)
			checkClosed(t, record)
			told := pulsesOf(t, record)
			for _, end := range ends {
				// On a busy machine the last few are still under way at the end.
				if p := told[end]; p.Pongs < p.Pings*3/4 || p.Pongs > p.Pings || p.Pings < int(during/time.Second) {
					t.Fatalf("a record tells %v", record["heartbeat"])
				}
			}
		}
	})
}

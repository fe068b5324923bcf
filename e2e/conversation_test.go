package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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

func newHall(t *testing.T, e engine.Engine) *hall {
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
	h.gateway = e.Start(t, engine.Setup{Config: config})
	return h
}

// talker is one end of a conversation.
type talker struct {
	*gorilla.Conn
	name  string
	pongs int // belongs to listen
}

// pair opens one session, and names its ends.
func (h *hall) pair(t *testing.T, name string) (client, upstream *talker) {
	t.Helper()
	conn, _, err := gorilla.DefaultDialer.Dial("ws://"+h.gateway.Addr+"/hall", nil)
	if err != nil {
		t.Fatal(err)
	}
	client = &talker{Conn: conn, name: name + " client"}
	upstream = &talker{Conn: <-h.arrived, name: name + " upstream"}
	for _, end := range []*talker{client, upstream} {
		t.Cleanup(func() { end.Close() })
		end.SetReadDeadline(time.Now().Add(3 * wire.Timeout))
		end.SetWriteDeadline(time.Now().Add(3 * wire.Timeout))
	}
	return client, upstream
}

// message is the i-th that the talker of that name says; their lengths take all small forms.
func message(name string, i int) []byte {
	return fmt.Appendf(nil, "%s says %d %s", name, i, strings.Repeat("-", i%300))
}

func (x *talker) speak(n int) error {
	for i := range n {
		if err := x.WriteMessage(gorilla.TextMessage, message(x.name, i)); err != nil {
			return fmt.Errorf("%s, message %d: %w", x.name, i, err)
		}
	}
	return nil
}

// listen wants n messages of the other end's, and control frames of its own session only.
func (x *talker) listen(other string, n int) error {
	var strange error
	answer := x.PingHandler()
	x.SetPingHandler(func(data string) error {
		if data != other+" pings" {
			strange = fmt.Errorf("%s got ping %q", x.name, data)
		}
		return answer(data)
	})
	x.SetPongHandler(func(data string) error {
		if data != x.name+" pings" {
			strange = fmt.Errorf("%s got pong %q", x.name, data)
		}
		x.pongs++
		return nil
	})
	for i := range n {
		_, got, err := x.ReadMessage()
		if err != nil {
			return fmt.Errorf("%s, message %d: %w", x.name, i, err)
		}
		if want := message(other, i); !bytes.Equal(got, want) {
			return fmt.Errorf("%s got %.60q, want %.60q", x.name, got, want)
		}
	}
	return strange
}

// ping pings every millisecond until stop is closed.
func (x *talker) ping(stop <-chan struct{}) error {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-pace.C:
		}
		err := x.WriteControl(gorilla.PingMessage, []byte(x.name+" pings"), time.Now().Add(wire.Timeout))
		if err != nil {
			return fmt.Errorf("%s pings: %w", x.name, err)
		}
	}
}

// discuss has both ends say n messages at the same time, with that many goroutines of each pinging, and close.
func discuss(client, upstream *talker, n, pingers int) error {
	var talking, pinging sync.WaitGroup
	errs := make(chan error, 4+2*pingers)
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
		do(&talking, func() error { return x.speak(n) })
		do(&talking, func() error { return x.listen(other, n) })
		for range pingers {
			do(&pinging, func() error { return x.ping(stop) })
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
	return errors.Join(append(all, part(client, upstream))...)
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
	const messages, pingers = 20000, 3
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		h := newHall(t, e)
		client, upstream := h.pair(t, "one")
		if err := discuss(client, upstream, messages, pingers); err != nil {
			t.Fatal(err)
		}
		if client.pongs == 0 || upstream.pongs == 0 {
			t.Errorf("the client got %d pongs, the upstream %d, want some", client.pongs, upstream.pongs)
		}
		record := h.gateway.WaitRecord(t)
		for _, direction := range []string{"fromClient", "fromUpstream"} {
			if sum, _ := record[direction].(map[string]any); sum["messages"] != float64(messages) {
				t.Errorf("%s is %v, want %d messages", direction, sum, messages)
			}
		}
	})
}

// TestManyConversations wants each of many sessions to get its own messages and control frames only.
func TestManyConversations(t *testing.T) {
	const sessions, messages = 50, 200
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		h := newHall(t, e)
		errs := make(chan error, sessions)
		for i := range sessions {
			client, upstream := h.pair(t, fmt.Sprintf("session %d", i))
			go func() { errs <- discuss(client, upstream, messages, 1) }()
		}
		for range sessions {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		for range sessions {
			if record := h.gateway.WaitRecord(t); record["code"] != 1000.0 || record["endedBy"] != "client" {
				t.Errorf("a record tells %v", record)
			}
		}
	})
}

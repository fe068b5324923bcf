package e2e

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// party is one end of a session, made by one call of listen or dial.
type party interface {
	// listen makes it an upstream for one session and returns its ws:// or http:// URL.
	listen(t *testing.T) (url string)

	// arrive waits until the upstream has its session.
	arrive(t *testing.T)

	// dial makes it a client of the gateway at addr, and waits for its session.
	dial(t *testing.T, addr string)
}

// onlooker is a party that speaks through a library of somebody else's. It reads all the time, answers pings and close
// frames as its library does, and tells what that has made of what came.
type onlooker interface {
	party

	// await returns the next event of one of these kinds, and passes over all others.
	await(t *testing.T, limit time.Duration, kinds ...string) event

	// idle wants nothing but pings and pongs to happen for a time.
	idle(t *testing.T, during time.Duration)

	// leave ends the connection without a close frame.
	leave(t *testing.T)
}

// pinger is an onlooker that tells of pings and pongs and can ping, too.
type pinger interface {
	onlooker
	ping(t *testing.T, payload string)
}

// library makes onlookers.
type library struct {
	name string
	make func() onlooker
}

// onlookers are those that need Go alone.
var onlookers = []library{
	{"gorilla", func() onlooker { return newInmate("gorilla") }},
	{"coder", func() onlooker { return newInmate("coder") }},
	{"gws", func() onlooker { return newGWS() }},
}

// externals are onlookers that need more than Go.
var externals = []library{
	{"node", func() onlooker { return newNode() }},
	{"python", func() onlooker { return newPython() }},
}

// Kinds of events.
const (
	eventListening = "listening"
	eventOpen      = "open"
	eventMessage   = "message"
	eventPing      = "ping"
	eventPong      = "pong"
	eventClose     = "close" // a close frame has come
	eventError     = "error"
	eventEnd       = "end" // the connection has ended

	eventUpgrade    = "upgrade"    // of socket.io, from polling; Text names what to
	eventSubscribed = "subscribed" // the server sends messages from now on
)

// event is what an onlooker tells.
type event struct {
	Kind    string `json:"event"`
	Port    int    `json:"port,omitempty"`    // of listening
	Text    string `json:"text,omitempty"`    // of a text message or an error
	Payload string `json:"payload,omitempty"` // of a ping, a pong or a binary message, in hexadecimal
	Code    int    `json:"code,omitempty"`    // of close
	Reason  string `json:"reason,omitempty"`  // of close

	at time.Time
}

// String describes the event in a test's message.
func (e event) String() string {
	text, _ := json.Marshal(e) // the fields are what JSON can say
	return string(text)
}

// farewell is what an onlooker tells of a close frame. gorilla does not know 1014, takes it for a breach of the
// protocol, and keeps its reason to itself.
func farewell(x onlooker, code int, reason string) event {
	if i, ok := x.(*inmate); ok && i.library.name == "gorilla" && code == 1014 {
		return event{Kind: eventError, Text: "websocket: bad close code 1014"}
	}
	return event{Kind: eventClose, Code: code, Reason: reason}
}

// awaitFarewell wants the next thing but pings and pongs to be this close frame, and returns when it came.
func awaitFarewell(t *testing.T, x onlooker, limit time.Duration, code int, reason string) time.Time {
	t.Helper()
	got := x.await(t, limit, eventMessage, eventClose, eventError, eventEnd)
	at := got.at
	got.at = time.Time{}
	if want := farewell(x, code, reason); got != want {
		t.Errorf("the onlooker tells %v, want %v", got, want)
	}
	return at
}

// journal holds the events of an onlooker until the test looks at them. It has room for all that a test lets happen,
// for an onlooker that waits for the test would read no more.
type journal struct{ events chan event }

func newJournal() journal { return journal{make(chan event, 10000)} }

func (j journal) note(e event) {
	e.at = time.Now()
	j.events <- e
}

// await implements [onlooker].
func (j journal) await(t *testing.T, limit time.Duration, kinds ...string) event {
	t.Helper()
	var passed []event
	for timeout := time.After(limit); ; {
		select {
		case e, ok := <-j.events:
			if ok && slices.Contains(kinds, e.Kind) {
				return e
			}
			if !ok || e.Kind == eventEnd {
				t.Fatalf("the onlooker has ended before any of %v; it told %v", kinds, passed)
			}
			passed = append(passed, e)
		case <-timeout:
			t.Fatalf("none of %v within %v; the onlooker told %v", kinds, limit, passed)
		}
	}
}

// idle implements [onlooker].
func (j journal) idle(t *testing.T, during time.Duration) {
	t.Helper()
	for timeout := time.After(during); ; {
		select {
		case e := <-j.events:
			if e.Kind != eventPing && e.Kind != eventPong {
				t.Fatalf("the idle onlooker tells %v", e)
			}
		case <-timeout:
			return
		}
	}
}

// arrive implements [party].
func (j journal) arrive(t *testing.T) {
	t.Helper()
	j.await(t, wire.Timeout, eventOpen)
}

// inmate is an onlooker in this process.
type inmate struct {
	journal
	library forwardLibrary
	speaker forwardSpeaker // from the event open on
}

func newInmate(library string) *inmate {
	at := slices.IndexFunc(forwardLibraries, func(l forwardLibrary) bool { return l.name == library })
	return &inmate{journal: newJournal(), library: forwardLibraries[at]}
}

// listen implements [party].
func (i *inmate) listen(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		speaker, err := i.library.take(t.Context(), rw, req)
		if err != nil {
			i.note(event{Kind: eventError, Text: err.Error()})
			return
		}
		i.watch(speaker)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// dial implements [party].
func (i *inmate) dial(t *testing.T, addr string) {
	t.Helper()
	speaker, _, err := i.library.dial(t.Context(), "ws://"+addr+"/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(speaker.quit)
	go i.watch(speaker)
	i.arrive(t)
}

// watch reads until the session's end.
func (i *inmate) watch(speaker forwardSpeaker) {
	i.speaker = speaker
	defer speaker.quit()
	conn := i.gorilla()
	if conn != nil {
		conn.SetReadDeadline(time.Now().Add(3 * wire.Timeout))
		i.hearControls(conn)
	}
	i.note(event{Kind: eventOpen})
	for {
		binary, message, err := speaker.hear()
		if err != nil {
			i.noteEnd(speaker.ended(err), conn)
			return
		}
		if binary {
			i.note(event{Kind: eventMessage, Payload: hex.EncodeToString(message)})
		} else {
			i.note(event{Kind: eventMessage, Text: string(message)})
		}
	}
}

// noteEnd waits for the other end to close the connection where that is gorilla's; coder has closed its own by itself.
func (i *inmate) noteEnd(end forwardEnd, conn *gorilla.Conn) {
	if end.code != 0 {
		i.note(event{Kind: eventClose, Code: end.code, Reason: end.reason})
	} else {
		i.note(event{Kind: eventError, Text: end.reason})
	}
	if conn != nil {
		_, _ = io.Copy(io.Discard, conn.NetConn()) // in whichever way it ends
	}
	i.note(event{Kind: eventEnd})
}

// gorilla is the connection of an inmate of that name, nil of any other.
func (i *inmate) gorilla() *gorilla.Conn {
	if speaker, ok := i.speaker.(gorillaSpeaker); ok {
		return speaker.conn
	}
	return nil
}

// hearControls has the connection tell of pings and pongs; it answers pings as it did before.
func (i *inmate) hearControls(conn *gorilla.Conn) {
	answer := conn.PingHandler()
	conn.SetPingHandler(func(data string) error {
		i.note(event{Kind: eventPing, Payload: hex.EncodeToString([]byte(data))})
		return answer(data)
	})
	conn.SetPongHandler(func(data string) error {
		i.note(event{Kind: eventPong, Payload: hex.EncodeToString([]byte(data))})
		return nil
	})
}

// ping implements [pinger], for gorilla alone: coder makes up its pings' payloads.
func (i *inmate) ping(t *testing.T, payload string) {
	t.Helper()
	deadline := time.Now().Add(wire.Timeout)
	if err := i.gorilla().WriteControl(gorilla.PingMessage, []byte(payload), deadline); err != nil {
		t.Fatal(err)
	}
}

// leave implements [onlooker].
func (i *inmate) leave(*testing.T) { i.speaker.quit() }

// introduce opens a session of two parties by a gateway of its own. Begun is a moment before that.
func introduce(t *testing.T, e engine.Engine, s engine.Setup, client, upstream party) (g *ground, begun time.Time) {
	t.Helper()
	config := object{"upstreamEndpoint": upstream.listen(t)}
	maps.Copy(config, s.Config)
	s.Config = config
	g = &ground{gateway: e.Start(t, s), owed: 1}
	begun = time.Now()
	client.dial(t, g.gateway.Addr)
	upstream.arrive(t)
	return g, begun
}

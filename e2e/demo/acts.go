package main

import (
	"fmt"
	"slices"

	"github.com/wsfw/wsfw/e2e/wire"
)

// act is what one end of a live session can be told to do, with wsfw and without. The page has a button for each, and the
// test holds the plugin to what it promises.
type act struct {
	ID    string `json:"id"`
	Side  string `json:"side"` // whose act it is
	Title string `json:"title"`
	Text  string `json:"text"`

	// Close codes that come of it; 0 where no close frame does.
	Client   int `json:"client"`
	Upstream int `json:"upstream"`

	// Waits are what it waits for, one after the other, before anything comes of it.
	Waits []wait `json:"waits,omitempty"`

	Native fate `json:"native"`

	do func(e *end) error
}

// fate is what comes of an act without wsfw.
type fate struct {
	Open bool   `json:"open"` // nothing: the session stays
	Text string `json:"text"`

	// Close codes, as in an act.
	Client   int `json:"client"`
	Upstream int `json:"upstream"`
}

// wait is an option whose time has to pass.
type wait struct {
	Option string  `json:"option"`
	Value  string  `json:"value"` // as it is written
	For    string  `json:"for"`   // what is waited for, in words
	MS     float64 `json:"ms"`
}

// wait is that for one of the route's options.
func (s scenario) wait(option, what string) wait {
	return wait{Option: option, Value: s.option(option), For: what, MS: milliseconds(s.duration(option))}
}

// The sides of a session.
const (
	clientSide   = "client"
	upstreamSide = "upstream"
)

// liveRoute is the middleware under which live sessions run. It is no scenario.
var liveRoute = scenario{ID: "live", YAML: `
upstreamEndpoint: ws://PLAIN/live
pingInterval: 1s
pongTimeout: 2s
maxMessageSize: 64KiB
messageRate: 20
validate: utf8
`}

// flood is more messages than the route's messageRate lets through at once.
const flood = 40

// acts is the whole list, in the order of the page.
func acts() []act {
	return append(clientActs(), upstreamActs()...)
}

func clientActs() []act {
	return ofSide(clientSide, []act{{
		ID: "silent", Title: "Stop answering pings",
		Text:   "The connection stays open, as that of a phone without a network does.",
		Client: 1001, Upstream: 1001,
		Waits:  silence(),
		Native: fate{Open: true, Text: "The upstream keeps a session with nobody at its other end."},
		do:     (*end).fallSilent,
	}, {
		ID: "opcode", Title: "Send a bad frame",
		Text:   "An opcode that RFC 6455 reserves. It never reaches the upstream.",
		Client: 1002, Upstream: 1001,
		Native: fate{Open: true, Text: "The bad frame has reached the upstream, which has to judge it. The demo's lets it pass."},
		do:     func(e *end) error { return e.send(wire.New(0x3, []byte("?"))) },
	}, {
		ID: "latin", Title: "Send text that is not UTF-8",
		Text:   "Latin-1 as a text message.",
		Client: 1007, Upstream: 1001,
		Native: fate{Open: true, Text: "The text has reached the upstream, which has to judge it. The demo's sends it back."},
		do:     func(e *end) error { return e.send(wire.Text("caf\xe9")) },
	}, {
		ID: "big", Title: "Send a message too big",
		Text:   "A header that announces 1 MiB is enough: maxMessageSize is " + liveRoute.option("maxMessageSize") + ".",
		Client: 1009, Upstream: 1001,
		Native: fate{Open: true, Text: "The upstream waits for 1 MiB, and has the room ready."},
		do: func(e *end) error {
			f := wire.Binary(nil)
			f.Claim = 1 << 20
			return e.send(f)
		},
	}, {
		ID: "flood", Title: "Send too fast",
		Text:   fmt.Sprintf("%d messages at once, where messageRate allows %s a second.", flood, liveRoute.option("messageRate")),
		Client: 1008, Upstream: 1001,
		Native: fate{Open: true, Text: "All of them have reached the upstream."},
		do: func(e *end) error {
			return e.send(slices.Repeat([]wire.Frame{wire.Text("too fast")}, flood)...)
		},
	}, {
		ID: "vanish", Title: "Vanish",
		Text:   "The connection is reset. The upstream's is closed without a frame: no code is true here.",
		Native: fate{Text: "The same: the upstream's connection is closed without a frame."},
		do:     (*end).vanish,
	}, {
		ID: "leave", Title: "Close with 1000",
		Text:   "The close goes through, and so does its answer.",
		Client: 1000, Upstream: 1000,
		Native: fate{Text: "The same.", Client: 1000, Upstream: 1000},
		do:     func(e *end) error { return e.send(wire.Close(1000, "good bye")) },
	}})
}

func upstreamActs() []act {
	return ofSide(upstreamSide, []act{{
		ID: "silent", Title: "Stop answering pings",
		Text:   "It hangs: the connection stays open and nothing comes any more.",
		Client: 1014, Upstream: 1001,
		Waits:  silence(),
		Native: fate{Open: true, Text: "The client waits for an upstream that hangs."},
		do:     (*end).fallSilent,
	}, {
		ID: "broken", Title: "Send a bad frame",
		Text:   "A bit is set that no extension has been agreed upon for. It never reaches the client.",
		Client: 1014, Upstream: 1002,
		Native: fate{Open: true, Text: "The bad frame has reached the client. The demo's lets it pass; a browser would end the session with 1006."},
		do: func(e *end) error {
			f := wire.Text("hi")
			f.RSV = wire.RSV1
			return e.send(f)
		},
	}, {
		ID: "kill", Title: "Kill it",
		Text:   "The connection is reset, as by a crash.",
		Client: 1014,
		Native: fate{Text: "The client's connection is closed without a frame: a browser calls that 1006."},
		do:     (*end).vanish,
	}, {
		ID: "kick", Title: "Close with 4001",
		Text:   "A code of the application's own goes through, and so does its answer.",
		Client: 4001, Upstream: 4001,
		Native: fate{Text: "The same.", Client: 4001, Upstream: 4001},
		do:     func(e *end) error { return e.send(wire.Close(4001, "kicked")) },
	}})
}

// silence is what an end that answers nothing more has wsfw wait for.
func silence() []wait {
	return []wait{liveRoute.wait("pingInterval", "the next ping of wsfw"), liveRoute.wait("pongTimeout", "its pong")}
}

func ofSide(side string, list []act) []act {
	for i := range list {
		list[i].Side = side
	}
	return list
}

package main

import (
	"slices"

	"github.com/wsfw/wsfw/e2e/wire"
)

// act is what one end of a live session can be told to do. The page has a button for each, and the test holds the
// plugin to what it promises.
type act struct {
	ID    string `json:"id"`
	Side  string `json:"side"` // whose act it is
	Title string `json:"title"`
	Text  string `json:"text"`

	// Close codes that come of it; 0 where no close frame does.
	Client   int `json:"client"`
	Upstream int `json:"upstream"`

	do func(e *end) error
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
		do: (*end).fallSilent,
	}, {
		ID: "opcode", Title: "Send a bad frame",
		Text:   "An opcode that RFC 6455 reserves. It never reaches the upstream.",
		Client: 1002, Upstream: 1001,
		do: func(e *end) error { return e.send(wire.New(0x3, []byte("?"))) },
	}, {
		ID: "latin", Title: "Send text that is not UTF-8",
		Text:   "Latin-1 as a text message.",
		Client: 1007, Upstream: 1001,
		do: func(e *end) error { return e.send(wire.Text("caf\xe9")) },
	}, {
		ID: "big", Title: "Send a message too big",
		Text:   "A header that announces 1 MiB is enough: the limit is 64 KiB.",
		Client: 1009, Upstream: 1001,
		do: func(e *end) error {
			f := wire.Binary(nil)
			f.Claim = 1 << 20
			return e.send(f)
		},
	}, {
		ID: "flood", Title: "Send too fast",
		Text:   "Many messages at once, where 20 a second are allowed.",
		Client: 1008, Upstream: 1001,
		do: func(e *end) error {
			return e.send(slices.Repeat([]wire.Frame{wire.Text("too fast")}, flood)...)
		},
	}, {
		ID: "vanish", Title: "Vanish",
		Text: "The connection is reset. The upstream's is closed without a frame, as it would be without a gateway.",
		do:   (*end).vanish,
	}, {
		ID: "leave", Title: "Close with 1000",
		Text:   "The close goes through, and so does its answer.",
		Client: 1000, Upstream: 1000,
		do: func(e *end) error { return e.send(wire.Close(1000, "good bye")) },
	}})
}

func upstreamActs() []act {
	return ofSide(upstreamSide, []act{{
		ID: "silent", Title: "Stop answering pings",
		Text:   "It hangs: the connection stays open and nothing comes any more.",
		Client: 1014, Upstream: 1001,
		do: (*end).fallSilent,
	}, {
		ID: "broken", Title: "Send a bad frame",
		Text:   "A bit is set that no extension has been agreed upon for. It never reaches the client.",
		Client: 1014, Upstream: 1002,
		do: func(e *end) error {
			f := wire.Text("hi")
			f.RSV = wire.RSV1
			return e.send(f)
		},
	}, {
		ID: "kill", Title: "Kill it",
		Text:   "The connection is reset, as by a crash. Without wsfw the client would see 1006.",
		Client: 1014,
		do:     (*end).vanish,
	}, {
		ID: "kick", Title: "Close with 4001",
		Text:   "A code of the application's own goes through, and so does its answer.",
		Client: 4001, Upstream: 4001,
		do: func(e *end) error { return e.send(wire.Close(4001, "kicked")) },
	}})
}

func ofSide(side string, list []act) []act {
	for i := range list {
		list[i].Side = side
	}
	return list
}

package main

import (
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// scenario is one route of the demo: what stands behind it, what to do there, and what comes of it. The page shows
// it and the test holds the plugin to it.
type scenario struct {
	ID    string `json:"id"` // of the route, and the middleware's name
	Group string `json:"group"`
	Title string `json:"title"`
	Text  string `json:"text"` // what to expect, in a sentence or two
	YAML  string `json:"yaml"` // the middleware's options

	// The whole route, to take along.
	File   string `json:"file"`   // for Traefik's file provider
	Labels string `json:"labels"` // on a Docker service

	Suffix  string  `json:"suffix"`  // path and query below the route
	Offer   string  `json:"offer"`   // subprotocols
	Plain   bool    `json:"plain"`   // the request is no upgrade
	Message string  `json:"message"` // to send once the session is open
	Burst   int     `json:"burst"`   // how many binary messages to send after that
	Size    int     `json:"size"`    // of each, in bytes
	HangUp  bool    `json:"hangUp"`  // close with 1000 once the message is back
	Expect  outcome `json:"expect"`
}

// outcome is what a client sees of a scenario, and what the session's record says.
type outcome struct {
	Status int    `json:"status"`
	First  string `json:"first,omitempty"`  // is in the first message, or in the body of another answer than 101
	Code   int    `json:"code,omitempty"`   // 1006 where there is no close frame, as browsers have it
	Reason string `json:"reason,omitempty"` // of the close frame

	EndedBy string `json:"endedBy,omitempty"` // by the record; empty where wsfw writes none
}

// Groups, in the order of the page.
const (
	forwarding = "Forward"
	refusing   = "Refused before 101"
	keeping    = "Looked after"
	limiting   = "Limits"
	ending     = "Ended after 101"
	leaving    = "Leave to Traefik"
)

// hello is what scenarios say where it does not matter.
const hello = "hello"

// Outcomes of most scenarios.
func refused(status int, sentence string) outcome { return outcome{Status: status, First: sentence} }

func hungUp(first string) outcome {
	return outcome{Status: 101, First: first, Code: 1000, EndedBy: "client"}
}

func ended(code int, reason, by string) outcome {
	return outcome{Status: 101, Code: code, Reason: reason, EndedBy: by}
}

// Sentences of the plugin's that several scenarios bring about.
const (
	badGateway = "did not accept the connection"
	noAnswer   = "did not answer in time"
)

// scenarios is the whole list, with the addresses of the upstream filled in.
func scenarios(up *upstream) ([]scenario, error) {
	var all []scenario
	for _, group := range [][]scenario{forwards(), agreements(), refusals(), careful(), bounds(), endings(), leaves()} {
		all = append(all, group...)
	}
	for i := range all {
		var err error
		if all[i], err = up.fill(all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// fill puts the upstream's addresses into a scenario, and writes its route out.
func (u *upstream) fill(s scenario) (scenario, error) {
	addresses := strings.NewReplacer(
		"PLAIN", u.plain.addr, "SECURE", u.secure.addr, "SILENT", u.silent.Addr().String(), "CAFILE", u.caFile)
	s.YAML = addresses.Replace(strings.Trim(s.YAML, "\n"))
	var err error
	if s.File, err = s.file(u.plain.addr); err != nil {
		return s, err
	}
	s.Labels, err = s.labels(u.plain.addr)
	return s, err
}

// option is one of the middleware's options as it is written, which are constants of the demo.
func (s scenario) option(name string) string {
	options := map[string]string{}
	if err := yaml.Unmarshal([]byte(s.YAML), options); err != nil {
		panic(err)
	}
	return options[name]
}

// duration is an option that is one.
func (s scenario) duration(name string) time.Duration {
	d, err := time.ParseDuration(s.option(name))
	if err != nil {
		panic(err)
	}
	return d
}

func forwards() []scenario {
	list := []scenario{{
		ID: "echo", Title: "Frames are relayed unchanged",
		Text:   "wsfw dials the upstream first and answers 101 only when that has. Every frame comes back, and so does your close code.",
		YAML:   "upstreamEndpoint: ws://PLAIN/echo",
		Expect: hungUp(""),
	}, {
		ID: "append", Title: "Path, query and headers are set", Suffix: "/rooms/caf%C3%A9?user=ann",
		Text: "What follows the route is appended to the endpoint, escaped as you sent it. The upstream tells which request it got: a header set, cookies removed, your Host, X-Forwarded-* added.",
		YAML: `
path: /ws/append
upstreamEndpoint: ws://PLAIN/report/
upstreamPath: append
passHostHeader: true
headers:
  X-Tenant: demo
  Cookie: ""
`,
		Expect: hungUp("GET /report/rooms/caf%C3%A9?user=ann\n"),
	}, {
		ID: "rules", Title: "A rule picks the upstream", Suffix: "?region=us",
		Text: "The query picks the upstream in the US. With any other region, the EU answers.",
		YAML: `
upstreamEndpoint: ws://PLAIN/eu
upstreamRules:
  - query: region
    value: us
    upstreamEndpoint: ws://PLAIN/us
`,
		Expect: hungUp("in the US"),
	}}
	return complete(list, forwarding, func(s *scenario) { s.HangUp = true })
}

func agreements() []scenario {
	list := []scenario{{
		ID: "protocols", Title: "Subprotocols are cut to some", Offer: "mqtt, chat.v1",
		Text: "You offer mqtt and chat.v1; the upstream gets to see only chat.v1, and takes it.",
		YAML: `
upstreamEndpoint: ws://PLAIN/chat
protocols: [chat.v1, chat.v2]
`,
		Expect: hungUp("agreed subprotocol: chat.v1"),
	}, {
		ID: "compression", Title: "Compression is passed",
		Text: "Browser and upstream agree on permessage-deflate, and wsfw relays the compressed frames as they are. Compare the bytes in the record.",
		YAML: `
upstreamEndpoint: ws://PLAIN/deflate
compression: pass
`,
		Message: strings.Repeat("again and ", 20) + "again",
		Expect:  hungUp("agreed compression: permessage-deflate"),
	}, {
		ID: "compression-off", Title: "Compression is withheld",
		Text: "The same upstream never hears of the browser's offer, so frames go uncompressed.",
		YAML: `
upstreamEndpoint: ws://PLAIN/deflate
compression: "off"
`,
		Message: strings.Repeat("again and ", 20) + "again",
		Expect:  hungUp("agreed compression: none"),
	}, {
		ID: "tls", Title: "Upstream is reached over TLS",
		Text: "wss:// to an upstream with a certificate of its own making. The file is read again when it changes.",
		YAML: `
upstreamEndpoint: wss://SECURE/report/
tls:
  caFile: CAFILE
  serverName: ` + secureName + `
  minVersion: "1.3"
`,
		Expect: hungUp("The upstream got"),
	}, {
		ID: "tunnel", Title: "Bytes are copied in a tunnel",
		Text: "Bytes are copied and nobody looks at them: the record counts no frames and knows no close code.",
		YAML: `
upstreamEndpoint: ws://PLAIN/echo
mode: tunnel
`,
		Expect: outcome{Status: 101, Code: 1000, EndedBy: "client or upstream"}, // whose FIN is first
	}}
	return complete(list, forwarding, func(s *scenario) { s.HangUp = true })
}

func refusals() []scenario {
	list := []scenario{{
		ID: "plain", Title: "You ask for no upgrade", Plain: true,
		Text: "A plain request, as from the address bar, is told which protocol to speak.",
		YAML: `
upstreamEndpoint: ws://PLAIN/echo
nonWebSocket: reject
`,
		Expect: refused(426, "speaks WebSocket only"),
	}, {
		ID: "offer", Title: "You offer no subprotocol allowed", Offer: "mqtt",
		Text: "You offer mqtt alone, which is not allowed here. The upstream never hears of it.",
		YAML: `
upstreamEndpoint: ws://PLAIN/chat
protocols: [chat.v1, chat.v2]
`,
		Expect: refused(400, "None of the offered subprotocols"),
	}, {
		ID: "origin", Title: "Your origin is not allowed",
		Text: "This page is not app.example.com, so its scripts may not connect. The probe below may claim to be: give it that origin.",
		YAML: `
upstreamEndpoint: ws://PLAIN/echo
allowedOrigins:
  - https://app.example.com
  - https://*.example.org
`,
		Expect: refused(403, "origin may not connect"),
	}, {
		ID: "down", Title: "Upstream is down",
		Text:   "Nobody listens at the endpoint. You get one sentence without an address; the cause goes to the log.",
		YAML:   "upstreamEndpoint: ws://127.0.0.1:1/",
		Expect: refused(502, badGateway),
	}, {
		ID: "untrusted", Title: "Upstream's certificate is unknown",
		Text:   "The TLS upstream again, without the file that vouches for it.",
		YAML:   "upstreamEndpoint: wss://SECURE/echo",
		Expect: refused(502, badGateway),
	}, {
		ID: "connect", Title: "Upstream never begins TLS",
		Text: "The upstream takes the connection but not the TLS handshake. DNS, TCP and TLS share connectTimeout.",
		YAML: `
upstreamEndpoint: wss://SILENT/
connectTimeout: 1s
`,
		Expect: refused(504, noAnswer),
	}, {
		ID: "upgrade", Title: "Upstream never answers",
		Text: "The upstream takes the request and says nothing. After a second wsfw gives up on it.",
		YAML: `
upstreamEndpoint: ws://SILENT/
upgradeTimeout: 1s
`,
		Expect: refused(504, noAnswer),
	}, {
		ID: "private", Title: "Upstream answers 401",
		Text:   "What the upstream answers instead of 101 is yours to see: status, headers and body.",
		YAML:   "upstreamEndpoint: ws://PLAIN/private",
		Expect: refused(401, "wants a token"),
	}}
	return complete(list, refusing, nil)
}

func careful() []scenario {
	list := []scenario{{
		ID: "heartbeat", Title: "Both ends are pinged",
		Text: "wsfw pings you and the upstream twice a second. Neither notices: the pongs are taken out again. After your message the upstream stays for three seconds; the record then has the round trips.",
		YAML: `
upstreamEndpoint: ws://PLAIN/stay
pingInterval: 500ms
pongTimeout: 2s
`,
		Expect: ended(1000, "three seconds are over", "upstream"),
	}, {
		ID: "deaf", Title: "Upstream falls silent",
		Text: "After your first message the upstream's connection stays open, but it answers no ping. Without heartbeats you would wait forever.",
		YAML: `
upstreamEndpoint: ws://PLAIN/deaf
pingInterval: 500ms
pongTimeout: 500ms
`,
		Expect: ended(1014, "upstream heartbeat timeout", "wsfw"),
	}, {
		ID: "inactive", Title: "Nothing is said for a second",
		Text: "Both ends are well and answer pings, but say nothing. Each message gives you another second.",
		YAML: `
upstreamEndpoint: ws://PLAIN/echo
pingInterval: 300ms
maxInactivity: 1s
`,
		Expect: ended(1001, "inactivity timeout", "wsfw"),
	}, {
		ID: "lifetime", Title: "The lifetime is over",
		Text: "Two seconds and no more, a tenth more or less by chance, whatever you say meanwhile.",
		YAML: `
upstreamEndpoint: ws://PLAIN/echo
maxLifetime: 2s
`,
		Expect: ended(1001, "session lifetime reached", "wsfw"),
	}}
	return complete(list, keeping, nil)
}

func bounds() []scenario {
	list := []scenario{{
		ID: "size", Title: "You send too big a message", Burst: 1, Size: 4 << 10,
		Text: "Messages of a kibibyte and no more. The next one is larger: its header is enough, and the upstream sees nothing of it.",
		YAML: `
upstreamEndpoint: ws://PLAIN/echo
maxMessageSize: 1KiB
`,
		Expect: ended(1009, "message is too big", "wsfw"),
	}, {
		ID: "rate", Title: "You send too many messages", Burst: 5, Size: 16,
		Text: "Three messages at once, and two a second after that. Five more come all together.",
		YAML: `
upstreamEndpoint: ws://PLAIN/echo
messageRate: 2
messageBurst: 3
`,
		Expect: ended(1008, "too many messages", "wsfw"),
	}, {
		ID: "text", Title: "Upstream sends text not UTF-8",
		Text: "After your first message the upstream sends Latin-1 as text. Your browser would have to fail the connection itself.",
		YAML: `
upstreamEndpoint: ws://PLAIN/latin
validate: utf8
`,
		Expect: ended(1014, "upstream protocol error", "wsfw"),
	}}
	return complete(list, limiting, nil)
}

func endings() []scenario {
	list := []scenario{{
		ID: "kick", Title: "Upstream closes with 4001",
		Text:   "The upstream answers your first message and closes. Its own code and reason reach you.",
		YAML:   "upstreamEndpoint: ws://PLAIN/kick",
		Expect: ended(4001, "kicked", "upstream"),
	}, {
		ID: "vanish", Title: "Upstream vanishes",
		Text:   "The upstream answers your first message and drops dead. You would see a bare 1006; wsfw says what happened.",
		YAML:   "upstreamEndpoint: ws://PLAIN/vanish",
		Expect: ended(1014, "upstream connection lost", "upstream"),
	}, {
		ID: "broken", Title: "Upstream sends a broken frame",
		Text: "After your first message the upstream sends a frame that RFC 6455 forbids. It never reaches you.",
		YAML: `
upstreamEndpoint: ws://PLAIN/broken
validate: frames
`,
		Expect: ended(1014, "upstream protocol error", "wsfw"),
	}, {
		ID: "lax", Title: "A broken frame is let through",
		Text: "The same frame passes, and your browser has to fail the connection itself: 1006, and no reason.",
		YAML: `
upstreamEndpoint: ws://PLAIN/broken
validate: "off"
`,
		Expect: ended(1006, "", "client"),
	}, {
		ID: "stuck", Title: "Upstream stops reading", Burst: 64, Size: 256 << 10,
		Text: "16 MiB go to an upstream that reads none of it. Its connection blocks, and a second later wsfw cuts it and tells you.",
		YAML: `
upstreamEndpoint: ws://PLAIN/stuck
writeTimeout: 1s
closeTimeout: 2s
`,
		Expect: ended(1014, "upstream write timeout", "wsfw"),
	}, {
		ID: "mute", Title: "Upstream ignores your close", HangUp: true,
		Text: "You close and the upstream ignores it. After closeTimeout wsfw ends both connections: the record has your 1000, the browser, without an answer, 1006.",
		YAML: `
upstreamEndpoint: ws://PLAIN/mute
closeTimeout: 1s
`,
		Expect: ended(1006, "", "client"),
	}}
	return complete(list, ending, nil)
}

func leaves() []scenario {
	list := []scenario{{
		ID: "check", Title: "Only the upgrade is checked", HangUp: true,
		Text:   "Options of policy only: a valid upgrade goes to the router's own service, untouched. wsfw leaves the session to it and writes no record.",
		YAML:   "nonWebSocket: reject",
		Expect: outcome{Status: 101, First: "router's own service", Code: 1000},
	}, {
		ID: "inline", Title: "The router's service is looked after", HangUp: true,
		Text: "No upstreamEndpoint, but heartbeats: the router's own service stays the upstream, and wsfw stands between. The record has the round trips of both ends.",
		YAML: `
pingInterval: 200ms
pongTimeout: 2s
`,
		Expect: hungUp("router's own service"),
	}, {
		ID: "path", Title: "Another path is left alone", Suffix: "/lively", HangUp: true,
		Text: "wsfw takes /live and what lies below, by whole segments. /lively is another path and goes to the router's own service; change it to /live.",
		YAML: `
path: /ws/path/live
upstreamEndpoint: ws://PLAIN/echo
`,
		Expect: outcome{Status: 101, First: "router's own service", Code: 1000},
	}, {
		ID: "pass", Title: "No upgrade, and let through", Plain: true,
		Text: "A plain request goes to the router's own service; an upgrade to the same route would be forwarded.",
		YAML: `
upstreamEndpoint: ws://PLAIN/echo
nonWebSocket: pass
`,
		Expect: refused(200, "router's own service answers GET"),
	}}
	return complete(list, leaving, nil)
}

// complete fills in what the scenarios of a group have in common.
func complete(list []scenario, group string, each func(*scenario)) []scenario {
	for i := range list {
		s := &list[i]
		s.Group = group
		if s.Message == "" && s.Burst == 0 && s.Expect.Status == 101 {
			s.Message = hello
		}
		if each != nil {
			each(s)
		}
	}
	return list
}

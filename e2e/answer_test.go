package e2e

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	offeredProtocol  = "Sec-WebSocket-Protocol: chat, superchat"
	offeredExtension = "Sec-WebSocket-Extensions: permessage-deflate"
)

// untrueAnswer is one that the upstream may not give to an upgrade with this offer.
type untrueAnswer struct {
	name   string
	offer  []string
	answer func(head peerHead) string
	inline judge
}

// judge is who finds inline what the gateway finds where it forwards.
type judge int

const (
	gatewayJudges judge = iota
	proxyJudges         // Traefik's own proxy refuses it in its way
	nobodyJudges        // it is true there: the key is the client's, and the limit of headers Traefik's
)

// by is the answer where somebody else finds it inline.
func (u untrueAnswer) by(j judge) untrueAnswer {
	u.inline = j
	return u
}

// untrue101 is a 101 that edits make untrue.
func untrue101(name string, offer []string, edits ...string) untrueAnswer {
	return untrueAnswer{name: name, offer: offer, answer: func(head peerHead) string { return head.switching(edits...) }}
}

// unanswer is the same whatever was asked, and no 101.
func unanswer(name, answer string) untrueAnswer {
	return untrueAnswer{name: name, answer: func(peerHead) string { return answer }, inline: proxyJudges}
}

var untrueAnswers = []untrueAnswer{
	untrue101("wrong accept", nil, "Sec-WebSocket-Accept: "+wire.Accept("another key")),
	untrue101("no accept", nil, "!Sec-WebSocket-Accept"),
	untrue101("empty accept", nil, "Sec-WebSocket-Accept: "),
	{name: "accept of the client's key", inline: nobodyJudges, answer: func(peerHead) string {
		return peerHead(nil).switching("Sec-WebSocket-Accept: " + wire.Accept(sampleKey))
	}},
	untrue101("no upgrade", nil, "!Upgrade").by(proxyJudges),
	untrue101("other upgrade", nil, "Upgrade: h2c").by(proxyJudges),
	untrue101("no connection", nil, "!Connection").by(proxyJudges),
	untrue101("other connection", nil, "Connection: keep-alive").by(proxyJudges),
	untrue101("subprotocol without an offer", nil, "Sec-WebSocket-Protocol: chat"),
	untrue101("subprotocol not offered", []string{offeredProtocol}, "Sec-WebSocket-Protocol: mqtt"),
	untrue101("subprotocol in other case", []string{offeredProtocol}, "Sec-WebSocket-Protocol: CHAT"),
	untrue101("two subprotocols", []string{offeredProtocol}, "Sec-WebSocket-Protocol: chat, superchat"),
	untrue101("two subprotocols in lines", []string{offeredProtocol}, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: superchat"),
	untrue101("extension without an offer", nil, offeredExtension),
	untrue101("extension not offered", []string{offeredExtension}, "Sec-WebSocket-Extensions: x-private"),
	untrue101("one extension not offered", []string{offeredExtension}, "Sec-WebSocket-Extensions: permessage-deflate, x-private"),
	unanswer("no HTTP", "SSH-2.0-OpenSSH_9.6\r\n"),
	unanswer("no HTTP, no line", "\x00\x01\x02\x03"),
	unanswer("broken status", raw("HTTP/1.1 abc Switching Protocols", "Upgrade: websocket")),
	unanswer("broken header", raw("HTTP/1.1 101 Switching Protocols", "Upgrade websocket")),
	unanswer("nothing", ""),
	unanswer("half a head", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"),
	unanswer("informational answers without end", strings.Repeat(raw("HTTP/1.1 103 Early Hints"), 1000)),
	{name: "header of more than 1 MiB", inline: nobodyJudges, answer: func(head peerHead) string {
		return head.switching("X-Large: " + strings.Repeat("x", 1<<20))
	}},
}

func TestUntrueAnswer(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		for _, row := range untrueAnswers {
			if isInline(e) && row.inline == nobodyJudges {
				continue
			}
			t.Run(row.name, func(t *testing.T) {
				gateway := forwardTo(t, e, server.endpoint(), nil) // its own, for the log has so many lines a second
				if isInline(e) && row.inline == proxyJudges {
					row.checkProxy(t, gateway, server)
				} else {
					row.check(t, gateway, server)
				}
			})
		}
	})
}

// TestUntrueAnswerUncompressed is about an offer that never reached the upstream.
func TestUntrueAnswerUncompressed(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), object{"compression": "off"})
		untrue101("", []string{offeredExtension}, offeredExtension).check(t, gateway, server)
	})
}

// TestUntrueAnswerCut is about a subprotocol that the client offered and policy took away.
func TestUntrueAnswerCut(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), object{"protocols": []string{"chat"}})
		untrue101("", []string{offeredProtocol}, "Sec-WebSocket-Protocol: superchat").check(t, gateway, server)
	})
}

func (u untrueAnswer) check(t *testing.T, gateway *engine.Gateway, server *peerUpstream) {
	client, upstream := u.give(t, gateway, server)
	client.refusal(t, http.StatusBadGateway)
	upstream.expectEnd(t)
	checkComplaint(t, gateway, server.endpoint())
}

// checkProxy wants Traefik's own refusal. Informational answers come before it, for its proxy passes some of them on.
// It leaves the connection of an answer that is a 101 to the garbage collector.
func (u untrueAnswer) checkProxy(t *testing.T, gateway *engine.Gateway, server *peerUpstream) {
	client, _ := u.give(t, gateway, server)
	if resp := client.final(t); resp.StatusCode != http.StatusBadGateway && resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("status is %d, want 502 or 500", resp.StatusCode)
	}
}

// give has the upstream answer a client's upgrade.
func (u untrueAnswer) give(t *testing.T, gateway *engine.Gateway, server *peerUpstream) (client, upstream *peerConn) {
	t.Helper()
	client = peerDial(t, gateway, upgrade("GET / HTTP/1.1", u.offer...))
	upstream, head := server.request(t)
	// An error is fine: nobody need read a hopeless answer to its end.
	_, _ = io.WriteString(upstream, u.answer(head))
	_ = upstream.Conn.(interface{ CloseWrite() error }).CloseWrite()
	return client, upstream
}

// TestTrueAnswer is about answers that are unusual and true.
func TestTrueAnswer(t *testing.T) {
	offer := []string{offeredProtocol, offeredExtension + "; client_max_window_bits"}
	rows := []struct {
		name        string
		before      string
		edits       []string
		forwardOnly bool
	}{
		{name: "plain"},
		{name: "after an informational answer", before: raw("HTTP/1.1 103 Early Hints", "Link: </style.css>")},
		{name: "after two informational answers", before: raw("HTTP/1.1 100 Continue") + raw("HTTP/1.1 103 Early Hints")},
		{name: "any case", edits: []string{"UPGRADE: WebSocket", "connection: UPGRADE"}},
		{name: "list of connections", edits: []string{"Connection: keep-alive", "Connection: upgrade"}},
		{name: "list of upgrades", forwardOnly: true, edits: []string{"Upgrade: h2c, websocket"}}, // for Traefik's proxy knows one only
		{name: "no offer taken", edits: nil},
		{name: "offer taken", edits: []string{"Sec-WebSocket-Protocol: superchat", offeredExtension + "; client_max_window_bits=12"}},
		{name: "extension in other case", edits: []string{"Sec-WebSocket-Extensions: Permessage-Deflate"}},
		{name: "large header", edits: []string{"X-Large: " + strings.Repeat("x", 512<<10)}},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		for _, row := range rows {
			if row.forwardOnly && isInline(e) {
				continue
			}
			t.Run(row.name, func(t *testing.T) {
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1", offer...))
				upstream, head := server.request(t)
				upstream.send(t, row.before+head.switching(row.edits...))
				resp := client.answerOf(t, e)
				if resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("status is %d, want 101", resp.StatusCode)
				}
				upstream.send(t, "\x81\x02hi")
				client.expect(t, "\x81\x02hi")
			})
		}
	})
}

// TestSwitchingHeader wants the upstream's end-to-end headers in the 101, and a handshake of the gateway's own.
func TestSwitchingHeader(t *testing.T) {
	sent := []string{
		"Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; HttpOnly", "X-Own: first", "X-Own: second",
		"Date: Thu, 01 Jan 1970 00:00:00 GMT", "Server: upstream",
		"Sec-WebSocket-Protocol: superchat", offeredExtension + "; server_no_context_takeover",
		"Connection: Upgrade, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
	}
	want := http.Header{
		"Set-Cookie":               {"a=1; Path=/", "b=2; HttpOnly"},
		"X-Own":                    {"first", "second"},
		"Date":                     {"Thu, 01 Jan 1970 00:00:00 GMT"},
		"Server":                   {"upstream"},
		"Sec-Websocket-Protocol":   {"superchat"},
		"Sec-Websocket-Extensions": {"permessage-deflate; server_no_context_takeover"},
		"Upgrade":                  {"websocket"},
		"Sec-Websocket-Accept":     {wire.Accept(sampleKey)},
		"Connection":               {"Upgrade"},
		"X-Hop":                    nil,
		"Keep-Alive":               nil,
		"Proxy-Connection":         nil,
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1", offeredProtocol, offeredExtension))
		upstream, head := server.request(t)
		upstream.send(t, head.switching(sent...))
		resp := client.answer(t)
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status is %d, want 101", resp.StatusCode)
		}
		checkHeader(t, resp.Header, want)
	})
}

// TestSwitchingHeaderBefore is about a middleware before this one that sets headers of its own.
func TestSwitchingHeaderBefore(t *testing.T) {
	before := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			rw.Header().Add("Set-Cookie", "sticky=1")
			rw.Header().Set("X-Frame-Options", "DENY")
			next.ServeHTTP(rw, req)
		})
	}
	eachUseInProcess(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := e.Start(t, engine.Setup{Config: object{"upstreamEndpoint": server.endpoint()}, Next: "http://" + peerDeadAddr(t), Wrap: before})
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		upstream, head := server.request(t)
		upstream.send(t, head.switching("Set-Cookie: a=1"))
		checkHeader(t, client.answer(t).Header, http.Header{"Set-Cookie": {"sticky=1", "a=1"}, "X-Frame-Options": {"DENY"}})
	})
}

// checkHeader compares the headers that want names; nil wants none.
func checkHeader(t *testing.T, got, want http.Header) {
	t.Helper()
	for name, values := range want {
		if !slices.Equal(got.Values(name), values) {
			t.Errorf("%s is %q, want %q", name, got.Values(name), values)
		}
	}
}

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	sessionMessage = "websocket session"
	openedMessage  = "websocket session opened"
)

// endOnly are the fields of a record that tell of the session's end.
var endOnly = []string{"duration", "fromClient", "fromUpstream", "heartbeat", "endedBy", "code", "reason"}

// sessionLines counts what a gateway has written about sessions, by msg.
func sessionLines(gateway *engine.Gateway) map[string]int {
	counts := map[string]int{}
	for _, line := range gateway.Lines() {
		if msg, _ := line["msg"].(string); strings.HasPrefix(msg, sessionMessage) {
			counts[msg]++
		}
	}
	return counts
}

// expectLines wants the gateway to have written this many lines about sessions.
func expectLines(t *testing.T, gateway *engine.Gateway, want map[string]int) {
	t.Helper()
	if got := sessionLines(gateway); !maps.Equal(got, want) {
		t.Errorf("the log has %v about sessions, want %v", got, want)
	}
}

// TestConfigSessionLog has values that are none, and a use in which there is no session to tell of.
func TestConfigSessionLog(t *testing.T) {
	var mistakes []mistake
	for i, value := range []any{"all", "none", "begin", "both,end", 1, []any{"both"}} {
		mistakes = append(mistakes, mistaken("sessionLog", value).named(fmt.Sprintf("%d of %T", i, value)))
	}
	for _, value := range []string{"both", "off"} {
		mistakes = append(mistakes, checking("sessionLog", value).named(value+" of no session"))
	}
	checkMistakes(t, mistakes)
}

// TestSessionLogBoth wants a line at the opening of a session and one at its end, which tell the same of its ends, and
// none of a handshake that comes to nothing.
func TestSessionLogBoth(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for name, options := range map[string]object{"frames": {"sessionLog": "both"}, "tunnel": {"sessionLog": "both", "mode": "tunnel"}} {
			if canUse(e, options) {
				t.Run(name, func(t *testing.T) { tellsOpening(t, e, options) })
			}
		}
	})
}

func tellsOpening(t *testing.T, e engine.Engine, options object) {
	t.Helper()
	server := peerListen(t)
	gateway := forwardTo(t, e, server.endpoint(), options)
	refused := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
	upstream, _ := server.request(t)
	upstream.send(t, raw("HTTP/1.1 404 Not Found", "Content-Length: 0", "Connection: close"))
	refused.answer(t)
	client := peerDial(t, gateway, upgrade("GET /chat/a%2Fb?token=hunter2 HTTP/1.1", "Cookie: a=hunter2", offeredProtocol))
	upstream, head := server.request(t)
	expectLines(t, gateway, map[string]int{}) // there is no session yet
	upstream.send(t, head.switching("Sec-WebSocket-Protocol: superchat"))
	if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status is %d, want 101", resp.StatusCode)
	}
	opened := gateway.Wait(t, openedMessage)
	from := client.LocalAddr().String()
	client.Close()
	upstream.Close()
	record := gateway.WaitRecord(t)
	told := object{"upstream": server.endpoint(), "client": from, "path": "/chat/a%2Fb", "subprotocol": "superchat"}
	for name, want := range told {
		if opened[name] != want {
			t.Errorf("at the opening %s is %v, want %v", name, opened[name], want)
		}
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(told)), []string{"name", "level", "plugin"}) {
		if opened[name] != record[name] {
			t.Errorf("%s is %v at the opening and %v at the end", name, opened[name], record[name])
		}
	}
	for _, name := range endOnly {
		if value, has := opened[name]; has {
			t.Errorf("at the opening %s is %v, want none", name, value)
		}
	}
	expectLines(t, gateway, map[string]int{openedMessage: 1, sessionMessage: 1})
	checkSecretLines(t, gateway)
}

// TestSessionLogEnd wants a line at the end of a session only.
func TestSessionLogEnd(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for name, options := range map[string]object{"by default": nil, "end": {"sessionLog": "end"}} {
			t.Run(name, func(t *testing.T) {
				g := newGround(t, e, options)
				j := g.join(t)
				converse(t, []*joined{j})
				j.leave(t)
				j.expectOutcome(t, "client", 1000, "bye")
				expectLines(t, g.gateway, map[string]int{sessionMessage: 1})
			})
		}
	})
}

// leave has the client close the session, and wants its end.
func (j *joined) leave(t *testing.T) {
	t.Helper()
	bye := wire.Close(1000, "bye")
	send(t, j.client, bye)
	expect(t, j.upstream, j.client.Encode(bye))
	send(t, j.upstream, wire.Close(1000, ""))
	expect(t, j.client, wire.Close(1000, "").Bytes())
	expectEnd(t, j.client)
	expectEnd(t, j.upstream)
}

// TestSessionLogOff wants no line about a session. That of a later one, under another configuration, would come after it.
func TestSessionLogOff(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"sessionLog": "off"})
		for range 3 {
			silent := g.join(t)
			g.owed-- // no record comes
			converse(t, []*joined{silent})
			silent.leave(t)
		}
		g.gateway.Reload(t, object{"upstreamEndpoint": g.server.URL, "sessionLog": "end"})
		told := g.join(t)
		told.leave(t)
		told.expectOutcome(t, "client", 1000, "bye")
		expectLines(t, g.gateway, map[string]int{sessionMessage: 1})
	})
}

// TestSessionLogOffComplains wants what has gone wrong told all the same.
func TestSessionLogOffComplains(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		endpoint := "ws://" + peerDeadAddr(t)
		gateway := forwardTo(t, e, endpoint, object{"sessionLog": "off"})
		peerDial(t, gateway, upgrade("GET / HTTP/1.1")).refusal(t, http.StatusBadGateway)
		checkComplaint(t, gateway, endpoint)
	})
}

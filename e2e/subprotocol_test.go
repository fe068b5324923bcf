package e2e

import (
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// withheld is what a record has in place of a subprotocol that may be a token.
const withheld = "(withheld)"

// TestSubprotocolInRecord is about clients that send a token as a subprotocol, and servers that choose it. A record has
// the name only where it is a configured one, or is short and has no dot, as a JWT has.
func TestSubprotocolInRecord(t *testing.T) {
	const token = "bearer.eyJhbGciOiJIUzI1NiJ9.aHVudGVyMg.hunter2"
	long := strings.Repeat("hunter2x", 8)
	rows := []struct {
		name      string
		protocols []string
		offer     string
		chosen    string // empty: none
		want      string
	}{
		{name: "none", offer: "chat", want: ""},
		{name: "name", offer: "chat, superchat", chosen: "superchat", want: "superchat"},
		{name: "token", offer: "v1, " + token, chosen: token, want: withheld},
		{name: "token not chosen", offer: "v1, " + token, chosen: "v1", want: "v1"},
		{name: "64 bytes", offer: "v1, " + long, chosen: long, want: long},
		{name: "65 bytes", offer: "v1, " + long + "y", chosen: long + "y", want: withheld},
		{name: "name with a dot", offer: "v12.stomp", chosen: "v12.stomp", want: withheld},
		{name: "configured name with a dot", protocols: []string{"v12.stomp"}, offer: "v12.stomp, " + token, chosen: "v12.stomp", want: "v12.stomp"},
		{name: "configured long name", protocols: []string{long + "y"}, offer: long + "y", chosen: long + "y", want: long + "y"},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				server := peerListen(t)
				options := object{}
				if row.protocols != nil {
					options["protocols"] = row.protocols
				}
				gateway := forwardTo(t, e, server.endpoint(), options)
				checkSubprotocol(t, gateway, server, row.offer, row.chosen, row.want)
			})
		}
	})
}

// checkSubprotocol wants the record of a session with this subprotocol to name it so, and the client to get it whatever
// the record says.
func checkSubprotocol(t *testing.T, gateway *engine.Gateway, server *peerUpstream, offer, chosen, want string) {
	t.Helper()
	client := peerDial(t, gateway, upgrade("GET / HTTP/1.1", "Sec-WebSocket-Protocol: "+offer))
	upstream, head := server.request(t)
	var edits []string
	if chosen != "" {
		edits = offered(chosen)
	}
	upstream.send(t, head.switching(edits...))
	if got := client.answer(t).Header.Get("Sec-WebSocket-Protocol"); got != chosen {
		t.Errorf("the client gets the subprotocol %q, want %q", got, chosen)
	}
	client.Close()
	if got := gateway.WaitRecord(t)["subprotocol"]; got != want {
		t.Errorf("the record's subprotocol is %q, want %q", got, want)
	}
	if want == withheld && strings.Contains(gateway.Text(), chosen) {
		t.Errorf("the log has the subprotocol: %s", gateway.Text())
	}
}

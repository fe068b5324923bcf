package e2e

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// loginModes are the modes in which clients log in.
var loginModes = []string{"check", "inline", "forward", "tunnel"}

// eachLoginMode runs a case as one subtest for each engine and mode.
func eachLoginMode(t *testing.T, run func(t *testing.T, e engine.Engine, mode string)) {
	t.Helper()
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, mode := range loginModes {
			t.Run(mode, func(t *testing.T) { run(t, e, mode) })
		}
	})
}

// relays reports whether sessions go through the gateway in this mode.
func relays(mode string) bool { return mode != "check" }

// setupIn is the set-up of a gateway in a mode that leads to the server at addr, and sends it the client's path.
func setupIn(mode, addr string, options object) engine.Setup {
	config := object{"mode": mode}
	maps.Copy(config, options)
	if mode == "check" || mode == "inline" {
		return engine.Setup{Config: config, Next: "http://" + addr}
	}
	config["upstreamEndpoint"] = "ws://" + addr
	config["upstreamPath"] = "append"
	return engine.Setup{Config: config}
}

// In these cases every token contains the word "hunter2", as in those about secrets.
const opaque = "hunter2-token"

// carrierRow is where a client has its token, and what the upstream gets of the request.
type carrierRow struct {
	name   string
	token  object   // options of that name
	target string   // that the client asks for; / where it is empty
	edits  []string // of its upgrade

	refused string // the reason, where it comes to nothing
	want    string // the target at the upstream; the client's where it is empty
	lines   lines  // there
	marker  string // the subprotocol that the client gets; empty: none
}

// base64URL is what some libraries write a token in.
func base64URL(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

const (
	kubernetes = "base64url.bearer.authorization.k8s.io."
	phoenix    = "base64url.bearer.phx."
)

var bearer = lines{"Authorization": {"Bearer " + opaque}}

// carrierRows are all carriers, alone and in order.
var carrierRows = []carrierRow{
	{name: "nowhere", refused: "no_token"},
	{name: "header", edits: []string{"Authorization: Bearer " + opaque}, lines: bearer},
	{name: "header, other case", edits: []string{"authorization: bearer  " + opaque}, lines: bearer},
	{name: "header, other scheme", edits: []string{"Authorization: Basic eDp5"}, refused: "no_token"},
	{name: "header, empty", edits: []string{"Authorization: Bearer"}, refused: "no_token"},
	{name: "header, twice", edits: []string{"Authorization: Bearer a", "Authorization: Bearer " + opaque}, refused: "bad_token"},
	{name: "header, with a space", edits: []string{"Authorization: Bearer " + opaque + " b"}, refused: "bad_token"},
	{
		name: "own header", token: object{"from": []string{"header:X-Token"}}, edits: []string{"X-Token: " + opaque},
		lines: lines{"Authorization": {"Bearer " + opaque}, "X-Token": nil},
	},
	{
		name: "to another header", token: object{"from": "header:Authorization", "to": "X-Token"}, edits: []string{"Authorization: Bearer " + opaque},
		lines: lines{"Authorization": nil, "X-Token": {opaque}},
	},
	{
		name: "kept from the upstream", token: object{"from": "header:Authorization", "to": ""}, edits: []string{"Authorization: Bearer " + opaque},
		lines: lines{"Authorization": nil},
	},
	{
		name: "query", token: object{"from": []string{"query:access_token"}}, target: "/hub?id=%7b1&access_token=" + opaque + "&v=",
		want: "/hub?id=%7b1&v=", lines: bearer,
	},
	{name: "query, alone", token: object{"from": "query:access_token"}, target: "/hub?access_token=" + opaque, want: "/hub", lines: bearer},
	{name: "query, in escapes", token: object{"from": "query:access_token"}, target: "/?access%5ftoken=hunter2%2Dtoken", want: "/", lines: bearer},
	{name: "query, twice", token: object{"from": "query:access_token"}, target: "/?access_token=a&access%5ftoken=" + opaque, refused: "bad_token"},
	{name: "query, empty", token: object{"from": "query:access_token"}, target: "/?access_token=", refused: "no_token"},
	{name: "query, no header's value", token: object{"from": "query:access_token"}, target: "/?access_token=hunter2%0d%0aX-Evil:1", refused: "bad_token"},
	{name: "query, too long", token: object{"from": "query:access_token"}, target: "/?" + strings.Repeat("a&", 100) + "access_token=" + opaque, refused: "too_long"},
	{
		name: "cookie", token: object{"from": "cookie:session"}, edits: []string{"Cookie: theme=dark; session=" + opaque + "; a=b"},
		lines: lines{"Authorization": {"Bearer " + opaque}, "Cookie": {"theme=dark; a=b"}},
	},
	{
		name: "cookie, quoted and alone", token: object{"from": "cookie:session"}, edits: []string{"Cookie: session=\"" + opaque + "\""},
		lines: lines{"Authorization": {"Bearer " + opaque}, "Cookie": nil},
	},
	{name: "cookie, another", token: object{"from": "cookie:session"}, edits: []string{"Cookie: session2=" + opaque}, refused: "no_token"},
	{
		name: "after bearer", token: object{"from": "protocolAfter:bearer"}, edits: offered("bearer, " + opaque),
		lines: lines{"Authorization": {"Bearer " + opaque}, "Sec-WebSocket-Protocol": nil}, marker: "bearer",
	},
	{
		name: "after bearer, beside another", token: object{"from": "protocolAfter:bearer"}, edits: offered("chat, bearer", opaque+",v2"),
		lines: lines{"Authorization": {"Bearer " + opaque}, "Sec-WebSocket-Protocol": {"chat, v2"}},
	},
	{name: "after bearer, nothing", token: object{"from": "protocolAfter:bearer"}, edits: offered("chat, bearer"), refused: "no_token"},
	{
		name: "Kubernetes", token: object{"from": "protocol:" + kubernetes}, edits: offered("v5.channel.k8s.io, " + kubernetes + base64URL(opaque)),
		lines: lines{"Authorization": {"Bearer " + opaque}, "Sec-WebSocket-Protocol": {"v5.channel.k8s.io"}},
	},
	{
		name: "Phoenix", token: object{"from": "protocol:" + phoenix}, edits: offered("phoenix, " + phoenix + base64URL(opaque)),
		lines: lines{"Authorization": {"Bearer " + opaque}, "Sec-WebSocket-Protocol": {"phoenix"}},
	},
	{name: "no base64url", token: object{"from": "protocol:" + phoenix}, edits: offered("phoenix, " + phoenix + "!"), refused: "bad_token"},
	{
		name: "OpenAI", token: object{"from": "protocol:openai-insecure-api-key."},
		edits: offered("realtime, openai-insecure-api-key." + opaque + ", openai-beta.realtime-v1"),
		lines: lines{"Authorization": {"Bearer " + opaque}, "Sec-WebSocket-Protocol": {"realtime, openai-beta.realtime-v1"}},
	},
	{
		name: "several, the first that has one", token: object{"from": []string{"header:Authorization", "query:access_token", "cookie:session"}},
		target: "/?access_token=" + opaque, edits: []string{"Cookie: session=hunter2-other", "Authorization: Basic eDp5"},
		want: "/", lines: lines{"Authorization": {"Bearer " + opaque}, "Cookie": nil},
	},
}

// TestTokenCarriers sends tokens in every way. What is taken goes on in the one place that it is to go on in.
func TestTokenCarriers(t *testing.T) {
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		for _, r := range carrierRows {
			t.Run(r.name, func(t *testing.T) { r.check(t, e, mode) })
		}
	})
}

func (r carrierRow) check(t *testing.T, e engine.Engine, mode string) {
	server := peerListen(t)
	token := object{"from": "header:Authorization"}
	maps.Copy(token, r.token)
	gateway := e.Start(t, setupIn(mode, server.addr, object{"token": token}))
	target := r.target
	if target == "" {
		target = "/"
	}
	client := peerDial(t, gateway, upgrade("GET "+target+" HTTP/1.1", r.edits...))
	if r.refused != "" {
		checkTokenRefusal(t, client, gateway, r.refused)
		return
	}
	upstream, head := server.request(t)
	if r.want == "" {
		r.want = target
	}
	if head.target() != r.want {
		t.Errorf("the target is %s, want %s", head.target(), r.want)
	}
	for name, want := range r.lines {
		if got := head.values(name); !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	upstream.send(t, head.switching())
	answer := client.answer(t)
	if answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status is %d, want 101", answer.StatusCode)
	}
	if got := strings.Join(answer.Header.Values("Sec-WebSocket-Protocol"), "|"); got != r.marker {
		t.Errorf("the client gets the subprotocol %q, want %q", got, r.marker)
	}
	client.Close()
	upstream.expectEnd(t)
	upstream.Close()
	if relays(mode) {
		gateway.WaitRecord(t)
	}
	checkSecretLines(t, gateway)
}

// checkTokenRefusal wants a refusal for the token's sake, told in the log and nowhere else.
func checkTokenRefusal(t *testing.T, client *peerConn, gateway *engine.Gateway, reason string) {
	t.Helper()
	status, challenge := http.StatusUnauthorized, `Bearer error="invalid_token"`
	switch reason {
	case "no_token":
		challenge = "Bearer"
	case "bad_claim":
		status, challenge = http.StatusForbidden, ""
	case "too_long":
		status, challenge = http.StatusBadRequest, ""
	}
	answer := client.answer(t)
	if got := answer.Header.Get("WWW-Authenticate"); answer.StatusCode != status || got != challenge {
		t.Errorf("the answer is %d with WWW-Authenticate %q, want %d with %q", answer.StatusCode, got, status, challenge)
	}
	line := gateway.Wait(t, refusedMessage)
	if line["reason"] != reason || line["status"] != float64(status) {
		t.Errorf("the log says %v, want the reason %s with %d", line, reason, status)
	}
	if text := fmt.Sprint(line); strings.Contains(text, "hunter2") {
		t.Errorf("the log shows the token: %s", text)
	}
}

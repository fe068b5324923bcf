package e2e

import (
	"fmt"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// codeKeys are the options that take a close code.
var codeKeys = []string{"restartCode", "upstreamLostCode"}

// TestConfigCode has codes that may not be sent (RFC 6455 section 7.4), and uses in which none is.
func TestConfigCode(t *testing.T) {
	var mistakes []mistake
	for _, key := range codeKeys {
		values := []any{0, -1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65536 + 1001, 1012.5, "abc", "1012.5", "1e3", true, []any{1012}, object{"code": 1012}}
		for i, value := range values {
			mistakes = append(mistakes, mistaken(key, value).named(fmt.Sprintf("%s %d of %T", key, i, value)))
		}
		mistakes = append(mistakes, inMode("tunnel", key, 1001), checking(key, 1001).named(key+" of nobody"))
	}
	checkMistakes(t, mistakes)
}

// TestConfigCodeAccepts has codes that may be sent.
func TestConfigCodeAccepts(t *testing.T) {
	codes := []any{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999, "1001", "4000"}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, code := range codes {
			t.Run(fmt.Sprintf("%T %v", code, code), func(t *testing.T) {
				forwardTo(t, e, configEndpoint, object{"restartCode": code, "upstreamLostCode": code})
			})
		}
	})
}

// TestRestartCode wants the client of a drained session closed with the code of the configuration, and the upstream with
// the same as ever.
func TestRestartCode(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for value, code := range map[any]int{1001: 1001, "4012": 4012} {
			t.Run(fmt.Sprint(code), func(t *testing.T) {
				config := object{"drainTimeout": "0", "restartCode": value, "upstreamLostCode": 1011}
				j := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: config}).join(t)
				j.gateway.Terminate(t)
				for end, want := range map[string]int{"client": code, "upstream": 1001} {
					near, _ := j.from(end)
					if reason := expectClose(t, near, end == "upstream", want); reason != restartReason {
						t.Errorf("the %s is closed for %q, want %q", end, reason, restartReason)
					}
				}
				j.answers(t, code, 1001)
				j.expectOutcome(t, "wsfw", code, restartReason)
			})
		}
	})
}

// answers has both ends answer close frames with these codes, and wants both connections closed.
func (j *joined) answers(t *testing.T, client, upstream int) {
	t.Helper()
	send(t, j.client, wire.Close(client, ""))
	send(t, j.upstream, wire.Close(upstream, ""))
	expectCut(t, j.client)
	expectCut(t, j.upstream)
}

// ownLostCode is another upstreamLostCode than the default.
const ownLostCode = 1011

// TestUpstreamLostCode has upstreams vanish, and wants the client closed with the code of the configuration. What an
// upstream says itself is passed on, whatever its code.
func TestUpstreamLostCode(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"upstreamLostCode": ownLostCode})
		for _, way := range vanish {
			t.Run(way.name, func(t *testing.T) {
				j := g.join(t)
				converse(t, []*joined{j})
				if err := way.how(j.upstream); err != nil {
					t.Fatal(err)
				}
				expect(t, j.client, wire.Close(ownLostCode, "upstream connection lost").Bytes())
				send(t, j.client, wire.Close(ownLostCode, ""))
				expectEnd(t, j.client)
				j.expectOutcome(t, "upstream", 1006, "connection lost")
			})
		}
		t.Run("of the upstream's", func(t *testing.T) {
			j := g.join(t)
			bye := wire.Close(1014, "its own")
			send(t, j.upstream, bye)
			expect(t, j.client, bye.Bytes())
			j.client.Close()
			j.upstream.Close()
			j.expectOutcome(t, "upstream", 1014, "its own")
		})
	})
}

// TestUpstreamLostCodeOfFault has upstreams break a rule or exceed a limit.
func TestUpstreamLostCodeOfFault(t *testing.T) {
	faults := []struct {
		name string
		bad  wire.Frame
		code int
	}{
		{"framing", wire.Frame{Fin: true, RSV: wire.RSV1, Opcode: wire.OpText, Payload: []byte("a")}, 1002},
		{"text", wire.Text("\xFF"), 1007},
		{"size", wire.Binary(make([]byte, 101)), 1009},
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"upstreamLostCode": ownLostCode, "validate": "utf8", "maxMessageSize": 100})
		for _, fault := range faults {
			t.Run(fault.name, func(t *testing.T) {
				j := g.join(t)
				send(t, j.upstream, fault.bad)
				expectClose(t, j.client, false, ownLostCode)
				reason := expectClose(t, j.upstream, true, fault.code)
				j.answers(t, ownLostCode, fault.code)
				j.expectOutcome(t, "wsfw", fault.code, reason)
			})
		}
	})
}

// TestUpstreamLostCodeOfSilence has an upstream answer no ping.
func TestUpstreamLostCodeOfSilence(t *testing.T) {
	const reason = "upstream heartbeat timeout"
	eachUse(t, func(t *testing.T, e engine.Engine) {
		config := object{"upstreamLostCode": ownLostCode, "pingInterval": beat.String(), "pingTarget": "upstream", "pongTimeout": "500ms"}
		j := newGround(t, e, config).join(t)
		for end, want := range map[string]int{"client": ownLostCode, "upstream": 1001} {
			near, _ := j.from(end)
			if code, why, err := readToClose(near); err != nil || code != want || why != reason {
				t.Errorf("the %s was closed with %d %q (%v), want %d %q", end, code, why, err, want, reason)
			}
		}
		j.answers(t, ownLostCode, 1001)
		j.expectOutcome(t, "wsfw", ownLostCode, reason)
	})
}

// TestUpstreamLostCodeOfBlock has an upstream stop reading while the client floods it.
func TestUpstreamLostCodeOfBlock(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		j := newGround(t, e, object{"upstreamLostCode": ownLostCode, "writeTimeout": blockedAfter.String()}).join(t)
		ended := newStream(j.client).start(j.client)
		expectClose(t, j.client, false, ownLostCode)
		j.client.Close()
		<-ended
		j.upstream.Close()
		j.expectOutcome(t, "wsfw", ownLostCode, "upstream write timeout")
	})
}

package e2e

import (
	"fmt"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// ruleBy is one of upstreamRules that picks the suite's endpoint.
func ruleBy(selector, name, value string) object {
	return object{selector: name, "value": value, "upstreamEndpoint": configEndpoint}
}

// TestConfigRule has rules that no request can meet.
func TestConfigRule(t *testing.T) {
	var mistakes []mistake
	add := func(key string, rules ...any) {
		name := fmt.Sprintf("%d %s", len(mistakes), key)
		mistakes = append(mistakes, mistaken("upstreamRules", rules).named(name).at(key))
	}
	for _, value := range []string{" a", "a ", "\ta", "a\t", "a\x01b", "a\nb", "a\x7fb"} {
		add("upstreamRules[0].value", ruleBy("header", "X-Tenant", value))
	}
	for _, value := range []string{"a;b", `a"b`, `"a"`, `a\b`, "a\x01b", "a\nb", "a\x7fb"} {
		add("upstreamRules[0].value", ruleBy("cookie", "tenant", value))
	}
	add("upstreamRules[0].header", ruleBy("header", "Transfer-Encoding", "chunked"))
	add("upstreamRules[0].header", ruleBy("header", "transfer-encoding", "chunked"))
	add("upstreamRules[1]", ruleBy("header", "X-Tenant", "a"), ruleBy("header", "X-Tenant", "a"))
	add("upstreamRules[1]", ruleBy("header", "X-Tenant", "a"), ruleBy("header", "x-tenant", "a"))
	add("upstreamRules[2]", ruleBy("query", "tenant", "a"), ruleBy("query", "tenant", "b"), ruleBy("query", "tenant", "a"))
	add("upstreamRules[1]", ruleBy("cookie", "tenant", "a"), ruleBy("cookie", "tenant", "a"))
	checkMistakes(t, mistakes)
}

// TestConfigRuleAccepts has rules that differ, if not by much, and values that a request can have.
func TestConfigRuleAccepts(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		rules := []any{
			ruleBy("header", "X-Tenant", "a"), ruleBy("header", "X-Tenant", "A"), ruleBy("header", "X-Tenant", "a b\tc"),
			ruleBy("query", "X-Tenant", "a"), ruleBy("query", "x-tenant", "a"), ruleBy("query", "x-tenant", ` a;"\`),
			ruleBy("cookie", "X-Tenant", "a"), ruleBy("cookie", "x-tenant", "a"), ruleBy("header", "X-Tenant", `a;"b\`),
		}
		config := object{"upstreamEndpoint": configEndpoint, "upstreamRules": rules}
		e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
	})
}

// TestConfigClientHeader has headers that net/http keeps from every handler.
func TestConfigClientHeader(t *testing.T) {
	var mistakes []mistake
	for _, name := range []string{"Host", "host", "Transfer-Encoding", "transfer-encoding"} {
		mistakes = append(mistakes, checking("clientHeader", name, object{"maxConnectionsPerClient": 1}).named(name))
	}
	checkMistakes(t, mistakes)
}

// TestConfigRequestHeader has headers of the upstream's request that are not the user's to set, and Hosts that are none.
func TestConfigRequestHeader(t *testing.T) {
	checkMistakes(t, []mistake{
		mistaken("headers", object{"Via": "1.1 hunter2"}).named("Via"),
		mistaken("headers", object{"via": ""}).named("no Via"),
		mistaken("headers", object{"Host": "hunter2 example.com"}).named("Host with a space"),
		mistaken("headers", object{"host": "hunter2.example.com/ws"}).named("Host with a path"),
		mistaken("headers", object{"Host": "https://hunter2.example.com"}).named("Host with a scheme"),
	})
}

// TestConfigTrust has tls options that cannot be had together, and names that no certificate has.
func TestConfigTrust(t *testing.T) {
	caFile := tlsDir(t.TempDir()).write(t, "ca.pem", newTLSAuthority(t).pem)
	mistakes := []mistake{secureWith(object{"caFile": caFile, "insecureSkipVerify": true}, "tls.caFile|tls.insecureSkipVerify").named("trust in all")}
	for _, name := range []string{"example.com:443", "https://example.com", "wss://example.com", "example.com/ws", "[::1]:443", "a b"} {
		mistakes = append(mistakes, secureWith(object{"serverName": name}, "tls.serverName").named("serverName "+name))
	}
	checkMistakes(t, mistakes)
}

// TestConfigTrustAccepts has tls options that go together.
func TestConfigTrustAccepts(t *testing.T) {
	caFile := tlsDir(t.TempDir()).write(t, "ca.pem", newTLSAuthority(t).pem)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for i, options := range []object{
			{"caFile": caFile, "insecureSkipVerify": false}, {"insecureSkipVerify": true}, {"serverName": "example.com"}, {"serverName": "192.0.2.1"}, {"serverName": "::1"},
		} {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				config := object{"upstreamEndpoint": "wss://127.0.0.1:9", "tls": options}
				e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
			})
		}
	})
}

// TestConfigBounds has values that are out of what can be kept, and limits of which one makes the other void.
func TestConfigBounds(t *testing.T) {
	sizes := func(frame, message any) mistake {
		m := mistaken("maxFrameSize", frame, object{"maxMessageSize": message})
		return m.named(fmt.Sprint(frame, " above ", message)).at("maxFrameSize|maxMessageSize")
	}
	mistakes := []mistake{sizes("1MiB", "64KiB"), sizes(65537, "64KiB"), sizes("2", 1)}
	for key, values := range map[string][]string{
		"connectTimeout": {"9ms", "1ns", "9999us"}, "upgradeTimeout": {"9ms", "1ns"},
		"closeTimeout": {"9ms", "1ns", "24h1s", "1000h"},
	} {
		for _, value := range values {
			mistakes = append(mistakes, mistaken(key, value).named(key+" "+value))
		}
	}
	checkMistakes(t, mistakes)
}

// TestConfigBoundsAccept has the first and the last values that can be kept.
func TestConfigBoundsAccept(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for i, options := range []object{
			{"connectTimeout": "10ms", "upgradeTimeout": "10ms", "closeTimeout": "10ms"}, {"closeTimeout": "24h"}, {"connectTimeout": "0", "upgradeTimeout": 0},
		} {
			t.Run(fmt.Sprint(i), func(t *testing.T) { forwardTo(t, e, configEndpoint, options) })
		}
	})
}

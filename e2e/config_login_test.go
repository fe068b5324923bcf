package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// hmacSecret is one that HS256 takes.
var hmacSecret = strings.Repeat("hunter2-", 8)

// TestConfigToken has tokens that are nowhere, go nowhere, or are held against nothing.
func TestConfigToken(t *testing.T) {
	var mistakes []mistake
	add := func(key string, value object, says string) {
		name := fmt.Sprintf("%d %s", len(mistakes), key)
		mistakes = append(mistakes, checking("token", value).named(name).at(key).saying(says))
	}
	for _, from := range []string{"Authorization", "header", "header:", "header:a b", "body:x", "query:", "query:a&b", "cookie:a=b", "protocol:", "protocolAfter:a,b", "header:Transfer-Encoding"} {
		add("token.from", object{"from": []string{from}}, "query:access_token")
	}
	add("token.from", object{"from": []string{}}, "header:Authorization")
	add("token.to", object{"to": "a b"}, "header name")
	add("token.to", object{"to": "Connection"}, "handshake")
	add("token.to", object{"to": "Host"}, "another header")
	add("token.endSessions", object{"endSessions": "soon"}, "true or false")
	add("token.form", object{"form": "header:Authorization"}, "token.from")
	add("token.signingSecret", object{"signingSecret": "hunter2"}, "32")
	add("token.issuer", object{"issuer": "https://issuer.example.com"}, "signingSecret")
	add("token.leeway", object{"signingSecret": hmacSecret, "leeway": "30"}, "unit")
	add("token.algorithms", object{"signingSecret": hmacSecret, "algorithms": []string{"none"}}, "")
	add("token.algorithms", object{"signingSecret": hmacSecret, "algorithms": []string{"RS256"}}, "")
	add("token.jwksUrl", object{"jwksUrl": "ftp://hunter2.example.com"}, "http")
	add("token.jwksUrl", object{"jwksUrl": "https://user:hunter2@example.com"}, "user")
	add("token.jwksFile", object{"jwksFile": "/does/not/exist"}, "")
	add("token.publicKey", object{"publicKey": "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----"}, "")
	checkMistakes(t, append(mistakes,
		checking("userFrom", "claim:sub").saying("needs token"),
		checking("userFrom", "sub").saying("claim:sub"),
		inMode("status", "token", object{"from": "header:Authorization"}),
		inMode("status", "revalidate", object{"url": "http://127.0.0.1:1"}),
	))
}

// TestConfigRevalidate has endpoints that cannot be asked.
func TestConfigRevalidate(t *testing.T) {
	var mistakes []mistake
	add := func(key string, value object) {
		name := fmt.Sprintf("%d %s", len(mistakes), key)
		mistakes = append(mistakes, checking("revalidate", value).named(name).at(key))
	}
	const url = "http://127.0.0.1:1/hunter2"
	add("revalidate.url", object{"interval": "1m"})
	for _, bad := range []string{"127.0.0.1:1", "ws://127.0.0.1:1", "http://", "http://user:hunter2@127.0.0.1:1", "http://[hunter2"} {
		add("revalidate.url", object{"url": bad})
	}
	for _, bad := range []string{"0", "0s", "1", "999ms", "-1s", "often"} {
		add("revalidate.interval", object{"url": url, "interval": bad})
	}
	for _, bad := range []string{"a b", "Connection", "Host", "Upgrade"} {
		add("revalidate.headers", object{"url": url, "headers": []string{bad}})
	}
	add("revalidate.headers", object{"url": url, "headers": []string{}})
	add("revalidate.uri", object{"url": url, "uri": url})
	checkMistakes(t, mistakes)
}

// TestConfigLoginAccepts has tokens from everywhere, as files and as labels have them.
func TestConfigLoginAccepts(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for name, config := range map[string]object{
			"lists": {
				"token": object{
					"from": []string{"header:authorization", "query:access_token", "cookie:session", "protocol:base64url.bearer.phx.", "protocolAfter:bearer"},
					"to":   "x-token", "signingSecret": hmacSecret, "algorithms": []string{"HS256", "HS512"}, "audience": []string{"a", "b"},
					"issuer": "https://issuer.example.com", "claims": object{"grp": []string{"admin", "ops"}, "realm": object{"role": "chat"}},
					"endSessions": true, "leeway": "0",
				},
				"revalidate": object{"url": "https://auth.example.com/verify", "interval": "90s", "headers": []string{"Authorization", "X-Tenant"}},
				"userFrom":   "claim:sub",
			},
			"texts": {
				"token": object{
					"from": "header:Authorization, query:access_token", "to": "", "signingSecret": hmacSecret, "algorithms": "HS256,HS512", "audience": "a,b",
					"claims": object{"grp": "admin,ops"}, "endSessions": "true",
				},
				"revalidate": object{"url": "http://auth:8080", "headers": "Authorization,X-Tenant"},
			},
		} {
			t.Run(name, func(t *testing.T) {
				e.Start(t, engine.Setup{Config: config, Next: "http://" + peerDeadAddr(t)})
			})
		}
	})
}

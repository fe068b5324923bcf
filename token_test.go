package wsfw

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// everyCarrier is all kinds of carriers.
var everyCarrier = []carrier{
	{"header", "Authorization"},
	{"header", "X-Token"},
	{"query", "access_token"},
	{"cookie", "session"},
	{"protocol", "base64url.bearer.phx."},
	{"protocol", "key."},
	{"protocolAfter", "bearer"},
}

// FuzzCarriers takes tokens out of requests in which everything else may be anything: what carriers have is gone then, however it
// was written, and what they do not have is still there.
func FuzzCarriers(f *testing.F) {
	f.Add("a=1&access_token=t&b", "theme=dark; session=t", "chat, bearer, t", "Bearer t", "t")
	f.Add("access%5ftoken=t&access_token=u", `session="t"; session=u`, "base64url.bearer.phx.dA, key.t", "Basic eDp5", "")
	f.Add("access_token&%zz=1&;", ";;session=", "bearer,bearer,bearer", "bearer", " ")
	f.Fuzz(func(t *testing.T, query, cookies, protocols, authorization, own string) {
		req := httptest.NewRequest(http.MethodGet, "/socket", http.NoBody)
		req.URL.RawQuery = query
		req.RequestURI = "/socket?" + query
		req.Header = http.Header{
			"Cookie": {cookies}, protocolHeader: {protocols}, "Authorization": {authorization}, "X-Token": {own}, "X-Other": {"stays"},
		}
		sent := req.Clone(req.Context())
		taken := &takenToken{req: req}
		for _, from := range everyCarrier {
			if takeFrom(taken, from) != nil {
				return // it is refused
			}
		}
		checkTaken(t, sent, taken)
		if req.URL.RawQuery != query || req.Header.Get("Cookie") != sent.Header.Get("Cookie") {
			t.Error("the request that came has been changed")
		}
	})
}

// checkTaken holds a request of which tokens have been taken against the one that was sent.
func checkTaken(t *testing.T, sent *http.Request, taken *takenToken) {
	t.Helper()
	rest := taken.req
	if values, _ := url.ParseQuery(rest.URL.RawQuery); values.Has("access_token") {
		t.Errorf("the query still has the token: %q", rest.URL.RawQuery)
	}
	if _, query, _ := strings.Cut(rest.RequestURI, "?"); taken.copied && query != rest.URL.RawQuery {
		t.Errorf("the target has the query %q, the URL %q", query, rest.URL.RawQuery)
	}
	if _, err := rest.Cookie("session"); err == nil {
		t.Errorf("the cookies still have the token: %q", rest.Header["Cookie"])
	}
	for _, protocol := range listItems(rest.Header[protocolHeader]) {
		if strings.HasPrefix(protocol, "key.") || strings.HasPrefix(protocol, "base64url.bearer.phx.") {
			t.Errorf("the offer still has the token: %q", rest.Header[protocolHeader])
		}
		if !contains(listItems(sent.Header[protocolHeader]), protocol) {
			t.Errorf("the offer has %q, which was not sent", protocol)
		}
	}
	if rest.Header.Get("X-Token") != "" && strings.TrimSpace(rest.Header.Get("X-Token")) != "" {
		t.Errorf("the header still has the token: %q", rest.Header["X-Token"])
	}
	if rest.Header.Get("X-Other") != "stays" {
		t.Error("another header is gone")
	}
	if taken.token == "" && taken.ambiguous {
		t.Error("no token, and more than one")
	}
}

// TestTokenMemory has a client come back with the same token: that is not verified again, but for as long as the key is the same.
func TestTokenMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	writeSecret := func(secret string) {
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := strings.Repeat("first", 8)
	writeSecret(first)
	m := &mistakes{}
	o := newOptions(m, "", map[string]any{"token": map[string]any{"signingSecretFile": file}})
	p := o.tokenPolicy("memory")
	if err := m.err("memory"); err != nil {
		t.Fatal(err)
	}
	line := "Bearer " + signedBySecret(first, `{"sub":"alice"}`)
	come := func() *refusal {
		req := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		req.Header.Set("Authorization", line)
		return admitToken(&upgrade{middleware: &Middleware{settings: &settings{}}, req: req, login: &login{}}, p)
	}
	if refused := come(); refused != nil || p.memory.known[line] == nil {
		t.Fatalf("a good token is refused (%v), or not remembered", refused)
	}
	if said := recall(p, []string{line}); said == nil || claimText(said, "sub") != "alice" {
		t.Errorf("the token that is remembered says %v", said)
	}
	p.memory.known[line].until = time.Now().Add(-time.Second)
	if recall(p, []string{line}) != nil {
		t.Error("a token is remembered that has expired")
	}
	if refused := come(); refused != nil || recall(p, []string{line}) == nil {
		t.Errorf("the token is refused (%v), or not remembered again", refused)
	}
	writeSecret(strings.Repeat("the second", 8))
	if refused := come(); refused != refuseToken {
		t.Errorf("the refusal is %v where the key has changed, want %v", refused, refuseToken)
	}
}

// TestTokenMemoryIsBounded has many clients come, each with a token of its own.
func TestTokenMemoryIsBounded(t *testing.T) {
	secret := strings.Repeat("secret", 8)
	o := newOptions(&mistakes{}, "", map[string]any{"token": map[string]any{"signingSecret": secret}})
	p := o.tokenPolicy("memory")
	said, keys := &claims{}, keysNow(p.verifier.keys, time.Now())
	for i := 0; i < 3*mostKnown; i++ {
		remember(p, strings.Repeat("x", i), said, keys, time.Now())
	}
	if len(p.memory.known) > mostKnown {
		t.Errorf("%d tokens are remembered, want %d at most", len(p.memory.known), mostKnown)
	}
	remember(p, strings.Repeat("x", longestKnown+1), said, keys, time.Now())
	if p.memory.known[strings.Repeat("x", longestKnown+1)] != nil {
		t.Error("a token that is too long is remembered")
	}
}

// signedBySecret is a token with these claims, signed by HS256.
func signedBySecret(secret, claims string) string {
	text := base64url.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64url.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64url.EncodeToString(mac.Sum(nil))
}

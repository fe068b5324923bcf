package wsfw

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
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

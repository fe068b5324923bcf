package wsfw

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// extendedConnect is a request for a WebSocket as net/http's and quic-go's servers have it.
func extendedConnect(major int, protocol string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, "/socket/a?b=c", nil)
	req.Method = http.MethodConnect
	req.ProtoMajor = major
	req.Header[versionHeader] = []string{"13"}
	if major == 2 {
		req.Header[":protocol"] = []string{protocol}
	} else {
		req.Proto = protocol
	}
	return req
}

func TestIsConnect(t *testing.T) {
	plainGet := httptest.NewRequest(http.MethodGet, "/", nil)
	plainGet.Header[":protocol"] = []string{"websocket"}
	repeated := extendedConnect(2, "websocket")
	repeated.Header[":protocol"] = []string{"websocket", "websocket"}
	plainConnect := extendedConnect(3, "HTTP/3.0")
	for name, c := range map[string]struct {
		req  *http.Request
		want bool
	}{
		"HTTP/2":                 {extendedConnect(2, "websocket"), true},
		"HTTP/3":                 {extendedConnect(3, "websocket"), true},
		"another protocol":       {extendedConnect(2, "connect-udp"), false},
		"two protocols":          {repeated, false},
		"HTTP/3 for a tunnel":    {plainConnect, false},
		"a header of the client": {extendedConnect(1, "HTTP/1.1"), false},
		"GET":                    {plainGet, false},
	} {
		if got := isConnect(c.req); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// What goes on in place of an extended CONNECT passes the guards of an upgrade by HTTP/1.1.
func TestOpenStream(t *testing.T) {
	for _, major := range []int{2, 3} {
		req := extendedConnect(major, "websocket")
		m := &Middleware{settings: newSettings(limits{})}
		u := newUpgrade(m, httptest.NewRecorder(), req)
		if u.stream == nil || u.req.Header[":protocol"] != nil || u.req.Method != http.MethodGet || u.req.URL.String() != "/socket/a?b=c" {
			t.Fatalf("HTTP/%d: what goes on is %+v", major, u.req)
		}
		if refused := admit(u, m.settings); refused != nil {
			t.Errorf("HTTP/%d: it is refused: %+v", major, refused)
		}
		if req.Method != http.MethodConnect || req.Header["Upgrade"] != nil {
			t.Errorf("HTTP/%d: the client's request is changed: %+v", major, req)
		}
	}
}

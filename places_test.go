package wsfw

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestPlaces(t *testing.T) {
	l := limits{maxConnections: 3, maxPerClient: 2}.settled()
	steps := []struct {
		client string
		gives  bool // its place back
		want   *refusal
	}{
		{"a", false, nil},
		{"a", false, nil},
		{"a", false, refuseClient},
		{"b", false, nil},
		{"c", false, refuseCrowd},
		{"a", true, nil},
		{"c", false, nil},
		{"a", false, refuseCrowd},
		{"b", true, nil},
		{"a", false, nil},
	}
	for i, s := range steps {
		if s.gives {
			leavePlace("crowd", s.client)
		} else if got := come("crowd", s.client, l); got != s.want {
			t.Fatalf("step %d: %v, want %v", i, got, s.want)
		}
	}
	if refused := come("another", "a", l); refused != nil {
		t.Error("middlewares of two names share their places")
	}
	leavePlace("another", "a")
	for _, client := range []string{"a", "a", "c"} {
		leavePlace("crowd", client)
	}
	if crowd, another := placesOf("crowd"), placesOf("another"); crowd != nil || another != nil {
		t.Errorf("places are left when all have been given back: %+v, %+v", crowd, another)
	}
}

// come has client ask a middleware called name that lets in whom these limits do, and returns why it does not.
func come(name, client string, l *limits) *refusal {
	req, answer := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
	req.Header = upgrading(nil)
	req.RemoteAddr = client + ":1"
	m := &Middleware{name: name, settings: &settings{limits: l}}
	admit(&upgrade{middleware: m, rw: answer, req: req})
	for _, refused := range []*refusal{refuseCrowd, refuseClient} {
		if answer.Code == refused.status {
			return refused
		}
	}
	return nil
}

func leavePlace(name, client string) {
	giveBack(&upgrade{middleware: &Middleware{name: name}, places: placesOf(name), guest: client})
}

// placesOf are those of the middleware called name, nil where it has no session. Other tests' sessions may be
// ending meanwhile.
func placesOf(name string) *places {
	occupiedMu.Lock()
	defer occupiedMu.Unlock()
	return occupied[name]
}

// panicker is a connection that cannot be closed.
type panicker struct{ *script }

func (panicker) Close() error { panic("close") }

// An upgrade without a session leaves nothing open, whatever a connection does.
func TestGiveBackHangsUp(t *testing.T) {
	dialed, taken := newScript(nil, 1, true), newScript(nil, 1, true)
	come("hung up", "a", &limits{})
	giveBack(&upgrade{middleware: &Middleware{name: "hung up"}, places: placesOf("hung up"), guest: "a", dialed: dialed, taken: &panicker{taken}})
	if p := placesOf("hung up"); dialed.closed != 1 || p != nil {
		t.Errorf("closed %d times; places: %+v", dialed.closed, p)
	}
	dialed = newScript(nil, 1, true)
	giveBack(&upgrade{dialed: &panicker{dialed}, taken: taken})
	giveBack(&upgrade{session: &session{}, taken: taken})
	if taken.closed != 1 {
		t.Errorf("the client's connection was closed %d times", taken.closed)
	}
}

func TestClientOf(t *testing.T) {
	cases := []struct{ remote, header, value, want string }{
		{"192.0.2.1:5000", "", "", "192.0.2.1"},
		{"[2001:db8::1]:5000", "", "", "2001:db8::/64"},
		{"[2001:db8::ffff:1]:5000", "", "", "2001:db8::/64"},
		{"[::ffff:192.0.2.1]:5000", "", "", "192.0.2.1"},
		{"[fe80::1%eth0]:5000", "", "", "fe80::1%eth0"},
		{"192.0.2.1:5000", "X-Real-Ip", "", "192.0.2.1"},
		{"192.0.2.1:5000", "X-Real-Ip", "198.51.100.7", "X-Real-Ip: 198.51.100.7"},
		{"@", "", "", "@"},
	}
	for _, c := range cases {
		req := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.value != "" {
			req.Header.Set(c.header, c.value)
		}
		u := &upgrade{req: req}
		u.ip, _, _ = net.SplitHostPort(c.remote)
		if got := clientOf(u, &limits{clientHeader: c.header}); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

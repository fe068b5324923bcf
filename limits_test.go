package wsfw

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestCounts(t *testing.T) {
	l := limits{maxConnections: 3, maxPerClient: 2}.settled()
	steps := []struct {
		client string
		gives  bool // its place back
		want   *refusal
	}{
		{"a", false, nil},
		{"a", false, nil},
		{"a", false, refuseClientFull},
		{"b", false, nil},
		{"c", false, refuseFull},
		{"a", true, nil},
		{"c", false, nil},
		{"a", false, refuseFull},
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
		t.Error("middlewares of two names are counted together")
	}
	leavePlace("another", "a")
	for _, client := range []string{"a", "a", "c"} {
		leavePlace("crowd", client)
	}
	if crowd, another := counted("crowd"), counted("another"); crowd != 0 || another != 0 {
		t.Errorf("sessions are counted when all are over: %d, %d", crowd, another)
	}
}

// come has client ask a middleware called name that lets in whom these limits do, and returns why it does not.
func come(name, client string, l *limits) *refusal {
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header = upgrading(nil)
	req.RemoteAddr = client + ":1"
	m := &Middleware{name: name, settings: &settings{limits: l}}
	return admit(newUpgrade(m, httptest.NewRecorder(), req), m.settings)
}

// leavePlace ends the session of such a client.
func leavePlace(name, client string) {
	giveBack(&upgrade{middleware: &Middleware{name: name}, clientKey: name + "\n" + client})
}

// counted is how many sessions of the middleware called name, and of its clients, there are.
func counted(name string) int {
	connCountsMu.Lock()
	defer connCountsMu.Unlock()
	all := connCounts[name]
	for key, count := range connCounts {
		if strings.HasPrefix(key, name+"\n") {
			all += count
		}
	}
	return all
}

// panicker is a connection that cannot be closed.
type panicker struct{ *script }

func (panicker) Close() error { panic("close") }

// An upgrade without a session leaves nothing open, whatever a connection does.
func TestGiveBackHangsUp(t *testing.T) {
	dialed, taken := newScript(nil, 1, true), newScript(nil, 1, true)
	come("hung up", "a", &limits{})
	giveBack(&upgrade{middleware: &Middleware{name: "hung up"}, clientKey: "hung up\na", dialed: dialed, taken: &panicker{taken}})
	if left := counted("hung up"); dialed.closed != 1 || left != 0 {
		t.Errorf("closed %d times, %d counts left", dialed.closed, left)
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

func TestBucket(t *testing.T) {
	parser := newParser(plain, true)
	meter(parser, &limits{messageRate: 2, messageBurst: 5})
	steps := []struct {
		at   time.Duration
		sent int64 // messages, after that
		want int   // that may come then
	}{
		{0, 3, 5},
		{0, 2, 2},
		{400 * time.Millisecond, 0, 0},
		{500 * time.Millisecond, 1, 1},
		{time.Second, 0, 1},
		{time.Hour, 0, 5},
		{2 * time.Hour, 4, 5},
		{2 * time.Hour, 0, 1},
	}
	for i, s := range steps {
		if got := allowMessages(parser, 10, s.at); got != s.want {
			t.Errorf("step %d: %d messages may come, want %d", i, got, s.want)
		}
		if ceiling := parser.messages + int64(s.want); parser.ceiling != ceiling {
			t.Errorf("step %d: the ceiling is %d, want %d", i, parser.ceiling, ceiling)
		}
		parser.messages += s.sent
	}
	meter(parser, &limits{messageRate: 100, messageBurst: 160})
	parser.messages = 0
	if got := allowMessages(parser, 3, 0); got != 13 {
		t.Errorf("%d messages may come, want the 3 that are needed and a share of 10", got)
	}
	unmetered := newParser(plain, true)
	meter(unmetered, &limits{})
	if unmetered.metered || unmetered.ceiling != unlimited {
		t.Error("messages are bounded without a rate")
	}
}

func TestRateIsJudgedWhereMessagesBegin(t *testing.T) {
	fragments := join(frame(0x01, nil, true), frame(0x89, nil, true), frame(0x80, nil, true))
	cases := []struct {
		name   string
		stream []byte
		passed int
	}{
		{"whole messages", join(hello2(), hello2(), hello2()), 2 * len(hello2())},
		{"fragments", join(fragments, fragments, fragments), 2 * len(fragments)},
		{"control frames", join(frame(0x89, nil, true), frame(0x89, nil, true), frame(0x8a, nil, true)), 18},
	}
	for _, c := range cases {
		parser := newParser(plain, true)
		parser.ceiling = 2
		pass := parseChunk(parser, c.stream)
		wantFault := pass < len(c.stream)
		if pass != c.passed || (parser.fault == errRate) != wantFault {
			t.Errorf("%s: %d bytes may go on, fault %v; want %d", c.name, pass, parser.fault, c.passed)
		}
	}
}

// hello2 is a masked message.
func hello2() []byte { return frame(0x81, []byte("hello"), true) }

// A client's control frames are bounded where frames are judged; a close frame may always come.
func TestControlFramesAreBounded(t *testing.T) {
	ping, closing := frame(0x89, nil, true), frame(0x88, nil, true)
	flood := bytes.Repeat(ping, controlBurst+controlRate) // more than may come within a second
	burst := flood[:controlBurst*len(ping)]
	for _, c := range []struct {
		name   string
		rules  *frameRules
		masked bool
		stream []byte
		fault  *fault
	}{
		{"as many as may come", plain, true, burst, nil},
		{"and a close frame", plain, true, join(burst, closing), nil},
		{"too many", plain, true, flood, errControls},
		{"unjudged", lax, true, flood, nil},
		{"from an upstream", plain, false, bytes.Repeat(frame(0x8a, nil, false), controlBurst+1), nil},
	} {
		parser := newParser(c.rules, c.masked)
		bound(parser, &limits{})
		parser.opened = time.Now()
		pass := parseChunk(parser, c.stream)
		if parser.fault != c.fault || c.fault == nil && parser.closing == nil && pass != len(c.stream) {
			t.Errorf("%s: %d of %d bytes pass, fault %v", c.name, pass, len(c.stream), parser.fault)
		}
		most := controlBurst + int(controlRate*time.Since(parser.opened).Seconds())
		if c.fault != nil && pass > most*len(ping) {
			t.Errorf("%s: %d pings pass, want %d at most", c.name, pass/len(ping), most)
		}
	}
	parser := newParser(plain, true)
	bound(parser, &limits{})
	parser.opened = time.Now().Add(-time.Second)
	parseChunk(parser, flood)
	parser.opened = parser.opened.Add(-time.Second)
	parser.fault = nil
	if pass := parseChunk(parser, flood[:controlRate/2*len(ping)]); parser.fault != nil {
		t.Errorf("a second later there may be %d bytes, fault %v", pass, parser.fault)
	}
}

// Where frames are not judged they may be shorter than a client's have to be: they, too, have their tokens.
func TestRateOfShortFrames(t *testing.T) {
	set := newSettings(limits{messageRate: 1, messageBurst: 10})
	message := []byte{0x82, 1, 'a'}
	client, upstream := newScript(bytes.Repeat(message, 5), len(message), false), newScript(nil, 1, true)
	s := newSession(newPeer(clientPeer, client), newPeer(upstreamPeer, upstream), lax, set, nil)
	f := s.toUpstream
	takeSmall(f)
	_, _ = relay(f, 0, nil)
	if f.parser.messages != 5 || f.parser.fault != nil {
		t.Errorf("%d of 5 messages pass, fault %v", f.parser.messages, f.parser.fault)
	}
}

// A client may answer as many pings as it is sent, however many those are.
func TestPongsToOursAreAllowed(t *testing.T) {
	parser := newParser(plain, true)
	bound(parser, &limits{pingInterval: 10 * time.Millisecond, pingClient: true})
	if parser.allowance.rate != 2*controlRate {
		t.Errorf("there may be %v control frames a second, 100 of them pongs to ours", parser.allowance.rate)
	}
}

func TestSizes(t *testing.T) {
	cases := map[string]int{"": 0, "0": 0, "100": 100, "64KiB": 64 << 10, "1MiB": 1 << 20, "512MiB": 512 << 20}
	for text, want := range cases {
		m := &mistakes{}
		o := newOptions(m, "", object{"maxFrameSize": text})
		if got := o.size("maxFrameSize"); got != want || len(m.list) > 0 {
			t.Errorf("%q is %d (%v), want %d", text, got, m.list, want)
		}
	}
	for _, text := range []string{"64kb", "1 MiB", "MiB", "1.5MiB", "-1", "4294967297GiB", "99999999999999999999", "1KiBMiB"} {
		m := &mistakes{}
		o := newOptions(m, "", object{"maxFrameSize": text})
		if got := o.size("maxFrameSize"); len(m.list) != 1 {
			t.Errorf("%q is %d without a mistake", text, got)
		}
	}
}

func TestSizesAreJudgedFromHeaders(t *testing.T) {
	huge := []byte{0x82, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}
	cases := []struct {
		name                 string
		maxFrame, maxMessage int
		good, bad            []byte
		fault                *fault
	}{
		{"frame", 5, 0, frame(0x82, make([]byte, 5), true), frame(0x82, make([]byte, 6), true), errFrame},
		{"frame, 16 bits", 300, 0, frame(0x82, make([]byte, 300), true), frame(0x82, make([]byte, 301), true)[:8], errFrame},
		{"frame, 64 bits", 1 << 20, 0, nil, huge, errFrame},
		{"fragment", 5, 0, frame(0x02, make([]byte, 5), true), frame(0x00, make([]byte, 6), true), errFrame},
		{"control frames are exempt", 5, 5, frame(0x89, make([]byte, 125), true), frame(0x82, make([]byte, 6), true), errFrame},
		{"message", 0, 5, frame(0x82, make([]byte, 5), true), frame(0x82, make([]byte, 6), true), errMessage},
		{"message of fragments", 0, 5, join(frame(0x02, make([]byte, 3), true), frame(0x00, make([]byte, 2), true)), frame(0x80, make([]byte, 1), true), errMessage},
		{"the next message", 0, 5, join(frame(0x02, make([]byte, 3), true), frame(0x80, make([]byte, 2), true)), huge, errMessage},
		{"frame before message", 5, 5, nil, huge, errFrame},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			parser := newParser(plain, true)
			bound(parser, &limits{maxFrameSize: c.maxFrame, maxMessageSize: c.maxMessage})
			if pass := parseChunk(parser, join(c.good, c.bad)); pass != len(c.good) || parser.fault != c.fault {
				t.Errorf("parse passes %d bytes, fault %v; want %d, %v", pass, parser.fault, len(c.good), c.fault)
			}
			client, upstream := newScript(join(c.good, c.bad), 1000, true), newScript(nil, 1000, true)
			s := newSession(newPeer(clientPeer, client), newPeer(upstreamPeer, upstream), plain,
				newSettings(limits{closeTimeout: minDuration, maxFrameSize: c.maxFrame, maxMessageSize: c.maxMessage}), nil)
			run(s)
			if s.outcome.code != c.fault.code || s.outcome.reason != "client: "+c.fault.reason {
				t.Errorf("the outcome is %+v, want %v", s.outcome, c.fault)
			}
		})
	}
}

package e2e

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
	"golang.org/x/net/http2"
)

// framed is one session on a stream whose frames the case makes itself.
type framed struct {
	*ground
	raw      *wire.RawHTTP2
	stream   uint32
	ended    bool // by the answer's HEADERS
	upstream *wire.Peer
}

// rawTo is a connection of HTTP/2 to a gateway whose frames the case makes itself.
func rawTo(t *testing.T, gateway *engine.Gateway, settings ...http2.Setting) *wire.RawHTTP2 {
	t.Helper()
	raw, err := wire.DialRawHTTP2(gateway.AddrHTTP2, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return raw
}

// Close resets the stream, which may have ended.
func (f *framed) Close() error { return f.raw.WriteRSTStream(f.stream, http2.ErrCodeCancel) }

// open has a stream become a session. Lines change its handshake.
func (g *ground) open(t *testing.T, raw *wire.RawHTTP2, lines ...string) *framed {
	t.Helper()
	return g.openWith(t, raw, false, lines...)
}

// openWith is open whose HEADERS may end what the client sends.
func (g *ground) openWith(t *testing.T, raw *wire.RawHTTP2, end bool, lines ...string) *framed {
	t.Helper()
	f := &framed{ground: g, raw: raw, stream: asks(t, raw, end, lines...)}
	a := f.next(t)
	if a.Type != http2.FrameHeaders || a.Fields[":status"] != "200" {
		t.Fatalf("the answer is %v, want a 200", a)
	}
	f.ended = a.Ended
	f.upstream = g.attend(t, f)
	return f
}

// asks sends a handshake.
func asks(t *testing.T, raw *wire.RawHTTP2, end bool, lines ...string) (stream uint32) {
	t.Helper()
	stream, err := raw.Ask(end, lines...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// arrives is what comes next on a stream.
func arrives(t *testing.T, raw *wire.RawHTTP2, stream uint32) wire.Arrival {
	t.Helper()
	a, err := raw.Next(stream)
	if err != nil {
		t.Fatalf("stream %d: %v", stream, err)
	}
	return a
}

// next is what comes next on the session's stream.
func (f *framed) next(t *testing.T) wire.Arrival {
	t.Helper()
	return arrives(t, f.raw, f.stream)
}

// says sends DATA.
func (f *framed) says(t *testing.T, b []byte) {
	t.Helper()
	if err := f.raw.WriteData(f.stream, false, b); err != nil {
		t.Fatal(err)
	}
}

// hears wants exactly these bytes next, in any number of DATA frames.
func (f *framed) hears(t *testing.T, want []byte) {
	t.Helper()
	var got []byte
	for len(got) < len(want) {
		a := f.next(t)
		if a.Type != http2.FrameData {
			t.Fatalf("the client got %v after %d bytes, want DATA", a, len(got))
		}
		got = append(got, a.Data...)
	}
	if string(got) != string(want) {
		t.Fatalf("the client got %.120q, want %.120q", got, want)
	}
}

// ends reads what comes until the stream's end, and returns the bytes; reset tells that it is a RST_STREAM.
func (f *framed) ends(t *testing.T) (rest []byte, reset bool) {
	t.Helper()
	for !f.ended && !reset {
		a := f.next(t)
		rest = append(rest, a.Data...)
		f.ended, reset = a.Ended, a.Type == http2.FrameRSTStream
	}
	return rest, reset
}

// echoes has a message pass both ways.
func (f *framed) echoes(t *testing.T, text string) {
	t.Helper()
	message := wire.Text(text)
	f.says(t, message.Masking(true).Bytes())
	expect(t, f.upstream, message.Masking(true).Bytes())
	send(t, f.upstream, message)
	f.hears(t, message.Bytes())
}

// closes is a close handshake that the client begins.
func (f *framed) closes(t *testing.T) {
	t.Helper()
	bye := wire.Close(4001, "bye")
	f.says(t, bye.Masking(true).Bytes())
	expect(t, f.upstream, bye.Masking(true).Bytes())
	send(t, f.upstream, bye)
	f.hears(t, bye.Bytes())
	if rest, reset := f.ends(t); len(rest) > 0 || reset {
		t.Errorf("after the close frame the client got %.40q, RST_STREAM %v, want END_STREAM", rest, reset)
	}
	expectEnd(t, f.upstream)
	f.expectOutcome(t, "client", 4001, "bye")
}

// departures are a stream's ways to be gone, which leave others alone.
var departures = []struct {
	name string
	how  func(*framed) error
}{
	{"RST_STREAM", func(f *framed) error { return f.raw.WriteRSTStream(f.stream, http2.ErrCodeCancel) }},
	{"RST_STREAM without an error", func(f *framed) error { return f.raw.WriteRSTStream(f.stream, http2.ErrCodeNo) }},
	{"END_STREAM", func(f *framed) error { return f.raw.WriteData(f.stream, true, nil) }},
	{"trailers", func(f *framed) error { return f.raw.WriteFields(f.stream, true, []string{"x-trailer: yes"}) }},
	{"DATA after END_STREAM", func(f *framed) error {
		if err := f.raw.WriteData(f.stream, true, nil); err != nil {
			return err
		}
		return f.raw.WriteData(f.stream, false, []byte("more"))
	}},
	{"a window that overflows", func(f *framed) error { return f.raw.WriteWindowUpdate(f.stream, 1<<31-1) }},
}

// TestFramesLeave has a client leave inside a WebSocket frame in every way that HTTP/2 has: the upstream's connection ends
// there, and nothing of the session is left. The connection's other session goes on.
func TestFramesLeave(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		raw := rawTo(t, g.gateway)
		beside := g.open(t, raw)
		for _, row := range departures {
			t.Run(row.name, func(t *testing.T) {
				f := g.open(t, raw)
				part := wire.Binary(payload(70000)).Masking(true).Bytes()[:10000]
				f.says(t, part)
				expect(t, f.upstream, part)
				if err := row.how(f); err != nil {
					t.Fatal(err)
				}
				expectCut(t, f.upstream)
				f.expectOutcome(t, "client", 1006, "connection lost")
				beside.echoes(t, "still here")
			})
		}
		beside.closes(t)
		g.expectNothingLeft(t)
	})
}

// TestFramesLost drops a connection with several sessions on it.
func TestFramesLost(t *testing.T) {
	drops := map[string]func(*wire.RawHTTP2) error{"FIN": (*wire.RawHTTP2).Close, "RST": (*wire.RawHTTP2).Reset}
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		for name, drop := range drops {
			t.Run(name, func(t *testing.T) {
				raw := rawTo(t, g.gateway)
				sessions := []*framed{g.open(t, raw), g.open(t, raw), g.open(t, raw)}
				g.loses(t, sessions, func() error { return drop(raw) })
			})
		}
	})
}

// loses drops the connection with all of the sessions, which work until then.
func (g *ground) loses(t *testing.T, sessions []*framed, drop func() error) {
	t.Helper()
	for _, f := range sessions {
		f.echoes(t, "before")
	}
	if err := drop(); err != nil {
		t.Fatal(err)
	}
	for _, f := range sessions {
		expectCut(t, f.upstream)
	}
	for range sessions {
		if g.expectOutcome(t, "client", 1006, "connection lost"); t.Failed() {
			break // the others' records tell the same
		}
	}
	g.expectNothingLeft(t)
}

// TestFramesWindow has a client never open its stream's window: the upstream is held up, and cut after writeTimeout. The
// session is over then and its place free, and once the client does anything about its stream, nothing is left. The
// connection's other session goes on all the time.
func TestFramesWindow(t *testing.T) {
	const window = 1000
	rows := []struct {
		name string
		then func(*framed) error
	}{
		{"then RST_STREAM", func(f *framed) error { return f.raw.WriteRSTStream(f.stream, http2.ErrCodeCancel) }},
		{"then opened", func(f *framed) error { return f.raw.WriteWindowUpdate(f.stream, 1<<20) }},
		{"then lost", func(f *framed) error { return f.raw.Reset() }},
	}
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"writeTimeout": blockedAfter.String(), "maxConnections": 2})
		for i, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				initial := uint32(i % 2 * window) // none at all, too
				raw := rawTo(t, g.gateway, http2.Setting{ID: http2.SettingInitialWindowSize, Val: initial})
				stuck, beside := g.open(t, raw), g.open(t, raw)
				opened(t, beside)
				flood := newStream(stuck.upstream)
				ended := flood.start(stuck.upstream)
				for range 10 {
					beside.echoes(t, "beside one that is stuck")
				}
				if reason := expectClose(t, stuck.upstream, true, 1001); reason != "client write timeout" {
					t.Errorf("the upstream is closed for %q", reason)
				}
				stuck.upstream.Close()
				<-ended
				stuck.expectOutcome(t, "wsfw", 1001, "client write timeout")
				third := g.open(t, raw) // in the place of the first
				opened(t, third)
				third.echoes(t, "in its place")
				third.closes(t)
				if initial > 0 {
					stuck.hears(t, flood.message[:initial])
				}
				beside.echoes(t, "still here")
				beside.closes(t)
				if err := row.then(stuck); err != nil {
					t.Fatal(err)
				}
				g.expectNothingLeft(t)
			})
		}
	})
}

// opened gives a session's stream a window.
func opened(t *testing.T, f *framed) {
	t.Helper()
	if err := f.raw.WriteWindowUpdate(f.stream, 1<<16); err != nil {
		t.Fatal(err)
	}
}

// streamHeader tells on which stream a session is.
const streamHeader = "x-stream"

// TestHeavyFramesMany asks for a thousand sessions on one connection, of which the server takes as many as it has said that it
// would. All of these talk, and end with the connection.
func TestHeavyFramesMany(t *testing.T) {
	const asked = 1000
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		raw := rawTo(t, g.gateway)
		most, ok := raw.Setting(http2.SettingMaxConcurrentStreams)
		if !ok || most >= asked {
			t.Fatalf("the server takes %d streams (%v), want a bound below %d", most, ok, asked)
		}
		var streams []uint32
		for i := range asked {
			streams = append(streams, asks(t, raw, false, streamHeader+": "+strconv.Itoa(2*i+1)))
		}
		upstreams := map[string]*wire.Peer{}
		for range most {
			upstream := g.attend(t, raw)
			upstreams[upstream.Header.Get(streamHeader)] = upstream
		}
		var sessions []*framed
		for i, stream := range streams {
			a := arrives(t, raw, stream)
			if i >= int(most) {
				if a.Type != http2.FrameRSTStream {
					t.Fatalf("the %dth stream got %v, want a RST_STREAM", i, a)
				}
				continue
			}
			f := &framed{ground: g, raw: raw, stream: stream, upstream: upstreams[fmt.Sprint(stream)]}
			if f.upstream == nil || a.Fields[":status"] != "200" {
				t.Fatalf("the %dth stream got %v, want a session", i, a)
			}
			sessions = append(sessions, f)
		}
		g.loses(t, sessions, raw.Close)
	})
}

// takesLeave wants the server to say next that it takes no more streams.
func takesLeave(t *testing.T, raw *wire.RawHTTP2) {
	t.Helper()
	if a := arrives(t, raw, 0); a.Type != http2.FrameGoAway || a.Code != http2.ErrCodeNo {
		t.Errorf("the server's word is %v, want a GOAWAY without an error", a)
	}
}

// TestFramesGoAway has a client announce that it will open no more streams: those that there are go on to their end.
func TestFramesGoAway(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		raw := rawTo(t, g.gateway)
		sessions := []*framed{g.open(t, raw), g.open(t, raw)}
		if err := raw.WriteGoAway(0, http2.ErrCodeNo, nil); err != nil {
			t.Fatal(err)
		}
		takesLeave(t, raw)
		for _, f := range sessions {
			f.echoes(t, "after GOAWAY")
		}
		for _, f := range sessions {
			f.closes(t)
		}
		g.expectNothingLeft(t)
	})
}

// TestFramesDrain shuts the gateway down: the server's GOAWAY leaves sessions alone. They end by wsfw's close frames, and the
// one that a client is inside of when these come, too.
func TestFramesDrain(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: object{"drainTimeout": "0", "closeTimeout": "1m"}})
		raw := rawTo(t, g.gateway)
		sessions := []*framed{g.open(t, raw), g.open(t, raw)}
		large := wire.Binary(payload(70000)).Masking(true).Bytes()
		sessions[1].says(t, large[:10000])
		expect(t, sessions[1].upstream, large[:10000])
		g.gateway.Terminate(t)
		takesLeave(t, raw)
		restart := wire.Close(restartCodes["client"], restartReason)
		for _, f := range sessions {
			f.hears(t, restart.Bytes())
		}
		for at := 10000; at < len(large); at += 10000 {
			sessions[1].says(t, large[at:min(at+10000, len(large))])
		}
		expect(t, sessions[1].upstream, large[10000:])
		for _, f := range sessions {
			j := &joined{ground: g, upstream: f.upstream}
			j.toldToLeave(t, "upstream")
			j.leaves(t, "upstream")
			f.says(t, restart.Masking(true).Bytes())
			if rest, reset := f.ends(t); len(rest) > 0 || reset {
				t.Errorf("after the close frame the client got %.40q, RST_STREAM %v, want END_STREAM", rest, reset)
			}
			g.expectOutcome(t, "wsfw", 1012, restartReason)
		}
	})
}

// TestFramesBodyless has a handshake end what the client sends: the session is lost as soon as it is there.
func TestFramesBodyless(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		f := g.openWith(t, rawTo(t, g.gateway), true)
		expectCut(t, f.upstream)
		if rest, _ := f.ends(t); len(rest) > 0 {
			t.Errorf("the client got %.40q, want the stream's end", rest)
		}
		f.expectOutcome(t, "client", 1006, "connection lost")
		g.expectNothingLeft(t)
	})
}

// TestFramesNotOurs has requests that ask for no session, beside one that is. A status of 0 stands for a RST_STREAM: they are
// malformed.
func TestFramesNotOurs(t *testing.T) {
	rows := []struct {
		name   string
		lines  []string
		status int
	}{
		{"connect-udp", []string{":protocol: connect-udp"}, 426},
		{"unknown protocol", []string{":protocol: foo"}, 426},
		{"another's name in it", []string{":protocol: websocket2"}, 426},
		{"GET with :protocol", []string{":method: GET"}, 426}, // malformed, which net/http overlooks
		{"POST with :protocol", []string{":method: POST"}, 426},
		{"without :path", []string{":path:"}, 0},
		{"plain CONNECT with :path", []string{":protocol:"}, 0},
		{"an Upgrade", []string{"upgrade: websocket"}, 400},
		{"a Connection", []string{"connection: Upgrade"}, 400},
		{"Transfer-Encoding", []string{"transfer-encoding: chunked"}, 400},
		{"upper case", []string{"X-Upper: yes"}, 0},
	}
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		raw := rawTo(t, g.gateway)
		beside := g.open(t, raw)
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				a := arrives(t, raw, asks(t, raw, false, row.lines...))
				want := fmt.Sprint(row.status)
				if row.status == 0 && (a.Type != http2.FrameRSTStream || a.Code != http2.ErrCodeProtocol) {
					t.Errorf("the answer is %v, want a RST_STREAM for a breach of the protocol", a)
				}
				if row.status != 0 && a.Fields[":status"] != want {
					t.Errorf("the answer is %v, want %s", a, want)
				}
				beside.echoes(t, row.name)
			})
		}
		t.Run("plain CONNECT", func(t *testing.T) {
			stream := asks(t, raw, false, ":protocol:", ":path:", ":scheme:")
			// Traefik's router has no route for it.
			if a := arrives(t, raw, stream); a.Fields[":status"] < "400" {
				t.Errorf("the answer is %v, want a refusal", a)
			}
			beside.echoes(t, "beside a tunnel that was none")
		})
		beside.closes(t)
	})
}

// TestFramesContentLength has a CONNECT declare a length, of what is no content (RFC 9110 section 9.3.6): the upstream does not
// hear of it.
func TestFramesContentLength(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		raw := rawTo(t, g.gateway)
		f := g.open(t, raw, "content-length: 1000")
		if got := f.upstream.Header["Content-Length"]; len(got) > 0 {
			t.Errorf("the upstream got Content-Length %q, want none", got)
		}
		f.echoes(t, "within")
		f.closes(t)
		beyond := g.open(t, raw, "content-length: 10")
		beyond.says(t, wire.Text("beyond the length").Masking(true).Bytes())
		expectCut(t, beyond.upstream)
		beyond.expectOutcome(t, "client", 1006, "connection lost")
		g.expectNothingLeft(t)
	})
}

// TestFramesPadded has the frames of HTTP/2 padded, and without anything but padding: the upstream gets what was in them.
func TestFramesPadded(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, nil)
		f := g.open(t, rawTo(t, g.gateway))
		message := wire.Text("padded").Masking(true).Bytes()
		for i, b := range message {
			pad := make([]byte, 20*i)
			if err := f.raw.WriteDataPadded(f.stream, false, []byte{b}, pad); err != nil {
				t.Fatal(err)
			}
			if err := f.raw.WriteDataPadded(f.stream, false, nil, pad); err != nil {
				t.Fatal(err)
			}
		}
		expect(t, f.upstream, message)
		f.echoes(t, "not padded")
		f.closes(t)
	})
}

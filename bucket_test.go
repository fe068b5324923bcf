package wsfw

import (
	"bytes"
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	track := newTrack(plain, true)
	meter(track, &limits{messageRate: 2, messageBurst: 5})
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
		if got := allowMessages(track, 10, s.at); got != s.want {
			t.Errorf("step %d: %d messages may come, want %d", i, got, s.want)
		}
		if ceiling := track.messages + int64(s.want); track.ceiling != ceiling {
			t.Errorf("step %d: the ceiling is %d, want %d", i, track.ceiling, ceiling)
		}
		track.messages += s.sent
	}
	meter(track, &limits{messageRate: 100, messageBurst: 160})
	track.messages = 0
	if got := allowMessages(track, 3, 0); got != 13 {
		t.Errorf("%d messages may come, want the 3 that are needed and a share of 10", got)
	}
	unmetered := newTrack(plain, true)
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
		track := newTrack(plain, true)
		track.ceiling = 2
		pass := walk(track, c.stream)
		wantFault := pass < len(c.stream)
		if pass != c.passed || (track.fault == errRate) != wantFault {
			t.Errorf("%s: %d bytes may go on, fault %v; want %d", c.name, pass, track.fault, c.passed)
		}
	}
}

// hello2 is a masked message.
func hello2() []byte { return frame(0x81, []byte("hello"), true) }

// A client's control frames are bounded where frames are judged; a close frame may always come.
func TestControlFramesAreBounded(t *testing.T) {
	ping, closing := frame(0x89, nil, true), frame(0x88, nil, true)
	flood := bytes.Repeat(ping, controlBurst+1)
	for _, c := range []struct {
		name   string
		rules  *grammar
		masked bool
		stream []byte
		fault  *fault
	}{
		{"as many as may come", plain, true, flood[len(ping):], nil},
		{"and a close frame", plain, true, join(flood[len(ping):], closing), nil},
		{"one too many", plain, true, flood, errControls},
		{"unjudged", lax, true, flood, nil},
		{"from an upstream", plain, false, bytes.Repeat(frame(0x8a, nil, false), controlBurst+1), nil},
	} {
		track := newTrack(c.rules, c.masked)
		track.bound(&limits{})
		track.opened = time.Now()
		pass := walk(track, c.stream)
		if track.fault != c.fault || c.fault == nil && track.closing == nil && pass != len(c.stream) {
			t.Errorf("%s: %d of %d bytes pass, fault %v", c.name, pass, len(c.stream), track.fault)
		}
	}
	track := newTrack(plain, true)
	track.bound(&limits{})
	track.opened = time.Now().Add(-time.Second)
	walk(track, flood)
	track.opened = track.opened.Add(-time.Second)
	track.fault = nil
	if pass := walk(track, flood[:controlRate/2*len(ping)]); track.fault != nil {
		t.Errorf("a second later there may be %d bytes, fault %v", pass, track.fault)
	}
}

// Where frames are not judged they may be shorter than a client's have to be: they, too, have their tokens.
func TestRateOfShortFrames(t *testing.T) {
	set := newSettings(limits{messageRate: 1, messageBurst: 10})
	message := []byte{0x82, 1, 'a'}
	client, upstream := newScript(bytes.Repeat(message, 5), len(message), false), newScript(nil, 1, true)
	s := newSession(newSide(clientSide, client), newSide(upstreamSide, upstream), lax, set, nil)
	f := s.toUpstream
	equip(f)
	_, _ = relay(f, 0, nil)
	if f.track.messages != 5 || f.track.fault != nil {
		t.Errorf("%d of 5 messages pass, fault %v", f.track.messages, f.track.fault)
	}
}

// A client may answer as many pings as it is sent, however many those are.
func TestPongsToOursAreAllowed(t *testing.T) {
	track := newTrack(plain, true)
	track.bound(&limits{pingInterval: 10 * time.Millisecond, pingClient: true})
	if track.allowance.rate != 2*controlRate {
		t.Errorf("there may be %v control frames a second, 100 of them pongs to ours", track.allowance.rate)
	}
}

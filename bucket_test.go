package wsfw

import (
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
		if got := refill(track, 10, s.at); got != s.want {
			t.Errorf("step %d: %d messages may come, want %d", i, got, s.want)
		}
		if ceiling := track.messages + int64(s.want); track.ceiling != ceiling {
			t.Errorf("step %d: the ceiling is %d, want %d", i, track.ceiling, ceiling)
		}
		track.messages += s.sent
	}
	meter(track, &limits{messageRate: 100, messageBurst: 160})
	track.messages = 0
	if got := refill(track, 3, 0); got != 13 {
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

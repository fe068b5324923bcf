package wsfw

import (
	"testing"
)

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
			track := newTrack(plain, true)
			track.bound(&limits{maxFrameSize: c.maxFrame, maxMessageSize: c.maxMessage})
			if pass := walk(track, join(c.good, c.bad)); pass != len(c.good) || track.fault != c.fault {
				t.Errorf("walk passes %d bytes, fault %v; want %d, %v", pass, track.fault, len(c.good), c.fault)
			}
			client, upstream := newScript(join(c.good, c.bad), 1000, true), newScript(nil, 1000, true)
			s := newSession(newSide(clientSide, client), newSide(upstreamSide, upstream), plain,
				newSettings(limits{closeTimeout: least, maxFrameSize: c.maxFrame, maxMessageSize: c.maxMessage}), nil)
			run(s)
			if s.outcome.code != c.fault.code || s.outcome.reason != "client: "+c.fault.reason {
				t.Errorf("the outcome is %+v, want %v", s.outcome, c.fault)
			}
		})
	}
}

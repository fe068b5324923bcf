package wsfw

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a connection that gives what it was given, piece by piece, and keeps what
// is written. At the end of its pieces it ends, or stays silent until it is closed.
type script struct {
	mu      sync.Mutex
	turn    *sync.Cond // a deadline has passed, or the connection was closed
	in      []byte
	step    int  // bytes a Read gives at the most
	silent  bool // at the end of in
	out     []byte
	closed  int // how often
	late    bool
	timer   *time.Timer // makes it late
	onRead  func()      // before each Read, unless nil
	onWrite func()      // before each Write, unless nil
	stuck   bool        // writes block until their deadline has passed
}

func newScript(in []byte, step int, silent bool) *script {
	s := &script{in: in, step: step, silent: silent}
	s.turn = sync.NewCond(&s.mu)
	return s
}

func (s *script) Read(p []byte) (int, error) {
	if s.onRead != nil {
		s.onRead()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.closed > 0 {
			return 0, net.ErrClosed
		}
		if s.late {
			return 0, os.ErrDeadlineExceeded
		}
		if len(s.in) > 0 {
			n := s.step
			if n > len(s.in) {
				n = len(s.in)
			}
			n = copy(p, s.in[:n])
			s.in = s.in[n:]
			return n, nil
		}
		if !s.silent {
			return 0, io.EOF
		}
		s.turn.Wait()
	}
}

func (s *script) Write(p []byte) (int, error) {
	if s.onWrite != nil {
		s.onWrite()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed > 0 {
		return 0, net.ErrClosed
	}
	if s.stuck {
		return 0, os.ErrDeadlineExceeded
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	s.turn.Broadcast()
	return nil
}

func (s *script) SetReadDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.late = !at.IsZero() && at.Before(time.Now())
	if !at.IsZero() && !s.late {
		s.timer = time.AfterFunc(time.Until(at), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.late = true
			s.turn.Broadcast()
		})
	}
	s.turn.Broadcast()
	return nil
}

func (s *script) SetDeadline(at time.Time) error   { return s.SetReadDeadline(at) }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) written() []byte                  { s.mu.Lock(); defer s.mu.Unlock(); return s.out }

// runScripts runs a session between two scripts to its end and returns it with what
// it reported.
func runScripts(client, upstream *script, rules *frameRules) (*session, []string) {
	return runScriptsWithin(client, upstream, rules, 500*time.Millisecond)
}

// runScriptsWithin is runScripts with a closeTimeout.
func runScriptsWithin(client, upstream *script, rules *frameRules, closeTimeout time.Duration) (*session, []string) {
	var mu sync.Mutex
	var reports []string
	report := func(message string, cause error) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, message+": "+cause.Error())
	}
	set := newSettings(limits{writeTimeout: time.Minute, closeTimeout: closeTimeout})
	s := newSession(newPeer(clientPeer, client), newPeer(upstreamPeer, upstream), rules, set, report)
	run(s)
	return s, reports
}

// run carries a session from its first byte to its end.
func run(s *session) {
	begin(s, serverless)
	go pump(s, s.toClient)
	pump(s, s.toUpstream)
	<-s.ended
	end(s)
}

// masks the frames of a client.
func fromClient(first byte, payload string) []byte {
	return frame(first, []byte(payload), true)
}

func TestSessionOutcomes(t *testing.T) {
	cases := []struct {
		name                 string
		client, upstream     []byte
		clientEnds, upEnds   bool // with the end of their scripts
		outcome              outcome
		toClient, toUpstream []byte // upstream's close frames unmasked, for their key is random
	}{
		{"close without an answer", closeFrame(4001, "bye", true), nil, false, false, outcome{clientPeer, 4001, "bye"}, nil, closeFrame(4001, "bye", false)},
		{"client vanishes", fromClient(0x81, "x"), nil, true, false, outcome{clientPeer, 1006, "connection lost"}, nil, frame(0x81, []byte("x"), false)},
		{"upstream vanishes", nil, hello, false, true, outcome{upstreamPeer, 1006, "connection lost"}, join(hello, closeFrame(1014, "upstream connection lost", false)), nil},
		{"upstream vanishes in a frame", nil, hello[:4], false, true, outcome{upstreamPeer, 1006, "connection lost"}, hello[:4], nil},
		{
			"client breaks framing", fromClient(0x83, "x"), nil, false, false,
			outcome{gateway, 1002, "client: " + errHeader.reason},
			closeFrame(1002, errHeader.reason, false), closeFrame(1001, "client protocol error", false),
		},
		{
			"upstream breaks framing", nil,
			[]byte{0x83, 0},
			false, false,
			outcome{gateway, 1002, "upstream: " + errHeader.reason},
			closeFrame(1014, "upstream protocol error", false), closeFrame(1002, errHeader.reason, false),
		},
		{
			"client closes with half a code", fromClient(0x88, "\x03"), nil, false, false,
			outcome{gateway, 1002, "client: " + errCode.reason},
			closeFrame(1002, errCode.reason, false), closeFrame(1001, "client protocol error", false),
		},
		{
			"upstream closes with half a code", nil,
			[]byte{0x88, 1, 3},
			false, false,
			outcome{gateway, 1002, "upstream: " + errCode.reason},
			closeFrame(1014, "upstream protocol error", false), closeFrame(1002, errCode.reason, false),
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			client, upstream := newScript(c.client, 7, !c.clientEnds), newScript(c.upstream, 7, !c.upEnds)
			s, reports := runScripts(client, upstream, plain)
			if s.outcome != c.outcome || len(reports) > 0 {
				t.Errorf("outcome %+v, reports %q; want %+v, none", s.outcome, reports, c.outcome)
			}
			if got := client.written(); !bytes.Equal(got, c.toClient) {
				t.Errorf("client got %q, want %q", got, c.toClient)
			}
			if got := unmasked(upstream.written()); !bytes.Equal(got, c.toUpstream) {
				t.Errorf("upstream got %q, want %q", got, c.toUpstream)
			}
			if client.closed == 0 || upstream.closed == 0 {
				t.Error("a connection was left open")
			}
		})
	}
}

// What is read of a peer only to be dropped may be more than a small buffer holds.
func TestPumpEndsWithMoreThanASmallBufferHolds(t *testing.T) {
	said := join(fromClient(0x83, "x"), fromClient(0x82, strings.Repeat("a", 2*smallBuffer)), closeFrame(1002, "", true))
	client, upstream := newScript(said, len(said), true), newScript(nil, 7, true)
	s, reports := runScripts(client, upstream, plain)
	if s.client.state != closed || len(reports) > 0 {
		t.Errorf("the close handshake with the client is at %v; reports %q", s.client.state, reports)
	}
}

// unmasked is a stream of short masked frames without their masks.
func unmasked(stream []byte) []byte {
	var out []byte
	for len(stream) >= 2+maskSize {
		size := 2 + maskSize + int(stream[1]&0x7f)
		out = append(out, frame(stream[0], controlPayload(stream[:size]), false)...)
		stream = stream[size:]
	}
	return out
}

// A peer that has closed and ended its stream still listens for the answer: here all
// that has come to pass before the pump to it begins.
func TestHalfClosedSideGetsTheAnswer(t *testing.T) {
	bye := closeFrame(1000, "bye", true)
	for _, first := range []string{clientPeer, upstreamPeer} {
		t.Run(first, func(t *testing.T) {
			client, upstream := newScript(bye, 7, first != clientPeer), newScript(closeBye, 7, first != upstreamPeer)
			s := newSession(newPeer(clientPeer, client), newPeer(upstreamPeer, upstream), plain, newSettings(limits{closeTimeout: time.Minute}), nil)
			order := []*direction{s.toUpstream, s.toClient}
			if first == upstreamPeer {
				order = []*direction{s.toClient, s.toUpstream}
			}
			pump(s, order[0])
			pump(s, order[1])
			if want := (outcome{first, 1000, "bye"}); s.outcome != want {
				t.Errorf("outcome %+v, want %+v", s.outcome, want)
			}
			if got := client.written(); !bytes.Equal(got, closeBye) {
				t.Errorf("client got %q, want %q", got, closeBye)
			}
			if got := unmasked(upstream.written()); !bytes.Equal(got, closeBye) {
				t.Errorf("upstream got %q, want %q", got, closeBye)
			}
		})
	}
}

func TestBlockedClientIsCut(t *testing.T) {
	client, upstream := newScript(nil, 1, true), newScript(hello, 7, true)
	client.stuck = true
	s, _ := runScripts(client, upstream, plain)
	if want := (outcome{gateway, 1001, "client write timeout"}); s.outcome != want {
		t.Errorf("outcome %+v, want %+v", s.outcome, want)
	}
	if got, want := unmasked(upstream.written()), closeFrame(1001, "client write timeout", false); !bytes.Equal(got, want) {
		t.Errorf("upstream got %q, want %q", got, want)
	}
}

// A close frame of ours waits for the end of the frame that is being passed on.
func TestFarewellWaitsForTheFrame(t *testing.T) {
	large := frame(0x82, bytes.Repeat([]byte("x"), 5000), false)
	client, upstream := newScript(nil, 7, true), newScript(join(large, hello), 700, true)
	chunks := 0
	upstream.onRead = func() {
		// In the middle of the large frame the client breaks framing.
		if chunks++; chunks == 3 {
			client.mu.Lock()
			client.in = hello // not masked
			client.turn.Broadcast()
			client.mu.Unlock()
		}
	}
	runScripts(client, upstream, plain)
	got := client.written()
	if !bytes.HasPrefix(got, large) {
		t.Fatalf("the frame was not passed on to its end: %d of %d bytes", len(got), len(large))
	}
	rest := bytes.TrimPrefix(got[len(large):], hello)
	if want := closeFrame(1002, errUnmasked.reason, false); !bytes.Equal(rest, want) {
		t.Errorf("after the frame came %q, want %q", rest, want)
	}
}

func TestPanicEndsTheSession(t *testing.T) {
	client, upstream := newScript(nil, 7, true), newScript(hello, 7, true)
	upstream.onRead = func() { panic("provoked") }
	s, reports := runScripts(client, upstream, plain)
	if s.outcome.endedBy != gateway || s.outcome.code != closeInternal {
		t.Errorf("outcome %+v", s.outcome)
	}
	if len(reports) != 1 || reports[0] != "session failed: provoked" {
		t.Errorf("reports %q", reports)
	}
	if client.closed == 0 || upstream.closed == 0 {
		t.Error("a connection was left open")
	}
}

// A panic in the report of a panic must not get out, either.
func TestPanicInReport(t *testing.T) {
	client, upstream := newScript(nil, 7, true), newScript(hello, 7, true)
	upstream.onRead = func() { panic("provoked") }
	set := newSettings(limits{closeTimeout: time.Second})
	s := newSession(newPeer(clientPeer, client), newPeer(upstreamPeer, upstream), plain, set, func(string, error) { panic("again") })
	run(s)
	if client.closed == 0 || upstream.closed == 0 {
		t.Error("a connection was left open")
	}
}

// A pump takes what it holds along, from rest to full direction and back.
func TestBufferGrowsAndGoesBack(t *testing.T) {
	f := newDirection(newPeer(clientPeer, nil), newPeer(upstreamPeer, nil), plain, true)
	f.atRest = make([]byte, restBuffer)
	f.buf = f.atRest
	f.held = copy(f.buf, "held")
	steps := []struct {
		name string
		run  func()
		size int
	}{
		{"to work", func() { takeSmall(f) }, smallBuffer},
		{"to full direction", func() { grow(f) }, largeBuffer},
		{"and stays there", func() { grow(f) }, largeBuffer},
		{"back to work", func() { shrink(f) }, smallBuffer},
		{"and stays there, too", func() { shrink(f) }, smallBuffer},
		{"back to rest", func() { returnSmall(f) }, restBuffer},
	}
	for _, step := range steps {
		if step.run(); len(f.buf) != step.size || string(f.buf[:f.held]) != "held" {
			t.Errorf("%s: the buffer has %d bytes and holds %q, want %d", step.name, len(f.buf), f.buf[:f.held], step.size)
		}
	}
	if f.small != nil || f.large != nil {
		t.Error("at rest the pump keeps a buffer that has been lent to it")
	}
}

// newDirection is the direction of a session without limits between two peers.
func newDirection(from, to *peer, rules *frameRules, masked bool) *direction {
	if masked {
		return newSession(from, to, rules, newSettings(limits{}), nil).toUpstream
	}
	return newSession(to, from, rules, newSettings(limits{}), nil).toClient
}

// oneClose is whether b is exactly one close frame of ours.
func oneClose(b []byte, mask bool) bool {
	if len(b) < 4 || b[0] != finBit|opClose || (b[1] >= maskBit) != mask {
		return false
	}
	size, length, complete := dissect(b)
	if !complete || len(b) != size+int(length) {
		return false
	}
	code, _ := saidIn(b)
	return code == closeGoingAway || code == closeProtocol || code == closeInvalidData || code == closeTooBig || code == closeBadGateway
}

// lawfulOutput is whether out is a prefix of in, or a prefix that ends between two
// frames and one close frame of ours.
func lawfulOutput(in, out []byte, rules *frameRules, mask bool) error {
	v := judge(in, rules, mask)
	if bytes.HasPrefix(in, out) {
		if len(out) > v.pass {
			return errors.New("more was passed on than is legal")
		}
		return nil
	}
	for at := range v.bounds {
		if at <= len(out) && bytes.Equal(in[:at], out[:at]) && oneClose(out[at:], mask) {
			return nil
		}
	}
	return errors.New("neither a prefix nor a prefix with a close frame of ours at a frame's end")
}

// FuzzSession sends arbitrary bytes in arbitrary pieces both ways.
func FuzzSession(f *testing.F) {
	for i, seed := range seeds() {
		f.Add(seed, seeds()[len(seeds())-1-i], uint8(i), uint8(3*i), uint8(i))
	}
	// The start of a client's close frame that is not masked, at rest.
	for size := byte(124); size < 128; size++ {
		f.Add([]byte{finBit | opClose, size, 0, 0, 0}[:size-122], []byte(nil), uint8(10), uint8(10), uint8(8))
	}
	f.Fuzz(func(t *testing.T, fromClient, fromUpstream []byte, clientStep, upstreamStep, role uint8) {
		rules := allRules[role&3]
		client := newScript(fromClient, 1+int(clientStep), role&4 != 0)
		upstream := newScript(fromUpstream, 1+int(upstreamStep), role&8 != 0)
		// Nobody ends a session in which both stay silent.
		client.silent = client.silent && !upstream.silent
		s, reports := runScriptsWithin(client, upstream, rules, 20*time.Millisecond)
		if len(reports) > 0 || s.outcome.endedBy == "" {
			t.Errorf("reports %q, outcome %+v", reports, s.outcome)
		}
		if err := lawfulOutput(fromClient, upstream.written(), rules, true); err != nil {
			t.Errorf("to the upstream: %v: %x of %x", err, upstream.written(), fromClient)
		}
		if err := lawfulOutput(fromUpstream, client.written(), rules, false); err != nil {
			t.Errorf("to the client: %v: %x of %x", err, client.written(), fromUpstream)
		}
	})
}

// Sessions begin with copies of what their settings say: what one does, no other has done.
func TestSessionsShareNothing(t *testing.T) {
	set := newSettings(limits{messageRate: 1, messageBurst: 5, maxFrameSize: 100, maxMessageSize: 200, pingInterval: time.Hour, pingClient: true})
	begun := func() *session {
		return newSession(newPeer(clientPeer, nil), newPeer(upstreamPeer, nil), plainText, set, nil)
	}
	one, other := begun(), begun()
	for i, f := range one.directions {
		o := other.directions[i]
		if f == o || f.parser == o.parser || f.parser.text == nil || f.parser.text == o.parser.text || f.parser == &set.templates[plainText].parsers[0] {
			t.Errorf("direction %d is shared", i)
		}
		if f.parser.maxFrame != 100 || f.parser.maxMessage != 200 || reverse(one, f) != one.directions[1-i] {
			t.Errorf("direction %d: %+v", i, f.parser)
		}
	}
	up := one.toUpstream
	if !up.parser.metered || one.toClient.parser.metered {
		t.Error("a bucket stands in the wrong place")
	}
	if allowMessages(up.parser, 5, 0); other.toUpstream.parser.ceiling != 0 || other.toUpstream.parser.bucket.tokens != 5 {
		t.Error("a bucket is shared")
	}
	if up.from.token == 0 || up.parser.token != up.from.token || up.from.token == other.client.token || one.upstream.token != 0 {
		t.Error("a token is shared, or stands in the wrong place")
	}
	up.parser.ceiling = 1
	parseChunk(up.parser, fromClient(0x81, "x"))
	if up.parser.messages != 1 || other.toUpstream.parser.messages != 0 || set.templates[plainText].parsers[0].messages != 0 {
		t.Error("messages of one session count for another")
	}
}

// What a client learns from our pings to it does not tell it the token of those to its upstream.
func TestTokensTellNothing(t *testing.T) {
	set := newSettings(limits{pingInterval: time.Hour, pingClient: true, pingUpstream: true})
	seen := map[uint64]bool{}
	for i := 0; i < 3; i++ {
		s := newSession(newPeer(clientPeer, nil), newPeer(upstreamPeer, nil), plain, set, nil)
		seen[s.client.token^s.upstream.token] = true
		seen[s.client.token-s.upstream.token] = true
	}
	if len(seen) != 6 {
		t.Errorf("the tokens of both peers differ by the same in several sessions: %v", seen)
	}
}

// trafficOf is what f has passed on.
func trafficOf(f *direction) traffic {
	return traffic{Frames: f.parser.frames, Messages: f.parser.messages, Bytes: f.bytes}
}

// newSettings are those of a relay within limits.
func newSettings(l limits) *settings {
	s := &settings{}
	s.bound(l)
	return s
}

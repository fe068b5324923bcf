package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// ground is a gateway with a raw upstream behind it. Its sessions may go on side by side, but records do not tell which
// is whose.
type ground struct {
	gateway *engine.Gateway
	server  *wire.Upstream
	offer   []string // header lines of the clients' handshakes
	owed    int      // records of sessions that have begun, not yet looked at
}

// newGround starts both. Lines are further header lines of the upstream's answers.
func newGround(t *testing.T, e engine.Engine, config object, lines ...string) *ground {
	t.Helper()
	return newGroundOf(t, e, engine.Setup{Config: config}, lines...)
}

// newGroundOf is newGround with more than a configuration to set up.
func newGroundOf(t *testing.T, e engine.Engine, setup engine.Setup, lines ...string) *ground {
	t.Helper()
	server, err := wire.Listen(lines...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	config := object{"upstreamEndpoint": server.URL}
	maps.Copy(config, setup.Config)
	setup.Config = config
	return &ground{gateway: e.Start(t, setup), server: server}
}

// joined is one session with a raw peer at either end.
type joined struct {
	*ground
	client, upstream *wire.Peer
}

// join opens a session for as long as the test runs.
func (g *ground) join(t *testing.T) *joined {
	t.Helper()
	client, err := dial(g.gateway, g.offer...)
	if err != nil {
		t.Fatal(err)
	}
	return g.meet(t, client)
}

// dial opens a session over the version of HTTP that is the gateway's clients'. Lines are further header lines of the
// handshake.
func dial(gateway *engine.Gateway, lines ...string) (*wire.Peer, error) {
	switch gateway.HTTP {
	case 2:
		return wire.DialHTTP2(gateway.AddrHTTP2, lines...)
	case 3:
		return wire.DialHTTP3(gateway.AddrHTTP3, lines...)
	}
	return wire.Dial(gateway.Addr, lines...)
}

// meet takes the other end of a session that a client has just opened.
func (g *ground) meet(t *testing.T, client *wire.Peer) *joined {
	t.Helper()
	return &joined{ground: g, client: client, upstream: g.attend(t, client)}
}

// attend takes the upstream's end of a session that a client has just opened, and has both ends closed with the test.
func (g *ground) attend(t *testing.T, client io.Closer) *wire.Peer {
	t.Helper()
	before := g.owed
	t.Cleanup(func() { client.Close() })
	upstream, err := g.server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	g.owed++
	t.Cleanup(func() {
		client.Close()
		upstream.Close()
		g.settle(t, before)
	})
	return upstream
}

// settle takes the record of a session whose test has not looked at it, lest the next one take it for its own. Those of
// sessions that began before it may still be owed.
func (g *ground) settle(t *testing.T, before int) {
	for g.owed > before {
		g.record(t)
	}
}

// record waits for the record of a session that has just ended.
func (g *ground) record(t *testing.T) map[string]any {
	t.Helper()
	g.owed--
	return g.gateway.WaitRecord(t)
}

// from returns the peer at the named end and the one at the other.
func (j *joined) from(name string) (near, far *wire.Peer) {
	if name == "client" {
		return j.client, j.upstream
	}
	return j.upstream, j.client
}

// ends are the names by which records call the two ends.
var ends = []string{"client", "upstream"}

// send writes frames with one write.
func send(t *testing.T, peer *wire.Peer, frames ...wire.Frame) {
	t.Helper()
	if err := peer.Send(frames...); err != nil {
		t.Fatalf("sending %v: %v", frames, err)
	}
}

// expect wants exactly these bytes next.
func expect(t *testing.T, peer *wire.Peer, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(peer, got)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the peer got %.120q (%v), want %.120q", got[:n], err, want)
	}
}

// expectEnd wants the connection to end with nothing further, in order.
func expectEnd(t *testing.T, peer *wire.Peer) {
	t.Helper()
	rest, err := io.ReadAll(peer)
	if err != nil || len(rest) > 0 {
		t.Errorf("the peer got %.120q (%v), want the end of the stream", rest, err)
	}
}

// expectCut wants the connection to end with nothing further, in order or with a reset.
func expectCut(t *testing.T, peer *wire.Peer) {
	t.Helper()
	rest, err := io.ReadAll(peer)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) || len(rest) > 0 {
		t.Errorf("the peer got %.120q (%v), want the end of the connection", rest, err)
	}
}

// expectClose wants a close frame of the gateway's own next, and returns its reason.
func expectClose(t *testing.T, peer *wire.Peer, toUpstream bool, code int) string {
	t.Helper()
	f, err := peer.ReadFrame()
	if err != nil {
		t.Fatalf("the peer got %v (%v), want close %d", f, err, code)
	}
	got, reason, ok := f.Status()
	if !ok || got != code || reason == "" || !f.Fin || f.RSV != 0 || f.Masked != toUpstream {
		t.Fatalf("the peer got %v, want close %d with a reason, masked=%v", f, code, toUpstream)
	}
	if toUpstream && f.Key == [4]byte{} {
		t.Errorf("%v is masked with a key of zeros", f)
	}
	return reason
}

// traffic is what a record tells of one direction.
type traffic struct {
	Frames   int `json:"frames"`
	Messages int `json:"messages"`
	Bytes    int `json:"bytes"`
}

// trafficOf counts frames that the peer has sent and the gateway passed on.
func trafficOf(peer *wire.Peer, frames ...wire.Frame) traffic {
	sum := traffic{Frames: len(frames), Bytes: len(peer.Encode(frames...))}
	for _, f := range frames {
		if f.Fin && f.Opcode < wire.OpClose {
			sum.Messages++
		}
	}
	return sum
}

// ending is what a record tells of a session.
type ending struct {
	EndedBy      string  `json:"endedBy"`
	Code         int     `json:"code"`
	Reason       string  `json:"reason"`
	FromClient   traffic `json:"fromClient"`
	FromUpstream traffic `json:"fromUpstream"`
}

// endingOf is what the record of a session that has just ended tells.
func (g *ground) endingOf(t *testing.T) ending {
	t.Helper()
	text, err := json.Marshal(g.record(t))
	if err != nil {
		t.Fatal(err)
	}
	var got ending
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("the record is %s: %v", text, err)
	}
	return got
}

// expectRecord wants the record to be this one.
func (g *ground) expectRecord(t *testing.T, want ending) {
	t.Helper()
	if got := g.endingOf(t); !reflect.DeepEqual(got, want) {
		t.Errorf("the record tells\n%+v, want\n%+v", got, want)
	}
}

// expectOutcome wants the record to tell this of the end, with a reason that contains text, and returns it.
func (g *ground) expectOutcome(t *testing.T, endedBy string, code int, text string) ending {
	t.Helper()
	got := g.endingOf(t)
	if got.EndedBy != endedBy || got.Code != code || !strings.Contains(got.Reason, text) {
		t.Errorf("the record tells %+v, want it ended by %s with %d, %q", got, endedBy, code, text)
	}
	return got
}

package e2e

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// deafClose is the closeTimeout of sessions with an end that reads nothing, far below the writeTimeout by default.
const deafClose = 500 * time.Millisecond

// deafEnding is how a session ends while the gateway is blocked in a write to one end, the deaf one.
type deafEnding struct {
	name   string
	config object
	act    func(deaf *wire.Peer) error // what the deaf end does at last; nil is nothing
	due    time.Duration               // how long it then takes to be found
	told   map[string]int              // the code that the other end is closed with, by the name of the deaf one; none: it is cut
	record func(deaf string) (endedBy string, code int)
}

var (
	bothLeave = map[string]int{"client": 1001, "upstream": 1001}
	otherLost = map[string]int{"client": 1001, "upstream": 1014} // the client's loss is told to the upstream, and so on
)

// silentBehindBlock is when an end that reads nothing is found silent: after the interval and pongTimeout, and the 5.3 s in which
// a slow reader makes room for a blocked write.
const silentBehindBlock = 6200 * time.Millisecond

// deafEndings are all that ends a session in which nothing moves any more.
var deafEndings = []deafEnding{
	{
		name: "lifetime", config: object{"maxLifetime": "1500ms"}, due: 1650 * time.Millisecond,
		told: bothLeave, record: byGateway(bothLeave),
	},
	{
		name: "inactivity", config: object{"maxInactivity": "800ms"}, due: 900 * time.Millisecond,
		told: bothLeave, record: byGateway(bothLeave),
	},
	{
		name: "silence", config: object{"pingInterval": "200ms", "pongTimeout": "500ms"}, due: silentBehindBlock,
		told: otherLost, record: byGateway(otherLost),
	},
	{
		name: "write timeout", config: object{"writeTimeout": "800ms"}, due: time.Second,
		told: otherLost, record: byGateway(otherLost),
	},
	{
		name: "its close frame", act: func(deaf *wire.Peer) error { return deaf.Send(wire.Close(4013, "enough")) },
		told:   map[string]int{"client": 4013, "upstream": 4013},
		record: func(deaf string) (string, int) { return deaf, 4013 },
	},
	{
		name: "its fault", act: func(deaf *wire.Peer) error { return deaf.Send(illegal) },
		told:   otherLost,
		record: func(string) (string, int) { return "wsfw", 1002 },
	},
	{
		name: "its reset", act: (*wire.Peer).Reset,
		told:   map[string]int{"upstream": 1014},
		record: func(deaf string) (string, int) { return deaf, 1006 },
	},
	{
		name: "its end of stream", act: func(deaf *wire.Peer) error { return deaf.CloseWrite() },
		told:   map[string]int{"upstream": 1014},
		record: func(deaf string) (string, int) { return deaf, 1006 },
	},
}

// byGateway is the record of a session that the gateway has ended, by what the other end than the deaf one is told.
func byGateway(codes map[string]int) func(deaf string) (string, int) {
	return func(deaf string) (string, int) { return "wsfw", codes[deaf] }
}

// TestHeavyDeafEnd has one end read nothing and the other send until nothing goes any more. Whatever then ends the session, the
// other end learns of it at once, and the session is over within closeTimeout: nobody waits for the blocked write.
func TestHeavyDeafEnd(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, deaf := range ends {
			for _, row := range deafEndings {
				t.Run(deaf+" "+row.name, func(t *testing.T) {
					t.Parallel() // it waits most of the time
					config := object{"closeTimeout": deafClose.String()}
					maps.Copy(config, row.config)
					if row.name == "silence" {
						config["pingTarget"] = deaf
					}
					newGround(t, e, config).join(t).goesDeaf(t, deaf, row)
				})
			}
		}
	})
}

// goesDeaf is one row of that.
func (j *joined) goesDeaf(t *testing.T, name string, row deafEnding) {
	t.Helper()
	deaf, live := j.from(name)
	s := newStream(live)
	untilBlocked(t, live, s)
	if row.act != nil {
		if err := row.act(deaf); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	live.SetDeadline(start.Add(row.due + deafClose + 2*soon))
	if code := row.told[name]; code > 0 {
		if got, _, err := readToClose(live); err != nil || got != code {
			t.Errorf("the live end was closed with %d (%v), want %d", got, err, code)
		}
	} else {
		expectCut(t, live)
	}
	if took := time.Since(start); took > row.due+soon {
		t.Errorf("the live end learnt of it after %v, want %v", took, row.due)
	}
	expectCut(t, live) // it answers nothing, and what it has begun to send stays as it is
	if took := time.Since(start); took > row.due+deafClose+soon {
		t.Errorf("the session was over after %v, want %v", took, row.due+deafClose)
	}
	if t.Failed() {
		live.Close() // lest a session that holds leaves no record
		deaf.Close()
	}
	by, code := row.record(name)
	j.expectOutcome(t, by, code, "")
	if row.name != "its reset" {
		checkWhole(t, deaf, s)
	}
}

// checkWhole wants what a deaf end can still read to be what the stream begins with; a close frame behind it has to stand
// between two messages.
func checkWhole(t *testing.T, deaf *wire.Peer, s *stream) {
	t.Helper()
	got, err := io.ReadAll(withoutOwnPings(deaf, nil)) // there may be one before the write that blocks
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the blocked connection is still open")
	}
	whole := len(got) / len(s.message) * len(s.message)
	rest := got[whole:]
	f, err := wire.ReadFrame(bytes.NewReader(rest))
	if closed := err == nil && f.Opcode == wire.OpClose; !s.matches(got[:whole]) || !closed && !s.matches(rest) {
		t.Errorf("the %d bytes that the blocked end got are not what was sent", len(got))
	}
}

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

const (
	// malformedLimit is the maxFrameSize of the gateways for malformed sessions: more than any script has in a frame.
	malformedLimit = 4 << 20

	// malformedAtOnce is how many of them there are at a time.
	malformedAtOnce = 50

	// malformedHeap is how many bytes may be left in a Traefik that has seen all of them: of what grows to its size with
	// a crowd. In this process each also leaves its record.
	malformedHeap   = 2 << 20
	malformedRecord = 3 << 10

	// malformedResident is how much larger Traefik may get meanwhile, in KiB: room for the buffers of so many sessions,
	// and for what the interpreter throws away between two garbage collections.
	malformedResident = 64 << 10
)

// TestHeavyMalformed has many malformed sessions at a time, from either end. Each offender is told the code of its offence,
// the other end gets what was legal before it, to the byte, and is closed, too; and nothing is left of them. A failure is
// repeated by WSFW_SEED=… and the test's name.
func TestHeavyMalformed(t *testing.T) {
	sessions := 600
	if soaking() {
		sessions = 10000
	}
	all := manglers()
	eachUse(t, func(t *testing.T, e engine.Engine) {
		r := newRoll()
		setup := engine.Setup{Dedicated: true, Config: object{"validate": "utf8", "maxFrameSize": malformedLimit, "writeTimeout": "5s"}}
		if e.Name() != "traefik" {
			setup.Wrap = r.wrap
		}
		c := &court{ground: newGroundOf(t, e, setup), all: all, told: map[verdict]int{}}
		if text := os.Getenv(seedEnv); text != "" {
			seed, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", seedEnv, err)
			}
			c.sit(t, seed, 1)
			return
		}
		c.sit(t, rand.Uint64N(1e9), 2*malformedAtOnce) // what is made on first use is no leak
		r.awaitEmpty(t)
		before := level{len(goroutines(t, c.gateway)), openFiles(t, c.gateway)}
		live, resident, start := liveHeap(t, c.gateway), resetPeak(t, c.gateway), time.Now()
		c.sit(t, rand.Uint64N(1e9), sessions)
		t.Logf("%d sessions took %v", sessions, time.Since(start))
		if grown := peakOf(t, c.gateway) - resident; grown > malformedResident {
			t.Errorf("Traefik's resident set grew by %d KiB, want %d at most", grown, malformedResident)
		}
		before.await(t, c.gateway)
		r.awaitEmpty(t)
		limit := int64(malformedHeap)
		if c.gateway.Process == nil {
			limit += int64(sessions) * malformedRecord
		}
		// The runtime forgets a timer that has been stopped only by and by, and what it refers to with it.
		await(t, settleTimeout, func() string {
			if grown := liveHeap(t, c.gateway) - live; grown > limit {
				return fmt.Sprintf("%d bytes more are live than before, want %d at most", grown, limit)
			}
			return ""
		})
	})
}

// court is where malformed sessions are judged.
type court struct {
	*ground
	all map[string]mangler

	mu   sync.Mutex
	told map[verdict]int // what records must tell, how often
	sum  [2]int          // of bytes passed on, by who sent them: client, upstream
}

// verdict is how a session ends.
type verdict struct {
	by   string
	code int
}

// sit judges sessions of seeds from one on, and wants a record of each.
func (c *court) sit(t *testing.T, seed uint64, sessions int) {
	t.Helper()
	next := make(chan *hearing)
	var judges sync.WaitGroup
	for range malformedAtOnce {
		judges.Go(func() {
			for h := range next {
				if err := h.run(); err != nil {
					t.Errorf("WSFW_SEED=%d: by %s, close %d: %v", h.seed, h.by, h.code, err)
				}
			}
		})
	}
	for i := range sessions {
		if t.Failed() {
			break
		}
		next <- c.open(t, seed+uint64(i))
	}
	close(next)
	judges.Wait()
	if t.Failed() {
		t.FailNow()
	}
	c.checkRecords(t, sessions)
}

// open opens one session; there is one at a time in its handshake.
func (c *court) open(t *testing.T, seed uint64) *hearing {
	t.Helper()
	client, err := wire.Dial(c.gateway.Addr, wayHeader+": malformed")
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := c.server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, peer := range []*wire.Peer{client, upstream} {
		peer.SetDeadline(time.Now().Add(time.Minute))
	}
	h := &hearing{malformed: newMalformed(seed, c.all), court: c, near: client, far: upstream}
	if h.by == "upstream" {
		h.near, h.far = upstream, client
	}
	h.said, h.found = make(chan struct{}), make(chan struct{})
	return h
}

// checkRecords wants the records to tell how the sessions ended, and what has passed.
func (c *court) checkRecords(t *testing.T, sessions int) {
	t.Helper()
	told, sum := map[verdict]int{}, [2]int{}
	for range sessions {
		text, err := json.Marshal(c.gateway.WaitRecord(t))
		if err != nil {
			t.Fatal(err)
		}
		var got ending
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		by, _, _ := strings.Cut(got.Reason, ": ")
		if got.EndedBy != "wsfw" {
			t.Errorf("the record tells %+v, want the session ended by wsfw", got)
		}
		told[verdict{by, got.Code}]++
		sum[0] += got.FromClient.Bytes
		sum[1] += got.FromUpstream.Bytes
	}
	if fmt.Sprint(told) != fmt.Sprint(c.told) || sum != c.sum {
		t.Errorf("the records tell of %v and %v bytes, want %v and %v", told, sum, c.told, c.sum)
	}
	c.told, c.sum = map[verdict]int{}, [2]int{}
}

// hearing is one malformed session.
type hearing struct {
	*malformed
	*court
	near, far *wire.Peer    // the offender, and the other
	said      chan struct{} // closed once the offender has said all
	found     chan struct{} // closed once the other knows
}

func (h *hearing) run() error {
	defer h.near.Close()
	defer h.far.Close()
	fromNear, fromFar := 0, 0
	err := together(
		func() error {
			defer close(h.said)
			_ = inPieces(h.near, slices.Concat(h.legal.bytes, h.bad, h.rest), h.cuts()...) // an error shows elsewhere
			return nil
		},
		func() error {
			_, _ = h.far.Write(h.other.bytes)
			<-h.found
			_ = h.far.Send(wire.Close(1000, ""))
			return nil
		},
		func() (err error) { fromFar, err = h.learn(); return err },
		func() (err error) { fromNear, err = h.suffer(); return err },
	)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told[verdict{h.by, h.code}]++
	if h.by == "upstream" {
		fromNear, fromFar = fromFar, fromNear
	}
	h.sum[0] += fromNear
	h.sum[1] += fromFar
	return err
}

// cuts are where the offender pauses: in half of all sessions nowhere, else somewhere around what is wrong.
func (h *hearing) cuts() []int {
	r := chance(h.seed, "cuts")
	if r.IntN(2) == 0 {
		return nil
	}
	begin := len(h.legal.bytes)
	cuts := []int{max(0, begin-r.IntN(10)), begin, begin + r.IntN(min(16, len(h.bad))), begin + r.IntN(len(h.bad)), begin + r.IntN(len(h.bad))}
	slices.Sort(cuts)
	return cuts
}

// learn is what the offender reads: some of what the other says, and its sentence. It then goes in one way or another.
func (h *hearing) learn() (passed int, err error) {
	for {
		f, err := h.near.ReadFrame()
		if err != nil {
			return passed, fmt.Errorf("the offender is told nothing: %w", err)
		}
		if f.Opcode == wire.OpClose {
			if err := isClose(f, h.code, h.by == "upstream"); err != nil {
				return passed, err
			}
			<-h.said
			h.depart()
			return passed, nil
		}
		b := f.Bytes()
		if !bytes.HasPrefix(h.other.bytes[passed:], b) {
			return passed, fmt.Errorf("the offender got %v, which nobody has said", f)
		}
		passed += len(b)
	}
}

// isClose wants a close frame of the gateway's.
func isClose(f wire.Frame, want int, toUpstream bool) error {
	code, reason, ok := f.Status()
	if !ok || code != want || reason == "" || !f.Fin || f.RSV != 0 || f.Masked != toUpstream {
		return fmt.Errorf("there came %v, want close %d, masked=%v", f, want, toUpstream)
	}
	return nil
}

// depart has the offender go. Where what it has said has looked like an answer, it is gone already.
func (h *hearing) depart() {
	switch h.seed / 2 % 3 {
	case 0:
		_ = h.near.Send(wire.Close(h.code, ""))
	case 1:
		_ = h.near.Reset()
	}
	_ = h.near.CloseWrite()
}

// suffer is what the other end reads: all that is legal, and that it is over.
func (h *hearing) suffer() (passed int, err error) {
	defer close(h.found)
	if err := same(h.far, h.legal.bytes); err != nil {
		return 0, err
	}
	var read bytes.Buffer
	f, err := wire.ReadFrame(io.TeeReader(h.far, &read))
	if err == nil {
		return len(h.legal.bytes), isClose(f, lost(opposite(h.by)), h.by == "client")
	}
	part := read.Len()
	cutOff := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
	if !h.begun || !cutOff || part == 0 || part >= len(h.bad) || !bytes.HasPrefix(h.bad, read.Bytes()) {
		return 0, fmt.Errorf("behind what was legal came %.40x (%w)", read.Bytes(), err)
	}
	return len(h.legal.bytes) + part, nil
}

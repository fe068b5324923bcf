package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// streamTimeout bounds a stream of events. The longest is that of a restart, for which two Traefiks have to start.
const streamTimeout = 2 * time.Minute

// audience follows a stream of events as the page does.
type audience[T any] struct {
	in    *bufio.Scanner
	leave func()
	seen  []T
}

// attend listens to a stream until the test ends, if it does not leave before.
func attend[T any](t *testing.T, d *demo, path string) *audience[T] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), streamTimeout)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	leave := func() { resp.Body.Close() }
	t.Cleanup(leave)
	return &audience[T]{in: bufio.NewScanner(resp.Body), leave: leave}
}

// until follows the stream up to an event that is wanted, and fails the test where it ends without.
func (a *audience[T]) until(t *testing.T, what string, wanted func(e T) bool) T {
	t.Helper()
	for a.in.Scan() {
		text, ok := strings.CutPrefix(a.in.Text(), "data: ")
		if !ok {
			continue
		}
		var e T
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		a.seen = append(a.seen, e)
		if wanted(e) {
			return e
		}
	}
	t.Fatalf("the stream ends (%v) without %s", a.in.Err(), what)
	return *new(T)
}

// pair is a live session, and the same without wsfw.
type pair struct{ *audience[event] }

// attendPair begins both and returns them, and their name, once both are open.
func attendPair(t *testing.T, d *demo) (pair, string) {
	t.Helper()
	p := pair{attend[event](t, d, "/live")}
	opened := map[string]bool{}
	last := p.until(t, "two open sessions", func(e event) bool {
		if e.Kind == "open" {
			opened[e.Via] = true
		}
		return len(opened) == 2
	})
	return p, last.Text
}

// record follows the session through wsfw up to its record.
func (p pair) record(t *testing.T) event {
	t.Helper()
	return p.until(t, "a record", func(e event) bool { return e.Kind == "record" })
}

// closeCode is the code of the close frame that a side has got; 0 for none.
func (p pair) closeCode(via, side string) int {
	for _, e := range p.seen {
		if e.isClose(via, side) {
			return e.Code
		}
	}
	return 0
}

// isClose tells a close frame that a side has got.
func (e event) isClose(via, side string) bool {
	return e.Via == via && e.Side == side && e.Way == "in" && e.Opcode == "close"
}

// ended tells whether a side has seen the session's end.
func (p pair) ended(via, side string) bool {
	return slices.ContainsFunc(p.seen, func(e event) bool {
		return e.isClose(via, side) || e.Via == via && e.Side == side && e.Kind == "gone"
	})
}

// tell has one side of both sessions do something.
func tell(t *testing.T, d *demo, path string) {
	t.Helper()
	resp, err := http.Post("http://"+d.addr+"/live/"+path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s is answered %s", path, resp.Status)
	}
}

// checkActs holds each act to what the page promises of it, with wsfw and without.
func checkActs(t *testing.T, d *demo) {
	for _, a := range acts() {
		t.Run(a.Side+" "+a.ID, func(t *testing.T) {
			t.Parallel()
			p, id := attendPair(t, d)
			defer p.leave()
			tell(t, d, id+"/"+a.Side+"/"+a.ID)
			p.record(t)
			p.checkCodes(t, withWsfw, a.Client, a.Upstream)
			if a.Native.Open {
				p.checkOpen(t, a)
				return
			}
			other := map[string]string{clientSide: upstreamSide, upstreamSide: clientSide}[a.Side]
			for !p.ended(withoutWsfw, other) {
				p.until(t, "the end without wsfw", func(event) bool { return true })
			}
			p.checkCodes(t, withoutWsfw, a.Native.Client, a.Native.Upstream)
		})
	}
}

// checkCodes compares the close codes that both sides have got.
func (p pair) checkCodes(t *testing.T, via string, client, upstream int) {
	t.Helper()
	for !p.hasClose(via, clientSide, client) || !p.hasClose(via, upstreamSide, upstream) {
		p.until(t, "the close frames", func(event) bool { return true })
	}
	if gotClient, gotUpstream := p.closeCode(via, clientSide), p.closeCode(via, upstreamSide); gotClient != client || gotUpstream != upstream {
		t.Errorf("%s: the client got %d and the upstream %d, want %d and %d", via, gotClient, gotUpstream, client, upstream)
	}
}

// hasClose is true where a side has got its close frame, or none is promised.
func (p pair) hasClose(via, side string, code int) bool {
	return code == 0 || p.ended(via, side)
}

// checkOpen wants the session without wsfw to outlive the one through it.
func (p pair) checkOpen(t *testing.T, a act) {
	t.Helper()
	for _, side := range []string{clientSide, upstreamSide} {
		if p.ended(withoutWsfw, side) {
			t.Errorf("%s: without wsfw the %s has noticed", a.Title, side)
		}
	}
}

// checkHeartbeat wants to see pings of wsfw's at both ends and none without it, a round trip through it, and an echo.
func checkHeartbeat(t *testing.T, d *demo) {
	p, id := attendPair(t, d)
	defer p.leave()
	missing := map[string]bool{clientSide: true, upstreamSide: true, "round trip": true}
	p.until(t, "all heartbeats", func(e event) bool {
		if e.Opcode == "ping" && !e.Own {
			if e.Via == withoutWsfw {
				t.Errorf("the %s is pinged without wsfw", e.Side)
			}
			delete(missing, e.Side)
		}
		if e.RTT > 0 && e.Via == withWsfw {
			delete(missing, "round trip")
		}
		return len(missing) == 0
	})
	tell(t, d, id+"/"+clientSide+"/say?text=ahoy")
	echoed := map[string]bool{}
	p.until(t, "an echo in both", func(e event) bool {
		if e.Side == clientSide && e.Way == "in" && e.Opcode == "text" && e.Text == "ahoy" {
			echoed[e.Via] = true
		}
		return len(echoed) == 2
	})
	tell(t, d, id+"/"+clientSide+"/leave")
	record := p.record(t)
	var line struct {
		EndedBy   string
		Heartbeat map[string]struct{ Pongs int }
	}
	if err := json.Unmarshal(record.Line, &line); err != nil {
		t.Fatal(err)
	}
	if line.EndedBy != clientSide || line.Heartbeat[clientSide].Pongs == 0 || line.Heartbeat[upstreamSide].Pongs == 0 {
		t.Errorf("the record is %s, want one of a session that the client ended, with pongs of both sides", record.Line)
	}
}

// TestWaits wants the countdowns to be those of the routes' options.
func TestWaits(t *testing.T) {
	for _, a := range acts() {
		if a.ID != "silent" {
			continue
		}
		if len(a.Waits) != 2 || a.Waits[0].MS != milliseconds(liveRoute.duration("pingInterval")) ||
			a.Waits[1].MS != milliseconds(liveRoute.duration("pongTimeout")) {
			t.Errorf("%s: %s waits for %+v", a.Side, a.Title, a.Waits)
		}
	}
	waits := restartWaits()
	if drain := drainRoute.duration("drainTimeout"); waits[withWsfw].MS != milliseconds(drain) || graceTimeOut <= drain {
		t.Errorf("a restart waits for %+v", waits)
	}
}

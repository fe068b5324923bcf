package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// audience follows a live session as the page does.
type audience struct {
	in   *bufio.Scanner
	seen []event
}

// attend begins a live session.
func attend(t *testing.T, d *demo) *audience {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.addr+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &audience{in: bufio.NewScanner(resp.Body)}
}

// until follows the session up to an event that is wanted, and fails the test where it ends without.
func (a *audience) until(t *testing.T, what string, wanted func(e event) bool) event {
	t.Helper()
	for a.in.Scan() {
		text, ok := strings.CutPrefix(a.in.Text(), "data: ")
		if !ok {
			continue
		}
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		a.seen = append(a.seen, e)
		if wanted(e) {
			return e
		}
	}
	t.Fatalf("the stream ends (%v) without %s", a.in.Err(), what)
	return event{}
}

// opened returns the session's name once it is open.
func (a *audience) opened(t *testing.T) string {
	t.Helper()
	return a.until(t, "an open session", func(e event) bool { return e.Kind == "open" }).Text
}

// closeCode is the code of the close frame that a side has got; 0 for none.
func (a *audience) closeCode(side string) int {
	for _, e := range a.seen {
		if e.Side == side && e.Way == "in" && e.Opcode == "close" {
			return e.Code
		}
	}
	return 0
}

// tell has one side of a session do something.
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

// checkActs holds each act to the close codes that the page promises.
func checkActs(t *testing.T, d *demo) {
	for _, a := range acts() {
		t.Run(a.Side+" "+a.ID, func(t *testing.T) {
			t.Parallel()
			session := attend(t, d)
			tell(t, d, session.opened(t)+"/"+a.Side+"/"+a.ID)
			session.until(t, "a record", func(e event) bool { return e.Kind == "record" })
			if client, upstream := session.closeCode(clientSide), session.closeCode(upstreamSide); client != a.Client || upstream != a.Upstream {
				t.Errorf("the client got %d and the upstream %d, want %d and %d", client, upstream, a.Client, a.Upstream)
			}
		})
	}
}

// checkHeartbeat wants to see pings of wsfw's at both ends, a round trip through it, and an echo.
func checkHeartbeat(t *testing.T, d *demo) {
	session := attend(t, d)
	id := session.opened(t)
	missing := map[string]bool{clientSide: true, upstreamSide: true, "round trip": true}
	session.until(t, "all heartbeats", func(e event) bool {
		if e.Opcode == "ping" && !e.Own {
			delete(missing, e.Side)
		}
		if e.RTT > 0 {
			delete(missing, "round trip")
		}
		return len(missing) == 0
	})
	tell(t, d, id+"/"+clientSide+"/say?text=ahoy")
	session.until(t, "an echo", func(e event) bool {
		return e.Side == clientSide && e.Way == "in" && e.Opcode == "text" && e.Text == "ahoy"
	})
	tell(t, d, id+"/"+clientSide+"/leave")
	record := session.until(t, "a record", func(e event) bool { return e.Kind == "record" })
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

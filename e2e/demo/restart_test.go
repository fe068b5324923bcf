package main

import (
	"fmt"
	"testing"
)

// checkRestart wants every client to be sent away and back: by wsfw with 1012, at a time of its own, and without it all
// together with no close frame.
func checkRestart(t *testing.T, d *demo) {
	r := attend[restartEvent](t, d, "/restart")
	defer r.leave()
	failure := ""
	r.until(t, "its end", func(e restartEvent) bool {
		if e.Kind == "failed" {
			failure = e.Text
		}
		return e.Kind == "done" || e.Kind == "failed"
	})
	if failure != "" {
		t.Fatal(failure)
	}
	spread := map[string]float64{}
	stages := map[string]string{} // by client, what has happened to it
	for _, e := range r.seen {
		client := fmt.Sprint(e.Via, e.Client)
		switch e.Kind {
		case "open", "back":
			stages[client] += e.Kind + " "
		case "closed":
			stages[client] += fmt.Sprint(e.Code, " ")
		case "summary":
			spread[e.Via] = e.Spread
			t.Log(e.Text)
		}
	}
	for via, want := range map[string]string{withWsfw: "open 1012 back ", withoutWsfw: "open 0 back "} {
		for n := range crowdSize {
			if got := stages[fmt.Sprint(via, n)]; got != want {
				t.Errorf("%s: client %d is %q, want %q", via, n, got, want)
			}
		}
	}
	// Twelve times by chance within 4 s, all of them within one, is less likely than 1 to 100,000.
	if spread[withWsfw] < 1000 || spread[withoutWsfw] > spread[withWsfw]/2 {
		t.Errorf("clients are sent away within %v ms with wsfw, and %v ms without", spread[withWsfw], spread[withoutWsfw])
	}
}

// TestLeaveInRestart wants nothing left of a restart that the page does not see the end of.
func TestLeaveInRestart(t *testing.T) {
	eachHost(t, func(t *testing.T, d *demo) {
		r := attend[restartEvent](t, d, "/restart")
		r.until(t, "its beginning", func(e restartEvent) bool { return e.Kind == "begun" })
		r.leave()
	})
}

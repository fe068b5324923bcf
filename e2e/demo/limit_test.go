package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"
)

// checkLimit reaches the limit, and reaches it again as soon as the places of the first time are free.
func checkLimit(t *testing.T, d *demo) {
	got := reachLimit(t, d)
	checkAnswers(t, withWsfw, got[withWsfw], 101, 101, 429, 101, 503)
	checkAnswers(t, withoutWsfw, got[withoutWsfw], 101, 101, 101, 101, 101)
	for deadline := time.Now().Add(testTimeout); !slices.EqualFunc(got[withWsfw], reachLimit(t, d)[withWsfw], sameStatus); {
		if time.Now().After(deadline) {
			t.Fatal("the sessions of the first time still count")
		}
	}
}

func sameStatus(a, b told) bool { return a.Status == b.Status }

// reachLimit presses the button.
func reachLimit(t *testing.T, d *demo) map[string][]told {
	t.Helper()
	resp, err := http.Post("http://"+d.addr+"/limit", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got map[string][]told
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	return got
}

// checkAnswers compares the status of each answer, and wants Retry-After where that belongs.
func checkAnswers(t *testing.T, via string, got []told, want ...int) {
	t.Helper()
	var status []int
	for i, answer := range got {
		status = append(status, answer.Status)
		if answer.From != callers()[i] {
			t.Errorf("%s: answer %d is to %s, want %s", via, i, answer.From, callers()[i])
		}
		_, err := strconv.Atoi(answer.RetryAfter)
		if refused := answer.Status >= 400; refused != (err == nil) || refused != (answer.Text != "") {
			t.Errorf("%s: answer %d is %+v", via, i, answer)
		}
	}
	if !slices.Equal(status, want) {
		t.Errorf("%s: the answers are %v, want %v", via, status, want)
	}
}

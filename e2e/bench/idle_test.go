package main

import (
	"math"
	"strings"
	"syscall"
	"testing"
)

// TestSizes reads the numbers of sessions as they are given.
func TestSizes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"2000", "2000"},
		{"2000, 8000,16000", "2000,8000,16000"},
		{"0", ""},
		{"8000,2000", ""},
		{"10,10", ""},
		{"many", ""},
		{"", ""},
	} {
		var s sizes
		if err := s.Set(c.text); (err != nil) != (c.want == "") || s.String() != c.want {
			t.Errorf("%q is %q (%v), want %q", c.text, &s, err, c.want)
		}
	}
}

// TestGrowth compares what a session takes among the most with what it takes among the fewest.
func TestGrowth(t *testing.T) {
	got := growth(sizes{2000, 8000, 16_000}, []float64{2, 5, 3})
	if want := (measurement{"cpu a session, 2000 to 16000", "times", 1.5}); got != want {
		t.Errorf("the growth is %v, want %v", got, want)
	}
}

// TestFiles leaves out sizes for which no process may hold enough files open, whoever runs it.
func TestFiles(t *testing.T) {
	var before, after syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	w := &idle{sizes: sizes{1, 2, math.MaxInt32}}
	err := w.prepare()
	if err == nil || !strings.Contains(err.Error(), "no figures of 2147483647 sessions") || w.sizes.String() != "1,2" {
		t.Errorf("%s are left (%v), want all but the last", &w.sizes, err)
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("the limit was %v, and is %v", before, after)
	}
}

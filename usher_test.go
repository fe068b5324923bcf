package wsfw

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Ushers are there for as long as visits come, as many as there are at a time, and leave when none does.
func TestUshersLeave(t *testing.T) {
	await(t, "ushers of another test", func() bool { return present() == 0 })
	waiting, through := make(chan bool), make(chan bool)
	m := &Middleware{name: t.Name(), settings: &settings{limits: &limits{}, inline: true}}
	m.next = http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		waiting <- true
		<-through
	})
	const atATime = 3
	done := make(chan bool, atATime)
	for round := 0; round < 2; round++ {
		for i := 0; i < atATime; i++ {
			go func() {
				req := httptest.NewRequest(http.MethodGet, "/", nil)
				req.Header = upgrading(nil)
				m.ServeHTTP(httptest.NewRecorder(), req)
				done <- true
			}()
			<-waiting
		}
		if there := present(); there != atATime {
			t.Errorf("round %d: for %d visits there are %d ushers", round, atATime, there)
		}
		for i := 0; i < atATime; i++ {
			through <- true
			<-done
		}
	}
	await(t, "ushers without a visit", func() bool { return present() == 0 })
	if free := ushers.free.Load(); free != 0 {
		t.Errorf("of none %d are free", free)
	}
}

// present is how many ushers there are.
func present() int {
	ushers.mu.Lock()
	defer ushers.mu.Unlock()
	return ushers.there
}

// await waits until something is gone that does not tell when it is.
func await(t *testing.T, what string, gone func() bool) {
	t.Helper()
	ticker, end := time.NewTicker(time.Millisecond), time.Now().Add(10*time.Second)
	defer ticker.Stop()
	for !gone() {
		if time.Now().After(end) {
			t.Fatalf("there still are %s", what)
		}
		<-ticker.C
	}
}

// A panic is the visit's own, and not of the usher's next one; a place that it had is given back.
func TestUsherPanics(t *testing.T) {
	m := &Middleware{name: t.Name(), settings: &settings{limits: &limits{}, forward: true}} // without an upstream
	for i := 0; i < 2; i++ {
		panicked := false
		func() {
			defer func() { panicked = recover() != nil }()
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.Header = upgrading(nil)
			m.ServeHTTP(httptest.NewRecorder(), req)
		}()
		if !panicked || placesOf(m.name) != nil {
			t.Errorf("panicked: %v, places: %+v", panicked, placesOf(m.name))
		}
	}
	await(t, "ushers that have panicked", func() bool { return present() == 0 })
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/wsfw/wsfw/e2e/engine"
)

// TestSession has two systems take turns on the suite's engines, beside one that cannot be started and one that is gone.
func TestSession(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		missing := system{name: "missing", start: func(string, bool) (*gateway, error) {
			return nil, errors.New("the program is not there")
		}}
		w := session{callers: 2, turns: 2, slice: 50 * time.Millisecond, settle: time.Millisecond}
		b := &bench{
			rounds:    2,
			systems:   []system{hosted(t, e, native, 0), missing, hosted(t, e, "wsfw", 0), {name: "gone", start: startGone}},
			workloads: []workload{{name: "session", together: w.run}},
			log:       t.Output(),
		}
		err := b.run(t.Context())
		if err == nil {
			t.Fatal("there is no error")
		}
		for _, want := range []string{"round 1, session, missing: the program", "round 2, session: gone: dial"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %q, want one that tells %q", err, want)
			}
		}
		for system, want := range map[string]int{native: b.rounds, "wsfw": b.rounds, "missing": 0, "gone": 0} {
			like := sample{system: system, workload: "session", measurement: measurement{metric: "cpu"}}
			if got := len(b.values(like)); got != want {
				t.Errorf("%s: %d rounds have a figure, want %d", system, got, want)
			}
		}
	})
}

// startGone is a gateway where nobody listens.
func startGone(string, bool) (*gateway, error) {
	addr, err := freeAddr()
	return &gateway{addr: addr, stop: func() {}}, err
}

// TestToll adds up slices, of which the first does not count.
func TestToll(t *testing.T) {
	var sum toll
	sum.add(false, toll{Visits: Visits{Sessions: 99, Seconds: 1}, gateway: 1, peers: 1})
	sum.add(true, toll{Visits: Visits{Sessions: 1, Seconds: 0.5}, gateway: 0.003, peers: 0.001})
	sum.add(true, toll{Visits: Visits{Sessions: 3, Seconds: 0.5}, gateway: 0.001, peers: 0.001})
	found, err := sum.measurements(&stage{gateway: &gateway{pids: []int{1}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = "cpu 1000, peers' cpu 500, throughput 4"
	var got []string
	for _, m := range found {
		got = append(got, fmt.Sprintf("%s %.0f", m.metric, m.value))
	}
	if got := strings.Join(got, ", "); got != want {
		t.Errorf("the figures are %s, want %s", got, want)
	}
	if _, err := (toll{}).measurements(&stage{gateway: &gateway{}}); err == nil {
		t.Error("no session has figures")
	}
}

// TestVisit visits upstreams, one of which does as it should.
func TestVisit(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // of the error; empty for none
	}{
		{"as it should be", newPeers().welcome, ""},
		{"no upgrade", http.NotFound, "404"},
		{"a ping before", upgraded(func(conn net.Conn) {
			_, _ = conn.Write([]byte{0x89, 0})
			newPeers().serve(conn, sendBack)
		}), ""},
		{"another message", upgraded(func(conn net.Conn) { newPeers().serve(conn, acknowledge) }), "is answered by"},
		{"more than a close", upgraded(func(conn net.Conn) {
			newPeers().serve(kept{conn}, sendBack)
			_, _ = conn.Write([]byte("more"))
		}), "more comes after"},
		{"the connection breaks", upgraded(func(conn net.Conn) { conn.Close() }), "after"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.answer)
			defer server.Close()
			err := visit(server.Listener.Addr().String())
			if told := fmt.Sprint(cmp.Or(err, io.EOF)); (err == nil) != (c.want == "") || !strings.Contains(told, c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
}

// upgraded has a connection after its handshake.
func upgraded(serve func(net.Conn)) http.HandlerFunc {
	return func(rw http.ResponseWriter, req *http.Request) {
		var upgrader websocket.Upgrader
		if conn, err := upgrader.Upgrade(rw, req, nil); err == nil {
			serve(conn.NetConn())
			conn.Close()
		}
	}
}

// kept is a connection that who serves it cannot close.
type kept struct{ net.Conn }

// Close implements [net.Conn].
func (kept) Close() error { return nil }

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestHeavyStatusFigures has sessions of random scripts, and wants the metrics to tell what their ends have counted, never to go
// down meanwhile, and to tell the same after the configuration was changed.
func TestHeavyStatusFigures(t *testing.T) {
	budget := 4 * time.Second
	if soaking() {
		budget = time.Minute
	}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{"allowedOrigins": []string{"none"}}))
		over, watching := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(watching)
			g.watchRising(t, over)
		}()
		var fromClient, fromUpstream traffic
		sessions, refused := 0, 0
		for start := time.Now(); time.Since(start) < budget; sessions++ {
			client, upstream := g.join(t).plays(t, manners[0], rand.Uint64N(1e9))
			fromClient.Messages += client.Messages
			fromClient.Bytes += client.Bytes
			fromUpstream.Messages += upstream.Messages
			fromUpstream.Bytes += upstream.Bytes
			if t.Failed() {
				break
			}
			if sessions%3 == 0 {
				peerDial(t, g.gateway, upgrade("GET / HTTP/1.1", "Origin: https://evil.example")).refusal(t, http.StatusForbidden)
				refused++
			}
		}
		close(over)
		<-watching
		for range 2 {
			families := metricsOf(t, g.gateway)
			for _, row := range []struct {
				name   string
				labels map[string]string
				want   int
			}{
				{"wsfw_sessions", nil, 0},
				{"wsfw_sessions_opened_total", nil, sessions},
				{"wsfw_session_duration_seconds", nil, sessions},
				{"wsfw_handshake_duration_seconds", nil, sessions},
				{"wsfw_messages_total", map[string]string{"from": "client"}, fromClient.Messages},
				{"wsfw_messages_total", map[string]string{"from": "upstream"}, fromUpstream.Messages},
				{"wsfw_bytes_total", map[string]string{"from": "client"}, fromClient.Bytes},
				{"wsfw_bytes_total", map[string]string{"from": "upstream"}, fromUpstream.Bytes},
				{"wsfw_requests_refused_total", map[string]string{"reason": "bad_origin"}, refused},
			} {
				if got := figure(t, g.gateway, families, row.name, row.labels); got != float64(row.want) {
					t.Errorf("%s%v is %v, and the ends have counted %d", row.name, row.labels, got, row.want)
				}
			}
			g.gateway.Reload(t, object{"upstreamEndpoint": g.server.URL, "maxConnections": 10})
		}
	})
}

// watchRising wants a counter never to go down until over is closed.
func (g *ground) watchRising(t *testing.T, over <-chan struct{}) {
	last := 0.0
	for !isClosed(over) {
		body, err := scrape(t.Context(), g.gateway)
		if err != nil {
			t.Error(err)
			return
		}
		now := figure(t, g.gateway, parsed(t, body), "wsfw_bytes_total", map[string]string{"from": "client"})
		if now < last {
			t.Errorf("the bytes of clients went down from %v to %v", last, now)
		}
		last = now
	}
}

// scrape is a gateway's metrics.
func scrape(ctx context.Context, gateway *engine.Gateway) (string, error) {
	resp, body, err := askStatus(ctx, gateway, http.MethodGet, "/metrics")
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the metrics are %d", resp.StatusCode)
	}
	return body, nil
}

// TestHeavyStatusKills has an operator end sessions by hand, and scrape, amid sessions that open and close: nothing is left of any,
// and nobody else is ended.
func TestHeavyStatusKills(t *testing.T) {
	const kills, scrapes, workers = 1000, 1000, 8
	eachUse(t, func(t *testing.T, e engine.Engine) {
		y := &killYard{ground: newGroundOf(t, e, watched(object{"userFrom": "header:X-User", "closeTimeout": "10m", "sessionLog": "off"}))}
		go y.serve()
		y.warmUp(t)
		await(t, settleTimeout, func() string {
			return excess("stacks of the plugin", ofPlugin(goroutines(t, y.gateway)), 0)
		})
		before := level{len(goroutines(t, y.gateway)), openFiles(t, y.gateway)}
		var working sync.WaitGroup
		for range workers {
			working.Go(func() { y.live(t, kills/workers) })
		}
		working.Go(func() {
			if err := y.end(t, kills); err != nil {
				t.Error(err)
			}
		})
		working.Go(func() {
			for range scrapes {
				if _, err := scrape(t.Context(), y.gateway); err != nil {
					t.Error(err)
					return
				}
			}
		})
		working.Wait()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		before.await(t, y.gateway)
		if l := list(t, y.gateway, ""); l.Total != 0 {
			t.Errorf("%d sessions are listed when all are over", l.Total)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if y.killed.Load() != kills || y.left.Load() != kills {
			t.Errorf("%d sessions were ended and %d left, want %d of each", y.killed.Load(), y.left.Load(), kills)
		}
	})
}

// killYard is a ground whose upstreams echo, and whose clients are ended by an operator, or leave.
type killYard struct {
	*ground
	killed, left atomic.Int64
}

// codes of the operator's and of those who leave.
const (
	killCode  = 4001
	leaveCode = 4002
)

// serve runs the upstreams until there come no more.
func (y *killYard) serve() {
	for {
		upstream, err := y.server.Accept()
		if err != nil {
			return
		}
		go func() {
			defer upstream.Close()
			for {
				f, err := upstream.ReadFrame()
				if err != nil || upstream.Send(f.Masking(false)) != nil || f.Opcode == wire.OpClose {
					return
				}
			}
		}()
	}
}

// warmUp has a session leave: what is made on first use is no leak.
func (y *killYard) warmUp(t *testing.T) {
	t.Helper()
	if err := y.visit("keep"); err != nil {
		t.Fatal(err)
	}
	y.left.Store(0)
}

// live opens sessions, one to be ended and one that leaves at a time.
func (y *killYard) live(t *testing.T, times int) {
	for range times {
		var both sync.WaitGroup
		for _, user := range []string{"end me", "keep"} {
			both.Go(func() {
				if err := y.visit(user); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
}

// visit is a session of a user.
func (y *killYard) visit(user string) error {
	client, err := dial(y.gateway, "X-User: "+user)
	if err != nil {
		return err
	}
	defer client.Close()
	want, count := killCode, &y.killed
	if user == "keep" {
		want, count = leaveCode, &y.left
		if err := client.Send(wire.Text("hello")); err != nil {
			return err
		}
		if f, err := client.ReadFrame(); err != nil || string(f.Payload) != "hello" {
			return fmt.Errorf("the echo of %s is %v (%w)", user, f, err)
		}
		if err := client.Send(wire.Close(leaveCode, "")); err != nil {
			return err
		}
	}
	f, err := client.ReadFrame()
	if code, _, _ := f.Status(); err != nil || f.Opcode != wire.OpClose || code != want {
		return fmt.Errorf("%s gets %v (%w), want close %d", user, f, err, want)
	}
	count.Add(1)
	if want == killCode {
		return client.Send(wire.Close(killCode, ""))
	}
	return nil
}

// end ends that many sessions, one by one, as they come, unless the test has failed: then no more may come.
func (y *killYard) end(t *testing.T, count int) error {
	t.Helper()
	for ended := 0; ended < count && !t.Failed(); {
		l, err := askList(t.Context(), y.gateway, "user=end+me&limit=50")
		if err != nil {
			return err
		}
		for _, s := range l.Sessions {
			resp, body, err := askStatus(t.Context(), y.gateway, http.MethodDelete, fmt.Sprintf("/sessions/%s?code=%d", s.ID, killCode))
			if err != nil {
				return err
			}
			if resp.StatusCode == http.StatusNotFound {
				continue // it is ending already
			}
			var answer struct{ Ended int }
			if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Ended != 1 {
				return fmt.Errorf("ending %s: %d %s (%w)", s.ID, resp.StatusCode, body, err)
			}
			ended++
		}
	}
	return nil
}

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// watched is a setup with a status router beside it.
func watched(config object) engine.Setup {
	return engine.Setup{Config: config, Status: true, Dedicated: true}
}

// statusOf is askStatus, which must succeed.
func statusOf(t *testing.T, gateway *engine.Gateway, method, target string, lines ...string) (*http.Response, string) {
	t.Helper()
	resp, body, err := askStatus(t.Context(), gateway, method, target, lines...)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// askStatus asks a gateway's status, and returns the answer and its body. Lines are further header lines, as "Name: value".
func askStatus(ctx context.Context, gateway *engine.Gateway, method, target string, lines ...string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+gateway.Addr+engine.StatusPath+target, nil)
	if err != nil {
		return nil, "", err
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	return fetch(http.DefaultTransport, req)
}

// listed is what the status tells of a session.
type listed struct {
	ID           string           `json:"id"`
	Name         string           `json:"name"`
	Client       string           `json:"client"`
	User         string           `json:"user"`
	HTTP         string           `json:"http"`
	Upstream     string           `json:"upstream"`
	Path         string           `json:"path"`
	Subprotocol  string           `json:"subprotocol"`
	Opened       string           `json:"opened"`
	LastData     string           `json:"lastData"`
	FromClient   map[string]int64 `json:"fromClient"`
	FromUpstream map[string]int64 `json:"fromUpstream"`
	Heartbeat    any              `json:"heartbeat"`
	State        string           `json:"state"`
}

// sessionList is a page of the list.
type sessionList struct {
	Total    int      `json:"total"`
	Sessions []listed `json:"sessions"`
	Next     string   `json:"next"`
}

// list is askList, which must succeed.
func list(t *testing.T, gateway *engine.Gateway, query string) sessionList {
	t.Helper()
	l, err := askList(t.Context(), gateway, query)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// askList asks for the sessions of a query. No key may be there that is not known.
func askList(ctx context.Context, gateway *engine.Gateway, query string) (l sessionList, err error) {
	resp, body, err := askStatus(ctx, gateway, http.MethodGet, "/sessions?"+query)
	if err != nil {
		return l, err
	}
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil || resp.StatusCode != http.StatusOK {
		return l, fmt.Errorf("the sessions of %q are %d %s (%w)", query, resp.StatusCode, body, err)
	}
	return l, nil
}

// awaitListed waits until that many sessions are open: those of a handshake that is just over may not be, yet.
func awaitListed(t *testing.T, gateway *engine.Gateway, count int) []listed {
	t.Helper()
	var l sessionList
	await(t, wire.Timeout, func() string {
		if l = list(t, gateway, ""); l.Total != count {
			return fmt.Sprintf("%d sessions are listed, want %d", l.Total, count)
		}
		return ""
	})
	return l.Sessions
}

// metricsOf are a gateway's metrics, as Prometheus' own parser and linter have them.
func metricsOf(t *testing.T, gateway *engine.Gateway) map[string]*dto.MetricFamily {
	t.Helper()
	resp, body := statusOf(t, gateway, http.MethodGet, "/metrics")
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Fatalf("the metrics are %s", kind)
	}
	families := parsed(t, body)
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v (%v)", problems, err)
	}
	return families
}

// parsed are metrics in Prometheus' text format.
func parsed(t *testing.T, body string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Errorf("the metrics cannot be parsed: %v\n%s", err, body)
	}
	return families
}

// figure is the value of a metric of this gateway's middleware, whose labels have these values. The count is a histogram's.
func figure(t *testing.T, gateway *engine.Gateway, families map[string]*dto.MetricFamily, name string, labels map[string]string) float64 {
	t.Helper()
	family := families[name]
	if family == nil {
		t.Errorf("there is no metric %s", name)
	}
	for _, metric := range family.GetMetric() {
		got := map[string]string{}
		for _, label := range metric.GetLabel() {
			got[label.GetName()] = label.GetValue()
		}
		if strings.TrimSuffix(got["name"], "@file") != gateway.Name {
			continue
		}
		delete(got, "name")
		if maps.Equal(got, labels) || len(got)+len(labels) == 0 {
			return metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return 0
}

// TestStatusSessions wants what the status tells of an open session to be what its ends know, and nothing of it when it is over.
func TestStatusSessions(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{"pingInterval": "1h", "maxInactivity": "16s", "userFrom": "header:X-User", "protocols": []string{"chat"}}), "Sec-WebSocket-Protocol: chat")
		g.offer = []string{"X-User: ann", "Sec-WebSocket-Protocol: chat"}
		j := g.join(t)
		passesOver(t, j.client, j.upstream, wire.Text("hello"))
		passesOver(t, j.upstream, j.client, wire.Text("hello you"))
		var l sessionList
		await(t, wire.Timeout, func() string {
			l = list(t, g.gateway, "")
			if len(l.Sessions) == 1 && l.Sessions[0].FromUpstream["messages"] == 1 && l.Sessions[0].FromClient["messages"] == 1 {
				return ""
			}
			return fmt.Sprintf("the sessions are %+v", l)
		})
		got := l.Sessions[0]
		if got.User != "ann" || got.State != "open" || got.Subprotocol != "chat" || strings.TrimSuffix(got.Name, "@file") != g.gateway.Name {
			t.Errorf("the session is %+v", got)
		}
		if got.FromClient["bytes"] != 11 || got.FromUpstream["bytes"] != 11 || got.LastData == "" || got.Heartbeat == nil {
			t.Errorf("the session is %+v, want what was sent in it", got)
		}
		closesOver(t, j.client, j.upstream)
		record := j.record(t)
		if record["id"] != got.ID || record["user"] != "ann" || record["client"] != got.Client || record["path"] != got.Path || record["upstream"] != got.Upstream {
			t.Errorf("the record is %v, the list had %+v", record, got)
		}
		if l := list(t, g.gateway, ""); l.Total != 0 || len(l.Sessions) != 0 {
			t.Errorf("after the session the list is %+v", l)
		}
	})
}

// TestStatusFilters wants each filter to take its sessions, and pages to have all of them once, the oldest first.
func TestStatusFilters(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{"userFrom": "header:X-User", "closeTimeout": "1s"}))
		var all []*joined
		for i := range 5 {
			g.offer = []string{"X-User: user" + fmt.Sprint(i%2)}
			all = append(all, g.join(t))
			awaitListed(t, g.gateway, len(all))
		}
		ids := func(query string) (ids []string) {
			for _, s := range list(t, g.gateway, query).Sessions {
				ids = append(ids, s.ID)
			}
			return ids
		}
		open := awaitListed(t, g.gateway, len(all))
		every, name, client := ids(""), url.QueryEscape(open[0].Name), open[2].Client
		for query, want := range map[string][]string{
			"user=user1":                     {every[1], every[3]},
			"user=nobody":                    nil,
			"id=" + every[2]:                 {every[2]},
			"id=none":                        nil,
			"client=" + client:               {every[2]},
			"client=127.0.0.1":               every,
			"name=" + name:                   every,
			"name=other":                     nil,
			"path=%2F":                       every,
			"path=%2Felsewhere":              nil,
			"upstream=ws%3A%2F%2F":           every,
			"older=1h":                       nil,
			"idle=1h":                        nil,
			"older=1ns&idle=1ns":             every,
			"limit=2":                        every[:2],
			"limit=2&cursor=" + every[1]:     every[2:4],
			"user=user0&limit=5&older=1ns":   {every[0], every[2], every[4]},
			"limit=1000&cursor=" + every[4]:  nil,
			"user=user1&cursor=" + every[2]:  {every[3]},
			"client=127.0.0.1&name=" + name:  every,
			"user=user1&client=192.0.2.1":    nil,
			"limit=3&user=user0&upstream=ws": {every[0], every[2], every[4]},
		} {
			if got := ids(query); !slices.Equal(got, want) {
				t.Errorf("the sessions of %q are %v, want %v of %v", query, got, want, every)
			}
		}
		if l := list(t, g.gateway, "limit=2"); l.Total != 5 || l.Next != every[1] {
			t.Errorf("the first page is %+v", l)
		}
		for _, j := range all {
			j.client.Close()
		}
	})
}

// statusMistakes are requests that a status refuses, and the sentence's beginning.
var statusMistakes = []struct {
	method, target string
	lines          []string
	status         int
	says           string
}{
	{"GET", "/sessions?usr=ann", nil, 400, `there is no filter "usr"`},
	{"GET", "/sessions?user=", nil, 400, "user must have one value"},
	{"GET", "/sessions?user=a&user=b", nil, 400, "user must have one value"},
	{"GET", "/sessions?older=5", nil, 400, "older and idle must be durations"},
	{"GET", "/sessions?limit=0", nil, 400, "limit must be"},
	{"GET", "/sessions?limit=x", nil, 400, "limit must be"},
	{"GET", "/sessions?cursor=x", nil, 400, "cursor must be"},
	{"GET", "/elsewhere", nil, 404, "There are"},
	{"POST", "/metrics", nil, 405, "This method"},
	{"PUT", "/sessions/1", nil, 405, "This method"},
	{"DELETE", "/sessions", nil, 400, "name the sessions"},
	{"DELETE", "/sessions?code=4000&reason=x", nil, 400, "name the sessions"},
	{"DELETE", "/sessions?user=", nil, 400, "user must have one value"},
	{"DELETE", "/sessions?usr=ann", nil, 400, "there is no filter"},
	{"DELETE", "/sessions?user=ann&code=1005", nil, 400, "code must be"},
	{"DELETE", "/sessions?user=ann&code=x", nil, 400, "code must be"},
	{"DELETE", "/sessions?user=ann&reason=" + strings.Repeat("x", 124), nil, 400, "reason must be"},
	{"DELETE", "/sessions?user=ann&reason=%FF", nil, 400, "reason must be"},
	{"DELETE", "/sessions/none", nil, 404, "There is no open session"},
	{"DELETE", "/sessions?client=127.0.0.1", []string{"Sec-Fetch-Site: cross-site"}, 403, "A page of another site"},
	{"DELETE", "/sessions?client=127.0.0.1", []string{"Sec-Fetch-Site: same-site"}, 403, "A page of another site"},
	{"DELETE", "/sessions?client=127.0.0.1", []string{"Origin: https://evil.example"}, 403, "A page of another site"},
	{"DELETE", "/sessions?client=127.0.0.1", []string{"Origin: null"}, 403, "A page of another site"},
}

// TestStatusMistakes wants a sentence for each, and nobody ended by any.
func TestStatusMistakes(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{}))
		j := g.join(t)
		awaitListed(t, g.gateway, 1)
		for _, row := range statusMistakes {
			resp, body := statusOf(t, g.gateway, row.method, row.target, row.lines...)
			if resp.StatusCode != row.status || !strings.HasPrefix(body, row.says) {
				t.Errorf("%s %s %q: %d %q, want %d %s …", row.method, row.target, row.lines, resp.StatusCode, body, row.status, row.says)
			}
		}
		passesOver(t, j.client, j.upstream, wire.Text("still here"))
		closesOver(t, j.client, j.upstream)
	})
}

// TestStatusEnd has sessions ended by hand and by filter: these, and no others. The log tells by whom.
func TestStatusEnd(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{"userFrom": "header:X-User"}))
		byUser := map[string][]*joined{}
		for _, user := range []string{"ann", "bob", "ann", "eve"} {
			g.offer = []string{"X-User: " + user}
			byUser[user] = append(byUser[user], g.join(t))
		}
		awaitListed(t, g.gateway, 4)
		ended := func(target string, lines ...string) int {
			t.Helper()
			resp, body := statusOf(t, g.gateway, http.MethodDelete, target, lines...)
			var answer struct{ Ended int }
			if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d %s (%v)", target, resp.StatusCode, body, err)
			}
			return answer.Ended
		}
		leaves := func(j *joined, code int, reason string) {
			t.Helper()
			for end, want := range map[string]int{"client": code, "upstream": 1001} {
				near, _ := j.from(end)
				if got := expectClose(t, near, end == "upstream", want); got != reason {
					t.Errorf("the %s's reason is %q, want %q", end, got, reason)
				}
				send(t, near, wire.Close(want, ""))
			}
			expectEnd(t, j.client)
			expectEnd(t, j.upstream)
			j.expectOutcome(t, "wsfw", code, reason)
		}
		if n := ended("/sessions?user=ann&code=4001&reason=banned", "Authorization: Basic YWRtaW46aHVudGVyMg=="); n != 2 {
			t.Errorf("%d sessions are ended, want ann's two", n)
		}
		status := *g.gateway
		status.Name += "-status" // whose line it is
		line := status.Wait(t, "sessions ended by an operator")
		checkLine(t, line, object{"level": "warn", "user": "admin", "filter": "user=ann", "ended": 2.0, "code": 4001.0, "reason": "banned"})
		for _, j := range byUser["ann"] {
			leaves(j, 4001, "banned")
		}
		id := list(t, g.gateway, "user=eve").Sessions[0].ID
		if n := ended("/sessions/"+id, "Sec-Fetch-Site: same-origin"); n != 1 {
			t.Errorf("%d sessions are ended, want eve's", n)
		}
		leaves(byUser["eve"][0], 1008, "ended by the operator")
		bob := byUser["bob"][0]
		passesOver(t, bob.client, bob.upstream, wire.Text("still here"))
		closesOver(t, bob.client, bob.upstream)
	})
}

// TestStatusMetrics wants figures that equal what the ends of sessions, and those that came to none, have seen.
func TestStatusMetrics(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		// Pumps look up an eighth of maxInactivity after data at the latest.
		g := newGroundOf(t, e, watched(object{"allowedOrigins": []string{"none"}, "maxInactivity": "16s"}))
		is := func(name string, labels map[string]string, want float64) {
			t.Helper()
			if got := figure(t, g.gateway, metricsOf(t, g.gateway), name, labels); got != want {
				t.Errorf("%s%v is %v, want %v", name, labels, got, want)
			}
		}
		is("wsfw_sessions", nil, 0)
		first, second := g.join(t), g.join(t)
		await(t, wire.Timeout, func() string { // of a handshake that is just over the gateway may not know yet
			if got := figure(t, g.gateway, metricsOf(t, g.gateway), "wsfw_sessions", nil); got != 2 {
				return fmt.Sprintf("wsfw_sessions is %v, want 2", got)
			}
			return ""
		})
		is("wsfw_sessions_opened_total", nil, 2)
		is("wsfw_handshake_duration_seconds", nil, 2)
		for range 3 {
			passesOver(t, first.client, first.upstream, wire.Text("hello"))
		}
		passesOver(t, second.upstream, second.client, wire.Binary(payload(1000)))
		await(t, wire.Timeout, func() string {
			families := metricsOf(t, g.gateway)
			got := figure(t, g.gateway, families, "wsfw_messages_total", map[string]string{"from": "client"})
			if got == 3 && figure(t, g.gateway, families, "wsfw_bytes_total", map[string]string{"from": "upstream"}) == 1004 {
				return ""
			}
			return fmt.Sprintf("live sessions count %v messages", got)
		})
		closesOver(t, first.client, first.upstream)
		first.record(t)
		second.client.Close()
		expectCut(t, second.upstream)
		second.record(t)
		is("wsfw_sessions", nil, 0)
		is("wsfw_sessions_closed_total", map[string]string{"ended_by": "client", "code": "4xxx"}, 1)
		is("wsfw_sessions_closed_total", map[string]string{"ended_by": "client", "code": "1006"}, 1)
		is("wsfw_session_duration_seconds", nil, 2)
		is("wsfw_messages_total", map[string]string{"from": "client"}, 3)
		is("wsfw_messages_total", map[string]string{"from": "upstream"}, 1)
		is("wsfw_bytes_total", map[string]string{"from": "upstream"}, 1004+4)
		is("wsfw_bytes_total", map[string]string{"from": "client"}, 3*11+11)
		peerDial(t, g.gateway, upgrade("GET / HTTP/1.1", "Origin: https://evil.example")).refusal(t, http.StatusForbidden)
		is("wsfw_requests_refused_total", map[string]string{"reason": "bad_origin"}, 1)
	})
}

// TestStatusPings wants round trips and pings counted.
func TestStatusPings(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{"pingInterval": beat.String()}))
		j := g.join(t)
		for _, end := range ends {
			near, _ := j.from(end)
			answerPings(t, near, end == "upstream")
		}
		near, far := j.from("upstream")
		send(t, near, wire.Text("done"))
		if err := same(withoutOwnPings(far, nil), near.Encode(wire.Text("done"))); err != nil {
			t.Fatal(err) // what comes is behind the last pong
		}
		near.Close()
		far.Close()
		record := j.record(t)
		families := metricsOf(t, g.gateway)
		for side, told := range pulsesOf(t, record) {
			labels := map[string]string{"side": side}
			if got := figure(t, g.gateway, families, "wsfw_pings_total", labels); got != float64(told.Pings) || got < answeredPings {
				t.Errorf("%v pings to the %s, the record has %+v", got, side, told)
			}
			if got := figure(t, g.gateway, families, "wsfw_ping_rtt_seconds", labels); got != answeredPings {
				t.Errorf("%v round trips of the %s, want %d", got, side, answeredPings)
			}
		}
	})
}

// TestStatusElsewhere wants nothing told of sessions where status is not configured, and by the status of nothing else.
func TestStatusElsewhere(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, object{"path": "/socket"})
		for _, target := range []string{"/metrics", "/sessions", ""} {
			resp, body := statusOf(t, g.gateway, http.MethodGet, target)
			if strings.Contains(body, "wsfw_sessions") || strings.Contains(body, `"sessions"`) || resp.StatusCode == http.StatusOK {
				t.Errorf("%s is answered by %d %s", target, resp.StatusCode, body)
			}
		}
	})
}

// TestStatusAddresses wants the page found by its path without a slash, too, and every answer kept from caches.
func TestStatusAddresses(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		gateway := newGroundOf(t, e, watched(object{})).gateway
		for target, want := range map[string]string{"/": "text/html; charset=utf-8", "/sessions": "application/json", "/history": "application/json"} {
			resp, body := statusOf(t, gateway, http.MethodGet, target)
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != want || resp.Header.Get("Cache-Control") != "no-store" || body == "" {
				t.Errorf("%s: %d %v", target, resp.StatusCode, resp.Header)
			}
			if resp, _ := statusOf(t, gateway, http.MethodHead, target); resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != want {
				t.Errorf("HEAD %s: %d %v", target, resp.StatusCode, resp.Header)
			}
		}
		var history struct {
			Every   float64
			Samples []map[string]any
		}
		_, body := statusOf(t, gateway, http.MethodGet, "/history")
		if err := json.Unmarshal([]byte(body), &history); err != nil || history.Every != 10 || len(history.Samples) == 0 {
			t.Errorf("the history is %s (%v)", body, err)
		}
		keys := slices.Sorted(maps.Keys(history.Samples[0]))
		if want := []string{"fromClient", "fromUpstream", "open", "opened", "time"}; !reflect.DeepEqual(keys, want) {
			t.Errorf("a sample has %v, want %v", keys, want)
		}
	})
}

package wsfw

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
)

// watchedUpgrade is an upgrade with a session, of a middleware of its own.
func watchedUpgrade(name string) *upgrade {
	s := pinged()
	m := &Middleware{name: name, settings: newSettings(limits{}), counts: countsOf(name)}
	return &upgrade{middleware: m, session: s, req: httptest.NewRequest("GET", "/", nil)}
}

// Sessions that were open before anything was counted are counted once from then on, and so are those that open just then.
func TestAdopt(t *testing.T) {
	before, after := watchedUpgrade("adopt"), watchedUpgrade("adopt")
	c := before.middleware.counts
	register(before)
	if c.open != 0 || c.opened != 0 {
		t.Fatalf("before there is a status middleware %+v is counted", *c)
	}
	registry.counting = true
	defer func() { registry.counting = false }()
	adopt(before)
	adopt(before)
	register(after)
	adopt(after)
	if c.open != 2 || c.opened != 1 {
		t.Errorf("%d sessions are open, %d have been opened, want 2 and 1", c.open, c.opened)
	}
	before.session.outcome = outcome{endedBy: clientPeer, code: closeNormal}
	unregister(before)
	adopt(before)
	unregister(after)
	if c.open != 0 || c.closed[`ended_by="client",code="1000"`] != 1 || registry.open[before] || registry.open[after] {
		t.Errorf("after the sessions %+v is counted, %d are open", *c, len(openSessions()))
	}
}

// A session that a panic has kept from running is listed no more.
func TestAbandonedIsNotListed(t *testing.T) {
	u := watchedUpgrade("abandoned")
	register(u)
	giveBack(u)
	if registry.open[u] {
		t.Error("the session is listed when all is given back")
	}
}

func TestClosedKeys(t *testing.T) {
	for o, want := range map[outcome]string{
		{endedBy: clientPeer, code: 1000}:   `ended_by="client",code="1000"`,
		{endedBy: clientPeer, code: 4321}:   `ended_by="client",code="4xxx"`,
		{endedBy: upstreamPeer, code: 3000}: `ended_by="upstream",code="3xxx"`,
		{endedBy: gateway, code: 4321}:      `ended_by="wsfw",code="4321"`,
		{endedBy: gateway}:                  `ended_by="wsfw",code=""`,
	} {
		if got := closedKey(o); got != want {
			t.Errorf("%+v: %s, want %s", o, got, want)
		}
	}
}

func TestHistogram(t *testing.T) {
	h := newHistogram([]float64{1, 2.5})
	for _, value := range []float64{0.5, 1, 1.5, 3} {
		observeValue(h, value)
	}
	var b bytes.Buffer
	writeHistogram(&b, "x", `a="b"`, h)
	want := "x_bucket{a=\"b\",le=\"1\"} 2\nx_bucket{a=\"b\",le=\"2.5\"} 3\nx_bucket{a=\"b\",le=\"+Inf\"} 4\nx_sum{a=\"b\"} 6\nx_count{a=\"b\"} 4\n"
	if b.String() != want {
		t.Errorf("%s, want %s", b.String(), want)
	}
}

// A name that Prometheus' text format would read otherwise is escaped.
func TestMetricsEscape(t *testing.T) {
	countsOf("a\"b\\c\nd")
	var b bytes.Buffer
	writeMetrics(&b)
	if !strings.Contains(b.String(), `wsfw_sessions{name="a\"b\\c\nd"} 0`+"\n") {
		t.Errorf("the metrics are %s", b.String())
	}
}

func TestNumberOf(t *testing.T) {
	for _, number := range []int{1, 35, 36, 1 << 30} {
		if got := numberOf(idOf(number)); got != number {
			t.Errorf("%d comes back as %d", number, got)
		}
	}
	for _, id := range []string{"", "1", instance, instance + "0", instance + "-1", instance + "01", instance + "1 ", strings.ToUpper(idOf(35))} {
		if got := numberOf(id); got != -1 {
			t.Errorf("%q is session %d", id, got)
		}
	}
}

package wsfw

import (
	"bytes"
	"fmt"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// version is that of this plugin.
const version = "0.1.0"

// userAgent is how wsfw names itself where it asks for something of its own.
const userAgent = "wsfw/" + version

// Counts are kept by the name of a middleware, so they outlive its configuration and never go down. They begin when a status
// middleware is there for the first time: without one, nothing is counted. Nothing counts frame by frame: a pump adds what it
// has passed on when it looks up, and the end of a session the rest.

// counts are what there was of one middleware's requests and sessions. registry.mu guards them.
type counts struct {
	open       int64 // sessions now
	opened     int64
	closed     map[string]int64 // sessions by closedKey
	refused    map[string]int64 // requests by reason
	asked      map[string]int64 // revalidations by their result
	durations  *histogram       // of sessions that have ended
	handshakes *histogram       // of sessions that have opened

	client, upstream peerCounts
}

// peerCounts are what there was of one side's peers. registry.mu guards them.
type peerCounts struct {
	sent  traffic // by them
	pings int64   // of ours to them,
	trips *histogram
}

// newCounts are those of a middleware that nothing is known of.
func newCounts() *counts {
	return &counts{
		closed: map[string]int64{}, refused: map[string]int64{}, asked: map[string]int64{},
		durations:  newHistogram([]float64{1, 10, 60, 300, 1800, 3600, 4 * 3600, 24 * 3600}),
		handshakes: newHistogram(shortTimes),
		client:     peerCounts{trips: newHistogram(shortTimes)},
		upstream:   peerCounts{trips: newHistogram(shortTimes)},
	}
}

// shortTimes are bounds for what takes milliseconds, in seconds.
var shortTimes = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}

// histogram is how often values were at most so large.
type histogram struct {
	bounds []float64
	counts []int64 // by the first bound that a value is not above; the last one has those above all
	sum    float64
}

func newHistogram(bounds []float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]int64, len(bounds)+1)}
}

// observeValue adds a value. Needs registry.mu.
func observeValue(h *histogram, value float64) {
	h.counts[sort.SearchFloat64s(h.bounds, value)]++
	h.sum += value
}

// cloned is h as it is now.
func cloned(h *histogram) *histogram {
	return &histogram{bounds: h.bounds, counts: append([]int64(nil), h.counts...), sum: h.sum}
}

// closedKey is the labels of a session's end. Peers choose their codes, and may choose another each time: so those that an
// application or a framework defines are a class of their own (RFC 6455 section 7.4.2).
func closedKey(o outcome) string {
	code := strconv.Itoa(o.code)
	if o.endedBy != gateway && o.code >= 4000 {
		code = "4xxx"
	} else if o.endedBy != gateway && o.code >= 3000 {
		code = "3xxx"
	} else if o.code == 0 {
		code = "" // of a tunnel
	}
	return `ended_by="` + o.endedBy + `",code="` + code + `"`
}

// tally adds what f has passed on since the last time. Needs session.mu.
func tally(f *direction) {
	p := f.parser
	now := traffic{Frames: p.frames, Messages: p.messages, Bytes: f.bytes}
	if c := f.from.counts; c != nil {
		registry.mu.Lock()
		c.sent.Frames += now.Frames - f.tallied.Frames
		c.sent.Messages += now.Messages - f.tallied.Messages
		c.sent.Bytes += now.Bytes - f.tallied.Bytes
		registry.mu.Unlock()
	}
	f.tallied = now
}

// countOpened counts a session that has opened, and has what comes of it counted.
func countOpened(u *upgrade) {
	c := u.middleware.counts
	took := time.Since(u.started).Seconds()
	registry.mu.Lock()
	c.opened++
	observeValue(c.handshakes, took)
	registry.mu.Unlock()
	adopt(u)
}

// adopt has an open session counted from now on, if it is not yet: it may have opened before anything was.
func adopt(u *upgrade) {
	c, s := u.middleware.counts, u.session
	s.mu.Lock()
	defer s.mu.Unlock()
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if registry.open[u] && s.client.counts == nil {
		c.open++
		s.client.counts = &c.client
		s.upstream.counts = &c.upstream
	}
}

// countClosed counts a session whose directions have ended, and what is yet to be counted of it.
func countClosed(u *upgrade) {
	c, s := u.middleware.counts, u.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.directions {
		noteTrips(f)
		tally(f)
	}
	if s.client.counts == nil {
		return
	}
	lasted := time.Since(u.started).Seconds()
	registry.mu.Lock()
	c.open--
	c.closed[closedKey(s.outcome)]++
	observeValue(c.durations, lasted)
	registry.mu.Unlock()
}

// countPing counts a ping of ours.
func countPing(c *peerCounts) {
	registry.mu.Lock()
	c.pings++
	registry.mu.Unlock()
}

// countTrip counts a round trip.
func countTrip(c *peerCounts, trip time.Duration) {
	registry.mu.Lock()
	observeValue(c.trips, trip.Seconds())
	registry.mu.Unlock()
}

// upstreamAnswered is the reason where the upstream has answered something other than 101.
const upstreamAnswered = "upstream_answered"

// countRefused counts an upgrade that comes to no session, for a reason such as bad_origin.
func countRefused(u *upgrade, reason string) {
	u.refused = true
	registry.mu.Lock()
	if registry.counting {
		u.middleware.counts.refused[reason]++
	}
	registry.mu.Unlock()
}

// countRevalidation counts an answer to the question whether a login still holds: valid, revoked or failed.
func countRevalidation(c *counts, result string) {
	registry.mu.Lock()
	if registry.counting {
		c.asked[result]++
	}
	registry.mu.Unlock()
}

// writeMetrics writes all counts in Prometheus' text format. It holds nobody up: what it writes is copied first, which takes
// time in proportion to the number of middlewares, not of sessions.
func writeMetrics(b *bytes.Buffer) {
	names, all := copiedCounts()
	family := func(name, kind, help string, of func(c *counts, labels string)) {
		fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		for i, c := range all {
			of(c, `name="`+escapedLabel.Replace(names[i])+`"`)
		}
	}
	integer := func(name, labels string, value int64) { fmt.Fprintf(b, "%s{%s} %d\n", name, labels, value) }
	sides := func(name, label string, of func(p *peerCounts) int64) func(c *counts, labels string) {
		return func(c *counts, labels string) {
			integer(name, labels+","+label+`="client"`, of(&c.client))
			integer(name, labels+","+label+`="upstream"`, of(&c.upstream))
		}
	}
	family("wsfw_sessions", "gauge", "Sessions that are open.", func(c *counts, labels string) {
		integer("wsfw_sessions", labels, c.open)
	})
	family("wsfw_sessions_opened_total", "counter", "Sessions that have been opened.", func(c *counts, labels string) {
		integer("wsfw_sessions_opened_total", labels, c.opened)
	})
	family("wsfw_sessions_closed_total", "counter", "Sessions that have ended, by who ended them and with which close code.", func(c *counts, labels string) {
		for _, key := range sortedKeys(c.closed) {
			integer("wsfw_sessions_closed_total", labels+","+key, c.closed[key])
		}
	})
	family("wsfw_requests_refused_total", "counter", "Requests that came to no session.", func(c *counts, labels string) {
		for _, reason := range sortedKeys(c.refused) {
			integer("wsfw_requests_refused_total", labels+`,reason="`+reason+`"`, c.refused[reason])
		}
	})
	family("wsfw_revalidations_total", "counter", "Questions whether a login still holds, by the answer.", func(c *counts, labels string) {
		for _, result := range sortedKeys(c.asked) {
			integer("wsfw_revalidations_total", labels+`,result="`+result+`"`, c.asked[result])
		}
	})
	family("wsfw_messages_total", "counter", "Data messages that were passed on.", sides("wsfw_messages_total", "from",
		func(p *peerCounts) int64 { return p.sent.Messages }))
	family("wsfw_bytes_total", "counter", "Bytes that were passed on, as on the wire.", sides("wsfw_bytes_total", "from",
		func(p *peerCounts) int64 { return p.sent.Bytes }))
	family("wsfw_pings_total", "counter", "Pings of the gateway.", sides("wsfw_pings_total", "side",
		func(p *peerCounts) int64 { return p.pings }))
	family("wsfw_session_duration_seconds", "histogram", "How long sessions lasted, from the request on.", func(c *counts, labels string) {
		writeHistogram(b, "wsfw_session_duration_seconds", labels, c.durations)
	})
	family("wsfw_handshake_duration_seconds", "histogram", "How long sessions took to open.", func(c *counts, labels string) {
		writeHistogram(b, "wsfw_handshake_duration_seconds", labels, c.handshakes)
	})
	family("wsfw_ping_rtt_seconds", "histogram", "Round trips of the gateway's pings.", func(c *counts, labels string) {
		writeHistogram(b, "wsfw_ping_rtt_seconds", labels+`,side="client"`, c.client.trips)
		writeHistogram(b, "wsfw_ping_rtt_seconds", labels+`,side="upstream"`, c.upstream.trips)
	})
	fmt.Fprintf(b, "# HELP wsfw_log_lines_dropped_total Lines that could not be written.\n# TYPE wsfw_log_lines_dropped_total counter\nwsfw_log_lines_dropped_total %d\n", allDropped(output))
	fmt.Fprintf(b, "# HELP wsfw_build_info The plugin's version.\n# TYPE wsfw_build_info gauge\nwsfw_build_info{version=%q,go=%q} 1\n", version, runtime.Version())
}

// escapedLabel is a label's value as Prometheus' text format has it.
var escapedLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// writeHistogram writes one in Prometheus' text format.
func writeHistogram(b *bytes.Buffer, name, labels string, h *histogram) {
	count := int64(0)
	for i, bound := range h.bounds {
		count += h.counts[i]
		fmt.Fprintf(b, "%s_bucket{%s,le=\"%v\"} %d\n", name, labels, bound, count)
	}
	count += h.counts[len(h.bounds)]
	fmt.Fprintf(b, "%s_bucket{%s,le=\"+Inf\"} %d\n%s_sum{%s} %v\n%s_count{%s} %d\n", name, labels, count, name, labels, h.sum, name, labels, count)
}

// copiedCounts are all counts as they are now, by name.
func copiedCounts() (names []string, all []*counts) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	names = sortedKeys(registry.counts)
	for _, name := range names {
		c := *registry.counts[name]
		c.closed = copiedMap(c.closed)
		c.refused = copiedMap(c.refused)
		c.asked = copiedMap(c.asked)
		c.durations = cloned(c.durations)
		c.handshakes = cloned(c.handshakes)
		c.client.trips = cloned(c.client.trips)
		c.upstream.trips = cloned(c.upstream.trips)
		all = append(all, &c)
	}
	return names, all
}

func copiedMap(counts map[string]int64) map[string]int64 {
	all := map[string]int64{}
	for key, count := range counts {
		all[key] = count
	}
	return all
}

// The history that the page draws: a sample each sampleInterval, for as long as a status middleware is there.
const (
	sampleInterval = 10 * time.Second
	mostSamples    = 90
)

// sample is how many sessions there were at a time, and the totals until then, of all middlewares.
type sample struct {
	Time         time.Time `json:"time"`
	Open         int64     `json:"open"`
	Opened       int64     `json:"opened"`
	FromClient   traffic   `json:"fromClient"`
	FromUpstream traffic   `json:"fromUpstream"`
}

// samples are the latest ones, the oldest first.
var (
	samplesMu sync.Mutex
	samples   []sample
)

// takeSample is a sample of now.
func takeSample() sample {
	now := sample{Time: time.Now().UTC()}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	for _, c := range registry.counts {
		now.Open += c.open
		now.Opened += c.opened
		now.FromClient = sumOf(now.FromClient, c.client.sent)
		now.FromUpstream = sumOf(now.FromUpstream, c.upstream.sent)
	}
	return now
}

func sumOf(a, b traffic) traffic {
	return traffic{Frames: a.Frames + b.Frames, Messages: a.Messages + b.Messages, Bytes: a.Bytes + b.Bytes}
}

// keepSample adds a sample to the history, unless another status middleware has just done so.
func keepSample() {
	now := takeSample()
	samplesMu.Lock()
	defer samplesMu.Unlock()
	if len(samples) > 0 && now.Time.Sub(samples[len(samples)-1].Time) < sampleInterval/2 {
		return
	}
	samples = append(samples, now)
	if len(samples) > mostSamples {
		samples = append([]sample(nil), samples[len(samples)-mostSamples:]...)
	}
}

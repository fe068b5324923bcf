package e2e

import (
	"fmt"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// relayUses are the ways in which the gateway relays sessions. A case is written for the first: the second turns the
// upstreamEndpoint that it asks for into Traefik's own service.
var relayUses = []struct {
	name string
	of   func(engine.Engine) engine.Engine
}{
	{"forward", func(e engine.Engine) engine.Engine { return e }},
	{"inline", func(e engine.Engine) engine.Engine { return engine.Inline{Engine: e} }},
}

// nextUses are options of the uses in which an upgrade is for next to answer.
var nextUses = map[string]object{"check": nil, "inline": {"mode": "inline"}}

// eachUse runs a case about sessions as one subtest for each engine and use.
func eachUse(t *testing.T, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	engine.Each(t, func(t *testing.T, e engine.Engine) { inEachUse(t, e, run) })
}

// eachUseInProcess is eachUse on the engines that have the plugin in the test's own process.
func eachUseInProcess(t *testing.T, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	eachInProcess(t, func(t *testing.T, e engine.Engine) { inEachUse(t, e, run) })
}

// inEachUse runs a case on one engine.
func inEachUse(t *testing.T, e engine.Engine, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	for _, u := range relayUses {
		t.Run(u.name, func(t *testing.T) { run(t, u.of(e)) })
	}
}

// streamWays are the versions of HTTP whose sessions are streams of their clients' connections.
var streamWays = []int{2, 3}

// eachStream runs a case about sessions as one subtest for each engine, version of HTTP with streams, and use.
func eachStream(t *testing.T, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	engine.Each(t, func(t *testing.T, e engine.Engine) { inEachStream(t, e, run) })
}

// inEachStream runs a case on one engine.
func inEachStream(t *testing.T, e engine.Engine, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	for _, version := range streamWays {
		t.Run(fmt.Sprintf("http%d", version), func(t *testing.T) {
			inEachUse(t, engine.Over{Engine: e, HTTP: version}, run)
		})
	}
}

// eachHTTP2 is eachStream over HTTP/2 alone.
func eachHTTP2(t *testing.T, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	engine.Each(t, func(t *testing.T, e engine.Engine) { inEachUse(t, engine.Over{Engine: e, HTTP: 2}, run) })
}

// eachOverTCP runs a case as [eachUse] does, and then as [eachHTTP2] does: without HTTP/3, whose server closes at once at a
// shutdown, and of whose client a deadline may cut a DATA frame short.
func eachOverTCP(t *testing.T, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, e, run)
		t.Run("http2", func(t *testing.T) { inEachUse(t, engine.Over{Engine: e, HTTP: 2}, run) })
	})
}

// eachVersion runs a case as [eachUse] does, and then as [eachStream] does: its clients come over every version of HTTP.
func eachVersion(t *testing.T, run func(t *testing.T, e engine.Engine)) {
	t.Helper()
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, e, run)
		inEachStream(t, e, run)
	})
}

// isInline reports whether the engine's gateways stand before Traefik's own service.
func isInline(e engine.Engine) bool {
	_, inline := e.(engine.Inline)
	return inline
}

// canUse reports whether the engine's gateways can have the options: a tunnel is forwarded always.
func canUse(e engine.Engine, options object) bool {
	return options["mode"] != "tunnel" || !isInline(e)
}

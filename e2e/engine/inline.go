package engine

import (
	"maps"
	"strings"
	"testing"
)

// Inline is an engine whose gateways stand before Traefik's own service: where a case asks for an upstreamEndpoint, that
// becomes the service, and the session is relayed between the client and Traefik's proxy to it.
type Inline struct{ Engine }

// Start implements [Engine].
func (i Inline) Start(t testing.TB, s Setup) *Gateway {
	t.Helper()
	s.Config, s.Next = inlineOf(s.Config, s.Next)
	gateway := i.Engine.Start(t, s)
	reload := gateway.reload
	gateway.reload = func(t testing.TB, config map[string]any, next string) {
		t.Helper()
		config, next = inlineOf(config, next)
		reload(t, config, next)
	}
	return gateway
}

// relaying are the options of which one is enough to have sessions relayed that are not forwarded.
var relaying = []string{
	"pingInterval", "maxInactivity", "maxLifetime", "maxFrameSize", "maxMessageSize", "messageRate", "validate",
}

// inlineOf is a configuration less its upstreamEndpoint and the time-outs of its dial, and the service that takes the
// place of that. Where nothing else asks for relaying, validate does, with what it is by default.
func inlineOf(config map[string]any, next string) (inline map[string]any, service string) {
	inline = map[string]any{}
	maps.Copy(inline, config)
	if endpoint, ok := inline["upstreamEndpoint"].(string); ok {
		delete(inline, "upstreamEndpoint")
		next = endpoint
		if authority, ok := strings.CutPrefix(endpoint, "ws"); ok {
			next = "http" + authority
		}
	}
	delete(inline, "connectTimeout")
	delete(inline, "upgradeTimeout")
	for _, option := range relaying {
		if _, asks := inline[option]; asks {
			return inline, next
		}
	}
	inline["validate"] = "frames"
	return inline, next
}

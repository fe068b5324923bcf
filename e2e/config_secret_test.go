package e2e

import "testing"

// TestConfigReference has references to secrets that were to be resolved before the plugin gets them. Each would be taken
// for the value itself.
func TestConfigReference(t *testing.T) {
	const reference, secret = "urn:k8s:secret:default:gateway:key", "urn:k8s:secret:hunter2:gateway:key"
	rule := object{"header": "X-Tenant", "value": reference, "upstreamEndpoint": configEndpoint}
	leading := object{"header": "X-Tenant", "value": "a", "upstreamEndpoint": secret}
	checkMistakes(t, []mistake{
		mistaken("headers", object{"Authorization": secret}),
		mistaken("upstreamEndpoint", secret),
		mistaken("upstreamRules", []any{leading}).named("a rule's endpoint").at("upstreamRules[0].upstreamEndpoint"),
		mistaken("upstreamRules", []any{rule}).named("a rule's value").at("upstreamRules[0].value"),
		secureWith(object{"caFile": reference}, "tls.caFile"),
		secureWith(object{"serverName": reference}, "tls.serverName"),
		mistaken("clientHeader", reference, object{"maxConnectionsPerClient": 1}),
		mistaken("allowedOrigins", []any{reference}),
		mistaken("protocols", reference),
		mistaken("path", reference),
		mistaken("pingInterval", reference),
		mistaken("maxConnections", reference),
	})
}

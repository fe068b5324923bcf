package e2e

import (
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestReload changes the configuration under a live session: that one goes on as it began, tunnel or not, and the
// next one goes by the new configuration.
func TestReload(t *testing.T) {
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for name, config := range map[string]object{"frames": nil, "tunnel": {"mode": "tunnel"}} {
			if canUse(e, config) {
				t.Run(name, func(t *testing.T) { reloads(t, newGround(t, e, config)) })
			}
		}
	})
}

func reloads(t *testing.T, g *ground) {
	old := g.join(t)
	echo := func(j *joined, text string) {
		send(t, j.client, wire.Text(text))
		expect(t, j.upstream, j.client.Encode(wire.Text(text)))
		send(t, j.upstream, wire.Text(text))
		expect(t, j.client, wire.Encode(wire.Text(text)))
	}
	echo(old, "before")

	server, err := wire.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	g.gateway.Reload(t, object{"upstreamEndpoint": server.URL})
	moved := &ground{gateway: g.gateway, server: server}
	echo(moved.join(t), "elsewhere")
	echo(old, "after")
}

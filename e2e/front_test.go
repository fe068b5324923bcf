package e2e

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalFrontHTTP2 has HAProxy stand before the gateway, and speak HTTP/2 to it whatever its clients speak: of an upgrade
// over HTTP/1.1 it makes an extended CONNECT. All sessions share its connections.
func TestExternalFrontHTTP2(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, engine.Over{Engine: e, HTTP: 2}, func(t *testing.T, e engine.Engine) {
			g := newGroundOf(t, e, engine.Setup{Dedicated: true, Config: object{"drainTimeout": "0"}})
			front(t, g)
			for _, version := range []int{2, 1} {
				t.Run(fmt.Sprintf("http%d", version), func(t *testing.T) {
					g.gateway.HTTP = version
					for _, by := range ends {
						j := g.join(t)
						for _, size := range echoed {
							passesOver(t, j.client, j.upstream, wire.Binary(payload(size)))
							passesOver(t, j.upstream, j.client, wire.Text(string(bytes.Repeat([]byte("a"), size))))
						}
						near, far := j.from(by)
						closesOver(t, near, far)
						j.expectFronted(t, by, 4001)
					}
				})
			}
			var drained []*joined
			for _, version := range []int{2, 1} {
				g.gateway.HTTP = version
				drained = append(drained, g.join(t))
			}
			g.gateway.Terminate(t)
			for _, j := range drained {
				for end, code := range restartCodes {
					near, _ := j.from(end)
					_ = expectClose(t, near, end == "upstream", code)
					send(t, near, wire.Close(code, ""))
				}
				expectEnd(t, j.client)
				expectEnd(t, j.upstream)
			}
			for _, j := range drained {
				j.expectFronted(t, "wsfw", 1012)
			}
		})
	})
}

// front has the clients of a ground come by HAProxy, over TLS where they speak HTTP/2.
func front(t *testing.T, g *ground) {
	t.Helper()
	pair := newTLSAuthority(t).server(t, "chat.example.com")
	certificate := tlsDir(t.TempDir()).write(t, "front.pem", append(certPEM(pair), keyPEM(t, pair)...))
	addrs := haproxy(t, 2,
		"  mode http",
		"listen front",
		"  bind fd@3 ssl crt "+certificate+" alpn h2,http/1.1",
		"  bind fd@4",
		"  server gateway "+g.gateway.AddrHTTP2+" proto h2 alpn h2 ssl verify none sni str(chat.example.com)",
	)
	fronted := *g.gateway
	fronted.AddrHTTP2, fronted.Addr = addrs[0], addrs[1]
	g.gateway = &fronted
}

// expectFronted wants the record of a session that the gateway has had over HTTP/2.
func (j *joined) expectFronted(t *testing.T, by string, code float64) {
	t.Helper()
	if record := j.record(t); record["endedBy"] != by || record["code"] != code || httpOf(record) != "2" {
		t.Errorf("the record is %v, want it over HTTP/2, ended by %s with %v", record, by, code)
	}
}

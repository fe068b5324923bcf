package e2e

import (
	"encoding/hex"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// TestExternalNodeHTTP2 has a client of ws come by Node's HTTP/2, and talk to a server of ws. The client closes, or the server.
func TestExternalNodeHTTP2(t *testing.T) {
	bye := forwardEnd{4000, "enough has been heard"}
	eachHTTP2(t, func(t *testing.T, e engine.Engine) {
		for _, by := range ends {
			t.Run("closed by "+by, func(t *testing.T) {
				server, client := newNode("--echo"), newNode()
				gateway := e.Start(t, engine.Setup{Config: object{"upstreamEndpoint": server.listen(t), "pingInterval": "50ms"}})
				client.visit(t, "https://"+gateway.AddrHTTP2+"/socket")
				client.sayAndHear(t, largeCount)
				client.sayBinary(t, payload(10_000))
				client.expect(t, event{Payload: hex.EncodeToString(payload(10_000))})
				near, far := client, server
				if by == "upstream" {
					near, far = server, client
				}
				near.close(t, bye.code, bye.reason)
				expectDeparture(t, far, bye)
				expectDeparture(t, near, bye)
				record := gateway.WaitRecord(t)
				expectParting(t, record, parting{"", by, bye.code})
				if record["http"] != "2" {
					t.Errorf("the record is %v, want it over HTTP/2", record)
				}
			})
		}
	})
}

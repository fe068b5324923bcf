package e2e

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// site is where the clients of an application find it: a balancer with two gateways to one service behind it. All come
// by the first for as long as that takes them, and then by the second. Both ping both ends, unless options say
// otherwise.
type site struct {
	addr          string
	first, second *engine.Gateway
}

// newSite is one of the service at an endpoint.
func newSite(t *testing.T, e engine.Engine, endpoint string, options object) *site {
	t.Helper()
	config := object{
		"upstreamEndpoint": endpoint, "pingInterval": "100ms", "pongTimeout": wire.Timeout.String(), "drainTimeout": "100ms",
	}
	maps.Copy(config, options)
	service, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	setup := engine.Setup{Config: config, Next: "http://" + service.Host}
	second := e.Start(t, setup)
	setup.Dedicated = true // for it will be shut down
	first := e.Start(t, setup)
	return &site{addr: balance(t, []*engine.Gateway{first, second}, "first"), first: first, second: second}
}

// parting is what the record of an application's session tells of its end.
type parting struct {
	Subprotocol string `json:"subprotocol"`
	EndedBy     string `json:"endedBy"`
	Code        int    `json:"code"`
}

// expectDrained wants the first gateway's next record to tell of a session that was closed when that shut down, and in
// which all ends that were pinged have answered.
func (s *site) expectDrained(t *testing.T, subprotocol string) {
	t.Helper()
	record := s.first.WaitRecord(t)
	expectParting(t, record, parting{subprotocol, "wsfw", 1012})
	pulses := pulsesOf(t, record)
	for end, pulse := range pulses {
		if pulse.Pongs == 0 {
			t.Errorf("the %s has not answered pings: %v", end, record["heartbeat"])
		}
	}
	if len(pulses) == 0 {
		t.Error("nobody was pinged")
	}
}

// expectLeft wants the second gateway's next record to tell of a session that ended in one of these ways: there are
// several where both ends of an application end it at the same time.
func (s *site) expectLeft(t *testing.T, ways ...parting) {
	t.Helper()
	expectParting(t, s.second.WaitRecord(t), ways...)
}

func expectParting(t *testing.T, record map[string]any, ways ...parting) {
	t.Helper()
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	var got parting
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("the record is %s: %v", text, err)
	}
	if !slices.Contains(ways, got) {
		t.Errorf("the record is %s, want one of %v", text, ways)
	}
}

// expectCompressed wants a record of a session in which a large message has shrunk, both ways.
func expectCompressed(t *testing.T, record map[string]any, want parting) {
	t.Helper()
	expectParting(t, record, want)
	for _, direction := range []string{"fromClient", "fromUpstream"} {
		if bytes := record[direction].(map[string]any)["bytes"].(float64); bytes > largeCount {
			t.Errorf("%s tells of %v bytes, where %d were said", direction, bytes, largeCount*len("large"))
		}
	}
}

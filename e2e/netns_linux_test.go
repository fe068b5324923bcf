package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// The two ends of a line: network namespaces with the router's between them (RFC 5737 addresses).
const (
	gatewayHost = "192.0.2.1"
	farHost     = "198.51.100.1"
)

// lineEnv names the line to a test that is run at its gateway's end.
const lineEnv = "WSFW_E2E_LINE"

// line is the way from a gateway to a peer far away, by a router. Its name begins those of the namespaces.
type line struct{ name string }

// layLine makes the namespaces for as long as the test runs, and connects them.
func layLine(t *testing.T) line {
	t.Helper()
	l := line{fmt.Sprintf("wsfw-%d", os.Getpid())}
	for _, place := range []string{"gateway", "router", "far"} {
		l.ip(t, "netns add "+l.at(place))
		t.Cleanup(func() { l.ip(t, "netns delete "+l.at(place)) })
		l.ip(t, "-netns "+l.at(place)+" link set lo up")
	}
	l.connect(t, "gateway", gatewayHost, "192.0.2.254")
	l.connect(t, "far", farHost, "198.51.100.254")
	l.forward(t, true)
	return l
}

// connect lays a cable from a place to the router, which leads everywhere else.
func (l line) connect(t *testing.T, place, host, router string) {
	t.Helper()
	l.ip(t, "link add name out netns "+l.at(place)+" type veth peer name "+place+" netns "+l.at("router"))
	l.ip(t, "-netns "+l.at("router")+" address add "+router+"/24 dev "+place)
	l.ip(t, "-netns "+l.at("router")+" link set "+place+" up")
	l.ip(t, "-netns "+l.at(place)+" address add "+host+"/24 dev out")
	l.ip(t, "-netns "+l.at(place)+" link set out up")
	l.ip(t, "-netns "+l.at(place)+" route add default via "+router)
}

// at is the namespace of a place.
func (l line) at(place string) string { return l.name + "-" + place }

// ip runs a command of iproute2's, which wants root.
func (l line) ip(t *testing.T, command string) {
	t.Helper()
	if output, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", command, err, output)
	}
}

// inside is how a command begins that is run at a place.
func (l line) inside(place string) []string {
	return []string{"ip", "netns", "exec", l.at(place)}
}

// forward has the router pass packets on, or drop them without a word to anybody.
func (l line) forward(t *testing.T, on bool) {
	t.Helper()
	value := "0"
	if on {
		value = "1"
	}
	set := append(l.inside("router"), "sh", "-c", "echo "+value+" >/proc/sys/net/ipv4/ip_forward")
	if output, err := exec.Command(set[0], set[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", set, err, output)
	}
}

// remote is a peer at the far end of a line that is cut.
type remote struct {
	*outsider
	line line
}

// newRemote is a remote that is not running yet.
func newRemote(l line) remote {
	n := newNode()
	n.launcher, n.host = l.inside("far"), farHost
	return remote{n, l}
}

// fall implements [mortal].
func (r remote) fall(t *testing.T) time.Time {
	t.Helper()
	t.Cleanup(func() { r.line.forward(t, true) })
	r.line.forward(t, false)
	return time.Now()
}

// learn implements [mortal]: what it has to be told is sent once more when the line is mended. Where it has something
// to send once more itself, that may come first, and a connection that is closed answers with a reset.
func (r remote) learn(t *testing.T, code int, reason string) {
	t.Helper()
	r.line.forward(t, true)
	got := r.await(t, wire.Timeout, eventClose)
	if got.Code != 1006 && (got.Code != code || got.Reason != reason) {
		t.Errorf("the remote end tells %v, want close %d %q or a reset", got, code, reason)
	}
}

// TestExternalLinkCut has one end's line cut, in sight of every library at the other end. It runs itself once more at the
// gateway's end of a line, and there it has the gateways, whichever engine runs them, and the living ends.
func TestExternalLinkCut(t *testing.T) {
	name := os.Getenv(lineEnv)
	if name == "" {
		layLine(t).runAtGateway(t)
		return
	}
	setup := engine.Setup{Config: watchful, Host: gatewayHost}
	eachUse(t, func(t *testing.T, e engine.Engine) {
		for _, end := range ends {
			for _, x := range slices.Concat(onlookers, externals) {
				t.Run(end+" "+x.name, func(t *testing.T) { dies(t, e, setup, end, newRemote(line{name}), x.make()) })
			}
		}
	})
}

// runAtGateway runs the test in a process of its own at the gateway's end.
func (l line) runAtGateway(t *testing.T) {
	t.Helper()
	for _, e := range engine.All() {
		if e.Name() == "traefik" {
			if _, err := engine.Binary(); err != nil { // there it could not be built: no line leads out of the machine
				t.Fatal(err)
			}
		}
	}
	flags := []string{"-test.run=^" + t.Name() + "$", "-test.count=1", "-test.timeout=5m", "-test.v"}
	command := slices.Concat(l.inside("gateway"), []string{os.Args[0]}, flags)
	run := exec.CommandContext(t.Context(), command[0], command[1:]...)
	run.Env = append(os.Environ(), lineEnv+"="+l.name)
	engine.DieWithParent(run)
	output, err := run.CombinedOutput()
	t.Logf("at the gateway's end:\n%s", output)
	if err != nil {
		t.Error(err)
	}
}

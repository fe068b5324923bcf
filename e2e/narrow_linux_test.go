package e2e

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// narrowTests are what is run with an int of 32 bits: what counts, measures, and takes lengths and times apart.
var narrowTests = []string{
	"TestHeavyMalformed", "TestBreach", "TestBreachUnjudged", "TestLargestLength", "TestMaxSizes", "TestMaxFrameSize", "TestMaxMessageSize",
	"TestOversizeHeader", "TestOversizeOff", "TestOversizeUnjudged", "TestGoodText", "TestBadText", "TestHeavyBigText", "TestCloseHandshake",
	"TestConversation", "TestTransparencyRandom", "TestPings", "TestPongTaken", "TestInactivity", "TestHeavyLifetime", "TestMessageRate",
	"TestMessageRateExceeded", "TestPlaces", "TestConfigAccepts", "TestConfigLimitSpellings", "TestTunnel",
}

// TestHeavyNarrow builds this suite for a processor of 32 bits, as Traefik is built for some, and runs a part of it with the
// plugin interpreted there. A processor for amd64 runs it as it is.
func TestHeavyNarrow(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("this processor runs no program for 386, or the test is that program")
	}
	for _, e := range engine.All() {
		if e.Name() == "interpreted" {
			t.Run(e.Name(), runNarrow)
		}
	}
}

func runNarrow(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "e2e.test")
	variables := []string{"GOARCH=386", "CGO_ENABLED=0", "WSFW_ENGINES=interpreted"}
	finishChild(t, exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "."), variables...)
	output := finishChild(t, exec.CommandContext(t.Context(), binary,
		"-test.run=^("+strings.Join(narrowTests, "|")+")$", "-test.count=1", "-test.timeout=10m", "-test.v"), variables...)
	for _, name := range narrowTests {
		if !strings.Contains(output, "--- PASS: "+name+" ") {
			t.Errorf("%s has not run", name)
		}
	}
}

package e2e

import (
	"os"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

func TestMain(m *testing.M) {
	restore := engine.CaptureStdout()
	code := m.Run()
	engine.Stop()
	restore()
	os.RemoveAll(workshop())
	os.Exit(code)
}

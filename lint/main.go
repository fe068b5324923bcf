// Command lint reports the constructs in the plugin's source that compile but
// that Yaegi, which runs the plugin inside Traefik, gets wrong.
package main

import (
	"golang.org/x/tools/go/analysis/singlechecker"

	"github.com/wsfw/wsfw/lint/traps"
)

func main() { singlechecker.Main(traps.Analyzer) }

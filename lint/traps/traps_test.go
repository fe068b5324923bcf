package traps

import (
	"path/filepath"
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"
)

// TestRules runs each rule's folder: bad.go names what it expects, and good.go,
// the way out, must stay clean.
func TestRules(t *testing.T) {
	var folders []string
	for _, r := range rules {
		folders = append(folders, r.name)
	}
	found := map[string]bool{} // rule/file
	for _, result := range analysistest.Run(t, analysistest.TestData(), Analyzer, folders...) {
		for _, d := range result.Diagnostics {
			file := filepath.Base(result.Pass.Fset.Position(d.Pos).Filename)
			found[filepath.Join(result.Pass.Pkg.Path(), file, d.Category)] = true
			if file == "good.go" {
				t.Errorf("%s/%s: %s", result.Pass.Pkg.Path(), file, d.Message)
			}
		}
		if len(result.Pass.Files) != 2 {
			t.Errorf("%s: want bad.go and good.go", result.Pass.Pkg.Path())
		}
	}
	for _, r := range rules {
		if !found[filepath.Join(r.name, "bad.go", r.name)] {
			t.Errorf("%s: nothing reported in its bad.go", r.name)
		}
	}
}

// TestSkipsTestFiles: a test file with a trap, and nothing expected of it.
func TestSkipsTestFiles(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), Analyzer, "test-files")
}

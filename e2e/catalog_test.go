package e2e

import (
	"image/png"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
	"gopkg.in/yaml.v3"
)

// catalogPatience is how long the trial run of Traefik's plugin catalog may take.
var catalogPatience = pace.Of(time.Second)

// listing is what the catalog shows of a plugin: its manifest, as https://plugins.traefik.io/create has it.
type listing struct {
	DisplayName string `yaml:"displayName"`
	Type        string
	Import      string
	Summary     string
	IconPath    string         `yaml:"iconPath"`
	TestData    map[string]any `yaml:"testData"`
}

// manifest reads the listing, in which nothing may be that the catalog does not know.
func manifest(t *testing.T) listing {
	t.Helper()
	var l listing
	decoder := yaml.NewDecoder(strings.NewReader(read(t, ".traefik.yml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&l); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestCatalogManifest is about what the catalog shows and wants to be there.
func TestCatalogManifest(t *testing.T) {
	l := manifest(t)
	if l.DisplayName == "" || l.Summary == "" || l.Type != "middleware" || len(l.TestData) == 0 {
		t.Errorf("the manifest is %+v", l)
	}
	if read(t, "README.md") == "" || read(t, "LICENSE") == "" {
		t.Error("README and licence have to tell something")
	}
	icon, err := png.DecodeConfig(strings.NewReader(read(t, l.IconPath)))
	if err != nil {
		t.Fatalf("%s: %v", l.IconPath, err)
	}
	if icon.Width != icon.Height {
		t.Errorf("the icon is %d by %d, want a square", icon.Width, icon.Height)
	}
}

// TestCatalogModule is about what the catalog gets from Go's module proxy, and what the interpreter then has: the
// standard library, the plugin, and nothing else.
func TestCatalogModule(t *testing.T) {
	module, err := modfile.Parse("go.mod", []byte(read(t, "go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if module.Module.Mod.Path != manifest(t).Import {
		t.Errorf("the module is %s, the manifest imports %s", module.Module.Mod.Path, manifest(t).Import)
	}
	if len(module.Require)+len(module.Replace)+len(module.Tool) > 0 {
		t.Error("go.mod asks for other modules")
	}
	if vendored := read(t, "vendor/modules.txt"); vendored != "" {
		t.Errorf("vendored is %s", vendored)
	}
}

// release matches the changelog's heading of a version, with its date.
var release = regexp.MustCompile(`(?m)^## (v\S+) - \d{4}-\d{2}-\d{2}$`)

// TestCatalogVersions wants versions that Go's module proxy serves for the module's path: semantic ones, below v2. It
// looks at the changelog, and at what the documentation has users write, which is the changelog's newest.
func TestCatalogVersions(t *testing.T) {
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, heading := range release.FindAllStringSubmatch(read(t, "CHANGELOG.md"), -1) {
		versions = append(versions, heading[1])
	}
	if len(versions) == 0 {
		t.Fatal("the changelog has no version")
	}
	for _, doc := range append(documents(t, "README.md"), documentsBelow(t, root, "examples")...) {
		if p, ok := doc.Experimental.Plugins["wsfw"]; ok {
			versions = append(versions, p.Version)
			if p.Version != versions[0] {
				t.Errorf("a document has users write %q, want %q", p.Version, versions[0])
			}
		}
	}
	for _, v := range versions {
		if !semver.IsValid(v) || semver.Canonical(v) != v || semver.Compare(v, "v2.0.0-0") >= 0 {
			t.Errorf("%q is no version of this module", v)
		}
	}
}

// TestCatalogTrial loads the manifest's options on each engine.
func TestCatalogTrial(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		e.Start(t, engine.Setup{Config: manifest(t).TestData, Next: recorder(t)})
	})
}

// TestCatalogTrialTime interprets the plugin anew, as the catalog does, and has New take the manifest's options.
func TestCatalogTrialTime(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		if e.Name() != "interpreted" {
			return
		}
		root, err := engine.Root()
		if err != nil {
			t.Fatal(err)
		}
		interpreted, err := engine.Load(root)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := interpreted.Handler(t.Context(), http.NotFoundHandler(), manifest(t).TestData, "catalog"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > catalogPatience {
			t.Errorf("New takes %v, want at most %v", took, catalogPatience)
		}
	})
}

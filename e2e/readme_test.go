package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/traefik/paerser/parser"
	"github.com/wsfw/wsfw/e2e/engine"
	"gopkg.in/yaml.v3"
)

// routing is the part of Traefik's dynamic configuration that holds middlewares.
type routing struct {
	HTTP struct {
		Middlewares map[string]struct {
			Plugin map[string]plugin
		}
	}
}

// plugin holds a plugin's options, in the type by which Traefik's label parser knows to leave them as they are.
type plugin map[string]any

// document is a YAML block of the README: a static or dynamic configuration, or a compose file.
type document struct {
	routing      `yaml:",inline"`
	Experimental struct {
		Plugins map[string]struct {
			ModuleName string `yaml:"moduleName"`
		}
	}
	Services map[string]struct {
		Labels []string
	}
}

// fence matches a block of YAML in Markdown.
var fence = regexp.MustCompile("(?ms)^```yaml$(.*?)^```$")

// documents returns the YAML blocks of a Markdown file in the repository.
func documents(t *testing.T, name string) []document {
	t.Helper()
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	var docs []document
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		var doc document
		if err := yaml.Unmarshal([]byte(block[1]), &doc); err != nil {
			t.Fatalf("%v in%s", err, block[1])
		}
		docs = append(docs, doc)
	}
	return docs
}

// options returns every middleware's options in a document, those in labels as Traefik's own parser reads them.
func (d document) options(t *testing.T) map[string]plugin {
	t.Helper()
	found := map[string]plugin{}
	for name, middleware := range d.HTTP.Middlewares {
		found[name] = middleware.Plugin["wsfw"]
	}
	for service, s := range d.Services {
		labels := map[string]string{}
		for _, label := range s.Labels {
			key, value, _ := strings.Cut(label, "=")
			labels[key] = value
		}
		var r routing
		if err := parser.Decode(labels, &r, "traefik", "traefik.http.middlewares"); err != nil {
			t.Fatal(err)
		}
		for name, middleware := range r.HTTP.Middlewares {
			found[service+" "+name+" by label"] = middleware.Plugin["wsfw"]
		}
	}
	return found
}

// Every configuration that the README shows must load.
func TestReadmeLoads(t *testing.T) {
	docs := documents(t, "README.md")
	loaded, named := 0, 0
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, doc := range docs {
			if p, ok := doc.Experimental.Plugins["wsfw"]; ok {
				named++
				if p.ModuleName != "github.com/wsfw/wsfw" {
					t.Errorf("the static configuration names the module %q", p.ModuleName)
				}
			}
			for name, options := range doc.options(t) {
				loaded++
				t.Run(name, func(t *testing.T) {
					e.Start(t, engine.Setup{Config: options, Next: recorder(t)})
				})
			}
		}
	})
	if engines := len(engine.All()); loaded != 4*engines || named != engines {
		t.Errorf("found %d middlewares and %d static configurations for %d engines, want 4 and 1 for each", loaded, named, engines)
	}
}

// The options of the catalog's trial run must load, too.
func TestManifestLoads(t *testing.T) {
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, ".traefik.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		DisplayName, Type, Import, Summary string
		TestData                           map[string]any `yaml:"testData"`
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Type != "middleware" || manifest.Import != "github.com/wsfw/wsfw" || len(manifest.TestData) == 0 {
		t.Errorf("manifest %+v", manifest)
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		e.Start(t, engine.Setup{Config: manifest.TestData, Next: recorder(t)})
	})
}

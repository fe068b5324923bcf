package e2e

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

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

// document is one of YAML: a static or dynamic configuration, a Kubernetes object, a compose file, or values of a chart.
type document struct {
	routing      `yaml:",inline"`
	Experimental struct {
		Plugins map[string]struct {
			ModuleName string `yaml:"moduleName"`
			Version    string
		}
	}
	Spec     struct{ Plugin map[string]plugin }
	Services map[string]struct {
		Labels []string
		Deploy struct{ Labels []string }
	}
}

// fence matches a block of YAML in Markdown.
var fence = regexp.MustCompile("(?ms)^```yaml$(.*?)^```$")

// read returns a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages are the documents of the repository, but for those of the examples.
func pages(t *testing.T) []string {
	t.Helper()
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			page, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, filepath.ToSlash(page))
		}
	}
	if !slices.Contains(found, "README.md") || !slices.Contains(found, "docs/uses.md") {
		t.Fatalf("the documents are %q", found)
	}
	return found
}

// documents returns the YAML blocks of a Markdown file in the repository.
func documents(t *testing.T, name string) []document {
	t.Helper()
	var docs []document
	for _, block := range fence.FindAllStringSubmatch(read(t, name), -1) {
		docs = append(docs, parse(t, block[1])...)
	}
	return docs
}

// parse returns the documents of a YAML stream.
func parse(t *testing.T, text string) []document {
	t.Helper()
	var docs []document
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var doc document
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatalf("%v in%s", err, text)
		}
		docs = append(docs, doc)
	}
}

// options returns every middleware's options in a document, those in labels as Traefik's own parser reads them.
func (d document) options(t *testing.T) map[string]plugin {
	t.Helper()
	found := map[string]plugin{}
	for name, middleware := range d.HTTP.Middlewares {
		found[name] = middleware.Plugin["wsfw"]
	}
	if options, ok := d.Spec.Plugin["wsfw"]; ok {
		found["object"] = options
	}
	for _, s := range d.Services {
		labels := map[string]string{}
		for _, label := range slices.Concat(s.Labels, s.Deploy.Labels) {
			key, value, _ := strings.Cut(label, "=")
			labels[key] = value
		}
		var r routing
		if err := parser.Decode(labels, &r, "traefik", "traefik.http.middlewares"); err != nil {
			t.Fatal(err)
		}
		for name, middleware := range r.HTTP.Middlewares {
			found[name+" by label"] = middleware.Plugin["wsfw"]
		}
	}
	return found
}

// Every configuration that the documents show must load.
func TestDocumentsLoad(t *testing.T) {
	loaded := map[string]bool{}
	for _, file := range pages(t) {
		docs := documents(t, file)
		engine.Each(t, func(t *testing.T, e engine.Engine) {
			for _, doc := range docs {
				for name, options := range doc.options(t) {
					loaded[name] = true
					t.Run(name, func(t *testing.T) {
						e.Start(t, engine.Setup{Config: options, Next: recorder(t)})
					})
				}
			}
		})
	}
	for _, use := range []string{"check", "inline", "forward"} {
		if !loaded[use] || !loaded[use+" by label"] {
			t.Errorf("the use %s is not shown both in a file and by labels: found %v", use, loaded)
		}
	}
}

// optionRow matches a row of the README's tables of options: its first cell.
var optionRow = regexp.MustCompile("(?m)^\\| ((?:\\**`[a-zA-Z.]+`\\**(?:, )?)+) \\|")

// The README's tables must have every option, and no other.
func TestReadmeOptions(t *testing.T) {
	text := read(t, "README.md")
	_, text, _ = strings.Cut(text, "\n## Options\n")
	text, _, _ = strings.Cut(text, "\n## ")
	var documented []string
	for _, row := range optionRow.FindAllStringSubmatch(text, -1) {
		documented = append(documented, strings.FieldsFunc(row[1], func(r rune) bool { return strings.ContainsRune("*`, ", r) })...)
	}
	known := optionNames(read(t, "config.go"))
	known = append(known, sectionNames("token", read(t, "token.go")+read(t, "jwt.go")+read(t, "jwks.go"))...)
	known = append(known, sectionNames("revalidate", read(t, "revalidate.go"))...)
	slices.Sort(documented)
	slices.Sort(known)
	if !slices.Equal(documented, known) {
		t.Errorf("the README has the options\n%v, the plugin\n%v", documented, known)
	}
}

var (
	// configFunction matches the head of a function that reads options, up to its name.
	configFunction = regexp.MustCompile(`(?m)^func \(o \*options\) ([a-zA-Z]+)`)

	// optionRead matches the reading of an option by its name.
	optionRead = regexp.MustCompile(`(?:\.(?:text|oneOf|flag|count|rate|size|duration|closeCode|section|sections|pairs|lookup|list|present)\(|const key = )"([a-zA-Z]+)"`)
)

// optionNames are the options that the source of the plugin's configuration reads, but not those within lists.
func optionNames(source string) []string {
	var names []string
	heads := configFunction.FindAllStringSubmatchIndex(source, -1)
	for i, head := range append(heads, []int{0, 0, 0, 0}) {
		end := len(source)
		if i < len(heads)-1 {
			end = heads[i+1][0]
		}
		start, prefix := head[1], ""
		switch source[head[2]:head[3]] {
		case "rule":
			continue
		case "tls":
			prefix = "tls."
		case "": // what stands before the first of these functions
			end = heads[0][0]
		}
		for _, found := range optionRead.FindAllStringSubmatch(source[start:end], -1) {
			if found[1] != "tls" {
				names = append(names, prefix+found[1])
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// keyOption matches the list of options of which one is read by whatever name it has.
var keyOption = regexp.MustCompile(`keyOptions = \[\]string{"([^}]*)"}`)

// sectionNames are the options of a section that has source to itself.
func sectionNames(section, source string) []string {
	var names []string
	for _, found := range optionRead.FindAllStringSubmatch(source, -1) {
		if found[1] != section {
			names = append(names, section+"."+found[1])
		}
	}
	for _, found := range keyOption.FindAllStringSubmatch(source, -1) {
		for name := range strings.SplitSeq(found[1], `", "`) {
			names = append(names, section+"."+name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// link matches a link within the documents: its file, if that is another, and its heading, if it names one.
var link = regexp.MustCompile(`\]\(([A-Za-z0-9./_-]*)(?:#([a-z0-9-]+))?\)`)

// heading matches a heading.
var heading = regexp.MustCompile("(?m)^#+ (.*)$")

// Links between the documents must lead to a heading.
func TestDocumentsLink(t *testing.T) {
	for _, file := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(read(t, file), -1) {
			target := file
			if found[1] != "" {
				target = path.Join(path.Dir(file), found[1])
			}
			text := read(t, target)
			if anchor := found[2]; anchor != "" && !slices.Contains(anchors(text), anchor) {
				t.Errorf("%s links to %s#%s, which is not there", file, target, anchor)
			}
		}
	}
}

// anchors are the names by which the headings of a document are linked to.
func anchors(text string) []string {
	var names []string
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		name := strings.Map(func(r rune) rune {
			if r == ' ' {
				return '-'
			}
			if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' {
				return unicode.ToLower(r)
			}
			return -1
		}, found[1])
		names = append(names, name)
	}
	return names
}

// The README's static configuration must name the module.
func TestReadmeNamesModule(t *testing.T) {
	var modules []string
	for _, doc := range documents(t, "README.md") {
		if p, ok := doc.Experimental.Plugins["wsfw"]; ok {
			modules = append(modules, p.ModuleName)
		}
	}
	if !slices.Equal(modules, []string{"github.com/wsfw/wsfw"}) {
		t.Errorf("static configurations name the modules %q", modules)
	}
}

package e2e

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// TestExamplesLoad wants every configuration of every example, in files and in text, to load.
func TestExamplesLoad(t *testing.T) {
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadDir(filepath.Join(root, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range examples {
		if !example.IsDir() {
			continue
		}
		t.Run(example.Name(), func(t *testing.T) {
			docs := documentsBelow(t, root, path.Join("examples", example.Name()))
			engine.Each(t, func(t *testing.T, e engine.Engine) { loadAll(t, e, docs) })
		})
	}
}

// documentsBelow reads all YAML below a folder of the repository, that in Markdown included.
func documentsBelow(t *testing.T, root, folder string) []document {
	t.Helper()
	var docs []document
	err := fs.WalkDir(os.DirFS(root), folder, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch path.Ext(name) {
		case ".md":
			docs = append(docs, documents(t, name)...)
		case ".yml", ".yaml":
			docs = append(docs, parse(t, read(t, name))...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// loadAll wants the middlewares to load, and there to be some.
func loadAll(t *testing.T, e engine.Engine, docs []document) {
	t.Helper()
	loaded := 0
	for _, doc := range docs {
		for name, options := range doc.options(t) {
			loaded++
			t.Run(name, func(t *testing.T) {
				e.Start(t, engine.Setup{Config: placed(t, resolved(options)), Next: recorder(t)})
			})
		}
	}
	if loaded == 0 {
		t.Error("there is no middleware")
	}
}

// resolved is options with the secrets that their headers refer to, as Traefik's provider for Kubernetes resolves them.
func resolved(options plugin) plugin {
	headers, ok := options["headers"].(plugin)
	if !ok {
		return options
	}
	headers, options = maps.Clone(headers), maps.Clone(options)
	options["headers"] = headers
	for name, value := range headers {
		if text, ok := value.(string); ok && strings.HasPrefix(text, "urn:k8s:secret:") {
			headers[name] = "secret"
		}
	}
	return options
}

// placed is options with the files that they name in a place of the test's.
func placed(t *testing.T, options plugin) plugin {
	t.Helper()
	files, ok := options["tls"].(plugin)
	if !ok {
		return options
	}
	files, options = maps.Clone(files), maps.Clone(options)
	options["tls"] = files
	authority := newTLSAuthority(t)
	pair := authority.client(t)
	content := map[string][]byte{"caFile": authority.pem, "certFile": certPEM(pair), "keyFile": keyPEM(t, pair)}
	for option, text := range content {
		if _, ok := files[option]; ok {
			files[option] = tlsDir(t.TempDir()).write(t, option, text)
		}
	}
	return options
}

// reference matches a link to a file or folder beside a document.
var reference = regexp.MustCompile(`\]\(([A-Za-z./-]+)\)`)

// TestExamplesLink wants every example to have a README and to be in the list, and their links to lead somewhere.
func TestExamplesLink(t *testing.T) {
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	examples := filepath.Join(root, "examples")
	listed := linked(t, examples)
	folders, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		example := filepath.Join(examples, folder.Name())
		linked(t, example)
		if !slices.Contains(listed, example) {
			t.Errorf("the list does not have %s", example)
		}
	}
}

// linked are the files and folders to which the README of a folder links.
func linked(t *testing.T, folder string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, found := range reference.FindAllStringSubmatch(string(text), -1) {
		target := filepath.Join(folder, found[1])
		if _, err := os.Stat(target); err != nil {
			t.Errorf("%s links to what is not there: %v", folder, err)
		}
		targets = append(targets, target)
	}
	return targets
}

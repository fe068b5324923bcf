package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/mitchellh/mapstructure"
	"github.com/traefik/yaegi/interp"
	"github.com/traefik/yaegi/stdlib"
	"gopkg.in/yaml.v3"
)

// modulePath is the plugin's import path, and where below a GOPATH's src Traefik looks for it.
const modulePath = "github.com/wsfw/wsfw"

// Plugin is the plugin's source, loaded into one interpreter. As in Traefik, all its handlers share that
// interpreter, and with it the package's variables.
type Plugin struct {
	create reflect.Value
	build  reflect.Value
}

// Load interprets the plugin whose source is in root, as Traefik does (pkg/plugins/middlewareyaegi.go).
func Load(root string) (*Plugin, error) {
	goPath, err := os.MkdirTemp("", "wsfw-gopath-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(goPath)
	if err := ship(root, goPath); err != nil {
		return nil, err
	}
	i, err := newInterpreter(goPath)
	if err != nil {
		return nil, err
	}
	create, err := i.Eval("wsfw.CreateConfig")
	if err != nil {
		return nil, fmt.Errorf("evaluating CreateConfig: %w", err)
	}
	build, err := i.Eval("wsfw.New")
	if err != nil {
		return nil, fmt.Errorf("evaluating New: %w", err)
	}
	return &Plugin{create: create, build: build}, nil
}

func newInterpreter(goPath string) (*interp.Interpreter, error) {
	// Yaegi treats an *os.File specially; Traefik gives it writers to its own log.
	output := struct{ io.Writer }{os.Stderr}
	i := interp.New(interp.Options{GoPath: goPath, Env: os.Environ(), Stdout: output, Stderr: output})
	if err := i.Use(stdlib.Symbols); err != nil {
		return nil, fmt.Errorf("loading the standard library's symbols: %w", err)
	}
	if _, err := i.Eval(fmt.Sprintf("import %q", modulePath)); err != nil {
		return nil, fmt.Errorf("importing the plugin: %w", err)
	}
	return i, nil
}

// Handler makes a middleware of the plugin: one router's, in Traefik's terms.
func (p *Plugin) Handler(ctx context.Context, next http.Handler, config map[string]any, name string) (http.Handler, error) {
	cfg := p.create.Call(nil)[0]
	if err := decode(config, cfg.Interface()); err != nil {
		return nil, err
	}
	results := p.build.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(next), cfg, reflect.ValueOf(name)})
	if err, ok := results[1].Interface().(error); ok {
		return nil, err
	}
	handler, ok := results[0].Interface().(http.Handler)
	if !ok {
		return nil, fmt.Errorf("the plugin's New returned a %T, which is no http.Handler", results[0].Interface())
	}
	return handler, nil
}

// decode fills the plugin's Config exactly as Traefik does.
func decode(config map[string]any, into any) error {
	if len(config) == 0 {
		return nil
	}
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		DecodeHook:       mapstructure.StringToSliceHookFunc(","),
		WeaklyTypedInput: true,
		Result:           into,
	})
	if err != nil {
		return fmt.Errorf("failed to create configuration decoder: %w", err)
	}
	if err := decoder.Decode(config); err != nil {
		return fmt.Errorf("failed to decode configuration: %w", err)
	}
	return nil
}

// ship copies the files that a release of the plugin consists of, and no others, to where an interpreter with
// this GOPATH finds them: what a file left behind would hide shows here, and not at a user's.
func ship(root, goPath string) error {
	to := filepath.Join(goPath, "src", filepath.FromSlash(modulePath))
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	names, err := shipped(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(root, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return os.CopyFS(filepath.Join(to, "vendor"), os.DirFS(filepath.Join(root, "vendor")))
}

// furtherModule is the module of a plugin beside ours.
func furtherModule(name string) string {
	return "example.com/" + name
}

// shipFurther puts a plugin of one file, which needs no configuration, where Traefik looks for it.
func shipFurther(name, source, goPath string) error {
	to := filepath.Join(goPath, "src", filepath.FromSlash(furtherModule(name)))
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	about, err := yaml.Marshal(object{
		"displayName": name, "type": "middleware", "import": furtherModule(name), "summary": name,
		"testData": object{"any": ""}, // empty is none to Traefik
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(to, manifest), about, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, name+".go"), []byte(source), 0o644)
}

func shipped(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	names := []string{"go.mod", manifest}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			names = append(names, name)
		}
	}
	return names, nil
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

// manifest describes the plugin to Traefik. Only the plugin's root directory has one.
const manifest = ".traefik.yml"

// Root finds the plugin's root directory: the nearest one that holds a manifest, from the working directory up.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, manifest)); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no directory from here up holds a " + manifest)
		}
		dir = parent
	}
}

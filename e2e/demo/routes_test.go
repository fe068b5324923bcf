package main

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/traefik/paerser/parser"
	"github.com/wsfw/wsfw"
	"gopkg.in/yaml.v3"
)

// routing is what Traefik reads of a route, whether from a file or from labels.
type routing struct {
	HTTP struct {
		Routers map[string]struct {
			Rule        string   `yaml:"rule"`
			Middlewares []string `yaml:"middlewares"`
			Service     string   `yaml:"service"`
		} `yaml:"routers"`
		Middlewares map[string]struct {
			Plugin map[string]pluginOptions `yaml:"plugin"`
		} `yaml:"middlewares"`
		Services map[string]any `yaml:"services"`
	} `yaml:"http"`
}

// pluginOptions are of a type of its own, for Traefik's parser of labels takes a map of maps for something else.
type pluginOptions map[string]any

// checkRoutes reads every route that the page shows as Traefik does, and wants the options that the route has.
func checkRoutes(t *testing.T, d *demo) {
	for _, s := range d.routes() {
		t.Run(s.ID, func(t *testing.T) {
			want := pluginOptions{}
			if err := yaml.Unmarshal([]byte(s.YAML), &want); err != nil {
				t.Fatal(err)
			}
			var file routing
			if err := yaml.Unmarshal([]byte(s.File), &file); err != nil {
				t.Fatal(err)
			}
			if got := file.HTTP.Middlewares[s.ID].Plugin["wsfw"]; !reflect.DeepEqual(got, want) {
				t.Errorf("the file has the options %v, want %v", got, want)
			}
			if r := file.HTTP.Routers[s.ID]; r.Rule != rule(s.ID) || r.Service != s.ID || file.HTTP.Services[s.ID] == nil {
				t.Errorf("the file is\n%s", s.File)
			}
			checkLabels(t, s, want)
		})
	}
}

// checkLabels does so for the labels, in which all values are text.
func checkLabels(t *testing.T, s scenario, want pluginOptions) {
	t.Helper()
	var list struct{ Labels []string }
	if err := yaml.Unmarshal([]byte(s.Labels), &list); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for _, label := range list.Labels {
		key, value, _ := strings.Cut(label, "=")
		labels[key] = value
	}
	var read routing
	if err := parser.Decode(labels, &read, "traefik", "traefik.http.routers", "traefik.http.middlewares"); err != nil {
		t.Fatal(err)
	}
	options := read.HTTP.Middlewares[s.ID].Plugin["wsfw"]
	if got, want := texts(options), texts(want); !reflect.DeepEqual(got, want) {
		t.Errorf("the labels have the options %v, want %v", got, want)
	}
	if r := read.HTTP.Routers[s.ID]; r.Rule != rule(s.ID) || len(r.Middlewares) != 1 || r.Middlewares[0] != s.ID {
		t.Errorf("the labels are\n%s", s.Labels)
	}
	config := &wsfw.Config{Options: options}
	if _, err := wsfw.New(context.Background(), http.NotFoundHandler(), config, s.ID); err != nil {
		t.Errorf("wsfw refuses the labels: %v", err)
	}
}

// texts is a value with all plain values as text, and lists of these with commas.
func texts(value any) any {
	switch value := value.(type) {
	case pluginOptions: // which nested ones are, too, that come from a file
		return texts(map[string]any(value))
	case map[string]any:
		all := map[string]any{}
		for key, one := range value {
			all[key] = texts(one)
		}
		return all
	case []any:
		var all []any
		var plain []string
		for _, one := range value {
			one := texts(one)
			if text, ok := one.(string); ok {
				plain = append(plain, text)
			}
			all = append(all, one)
		}
		if len(plain) == len(all) {
			return strings.Join(plain, ",")
		}
		return all
	}
	return fmt.Sprint(value)
}

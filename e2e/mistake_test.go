package e2e

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// mistake is a configuration that is refused, and what its error says. No configuration may have a secret but one that
// contains the word "hunter2".
type mistake struct {
	name   string
	config object
	keys   []string // that the error names; "a|b" stands for either of two
	says   string   // a part of the error, where not empty
	except string   // the engine for which the row does not hold
}

// mistaken is a good forward with one option that is not.
func mistaken(key string, value any, more ...object) mistake {
	m := mistake{name: key, config: object{"upstreamEndpoint": configEndpoint, key: value}, keys: []string{key}}
	for _, options := range more {
		maps.Copy(m.config, options)
	}
	return m
}

// checking is mistaken without an endpoint: the middleware only checks.
func checking(key string, value any, more ...object) mistake {
	m := mistaken(key, value, more...)
	if key != "upstreamEndpoint" {
		delete(m.config, "upstreamEndpoint")
	}
	return m
}

// inMode is a mode that is written, with an option that it cannot keep. The endpoint is there where the mode needs one.
func inMode(mode, key string, value any) mistake {
	m := checking(key, value, object{"mode": mode}).named(key + " with mode " + mode)
	if mode == "tunnel" || mode == "forward" {
		m.config["upstreamEndpoint"] = configEndpoint
	}
	return m
}

// named gives a mistake a name of its own.
func (m mistake) named(name string) mistake {
	m.name = name
	return m
}

// saying has a mistake's error contain a text.
func (m mistake) saying(text string) mistake {
	m.says = text
	return m
}

// at has a mistake's error name another key than the option's.
func (m mistake) at(key string) mistake {
	m.keys = []string{key}
	return m
}

// beside adds a mistake that the error has to name, too.
func (m mistake) beside(key string, value any) mistake {
	m.config = maps.Clone(m.config)
	m.config[key] = value
	m.keys = append(slices.Clone(m.keys), key)
	return m
}

// exceptOn leaves a mistake out on an engine.
func (m mistake) exceptOn(engine string) mistake {
	m.except = engine
	return m
}

func (m mistake) check(t *testing.T, e engine.Engine) {
	if m.except == e.Name() {
		return
	}
	t.Run(m.name, func(t *testing.T) {
		got := e.Refuses(t, m.config)
		checkMessage(t, got, m.keys...)
		if !strings.Contains(got, m.says) {
			t.Errorf("no %q in: %s", m.says, got)
		}
	})
}

// messageStart is what each error of the plugin's begins with. Traefik adds the provider to a middleware's name.
var messageStart = regexp.MustCompile(`^wsfw [a-z0-9-]+(@file)?: `)

// checkMessage holds a refusal to its form: one line, in which each mistake begins with its key, and no secret. A key
// may be followed by that of a part of its value, such as headers.X-Key.
func checkMessage(t *testing.T, got string, keys ...string) {
	t.Helper()
	if !messageStart.MatchString(got) || strings.Contains(got, "\n") {
		t.Errorf("the error is not one line that begins with the middleware's name: %q", got)
	}
	for _, key := range keys {
		either := strings.ReplaceAll(regexp.QuoteMeta(key), `\|`, "|")
		if !regexp.MustCompile(`(: |; )(` + either + `)(\.[\w-]+)? (is|has) `).MatchString(got) {
			t.Errorf("nothing about %s in: %s", key, got)
		}
	}
	if strings.Contains(got, "hunter2") {
		t.Errorf("the error shows a secret: %s", got)
	}
}

func checkMistakes(t *testing.T, mistakes []mistake) {
	t.Helper()
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, m := range mistakes {
			m.check(t, e)
		}
	})
}

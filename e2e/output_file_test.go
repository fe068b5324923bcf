package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// chatty is a plugin that has Traefik's own log tell of each request.
const chatty = `package chatty

import (
	"context"
	"log"
	"net/http"
)

type Config struct{}

func CreateConfig() *Config { return &Config{} }

func New(_ context.Context, next http.Handler, _ *Config, _ string) (http.Handler, error) {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		log.Print("chatty saw <" + req.Header.Get("X-Number") + ">")
		next.ServeHTTP(rw, req)
	}), nil
}
`

// TestOutputFile has Traefik's output go to a file, as a shell's redirection opens it: not for appending. What is in it,
// and what Traefik and the plugin write by turns, all stays whole.
func TestOutputFile(t *testing.T) {
	const sessions, preface = 60, "what was there before\n"
	t.Setenv("WSFW_TRAEFIK_LOG", "ERROR")
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, e, func(t *testing.T, e engine.Engine) {
			file, err := os.Create(filepath.Join(t.TempDir(), "output.log"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(preface); err != nil {
				t.Fatal(err)
			}
			h := newService(t)
			setup := regimes[0].setup(h.addr(), nil)
			setup.Dedicated = true
			setup.Traefik = engine.Surroundings{
				Output: file, Plugins: map[string]string{"chatty": chatty}, Before: []map[string]any{{"plugin": object{"chatty": object{}}}},
			}
			h.gateway = e.Start(t, setup)
			for i := range sessions {
				l := h.enter(t, fmt.Sprint("X-Number: ", i))
				l.leave()
			}
			await(t, settleTimeout, func() string { return wholeOutput(file.Name(), preface, sessions) })
		})
	})
}

// wholeOutput says what a file lacks of what should be in it: the preface, a record of each session, and what the chatty
// plugin has said of each.
func wholeOutput(name, preface string, sessions int) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	output, whole := strings.CutPrefix(string(text), preface)
	if !whole {
		return fmt.Sprintf("the file does not begin with %q but with %.100q", preface, text)
	}
	if records := strings.Count(output, `"msg":"websocket session"`); records != sessions {
		return fmt.Sprintf("the file has %d records of %d sessions: %s", records, sessions, output)
	}
	for i := range sessions {
		if said := strings.Count(output, fmt.Sprintf("chatty saw <%d>", i)); said != 1 {
			return fmt.Sprintf("the file has %d lines about request %d: %s", said, i, output)
		}
	}
	for line := range strings.Lines(output) {
		isRecord := strings.HasPrefix(line, "{") && strings.HasSuffix(line, "}\n")
		if !isRecord && (strings.Contains(line, `"plugin":"wsfw"`) || strings.Count(line, "chatty saw") > 1) {
			return fmt.Sprintf("the file has the line %q", line)
		}
	}
	return ""
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"

	"github.com/wsfw/wsfw/e2e/engine"
)

// kept is how many lines the journal keeps of each middleware.
const kept = 20

// entry is one line that the plugin wrote.
type entry struct {
	Number int             `json:"number"` // rises over all middlewares
	Line   json.RawMessage `json:"line"`
}

// journal holds the last lines that the plugin wrote to standard output: session records and complaints.
type journal struct {
	mu      sync.Mutex
	last    int
	entries map[string][]entry // by middleware
	news    chan struct{}      // closed at the next line
}

func newJournal() *journal {
	return &journal{entries: map[string][]entry{}, news: make(chan struct{})}
}

// after returns what the middleware of that name wrote after a number, and the number of the newest line of all.
func (j *journal) after(name string, number int) ([]entry, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	found := []entry{}
	for _, e := range j.entries[name] {
		if e.Number > number {
			found = append(found, e)
		}
	}
	return found, j.last
}

// await returns the record of a client's session, once it is there.
func (j *journal) await(ctx context.Context, name, client string) (json.RawMessage, error) {
	for {
		line, news := j.record(name, client)
		if line != nil {
			return line, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// record is the record of a client's session, or nil and what tells of the next line.
func (j *journal) record(name, client string) (json.RawMessage, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries[name] {
		var line struct{ Client, EndedBy string }
		if json.Unmarshal(e.Line, &line) == nil && line.Client == client && line.EndedBy != "" {
			return e.Line, nil
		}
	}
	return nil, j.news
}

// collect sorts the lines of r until it ends: the plugin's are kept, all others go to rest.
func (j *journal) collect(r io.Reader, rest io.Writer) {
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadString('\n')
		if !j.take(text) {
			_, _ = io.WriteString(rest, text)
		}
		if err != nil {
			return
		}
	}
}

// take keeps a line if it is the plugin's.
func (j *journal) take(text string) bool {
	var written struct{ Plugin, Name string }
	if json.Unmarshal([]byte(text), &written) != nil || written.Plugin != "wsfw" {
		return false
	}
	name, _, _ := strings.Cut(written.Name, "@") // in Traefik the provider follows
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	entries := j.entries[name]
	entries = append(entries, entry{j.last, json.RawMessage(text)})
	j.entries[name] = entries[max(0, len(entries)-kept):]
	close(j.news)
	j.news = make(chan struct{})
	return true
}

// captureStdout keeps what the plugin writes to this process's standard output, until restore.
func (j *journal) captureStdout() (restore func()) {
	return engine.DivertStdout(j.collect)
}

package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Log holds the lines that the plugin wrote to standard output, one JSON object each, in order. It is
// safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	lines []map[string]any
	texts []string      // of the lines
	grown chan struct{} // closed, and replaced, whenever a line is added
}

func newLog() *Log {
	return &Log{grown: make(chan struct{})}
}

// inProcess collects from the engines that share this process's standard output.
var inProcess = newLog()

// Lines returns what the middleware of that name has written so far.
func (l *Log) Lines(name string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for _, line := range l.lines {
		if writtenBy(line, name) {
			found = append(found, line)
		}
	}
	return found
}

// Text returns the same byte by byte.
func (l *Log) Text(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found strings.Builder
	for i, line := range l.lines {
		if writtenBy(line, name) {
			found.WriteString(l.texts[i])
		}
	}
	return found.String()
}

func (l *Log) add(text string, line map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = append(l.texts, text)
	l.lines = append(l.lines, line)
	close(l.grown)
	l.grown = make(chan struct{})
}

// next waits for the first line at or after position from that has this name and msg. It returns the line and
// the position behind it, or nil after the time-out.
func (l *Log) next(name, msg string, from int, timeout <-chan time.Time) (map[string]any, int) {
	for {
		lines, grown := l.since(from)
		for i, line := range lines {
			if line["msg"] == msg && writtenBy(line, name) {
				return line, from + i + 1
			}
		}
		from += len(lines)
		select {
		case <-grown:
		case <-timeout:
			return nil, from
		}
	}
}

// since returns the lines from a position on, and a channel that is closed when there are more.
func (l *Log) since(from int) ([]map[string]any, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[from:], l.grown
}

// writtenBy compares names; inside Traefik New is given the name followed by "@" and the provider.
func writtenBy(line map[string]any, name string) bool {
	written, _ := line["name"].(string)
	written, _, _ = strings.Cut(written, "@")
	return written == name
}

// collect sorts the lines of r until it ends: the plugin's go to log, all others to rest, unchanged.
func collect(r io.Reader, log *Log, rest io.Writer) {
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadString('\n')
		if line := pluginLine(text); line != nil {
			log.add(text, line)
		} else {
			_, _ = io.WriteString(rest, text)
		}
		if err != nil {
			return
		}
	}
}

// pluginLine decodes a line of the plugin's, and returns nil for any other.
func pluginLine(text string) map[string]any {
	if !strings.HasPrefix(text, "{") {
		return nil
	}
	var line map[string]any
	if json.Unmarshal([]byte(text), &line) != nil || line["plugin"] != "wsfw" {
		return nil
	}
	return line
}

// CaptureStdout diverts what the plugin writes to this process's standard output into the log of the in-process
// engines; the testing package's own output passes. The function it returns ends that, and must be called
// before the process exits or output is lost.
func CaptureStdout() (restore func()) {
	return DivertStdout(func(r io.Reader, stdout io.Writer) { collect(r, inProcess, stdout) })
}

// DivertStdout has read all that this process writes to its standard output, which read gets besides, until restore.
func DivertStdout(read func(r io.Reader, stdout io.Writer)) (restore func()) {
	stdout := os.Stdout
	r, w, err := os.Pipe()
	if err != nil {
		panic(fmt.Sprintf("diverting standard output: %v", err))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.Close()
		read(untilNull{r}, stdout)
	}()
	os.Stdout = w
	return func() {
		os.Stdout = stdout
		_, _ = w.Write([]byte{0}) // the pipe is open, and read
		w.Close()
		<-done
	}
}

// untilNull reads to a byte of 0, which no text has. The end of a diverted output may not come: the plugin has a descriptor
// of its own for it.
type untilNull struct{ io.Reader }

// Read implements [io.Reader].
func (r untilNull) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if end := bytes.IndexByte(p[:n], 0); end >= 0 {
		return end, io.EOF
	}
	return n, err
}

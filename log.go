package wsfw

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Lines go to standard output, one JSON object each: raw, for what goes through fmt or log reaches Traefik's log only at
// its DEBUG or ERROR level. The log can harm nobody. Lines wait in a bounded queue, which one goroutine writes; nothing
// waits for that but the end of a drain, and that not for long. What finds no room is counted.

// sessionLine is the line of a session: when it has ended, and before, where sessionLog is both, when it opens.
type sessionLine struct {
	Time         string  `json:"time"` // RFC 3339 in UTC
	Level        string  `json:"level"`
	Plugin       string  `json:"plugin"`
	Message      string  `json:"msg"`
	Name         string  `json:"name"` // the middleware's
	Client       string  `json:"client"`
	Upstream     string  `json:"upstream"`
	Path         string  `json:"path"`
	Subprotocol  string  `json:"subprotocol"`
	Duration     float64 `json:"duration"` // seconds, from the request on
	FromClient   traffic `json:"fromClient"`
	FromUpstream traffic `json:"fromUpstream"`
	Heartbeat    *pulses `json:"heartbeat,omitempty"`
	EndedBy      string  `json:"endedBy"` // client, upstream or wsfw
	Code         int     `json:"code,omitempty"`
	Reason       string  `json:"reason"`
}

// traffic is what one side sent and the other got. A tunnel counts bytes only.
type traffic struct {
	Frames   int64 `json:"frames"`
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"` // on the wire, headers included
}

// openingLine is the line of a session that has just been opened.
type openingLine struct {
	Time        string `json:"time"`
	Level       string `json:"level"`
	Plugin      string `json:"plugin"`
	Message     string `json:"msg"`
	Name        string `json:"name"`
	Client      string `json:"client"`
	Upstream    string `json:"upstream"`
	Path        string `json:"path"`
	Subprotocol string `json:"subprotocol"`
}

// eventLine is a line about a request that came to no session, or about something that went wrong.
type eventLine struct {
	Time    string `json:"time"`
	Level   string `json:"level"`
	Plugin  string `json:"plugin"`
	Message string `json:"msg"`
	Name    string `json:"name"`
	Client  string `json:"client,omitempty"`
	Path    string `json:"path,omitempty"`
	Status  int    `json:"status,omitempty"`
	Reason  string `json:"reason,omitempty"` // a key, such as bad_origin
	Error   string `json:"error,omitempty"`
	Hint    string `json:"hint,omitempty"`    // what to change
	Omitted int64  `json:"omitted,omitempty"` // lines of the same reason that were left out before this one
}

// timeLayout is that of a line's time, of a time in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// timestamp is a time in RFC 3339, UTC, milliseconds.
func timestamp(at time.Time) string {
	return at.UTC().Format(timeLayout)
}

// maxText is how much of a text that comes from outside a line shows, in bytes.
const maxText = 1 << 10

// printable is a text from outside as a line shows it: not long.
func printable(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// The queue's bounds.
const (
	maxQueuedLines = 500
	maxQueuedBytes = 1 << 20
)

// flushTimeout is how long the end of a drained session waits for its line to be written.
const flushTimeout = time.Second

// lineQueue has the lines that wait to be written.
type lineQueue struct {
	mu      sync.Mutex
	lines   []*queuedLine // the oldest first
	bytes   int           // of these
	untold  int64         // lines dropped that no line has told of
	writing bool          // a goroutine is at work
	stuck   bool          // a flush has waited in vain, and nothing has been written since
	flushes []chan bool   // each gets a value when nothing waits any more

	out io.Writer // of the goroutine; nil until there is a line
}

// queuedLine is a line, and how many lines dropped before it tells of.
type queuedLine struct {
	text []byte
	told int64
}

// output is the log of all middlewares.
var output = &lineQueue{}

// logLine queues entry as one line of JSON.
func logLine(entry any) {
	text, err := json.Marshal(entry)
	if err != nil {
		return // no entry has a value that JSON cannot have
	}
	if bytes.IndexFunc(text, unicode.IsControl) >= 0 {
		text = controlCharacter.ReplaceAllFunc(text, escaped)
	}
	enqueue(output, text)
}

// controlCharacter is one of those that JSON leaves as they are, and that a terminal obeys.
var controlCharacter = regexp.MustCompile(`[\x7f-\x{9f}]`)

// escaped is a control character as JSON escapes others.
func escaped(character []byte) []byte {
	r, _ := utf8.DecodeRune(character)
	return []byte(fmt.Sprintf(`\u%04x`, r))
}

// enqueue queues a JSON object, or counts it where there is no room.
func enqueue(q *lineQueue, object []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) >= maxQueuedLines || q.bytes+len(object) > maxQueuedBytes {
		q.untold++
		return
	}
	line := &queuedLine{told: q.untold}
	if line.told > 0 {
		object = append(object[:len(object)-1], fmt.Sprintf(`,"linesDropped":%d}`, line.told)...)
		q.untold = 0
	}
	object = append(object, '\n')
	line.text = object
	q.lines = append(q.lines, line)
	q.bytes += len(line.text)
	if !q.writing {
		q.writing = true
		go writeLines(q)
	}
}

// lingering is how long the goroutine stays for more lines: many sessions end in that time where many end at all.
const lingering = 10 * time.Millisecond

// writeLines writes what is queued, until nothing more comes.
func writeLines(q *lineQueue) {
	defer stopWriting(q)
	lingered := false
	for {
		q.mu.Lock()
		if len(q.lines) == 0 {
			releaseFlushes(q)
			q.writing = !lingered
			q.mu.Unlock()
			if lingered {
				return
			}
			time.Sleep(lingering)
			lingered = true
			continue
		}
		lingered = false
		line := q.lines[0]
		q.mu.Unlock()
		if q.out == nil {
			q.out = openOutput()
		}
		_, err := q.out.Write(line.text) // one write, so that lines do not mix with Traefik's own
		q.mu.Lock()
		q.lines = q.lines[1:]
		q.bytes -= len(line.text)
		q.stuck = false
		if err != nil {
			q.untold += line.told + 1
		}
		q.mu.Unlock()
	}
}

// releaseFlushes tells those who wait that nothing is queued any more. Needs q.mu.
func releaseFlushes(q *lineQueue) {
	for i := 0; i < len(q.flushes); i++ { // the interpreter takes a range over channels for one over numbers
		flushed := q.flushes[i]
		flushed <- true
	}
	q.flushes = nil
}

// stopWriting, deferred, lets the next line have a goroutine of its own after a panic in this one.
func stopWriting(q *lineQueue) {
	if recover() == nil {
		return
	}
	q.mu.Lock()
	q.writing = false
	q.mu.Unlock()
}

// openOutput is what to write lines to. A write to a closed pipe or socket that Go's runtime knows as standard output
// raises SIGPIPE, which ends the process: through a file descriptor of our own it is an error. A file has no reader that
// may go, and one of our own would not have its position. Where there is no other way, standard output itself is left.
func openOutput() io.Writer {
	info, err := os.Stdout.Stat()
	if err != nil {
		return os.Stdout
	}
	if info.Mode()&os.ModeSocket != 0 {
		socket := openSocket()
		if socket != nil {
			return socket
		}
	}
	if info.Mode()&os.ModeNamedPipe != 0 {
		for _, directory := range []string{"/proc/self/fd/", "/dev/fd/"} {
			pipe, err := os.OpenFile(directory+fmt.Sprint(stdoutDescriptor()), os.O_WRONLY, 0)
			if err == nil {
				return pipe
			}
		}
	}
	return os.Stdout
}

// openSocket is a descriptor of our own for standard output where that is a socket, as under systemd: it cannot be opened
// by its name. nil where there is none. net makes it one that does not block, and so standard output itself, by which
// Traefik would lose lines of its own: Fd makes both block again.
func openSocket() *os.File {
	conn, err := net.FileConn(os.Stdout)
	if err != nil {
		return nil
	}
	defer conn.Close()
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
	file, err := socket.File()
	if err != nil {
		return nil
	}
	_ = file.Fd()
	return file
}

// stdoutDescriptor is the number of standard output's descriptor. File.Fd would make its writes block threads.
func stdoutDescriptor() uintptr {
	raw, err := os.Stdout.SyscallConn()
	if err != nil {
		return 1
	}
	number := uintptr(1)
	_ = raw.Control(func(fd uintptr) { number = fd })
	return number
}

// flushLines waits until the lines queued so far are written, for at most limit. It does not wait where an earlier one has
// waited in vain and nothing has been written since: whoever does not read the log delays nobody twice.
func flushLines(q *lineQueue, limit time.Duration) {
	q.mu.Lock()
	if len(q.lines) == 0 || q.stuck {
		q.mu.Unlock()
		return
	}
	flushed := make(chan bool, 2) // for both who may send
	q.flushes = append(q.flushes, flushed)
	q.mu.Unlock()
	late := time.AfterFunc(limit, func() {
		defer swallow()
		flushed <- false
	})
	written := <-flushed
	late.Stop()
	if !written {
		q.mu.Lock()
		q.stuck = true
		q.mu.Unlock()
	}
}

// What is logged of refusals and failed upstreams is bounded, for whoever is refused may come again at once.
const maxEventsPerSecond = 10

// events bounds the lines of one middleware and reason.
type events struct {
	began   time.Time // of the current second
	lines   int       // in it
	omitted int64     // since the last line
}

// allEvents has those of all middlewares by name, which outlive reloads, and reasons.
var (
	allEventsMu sync.Mutex
	allEvents   = map[string]*events{}
)

// logEvent logs a line of a middleware, unless there have been as many of its reason as there may be. The next one tells
// how many were left out.
func logEvent(line *eventLine) {
	now := time.Now()
	allEventsMu.Lock()
	e := allEvents[line.Name+"\n"+line.Reason]
	if e == nil {
		e = &events{began: now}
		allEvents[line.Name+"\n"+line.Reason] = e
	}
	if now.Sub(e.began) >= time.Second {
		e.began = now
		e.lines = 0
	}
	if e.lines >= maxEventsPerSecond {
		e.omitted++
		allEventsMu.Unlock()
		return
	}
	e.lines++
	line.Omitted = e.omitted
	e.omitted = 0
	allEventsMu.Unlock()
	line.Time = timestamp(now)
	line.Plugin = "wsfw"
	line.Path = printable(line.Path)
	line.Error = printable(line.Error)
	logLine(line)
}

package wsfw

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Lines go to standard output, one JSON object each: raw, for what goes through fmt or log reaches Traefik's log only at
// its DEBUG or ERROR level. The log can harm nobody: lines wait in a bounded queue, which one goroutine writes, and only
// the end of a drain waits for that, for a moment. What finds no room is counted.

// sessionLine is the line of a session at its end and, as far as Subprotocol, at its opening.
type sessionLine struct {
	Time         string   `json:"time"` // RFC 3339 in UTC
	Level        string   `json:"level"`
	Plugin       string   `json:"plugin"`
	Message      string   `json:"msg"`
	Name         string   `json:"name"` // the middleware's
	ID           string   `json:"id"`
	Client       string   `json:"client"`
	User         string   `json:"user,omitempty"`
	HTTP         string   `json:"http,omitempty"` // the client's version, where that is 2 or 3
	Upstream     string   `json:"upstream"`
	Path         string   `json:"path"`
	Subprotocol  string   `json:"subprotocol"`
	Duration     any      `json:"duration,omitempty"` // seconds since the request
	FromClient   *traffic `json:"fromClient,omitempty"`
	FromUpstream *traffic `json:"fromUpstream,omitempty"`
	Heartbeat    *pulses  `json:"heartbeat,omitempty"`
	EndedBy      string   `json:"endedBy,omitempty"` // client, upstream or wsfw
	Code         int      `json:"code,omitempty"`
	Reason       any      `json:"reason,omitempty"` // a text, also where it is empty
}

// traffic is what one peer sent and the other got. A tunnel counts bytes only.
type traffic struct {
	Frames   int64 `json:"frames"`
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"` // on the wire, headers included
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

// logOpening logs a session that begins.
func logOpening(u *upgrade) {
	logLine(&sessionLine{
		Time: timestamp(time.Now()), Level: "info", Plugin: "wsfw", Message: "websocket session opened", Name: u.middleware.name,
		ID: idOf(u.number), Client: u.req.RemoteAddr, User: u.user, HTTP: u.http, Upstream: u.upstream, Path: shortened(u.path, maxText), Subprotocol: u.subprotocol,
	})
}

// logSession logs a session that has ended. A reason has at most 123 bytes.
func logSession(u *upgrade) {
	s, path := u.session, u.path
	if len(path) > maxText {
		path = shortened(path, maxText)
	}
	line := &sessionLine{
		Time: time.Now().UTC().Format(timestampForm), Level: "info", Plugin: "wsfw", Message: "websocket session", Name: u.middleware.name,
		ID: idOf(u.number), Client: u.req.RemoteAddr, User: u.user, HTTP: u.http, Upstream: u.upstream, Path: path, Subprotocol: u.subprotocol,
		Duration:   float64(time.Since(u.started).Milliseconds()) / 1000,
		FromClient: trafficFrom(s.toUpstream), FromUpstream: trafficFrom(s.toClient), Heartbeat: s.unpinged,
		EndedBy: s.outcome.endedBy, Code: s.outcome.code, Reason: s.outcome.reason,
	}
	if s.pinged {
		line.Heartbeat = pulsesOf(s)
	}
	logLine(line)
}

// trafficFrom is what has come on a direction.
func trafficFrom(f *direction) *traffic {
	p := f.parser
	return &traffic{Frames: p.frames, Messages: p.messages, Bytes: f.bytes}
}

// maxSubprotocol is the longest name of a subprotocol that is logged where the option protocols does not list it, in bytes.
const maxSubprotocol = 64

// loggedSubprotocol is a session's subprotocol as lines have it. Browsers can send a token only as one, and servers choose
// that: so a name that may be a token is withheld, unless it is allowed.
func loggedSubprotocol(name string, allowed []string) string {
	if (len(name) > maxSubprotocol || strings.Contains(name, ".")) && !contains(allowed, name) {
		return "(withheld)"
	}
	return name
}

// endingLine is the line of sessions that an operator has ended.
type endingLine struct {
	Time    string `json:"time"`
	Level   string `json:"level"`
	Plugin  string `json:"plugin"`
	Message string `json:"msg"`
	Name    string `json:"name"` // of the status middleware
	Client  string `json:"client"`
	User    string `json:"user,omitempty"`
	Filter  string `json:"filter"` // as a query
	Ended   int    `json:"ended"`  // sessions
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
}

// logEnding logs what an operator has ended.
func logEnding(name string, req *http.Request, filter string, ended int, cause *closeCause) {
	logLine(&endingLine{
		Time: timestamp(time.Now()), Level: "warn", Plugin: "wsfw", Message: "sessions ended by an operator", Name: name,
		Client: req.RemoteAddr, User: shortened(operatorOf(req), maxUser), Filter: shortened(filter, maxText), Ended: ended,
		Code: cause.code, Reason: cause.reason,
	})
}

// eventOf is a line about an upgrade that is answered with a status, for a reason.
func eventOf(u *upgrade, status int, reason, level, message string) *eventLine {
	return &eventLine{
		Level: level, Message: message, Name: u.middleware.name,
		Client: u.req.RemoteAddr, Path: u.path, Status: status, Reason: reason,
	}
}

// reportClient logs why a client's connection could not be had, or not be written to.
func reportClient(u *upgrade, r *refusal, cause error) {
	reportError(u, r, "client connection not taken over", cause)
}

// hintNoop tells, once, of a service that upgrades nothing: noop@internal answers all requests so.
func hintNoop(u *upgrade) {
	if u.middleware.hinted.CompareAndSwap(false, true) {
		line := eventOf(u, http.StatusTeapot, "service_upgrades_nothing", "warn", "the service answered 418")
		line.Hint = "noop@internal upgrades nothing: name a service that does, or set upstreamEndpoint"
		logEvent(line)
	}
}

// reportUpstream logs why there is no session with the upstream. A service may not have told its server's address.
func reportUpstream(u *upgrade, r *refusal, cause error) {
	name := u.upstream
	if name == "" {
		name = "of an unknown address"
	}
	reportError(u, r, "upstream "+name+" failed", cause)
}

// reportError logs the cause of a refusal.
func reportError(u *upgrade, r *refusal, message string, cause error) {
	line := eventOf(u, r.status, r.reason, "error", message)
	line.Error = cause.Error()
	logEvent(line)
}

// hintReadTimeout tells why a session over HTTP/2 or HTTP/3 has lost its client.
func hintReadTimeout(u *upgrade) {
	line := eventOf(u, http.StatusOK, "read_timeout", "warn", "the entry point's readTimeout has ended a session over HTTP/"+u.http)
	line.Hint = "set respondingTimeouts.readTimeout: 0s on the entry point"
	logEvent(line)
}

// hintHost tells why an upstream may have refused a browser.
func hintHost(u *upgrade) {
	line := eventOf(u, http.StatusForbidden, "upstream_forbids", "warn", "upstream "+u.upstream+" answered 403")
	line.Hint = "many servers compare Origin with Host: try passHostHeader: true"
	logEvent(line)
}

// maxEventsPerSecond bounds the lines of one middleware and reason: whoever is refused may come again at once.
const maxEventsPerSecond = 10

// eventRate counts the events of one middleware and reason.
type eventRate struct {
	began time.Time // of the current second
	lines int64     // in it, those that are left out included
}

// eventRates are those of all middlewares, by name and reason. They outlive reloads.
var (
	eventRatesMu sync.Mutex
	eventRates   = map[string]eventRate{}
)

// logEvent logs a line of a middleware, unless there have been as many of its reason as there may be. The next one tells
// how many were left out.
func logEvent(line *eventLine) {
	now := time.Now()
	if !admitEvent(line, now) {
		return
	}
	line.Time = timestamp(now)
	line.Plugin = "wsfw"
	line.Path = shortened(line.Path, maxText)
	line.Error = shortened(line.Error, maxText)
	logLine(line)
}

// admitEvent reports whether there may be one more line of this reason, and has the first one of a second tell how many were
// left out in the last.
func admitEvent(line *eventLine, now time.Time) bool {
	eventRatesMu.Lock()
	defer eventRatesMu.Unlock()
	key := line.Name + "\n" + line.Reason
	rate := eventRates[key]
	if now.Sub(rate.began) >= time.Second {
		if rate.lines > maxEventsPerSecond {
			line.Omitted = rate.lines - maxEventsPerSecond
		}
		rate.began = now
		rate.lines = 0
	}
	rate.lines++
	eventRates[key] = rate
	return rate.lines <= maxEventsPerSecond
}

// timestampForm is RFC 3339 with milliseconds.
const timestampForm = "2006-01-02T15:04:05.000Z07:00"

// timestamp is a time as lines have it, in UTC.
func timestamp(at time.Time) string {
	return at.UTC().Format(timestampForm)
}

// maxText is how much of a text from outside a line shows, in bytes.
const maxText = 1 << 10

// shortened is a text of which there are at most so many bytes.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

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
	return fmt.Appendf(nil, `\u%04x`, bytes.Runes(character)[0])
}

// The queue's bounds.
const (
	maxQueuedLines = 500
	maxQueuedBytes = 1 << 20
)

// atomicWrite is how many bytes go to a pipe in one piece (PIPE_BUF on Linux), so that lines do not mix with Traefik's own.
const atomicWrite = 4 << 10

// lineQueue has the lines that wait to be written. mu guards all but out, and is not held while lines are written.
type lineQueue struct {
	mu      sync.Mutex
	text    []byte               // JSON objects, each with a line break, the oldest first; those that are being written are still there
	lines   int                  // of these
	dropped int64                // lines that no line has told of
	lost    int64                // all that were dropped
	writing bool                 // a goroutine is at work
	stuck   bool                 // a flush has waited in vain, and nothing has been written since
	flushes []context.CancelFunc // called when nothing waits any more

	out io.Writer // of the goroutine; nil until there is a line
}

// output is the log of all middlewares.
var output = &lineQueue{}

// enqueue queues a JSON object, or counts it where there is no room.
func enqueue(q *lineQueue, object []byte) {
	q.mu.Lock()
	if q.lines < maxQueuedLines && len(q.text)+len(object) < maxQueuedBytes {
		q.text = append(append(q.text, object...), '\n')
		q.lines++
	} else {
		q.dropped++
		q.lost++
	}
	if !q.writing {
		q.writing = true
		go writeLines(q)
	}
	q.mu.Unlock()
}

// allDropped is how many lines were dropped in all.
func allDropped(q *lineQueue) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// lingering is how long the goroutine waits for more lines: where many sessions end, many end in that time.
const lingering = 10 * time.Millisecond

// writeLines writes what is queued, until nothing more comes.
func writeLines(q *lineQueue) {
	defer stopWriting(q)
	for writeQueued(q) {
		time.Sleep(lingering)
	}
}

// stopWriting, deferred, lets the next line have a goroutine of its own after a panic in this one.
func stopWriting(q *lineQueue) {
	if recover() != nil {
		q.mu.Lock()
		q.writing = false
		q.mu.Unlock()
	}
}

// writeQueued writes all lines. It is false where there were none: then nobody writes any more.
func writeQueued(q *lineQueue) bool {
	for wrote := false; ; wrote = true {
		q.mu.Lock()
		if q.lines == 0 {
			q.text = nil
			q.writing = wrote
			for _, flushed := range q.flushes {
				flushed()
			}
			q.flushes = nil
			q.mu.Unlock()
			return wrote
		}
		text, dropped := firstLines(q.text), q.dropped
		q.dropped = 0
		q.mu.Unlock()
		lines := bytes.Count(text, []byte{'\n'})
		if q.out == nil {
			q.out = openOutput()
		}
		_, err := q.out.Write(withDropped(text, dropped))
		q.mu.Lock()
		q.text = q.text[len(text):]
		q.lines -= lines
		q.stuck = false
		if err != nil {
			q.dropped += dropped + int64(lines)
			q.lost += int64(lines)
		}
		q.mu.Unlock()
	}
}

// firstLines are as many lines at the beginning of text as are written at once: one at least.
func firstLines(text []byte) []byte {
	if len(text) <= atomicWrite {
		return text
	}
	end := bytes.LastIndexByte(text[:atomicWrite], '\n')
	if end < 0 {
		end = bytes.IndexByte(text, '\n')
	}
	return text[:end+1]
}

// withDropped is text, the first line of which tells how many were dropped before it, too.
func withDropped(text []byte, dropped int64) []byte {
	if dropped == 0 {
		return text
	}
	return bytes.Replace(text, []byte("}\n"), fmt.Appendf(nil, ",\"linesDropped\":%d}\n", dropped), 1)
}

// flushTimeout is how long the end of a drained session waits for its line to be written.
const flushTimeout = time.Second

// flushLines waits until the lines queued so far are written, for at most limit. It does not wait where an earlier one has
// waited in vain and nothing has been written since: whoever does not read the log delays nobody twice.
func flushLines(q *lineQueue, limit time.Duration) {
	q.mu.Lock()
	if q.lines == 0 || q.stuck {
		q.mu.Unlock()
		return
	}
	ctx, flushed := context.WithTimeout(context.Background(), limit)
	q.flushes = append(q.flushes, flushed)
	q.mu.Unlock()
	<-ctx.Done()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		q.mu.Lock()
		q.stuck = true
		q.mu.Unlock()
	}
}

// openOutput is what lines are written to: for a pipe or a socket a descriptor of our own, for a write to a standard output
// whose reader has gone raises SIGPIPE, which ends the process. Where there is none, and for files, which have no reader
// and whose position a descriptor of our own would not share, it is standard output itself.
func openOutput() io.Writer {
	info, err := os.Stdout.Stat()
	if err == nil && info.Mode()&os.ModeSocket != 0 {
		return openSocket()
	}
	if err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return openPipe()
	}
	return os.Stdout
}

// openPipe is such a descriptor where standard output is a pipe.
func openPipe() io.Writer {
	number := uintptr(1)
	if raw, err := os.Stdout.SyscallConn(); err == nil { // for File.Fd would make its writes block threads
		_ = raw.Control(func(fd uintptr) { number = fd })
	}
	for _, directory := range []string{"/proc/self/fd/", "/dev/fd/"} {
		pipe, err := os.OpenFile(directory+fmt.Sprint(number), os.O_WRONLY, 0)
		if err == nil {
			return pipe
		}
	}
	return os.Stdout
}

// openSocket is one where that is a socket, as under systemd: it cannot be opened by its name. net makes it one that does
// not block, and so standard output itself, by which Traefik would lose lines of its own: Fd makes both block again.
func openSocket() io.Writer {
	conn, err := net.FileConn(os.Stdout)
	if err != nil {
		return os.Stdout
	}
	defer conn.Close()
	if socket, ok := conn.(*net.UnixConn); ok {
		if file, err := socket.File(); err == nil {
			_ = file.Fd()
			return file
		}
	}
	return os.Stdout
}

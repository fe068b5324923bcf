package wsfw

import (
	"encoding/json"
	"os"
	"time"
)

// record is the line that each session leaves in the log.
type record struct {
	Time         string  `json:"time"` // of the end, RFC 3339 in UTC
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

// complaint is a line in the log about something that went wrong.
type complaint struct {
	Time    string `json:"time"`
	Level   string `json:"level"`
	Plugin  string `json:"plugin"`
	Message string `json:"msg"`
	Name    string `json:"name"`
	Cause   string `json:"error"`
}

// timestamp is a time in RFC 3339, UTC, milliseconds.
func timestamp(at time.Time) string {
	return at.UTC().Format(timeLayout)
}

// timeLayout is that of a timestamp, of a time in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// logLine writes entry as one line of JSON to standard output: with one write, so
// that lines of concurrent sessions do not mix, and raw, for what goes through fmt or
// log reaches Traefik's log only at its DEBUG or ERROR level.
func logLine(entry any) {
	_ = json.NewEncoder(os.Stdout).Encode(entry)
}

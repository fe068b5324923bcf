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

// recordOf is the record of a session that has ended.
func recordOf(v *visit, s *session) *record {
	now := time.Now()
	up, down, took := s.toUpstream, s.toClient, now.Sub(v.started)
	entry := &record{
		Time:         timestamp(now),
		Level:        "info",
		Plugin:       "wsfw",
		Message:      "websocket session",
		Name:         v.middleware.name,
		Client:       v.client,
		Upstream:     v.upstream,
		Path:         v.path,
		Subprotocol:  v.subprotocol,
		Duration:     float64((took+time.Millisecond/2)/time.Millisecond) / 1000,
		FromClient:   traffic{Frames: up.track.frames, Messages: up.track.messages, Bytes: up.bytes},
		Heartbeat:    s.unpinged,
		FromUpstream: traffic{Frames: down.track.frames, Messages: down.track.messages, Bytes: down.bytes},
		EndedBy:      s.outcome.endedBy,
		Code:         s.outcome.code,
		Reason:       s.outcome.reason,
	}
	if s.pinged {
		entry.Heartbeat = pulsesOf(s)
	}
	return entry
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
	return at.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// logLine writes entry as one line of JSON to standard output: with one write, so
// that lines of concurrent sessions do not mix, and raw, for what goes through fmt or
// log reaches Traefik's log only at its DEBUG or ERROR level.
func logLine(entry any) {
	_ = json.NewEncoder(os.Stdout).Encode(entry)
}

package wsfw

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// sessionRegistry has sessions that are open, and what is counted. mu is never held for longer than it takes to copy what is
// guarded, and nothing else is locked meanwhile.
type sessionRegistry struct {
	mu       sync.Mutex
	open     map[*upgrade]bool
	latest   int                // number of the latest session
	counts   map[string]*counts // by the middleware's name
	counting bool               // there has been a status middleware
}

// registry is that of all middlewares: one interpreter runs them all.
var registry = &sessionRegistry{open: map[*upgrade]bool{}, counts: map[string]*counts{}}

// countsOf are the counts of the middleware called name.
func countsOf(name string) *counts {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	c := registry.counts[name]
	if c == nil {
		c = newCounts()
		registry.counts[name] = c
	}
	return c
}

// register has the session of an upgrade seen, from its opening on.
func register(u *upgrade) {
	registry.mu.Lock()
	registry.latest++
	u.number = registry.latest
	registry.open[u] = true
	counting := registry.counting
	registry.mu.Unlock()
	if counting {
		countOpened(u)
	}
}

// unregister has a session whose directions have ended seen no more.
func unregister(u *upgrade) {
	registry.mu.Lock()
	delete(registry.open, u)
	registry.mu.Unlock()
	if s := u.session; s.client.counts != nil || s.pinged {
		countClosed(u)
	}
}

// maxUser is how much of who a client is is kept, in bytes.
const maxUser = 256

// userOf is who the client of a request is, as the header called name has it.
func userOf(req *http.Request, name string) string {
	return shortened(strings.Join(req.Header[name], ", "), maxUser)
}

// instance begins the ids of this interpreter's sessions.
var instance = hex.EncodeToString(randomBytes(4)) + "-"

// idOf is the id of a session with a number.
func idOf(number int) string {
	return instance + strconv.FormatInt(int64(number), 36)
}

// numberOf is the number of the session with an id, -1 where that is none of this interpreter's.
func numberOf(id string) int {
	number, err := strconv.ParseInt(strings.TrimPrefix(id, instance), 36, 0)
	if err != nil || number < 1 || idOf(int(number)) != id {
		return -1
	}
	return int(number)
}

// statusHandler answers an operator's requests about the sessions of all middlewares: mode: status.
type statusHandler struct {
	next http.Handler // of what does not lie below path
	name string
	path []string
}

// newStatus makes one, and keeps the history for as long as ctx lives.
func newStatus(ctx context.Context, next http.Handler, set *settings, name string) http.Handler {
	registry.mu.Lock()
	first := !registry.counting
	registry.counting = true
	registry.mu.Unlock()
	if first {
		for _, u := range openSessions() {
			adopt(u)
		}
	}
	keepHistory(ctx)
	return &statusHandler{next: next, name: name, path: set.path}
}

// keepHistory samples until ctx ends. A variable, for the same reason as newScheduler is one.
var keepHistory = func(ctx context.Context) {
	keepSample()
	var timer *time.Timer
	timer = time.AfterFunc(sampleInterval, func() {
		defer swallow()
		keepSample()
		if ctx.Err() == nil {
			timer.Reset(sampleInterval)
		}
	})
	context.AfterFunc(ctx, func() {
		defer swallow()
		timer.Stop()
	})
}

// pagePolicy lets the page do what it does, and nothing else.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP answers what lies below path.
func (h *statusHandler) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	rest, ours := below(h.path, sentPath(req.URL))
	if !ours {
		h.next.ServeHTTP(rw, req)
		return
	}
	rw.Header().Set("Cache-Control", "no-store")
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	id, named := strings.CutPrefix(rest, "/sessions/")
	reads := req.Method == http.MethodGet || req.Method == http.MethodHead
	switch {
	case rest == "" && len(h.path) > 0 && reads: // the page's addresses are relative
		rw.Header().Set("Location", "./"+url.PathEscape(h.path[len(h.path)-1])+"/")
		rw.WriteHeader(http.StatusFound)
	case (rest == "/" || rest == "") && reads:
		rw.Header().Set("Content-Security-Policy", pagePolicy)
		answerText(rw, http.StatusOK, "text/html; charset=utf-8", page)
	case rest == "/metrics" && reads:
		var b bytes.Buffer
		writeMetrics(&b)
		answerText(rw, http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", b.String())
	case rest == "/history" && reads:
		answerHistory(rw)
	case rest == "/sessions" && reads:
		answerSessions(rw, req)
	case rest == "/sessions" && req.Method == http.MethodDelete:
		h.endSessions(rw, req, "")
	case named && req.Method == http.MethodDelete:
		h.endSessions(rw, req, id)
	default:
		h.answerOther(rw, rest, named)
	}
}

// answerOther answers a request for what there is not.
func (h *statusHandler) answerOther(rw http.ResponseWriter, rest string, named bool) {
	allow := map[string]string{"": "GET, HEAD", "/": "GET, HEAD", "/metrics": "GET, HEAD", "/history": "GET, HEAD", "/sessions": "GET, HEAD, DELETE"}[rest]
	if named {
		allow = "DELETE"
	}
	if allow == "" {
		answerMistake(rw, http.StatusNotFound, "There are /, /metrics, /sessions and /history below this path.")
		return
	}
	rw.Header().Set("Allow", allow)
	answerMistake(rw, http.StatusMethodNotAllowed, "This method is not for this address.")
}

// answerText answers with a body.
func answerText(rw http.ResponseWriter, code int, kind, body string) {
	rw.Header().Set("Content-Type", kind)
	rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
	rw.WriteHeader(code)
	_, _ = rw.Write([]byte(body))
}

// answerMistake answers with a sentence that says what to change.
func answerMistake(rw http.ResponseWriter, code int, sentence string) {
	answerText(rw, code, "text/plain; charset=utf-8", sentence+"\n")
}

// answerJSON answers with a value.
func answerJSON(rw http.ResponseWriter, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		answerMistake(rw, http.StatusInternalServerError, "The answer cannot be written.")
		return
	}
	answerText(rw, http.StatusOK, "application/json", string(text)+"\n")
}

// history is the samples for the page.
type history struct {
	Every   float64  `json:"every"` // seconds
	Samples []sample `json:"samples"`
}

// answerHistory answers with the history, up to now.
func answerHistory(rw http.ResponseWriter) {
	samplesMu.Lock()
	all := append([]sample(nil), samples...)
	samplesMu.Unlock()
	answerJSON(rw, &history{Every: sampleInterval.Seconds(), Samples: append(all, takeSample())})
}

// openSession is a session in the list.
type openSession struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Client       string   `json:"client"`
	User         string   `json:"user,omitempty"`
	HTTP         string   `json:"http,omitempty"`
	Upstream     string   `json:"upstream"`
	Path         string   `json:"path"`
	Subprotocol  string   `json:"subprotocol"`
	Opened       string   `json:"opened"`
	LastData     string   `json:"lastData,omitempty"`
	FromClient   *traffic `json:"fromClient"`
	FromUpstream *traffic `json:"fromUpstream"`
	Heartbeat    *pulses  `json:"heartbeat,omitempty"`
	State        string   `json:"state"` // open or closing
}

// sessionList is a page of the list.
type sessionList struct {
	Total    int            `json:"total"` // that the filter takes
	Sessions []*openSession `json:"sessions"`
	Next     string         `json:"next,omitempty"` // cursor of the next page
}

// sessionFilter takes sessions. What is empty takes all.
type sessionFilter struct {
	keys                               int // that were given
	id                                 int // number; -1 of none
	name, client, user, path, upstream string
	older, idle                        time.Duration
}

// filterKeys are those of a query.
var filterKeys = []string{"id", "name", "client", "user", "path", "upstream", "older", "idle"}

// The list's pages.
const (
	usualPage   = 100
	largestPage = 1000
)

// filterOf reads a filter from a query, which may have other keys, too. The error says what to change.
func filterOf(query url.Values, others ...string) (*sessionFilter, error) {
	f := &sessionFilter{}
	for _, key := range sortedKeys(query) {
		if contains(others, key) {
			continue
		}
		if !contains(filterKeys, key) {
			return nil, fmt.Errorf("there is no filter %s: there are %s", quoted(key), strings.Join(filterKeys, ", "))
		}
		if len(query[key]) > 1 || query[key][0] == "" {
			return nil, fmt.Errorf("%s must have one value: give it one, or leave it out", key)
		}
		f.keys++
	}
	f.name = query.Get("name")
	f.client = query.Get("client")
	f.user = query.Get("user")
	f.path = query.Get("path")
	f.upstream = query.Get("upstream")
	if query.Has("id") {
		f.id = numberOf(query.Get("id"))
	}
	var err error
	if query.Has("older") {
		f.older, err = time.ParseDuration(query.Get("older"))
	}
	if query.Has("idle") && err == nil {
		f.idle, err = time.ParseDuration(query.Get("idle"))
	}
	if err != nil || f.older < 0 || f.idle < 0 {
		return nil, errors.New("older and idle must be durations such as 5m")
	}
	return f, nil
}

// takes reports whether the filter takes the session of an upgrade.
func (f *sessionFilter) takes(u *upgrade, now time.Time) bool {
	if f.id != 0 && f.id != u.number || f.name != "" && f.name != u.middleware.name || f.user != "" && f.user != u.user {
		return false
	}
	if f.client != "" && f.client != u.ip && f.client != u.req.RemoteAddr {
		return false
	}
	if !strings.HasPrefix(u.path, f.path) || !strings.HasPrefix(u.upstream, f.upstream) {
		return false
	}
	if f.older > 0 && now.Sub(u.started) < f.older {
		return false
	}
	return f.idle == 0 || now.Sub(u.session.started)-lastData(u.session) >= f.idle
}

// lastData is when data was last seen to come or go, since the session's start.
func lastData(s *session) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastData
}

// openSessions are the upgrades whose sessions are open, in any order.
func openSessions() []*upgrade {
	registry.mu.Lock()
	keys := reflect.ValueOf(registry.open).MapKeys() // in compiled code, so that nobody waits for long
	registry.mu.Unlock()
	all := make([]*upgrade, 0, len(keys))
	for _, key := range keys {
		all = append(all, key.Interface().(*upgrade))
	}
	return all
}

// taken are the open sessions that a filter takes, by number, and their numbers, the oldest first.
func taken(f *sessionFilter) (numbers []int, byNumber map[int]*upgrade) {
	now := time.Now()
	byNumber = map[int]*upgrade{}
	for _, u := range openSessions() {
		if f.takes(u, now) {
			numbers = append(numbers, u.number)
			byNumber[u.number] = u
		}
	}
	sort.Ints(numbers)
	return numbers, byNumber
}

// answerSessions answers with a page of the sessions that the query asks for.
func answerSessions(rw http.ResponseWriter, req *http.Request) {
	query := req.URL.Query()
	f, err := filterOf(query, "limit", "cursor")
	limit, after := usualPage, 0
	if err == nil && query.Has("limit") {
		limit, err = strconv.Atoi(query.Get("limit"))
		if err != nil || limit < 1 || limit > largestPage {
			err = fmt.Errorf("limit must be a number from 1 to %d", largestPage)
		}
	}
	if err == nil && query.Has("cursor") {
		after = numberOf(query.Get("cursor"))
		if after < 0 {
			err = errors.New("cursor must be what an earlier answer has in next")
		}
	}
	if err != nil {
		answerMistake(rw, http.StatusBadRequest, err.Error()+".")
		return
	}
	numbers, byNumber := taken(f)
	list := &sessionList{Total: len(numbers), Sessions: []*openSession{}}
	for _, number := range numbers[sort.SearchInts(numbers, after+1):] {
		if len(list.Sessions) == limit {
			list.Next = list.Sessions[limit-1].ID
			break
		}
		list.Sessions = append(list.Sessions, describe(byNumber[number], number))
	}
	answerJSON(rw, list)
}

// describe is a session for the list.
func describe(u *upgrade, number int) *openSession {
	s := u.session
	o := &openSession{
		ID: idOf(number), Name: u.middleware.name, Client: u.req.RemoteAddr, User: u.user, HTTP: u.http, Upstream: u.upstream,
		Path: u.path, Subprotocol: u.subprotocol, Opened: timestamp(s.started), State: "open",
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastData > 0 {
		o.LastData = timestamp(s.started.Add(s.lastData))
	}
	if s.closing {
		o.State = "closing"
	}
	fromClient, fromUpstream := s.toUpstream.tallied, s.toClient.tallied
	o.FromClient = &fromClient
	o.FromUpstream = &fromUpstream
	o.Heartbeat = s.unpinged
	if s.pinged {
		o.Heartbeat = pulsesOf(s)
	}
	return o
}

// endings is how many sessions a DELETE has ended.
type endings struct {
	Ended int `json:"ended"`
}

// endSessions ends the sessions that a request names: the one with an id, or all that a filter takes.
func (h *statusHandler) endSessions(rw http.ResponseWriter, req *http.Request, id string) {
	if isCrossSite(req) {
		answerMistake(rw, http.StatusForbidden, "A page of another site may not end sessions.")
		return
	}
	query := req.URL.Query()
	if id != "" {
		query.Set("id", id)
	}
	cause, err := causeOf(query)
	f := &sessionFilter{}
	if err == nil {
		f, err = filterOf(query, "code", "reason")
	}
	if err == nil && f.keys == 0 {
		err = errors.New("name the sessions: by /sessions/ID, or by a filter such as ?user=NAME")
	}
	if err != nil {
		answerMistake(rw, http.StatusBadRequest, err.Error()+".")
		return
	}
	ended := 0
	_, byNumber := taken(f)
	for _, u := range byNumber {
		if dismiss(u.session, cause) {
			ended++
		}
	}
	if id != "" && ended == 0 {
		answerMistake(rw, http.StatusNotFound, "There is no open session with this id.")
		return
	}
	query.Del("code")
	query.Del("reason")
	logEnding(h.name, req, query.Encode(), ended, cause)
	answerJSON(rw, &endings{ended})
}

// causeOf is the cause to end sessions that a query names.
func causeOf(query url.Values) (*closeCause, error) {
	cause := &closeCause{reason: "ended by the operator", code: closePolicy}
	if query.Has("reason") {
		cause.reason = query.Get("reason")
	}
	if query.Has("code") {
		code, err := strconv.Atoi(query.Get("code"))
		if err != nil || !mayBeSent(code) {
			return nil, errors.New("code must be a close code that may be sent, such as 1008 (the default) or 4001")
		}
		cause.code = code
	}
	if len(cause.reason) > maxCloseReason || !utf8.ValidString(cause.reason) {
		return nil, fmt.Errorf("reason must be UTF-8 of at most %d bytes", maxCloseReason)
	}
	return cause, nil
}

// isCrossSite reports whether a browser sends a request for a page of another site. Other clients do not say.
func isCrossSite(req *http.Request) bool {
	if site := req.Header.Get("Sec-Fetch-Site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	origin := req.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != req.Host
}

// operatorOf is who sends a request, as far as it says so: by basic authentication, or by the header that Traefik's and other
// gateways set.
func operatorOf(req *http.Request) string {
	if user, _, ok := req.BasicAuth(); ok {
		return user
	}
	return req.Header.Get("X-Forwarded-User")
}

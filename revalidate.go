package wsfw

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/textproto"
	"sync"
	"time"
)

// A session outlives the login that it was opened with, unless somebody asks whether that still holds. wsfw asks an HTTP
// endpoint, as Traefik's forwardAuth does at the opening, with the credentials that the session was opened with: once an
// interval for all sessions that have the same. A 401 or a 403 ends them. Whatever else goes wrong leaves them alone, for an
// endpoint that is down must not end all sessions.

const (
	// askTimeout is how long an endpoint may take to answer.
	askTimeout = 5 * time.Second

	// mostAsking is how many requests to one endpoint there are at a time.
	mostAsking = 32

	// mostAnswered is how much of an answer's body is read so that its connection can be used again, in bytes.
	mostAnswered = 64 << 10
)

// revalidation is the option revalidate. It is the same for all inquiries of one configuration.
type revalidation struct {
	url      string
	interval time.Duration
	headers  []string     // of the client's request, that go with ours
	slots    chan bool    // taken by those who ask
	client   *http.Client // follows no redirects
	by       string       // tells one configuration from another
}

// inquiry asks for all sessions with the same credentials, from the first one's opening to the last one's end.
type inquiry struct {
	*revalidation
	key     string
	name    string      // of the middleware
	counts  *counts     // and its counts
	header  http.Header // of the request
	timer   *time.Timer
	ctx     context.Context // ends with the last session
	cancel  context.CancelFunc
	members map[*upgrade]bool // guarded by inquiriesMu
}

// inquiries are those that there are, by key. They outlive reloads, as sessions do.
var (
	inquiriesMu sync.Mutex
	inquiries   = map[string]*inquiry{}
)

// revalidation is the option revalidate of the middleware called name; nil where there is none.
func (o *options) revalidation(name string) *revalidation {
	section := o.section("revalidate")
	if section.written == nil {
		return nil
	}
	defer section.finish()
	r := &revalidation{
		url:      section.text("url", ""),
		interval: section.duration("interval", "1m", time.Second, maxDuration),
		slots:    make(chan bool, mostAsking),
	}
	o.addIf(r.url == "", "revalidate.url", "empty", "name the HTTP endpoint to ask, such as http://auth:8080/verify")
	if r.url != "" {
		section.httpURL("url", r.url)
	}
	o.addIf(r.interval == 0, "revalidate.interval", "off", "must be set, 1m is the default")
	for _, header := range section.list("headers", "name the headers that identify the client, or leave it out") {
		canonical := textproto.CanonicalMIMEHeaderKey(header)
		reason := whyNotOurs(canonical)
		if !token.MatchString(header) {
			section.addItem("revalidate.headers", header, "must be a header name")
		} else if reason != "" {
			section.addItem("revalidate.headers", header, "cannot be sent on: it "+reason)
		}
		r.headers = append(r.headers, canonical)
	}
	if r.headers == nil {
		r.headers = []string{"Authorization", "Cookie"}
	}
	r.client = newInquirer()
	r.by = fmt.Sprintln(name, r.url, r.interval, r.headers)
	return r
}

// newInquirer makes a client that follows no redirects: a login page says nothing about a login. Else it connects as
// forwardAuth does.
func newInquirer() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = mostAsking
	return &http.Client{
		Timeout:       askTimeout,
		Transport:     transport,
		CheckRedirect: func(_ *http.Request, _ []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// startInquiry has somebody ask for an upgrade's session from now on, until stopInquiry.
func startInquiry(u *upgrade) {
	r := u.middleware.settings.revalidation
	header := credentialsOf(u.req, u.ip, r.headers)
	u.login.inquiry = inquiryKey(r, header)
	inquiriesMu.Lock()
	defer inquiriesMu.Unlock()
	a := inquiries[u.login.inquiry]
	if a == nil {
		a = newInquiry(r, u.middleware, header)
		a.key = u.login.inquiry
		inquiries[a.key] = a
	}
	a.members[u] = true
}

// ofWebSocket are the schemes that forwardAuth tells where Traefik tells those of WebSocket.
var ofWebSocket = map[string]string{"ws": "http", "wss": "https"}

// credentialsOf are the headers of what is asked for a client's request: its credentials, and what forwardAuth tells, too, but
// for the query, which differs from session to session.
func credentialsOf(req *http.Request, ip string, names []string) http.Header {
	header := http.Header{}
	for _, name := range names {
		if values := req.Header[name]; len(values) > 0 {
			header[name] = values
		}
	}
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		header[name] = req.Header[name]
	}
	header = completed(header, req, ip)
	if proto := ofWebSocket[header.Get("X-Forwarded-Proto")]; proto != "" {
		header.Set("X-Forwarded-Proto", proto)
	}
	header["X-Forwarded-Method"] = []string{http.MethodGet}
	header["X-Forwarded-Uri"] = []string{sentPath(req.URL)}
	header["User-Agent"] = []string{userAgent}
	return header
}

// inquiryKey tells the inquiries of one configuration and credentials from others.
func inquiryKey(r *revalidation, header http.Header) string {
	text := bytes.NewBufferString(r.by)
	_ = header.Write(text)
	sum := sha256.Sum256(text.Bytes())
	return string(sum[:])
}

// newInquiry makes one that asks at first at a random time within the interval, so that sessions that began together are not
// asked for together. A variable, for the same reason as newScheduler is one. Needs inquiriesMu.
var newInquiry = func(r *revalidation, m *Middleware, header http.Header) *inquiry {
	a := &inquiry{revalidation: r, name: m.name, counts: m.counts, header: header, members: map[*upgrade]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	a.ctx = ctx
	a.cancel = cancel
	a.timer = time.AfterFunc(time.Duration(rand.Int63n(int64(r.interval)))+1, func() {
		defer swallow()
		inquire(a)
	})
	return a
}

// stopInquiry has nobody ask for an upgrade's session any more.
func stopInquiry(u *upgrade) {
	inquiriesMu.Lock()
	defer inquiriesMu.Unlock()
	a := inquiries[u.login.inquiry]
	if a == nil {
		return
	}
	delete(a.members, u)
	if len(a.members) == 0 {
		delete(inquiries, a.key)
		a.timer.Stop()
		a.cancel()
	}
}

// inquire asks, follows the answer up, and sets the timer for the next time. A panic is one more answer that says nothing.
func inquire(a *inquiry) {
	defer setInquiry(a)
	status, err := askEndpoint(a)
	if a.ctx.Err() != nil {
		return
	}
	if err == nil && status/100 == 2 {
		countRevalidation(a.counts, "valid")
	} else if status == http.StatusUnauthorized || status == http.StatusForbidden {
		countRevalidation(a.counts, "revoked")
		for _, u := range membersOf(a) {
			revoke(u)
		}
	} else {
		countRevalidation(a.counts, "failed")
		reportRevalidation(a, status, err)
	}
}

// setInquiry, deferred, sets the timer of an inquiry, unless its sessions have ended.
func setInquiry(a *inquiry) {
	defer swallow()
	inquiriesMu.Lock()
	defer inquiriesMu.Unlock()
	if len(a.members) > 0 {
		a.timer.Reset(a.interval)
	}
}

// askEndpoint is the endpoint's status for an inquiry's credentials. It waits for a slot.
func askEndpoint(a *inquiry) (int, error) {
	a.slots <- true
	defer freeSlot(a.slots)
	req, err := http.NewRequestWithContext(a.ctx, http.MethodGet, a.url, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header = a.header
	answer, err := a.client.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.CopyN(io.Discard, answer.Body, mostAnswered)
	_ = answer.Body.Close()
	return answer.StatusCode, nil
}

// freeSlot, deferred, lets another one ask.
func freeSlot(slots chan bool) {
	<-slots
}

// membersOf are the upgrades whose sessions are asked for.
func membersOf(a *inquiry) []*upgrade {
	inquiriesMu.Lock()
	defer inquiriesMu.Unlock()
	var members []*upgrade
	for u := range a.members {
		members = append(members, u)
	}
	return members
}

// reportRevalidation logs why nothing is known of sessions. The error is shown without the endpoint's URL, which may have a
// secret in it.
func reportRevalidation(a *inquiry, status int, err error) {
	line := &eventLine{Level: "error", Message: "sessions not revalidated", Name: a.name, Status: status, Reason: "revalidate_failed"}
	if err != nil {
		line.Error = errors.Unwrap(err).Error()
	} else {
		line.Hint = "the endpoint of revalidate.url must answer 2xx, or 401 or 403 for a login that has ended"
	}
	logEvent(line)
}

// revoke ends the session of an upgrade whose login has ended.
func revoke(u *upgrade) {
	if u.session != nil {
		dismiss(u.session, tokenRevoked)
		return
	}
	u.login.revoked.Store(true)
	u.login.cancel()
}

package wsfw

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// A browser can set no header on an upgrade, so a token comes in one of many places. wsfw takes it out of there, verifies it
// where it has a key, and puts it into the header that servers read. What it has taken reaches nobody else: neither the
// upstream in any other place, nor the log, nor an answer.

// tokenPolicy is the option token.
type tokenPolicy struct {
	from     []carrier
	to       string    // the header that the token goes on in; empty: it does not
	verifier *verifier // nil where no key is set: somebody before wsfw has verified the token
	ends     bool      // a session ends at its token's exp

	stays     bool         // a token is in Authorization, and goes on there
	remembers bool         // and it is verified
	memory    *tokenMemory // of those that were
}

// carrier is a place in a request that a token may be in.
type carrier struct {
	kind string // header, query, cookie, protocol or protocolAfter
	name string // of a header, a query's parameter or a cookie; how a subprotocol begins; or the subprotocol before it
}

// carrierKinds are the places, and what the name in each must look like.
var carrierKinds = map[string]*regexp.Regexp{
	"header": token, "cookie": token, "protocol": token, "protocolAfter": token,
	"query": regexp.MustCompile(`^[^&=#\s]+$`),
}

// tokenPolicy is the option token of the middleware called name; nil where there is none.
func (o *options) tokenPolicy(name string) *tokenPolicy {
	section := o.section("token")
	if section.written == nil {
		return nil
	}
	p := &tokenPolicy{
		from:     section.carriers(),
		to:       textproto.CanonicalMIMEHeaderKey(section.text("to", "Authorization")),
		verifier: newVerifier(section, name),
		ends:     section.flag("endSessions"),
	}
	p.stays = len(p.from) == 1 && p.from[0].kind == "header" && p.from[0].name == "Authorization" && p.to == "Authorization"
	p.remembers = p.stays && p.verifier != nil
	p.memory = &tokenMemory{known: map[string]*knownToken{}}
	reason := whyNotOurs(p.to)
	section.must(token.MatchString(p.to), "to", p.to, "must be a header name such as Authorization, or empty to keep the token from the upstream")
	section.must(reason == "", "to", p.to, "must be another header: this one "+reason)
	section.finish()
	return p
}

// carriers are the places that token.from names.
func (o *options) carriers() []carrier {
	const key = "from"
	remedy := "must be header:NAME, query:NAME, cookie:NAME, protocol:PREFIX or protocolAfter:NAME, such as query:access_token"
	var all []carrier
	for _, item := range o.list(key, "name where the token is, such as header:Authorization, or leave it out") {
		kind, name, _ := strings.Cut(item, ":")
		form := carrierKinds[kind]
		if form == nil || !form.MatchString(name) || kind == "header" && neverThere[textproto.CanonicalMIMEHeaderKey(name)] {
			o.addItem(o.prefix+key, item, remedy)
			continue
		}
		if kind == "header" {
			name = textproto.CanonicalMIMEHeaderKey(name)
		}
		all = append(all, carrier{kind, name})
	}
	if all == nil {
		return []carrier{{"header", "Authorization"}}
	}
	return all
}

// login is what is known of how a client has logged in.
type login struct {
	marker  string    // the subprotocol that the client wants back, where it has offered nothing but that and its token
	expires time.Time // when its token does, and the session ends; zero is never
	fault   string    // what is wrong with its token
	inquiry string    // the key of that which asks whether the login still holds; empty is none

	// In the check, where wsfw has no session of its own.
	cancel  context.CancelFunc // ends next's request
	revoked atomic.Bool
}

// admitLogin is the guard about an upgrade's login.
func admitLogin(u *upgrade, set *settings) *refusal {
	u.login = &login{}
	if set.token == nil {
		return nil
	}
	return admitToken(u, set.token)
}

// admitToken is the guard about an upgrade's token. When it has passed, the upgrade's request is as the upstream may see it,
// and it is known when the session ends, and whose it is.
func admitToken(u *upgrade, p *tokenPolicy) *refusal {
	var said *claims
	if p.remembers {
		said = recall(p, u.req.Header["Authorization"])
	}
	if said == nil {
		fresh, refused := admitFresh(u, p)
		if refused != nil {
			return refused
		}
		said = fresh
	}
	if said == nil {
		return nil
	}
	if p.ends {
		u.login.expires = said.expires
	}
	if u.middleware.settings.userClaim != "" {
		u.user = shortened(claimText(said, u.middleware.settings.userClaim), maxUser)
	}
	return nil
}

// admitFresh is admitToken for a token that is not remembered: its claims, or why it is refused. Claims are nil where nothing is
// to be known of them.
func admitFresh(u *upgrade, p *tokenPolicy) (*claims, *refusal) {
	text := ""
	if p.stays {
		text = bearerOf(u.req.Header["Authorization"])
	}
	usual := text != ""
	if !usual {
		taken, refused := takeToken(u, p)
		if refused != nil {
			return nil, refused
		}
		text = taken
	}
	if strings.ContainsAny(text, unprintable) || utf8.RuneCountInString(text) < len(text) {
		u.login.fault = "it has characters that no header has"
		return nil, refuseToken
	}
	if p.verifier == nil {
		return judgeEnd(u.login, p, believeJWT(text))
	}
	now := time.Now()
	keys := keysNow(p.verifier.keys, now)
	said, refused, cause := verifyJWT(p.verifier, text, now)
	u.login.fault = cause
	if refused != nil {
		return nil, refused
	}
	said, refused = judgeEnd(u.login, p, said)
	if refused == nil && usual {
		remember(p, u.req.Header["Authorization"][0], said, keys, now)
	}
	return said, refused
}

// judgeEnd refuses a token whose session would end at once.
func judgeEnd(l *login, p *tokenPolicy, said *claims) (*claims, *refusal) {
	if p.ends && said != nil && !said.expires.IsZero() && !said.expires.After(time.Now()) {
		l.fault = "exp has passed, and the session would end at once"
		return nil, refuseExpired
	}
	return said, nil
}

// tokenMemory has tokens that were verified not long ago, for clients come back with the same one: after a restart all do. A token
// is known only for as long as the keys are the same by which it was verified, and it has not expired.
type tokenMemory struct {
	mu    sync.Mutex
	known map[string]*knownToken // by the header's line
}

// knownToken is a token that was verified.
type knownToken struct {
	said  *claims
	keys  *keySet
	until time.Time // when it expires
}

const (
	// mostKnown is how many tokens are remembered. When there are more all are forgotten.
	mostKnown = 1000

	// longestKnown is how long a header's line with a token may be that is remembered, in bytes.
	longestKnown = 4 << 10
)

// recall are the claims of a token that is remembered; nil where it is not.
func recall(p *tokenPolicy, lines []string) *claims {
	if len(lines) != 1 {
		return nil
	}
	p.memory.mu.Lock()
	known := p.memory.known[lines[0]]
	p.memory.mu.Unlock()
	if known == nil {
		return nil
	}
	now := time.Now()
	if now.After(known.until) || keysNow(p.verifier.keys, now) != known.keys {
		return nil
	}
	return known.said
}

// remember remembers a token that has been verified, most likely by these keys: it is not where they have changed meanwhile.
func remember(p *tokenPolicy, line string, said *claims, keys *keySet, now time.Time) {
	if len(line) > longestKnown || keysNow(p.verifier.keys, now) != keys {
		return
	}
	until := said.expires
	if until.IsZero() {
		until = now.Add(maxDuration)
	}
	p.memory.mu.Lock()
	if len(p.memory.known) >= mostKnown {
		p.memory.known = map[string]*knownToken{}
	}
	p.memory.known[line] = &knownToken{said: said, keys: keys, until: until}
	p.memory.mu.Unlock()
}

// bearerOf is the token of an Authorization header that is as most clients send it; empty where it is not.
func bearerOf(lines []string) string {
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "Bearer ") {
		return ""
	}
	return lines[0][len("Bearer "):]
}

// takeToken takes the token out of an upgrade's request, wherever it is, and has it go on where it is to go on.
func takeToken(u *upgrade, p *tokenPolicy) (string, *refusal) {
	t := &takenToken{req: u.req, to: p.to}
	for _, from := range p.from {
		refused := takeFrom(t, from)
		if refused != nil {
			return "", refused
		}
	}
	if t.token == "" {
		return "", refuseNoToken
	}
	if t.ambiguous {
		u.login.fault = "there are two in one place"
		return "", refuseToken
	}
	handOn(t)
	u.login.marker = t.marker
	u.req = t.req
	return t.token, nil
}

// takenToken is a request's token, and the request without it.
type takenToken struct {
	token     string
	ambiguous bool // a carrier has more than one token
	marker    string
	to        string        // the header that it goes on in; empty: it does not
	req       *http.Request // a copy as soon as something has to be changed
	copied    bool
}

// note notes what a carrier has. The first carrier that has a token has the one that counts.
func note(t *takenToken, values []string) {
	if t.token == "" && len(values) > 0 {
		t.token = values[0]
		t.ambiguous = len(values) > 1
	}
}

// toChange is the request, to be changed.
func toChange(t *takenToken) *http.Request {
	if !t.copied {
		t.copied = true
		t.req = t.req.Clone(t.req.Context())
	}
	return t.req
}

// takeFrom takes what a carrier has out of a request.
func takeFrom(t *takenToken, from carrier) *refusal {
	switch from.kind {
	case "header":
		takeFromHeader(t, from.name)
	case "query":
		return takeFromQuery(t, from.name)
	case "cookie":
		return takeFromCookies(t, from.name)
	default:
		return takeFromOffer(t, from)
	}
	return nil
}

// takeFromHeader takes the token out of a header. Authorization has one only with the scheme Bearer: other schemes are not
// wsfw's.
func takeFromHeader(t *takenToken, name string) {
	var values []string
	for _, line := range t.req.Header[name] {
		value := strings.TrimSpace(line)
		scheme, rest, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			values = append(values, strings.TrimSpace(rest))
		} else if name != "Authorization" && value != "" {
			values = append(values, value)
		}
	}
	if values == nil {
		return
	}
	note(t, values)
	if name != t.to { // which is overwritten
		delete(toChange(t).Header, name)
	}
}

// takeFromQuery takes a parameter out of the query, in whatever spelling: the upstream would read it in any. The rest of the
// query stays as the client has sent it.
func takeFromQuery(t *takenToken, name string) *refusal {
	raw := t.req.URL.RawQuery
	if raw == "" {
		return nil
	}
	if strings.Count(raw, "&") >= maxItems {
		return refuseLength
	}
	var values, rest []string
	found := false
	for _, item := range strings.Split(raw, "&") {
		key, value, _ := strings.Cut(item, "=")
		plainKey, err := url.QueryUnescape(key)
		if err != nil || plainKey != name {
			rest = append(rest, item)
			continue
		}
		found = true
		if plain, err := url.QueryUnescape(value); err != nil {
			values = append(values, value)
		} else if plain != "" {
			values = append(values, plain)
		}
	}
	if found {
		note(t, values)
		setQuery(toChange(t), strings.Join(rest, "&"))
	}
	return nil
}

// setQuery gives a request another query, in the URL and in the target as it was sent, which Traefik's proxy reads.
func setQuery(req *http.Request, query string) {
	req.URL.RawQuery = query
	req.URL.ForceQuery = false
	target, _, _ := strings.Cut(req.RequestURI, "?")
	if query != "" {
		target += "?" + query
	}
	req.RequestURI = target
}

// takeFromCookies takes a cookie out of the request. The others stay as the client has sent them.
func takeFromCookies(t *takenToken, name string) *refusal {
	sent := strings.Join(t.req.Header["Cookie"], "; ")
	if sent == "" {
		return nil
	}
	if strings.Count(sent, ";") >= maxItems {
		return refuseLength
	}
	var values, rest []string
	found := false
	for _, item := range strings.Split(sent, ";") {
		item = strings.TrimSpace(item)
		key, value, _ := strings.Cut(item, "=")
		if strings.TrimSpace(key) != name {
			rest = append(rest, item)
			continue
		}
		found = true
		if value = strings.Trim(value, ` "`); value != "" {
			values = append(values, value)
		}
	}
	if !found {
		return nil
	}
	note(t, values)
	header := toChange(t).Header
	delete(header, "Cookie")
	if len(rest) > 0 {
		header["Cookie"] = []string{strings.Join(rest, "; ")}
	}
	return nil
}

// takeFromOffer takes a token out of the subprotocols that the client offers.
func takeFromOffer(t *takenToken, from carrier) *refusal {
	lines := t.req.Header[protocolHeader]
	if lines == nil {
		return nil
	}
	if isLong(strings.Join(lines, ",")) {
		return refuseLength
	}
	offered := listItems(lines)
	values, rest, marker := offeredAfter(offered, from.name)
	if from.kind == "protocol" {
		values, rest = offeredWith(offered, from.name)
	}
	if values == nil {
		return nil
	}
	note(t, values)
	setList(toChange(t).Header, protocolHeader, rest)
	if len(rest) == 0 {
		t.marker = marker
	}
	return nil
}

// offeredWith are what follows prefix in subprotocols that begin so, and the other subprotocols. Where the prefix says so,
// it is in base64url (Kubernetes, Phoenix).
func offeredWith(offered []string, prefix string) (values, rest []string) {
	for _, protocol := range offered {
		value, ok := strings.CutPrefix(protocol, prefix)
		if !ok {
			rest = append(rest, protocol)
			continue
		}
		if strings.Contains(prefix, "base64url") {
			value = decoded64(value)
		}
		values = append(values, value)
	}
	return values, rest
}

// decoded64 is what a text in base64url stands for; the text itself where it is none. Some clients write base64 there.
func decoded64(text string) string {
	plain, err := base64.RawURLEncoding.DecodeString(fromBase64.Replace(text))
	if err != nil {
		return " " // no token
	}
	return string(plain)
}

// fromBase64 makes base64url without padding of base64.
var fromBase64 = strings.NewReplacer("+", "-", "/", "_", "=", "")

// offeredAfter are the subprotocols that follow a marker, the other subprotocols, and the marker: a library that has offered
// nothing else demands that back.
func offeredAfter(offered []string, name string) (values, rest []string, marker string) {
	for i := 0; i < len(offered); i++ {
		if offered[i] == name && i+1 < len(offered) {
			values = append(values, offered[i+1])
			marker = name
			i++
		} else {
			rest = append(rest, offered[i])
		}
	}
	return values, rest, marker
}

// handOn has the token go on in the header that it is to go on in. Most often it is there already.
func handOn(t *takenToken) {
	if t.to == "" {
		return
	}
	value := t.token
	if t.to == "Authorization" {
		value = "Bearer " + value
	}
	if strings.Join(t.req.Header[t.to], "\n") != value {
		toChange(t).Header[t.to] = []string{value}
	}
}

// withMarker is an upstream's answer as a client wants it that has offered nothing but a marker and its token.
func withMarker(l *login, answer http.Header) http.Header {
	if l.marker == "" {
		return answer
	}
	answer = answer.Clone()
	answer[protocolHeader] = []string{l.marker}
	return answer
}

// startLogin has a session that has just begun end with the client's login.
func startLogin(u *upgrade) {
	if !u.login.expires.IsZero() {
		limitLogin(u.session, u.login.expires)
	}
	if u.middleware.settings.revalidation != nil {
		startInquiry(u)
	}
}

// limitLogin has a session end when the client's token expires.
func limitLogin(s *session, expires time.Time) {
	left := clamped(expires.Sub(s.started), 0, maxDuration)
	s.mu.Lock()
	defer s.mu.Unlock()
	if left < s.lifetime {
		s.lifetime = left
		lookBy(s, left)
	}
	hurry(s, left+promptClosing)
}

// passOnLogin is passOn for a client that has logged in. Nothing of its session goes through wsfw, so when the login ends wsfw
// ends next's request: a proxy closes the server's connection then, and the client's with it.
func passOnLogin(u *upgrade, writer http.ResponseWriter, req *http.Request) {
	l := u.login
	if l.marker != "" {
		writer.Header()[protocolHeader] = []string{l.marker}
	}
	until := l.expires
	if until.IsZero() {
		until = u.started.Add(maxDuration)
	}
	ctx, cancel := context.WithDeadline(req.Context(), until)
	defer endLogin(ctx, u, cancel)
	l.cancel = cancel
	if u.middleware.settings.revalidation != nil {
		startInquiry(u)
	}
	u.middleware.next.ServeHTTP(writer, req.WithContext(ctx))
}

// endLogin, deferred, follows the end of what passOnLogin has had next serve.
func endLogin(ctx context.Context, u *upgrade, cancel context.CancelFunc) {
	stopInquiry(u)
	cause := tokenExpired
	if u.login.revoked.Load() {
		cause = tokenRevoked
	} else if ctx.Err() != context.DeadlineExceeded {
		cancel()
		return
	}
	cancel()
	logEvent(eventOf(u, http.StatusSwitchingProtocols, strings.ReplaceAll(cause.reason, " ", "_"), "warn", "session cut: "+cause.reason))
}

package wsfw

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Bounds of an upstream's answer: bytes of its headers, and how many informational
// answers may come before it.
const (
	maxAnswerHeader   = 1 << 20
	maxInformational  = 8
	answerBufferBytes = 1 << 10
)

// upstream is how wsfw reaches the upstream of a forward. It is never changed after
// parse.
type upstream struct {
	endpoint       *endpoint
	rules          []upstreamRule
	appendPath     bool
	passHost       bool
	headers        http.Header
	dialer         *net.Dialer // within connectTimeout
	upgradeTimeout time.Duration
	tls            *tlsSource

	// What follows from headers: see prepare.
	withheld    map[string]bool // the client's headers that do not go along
	tellsSource bool            // X-Forwarded-For is not among them
	tail        string          // the end of a request's header: what is set, and an empty line
}

// prepare works out what is the same in all requests.
func (u *upstream) prepare() {
	set, names := http.Header{}, map[string]bool{}
	for name, values := range u.headers {
		names[name] = true
		if name != "Host" && values[0] != "" {
			set[name] = values
		}
	}
	u.withheld = union(hopByHop, ofHandshake, names)
	u.tellsSource = !names["X-Forwarded-For"]
	var b strings.Builder
	_ = set.Write(&b)
	u.tail = b.String() + "\r\n"
	if host := u.headers.Get("Host"); host != "" {
		u.setHost(host)
	}
}

// setHost has all requests carry this Host.
func (u *upstream) setHost(host string) {
	u.passHost = false
	u.endpoint.host = host
	for _, rule := range u.rules {
		rule.endpoint.host = host
	}
}

// endpoint is a ws:// or wss:// URL, taken apart.
type endpoint struct {
	secure   bool
	host     string // as written, for the Host header
	hostname string // without port, for certificates
	address  string // host:port, for the dial
	path     string // as escaped in the URL
	query    string
	target   string // the request target that these make by themselves
	asking   string // and what it begins with where a client has a query, too
	label    string // for records and the log: no path, no query
}

// newEndpoint takes u apart.
func newEndpoint(u *url.URL, secure bool) *endpoint {
	scheme := "ws"
	if secure {
		scheme = "wss"
	}
	e := &endpoint{
		secure:   secure,
		host:     u.Host,
		hostname: u.Hostname(),
		address:  net.JoinHostPort(u.Hostname(), portOf(&url.URL{Scheme: scheme, Host: u.Host})),
		path:     u.EscapedPath(),
		query:    u.RawQuery,
		label:    scheme + "://" + u.Host,
	}
	e.target = targetOf(e, "", "")
	e.asking = strings.TrimSuffix(targetOf(e, "", "?"), "?")
	return e
}

// upstreamRule picks an endpoint where the named value of a request equals value.
type upstreamRule struct {
	header, query, cookie string // one of them is set
	value                 string
	endpoint              *endpoint
}

// matches reports whether the request carries the rule's value.
func (r *upstreamRule) matches(req *http.Request) bool {
	if r.header == "Host" {
		return req.Host == r.value // net/http keeps it apart from the headers
	}
	if r.header != "" {
		return contains(req.Header[r.header], r.value)
	}
	if r.query != "" {
		return contains(req.URL.Query()[r.query], r.value)
	}
	for _, cookie := range req.Cookies() {
		if cookie.Name == r.cookie && cookie.Value == r.value {
			return true
		}
	}
	return false
}

// choose is the endpoint for a request: the first rule's that matches.
func choose(u *upstream, req *http.Request) *endpoint {
	for i := range u.rules {
		if u.rules[i].matches(req) {
			return u.rules[i].endpoint
		}
	}
	return u.endpoint
}

// targetFor is the request target at e for a client that asked for below under the
// middleware's path and for query. It is not ok where there must be no such request.
func targetFor(u *upstream, e *endpoint, below, query string) (target string, ok bool) {
	if u.appendPath {
		target = targetOf(e, below, query)
		return target, !climbs(below) && !strings.ContainsAny(target, unprintable)
	}
	return e.asking + query, !strings.ContainsAny(query, unprintable)
}

// targetOf is the endpoint's target with a path appended, and a query: its own comes first.
func targetOf(e *endpoint, below, query string) string {
	path := e.path
	if strings.HasSuffix(path, "/") && strings.HasPrefix(below, "/") {
		below = below[1:]
	}
	path += below
	if path == "" {
		path = "/"
	}
	if e.query != "" && query != "" {
		return path + "?" + e.query + "&" + query
	}
	if e.query+query != "" {
		return path + "?" + e.query + query
	}
	return path
}

// ofHandshake are the headers of a client's request that are its handshake's own.
var ofHandshake = map[string]bool{
	keyHeader: true, versionHeader: true, protocolHeader: true, extensionsHeader: true, "Content-Length": true, "Host": true,
}

// requestForm is the opening handshake: its target, Host, key, offer, source, further header lines and the
// end.
const requestForm = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s%s%s"

// completed is a copy of a request's header that says where it comes from, too.
func completed(v *visit, req *http.Request) http.Header {
	header := req.Header.Clone()
	if !asksPlainly(header) {
		dropNamed(header)
	}
	if v.ip != "" {
		header["X-Forwarded-For"] = []string{strings.Join(append(header["X-Forwarded-For"], v.ip), ", ")}
	}
	forwarded(header, req)
	return header
}

// dropNamed drops what Connection names as hop by hop. So a client can take back what it says of itself,
// but nothing that is said of it: that is added afterwards.
func dropNamed(header http.Header) {
	connection := header["Connection"]
	for name := range header {
		if hasToken(connection, name) {
			delete(header, name)
		}
	}
}

// forwarded tells the upstream what the client asked for, unless a proxy before has.
func forwarded(header http.Header, req *http.Request) {
	if header.Get("X-Forwarded-Host") == "" {
		header.Set("X-Forwarded-Host", req.Host)
	}
	if header.Get("X-Forwarded-Proto") == "" {
		proto := "http"
		if req.TLS != nil {
			proto = "https"
		}
		header.Set("X-Forwarded-Proto", proto)
	}
}

// dialSecure connects to e: DNS, TCP and TLS, within connectTimeout and while ctx lives.
func dialSecure(ctx context.Context, u *upstream, e *endpoint) (net.Conn, error) {
	if u.dialer.Timeout > 0 {
		bounded, cancel := context.WithTimeout(ctx, u.dialer.Timeout)
		defer cancel()
		ctx = bounded
	}
	conn, err := u.dialer.DialContext(ctx, "tcp", e.address)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, u.tls.config(e.hostname))
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}

// onDone closes conn when ctx ends, until the function that it returns is called.
func onDone(ctx context.Context, conn net.Conn) (release func() bool) {
	return context.AfterFunc(ctx, func() {
		defer func() { _ = recover() }()
		_ = conn.Close()
	})
}

// anyGet is the request that answers are read for, of which only the method counts.
var anyGet = &http.Request{Method: http.MethodGet}

// readAnswer reads an answer's header, past informational ones.
func readAnswer(reader *bufio.Reader) (*http.Response, error) {
	answer, err := http.ReadResponse(reader, anyGet)
	return finalAnswer(reader, answer, err)
}

// finalAnswer is the first answer that is no informational one, from this one on. err is what has come of
// reading that.
func finalAnswer(reader *bufio.Reader, answer *http.Response, err error) (*http.Response, error) {
	if err != nil {
		return nil, withoutQuotes(err)
	}
	for i := 1; i < maxInformational && isInformational(answer); i++ {
		next, err := http.ReadResponse(reader, anyGet)
		if err != nil {
			return nil, withoutQuotes(err)
		}
		answer = next
	}
	if isInformational(answer) {
		return nil, errors.New("too many informational answers")
	}
	return answer, nil
}

// isInformational reports whether another answer follows this one.
func isInformational(answer *http.Response) bool {
	return answer.StatusCode < 200 && answer.StatusCode != http.StatusSwitchingProtocols
}

// withoutQuotes is the error of a reader of HTTP without what it quotes: an upstream
// may send back what a client sent it in confidence, and errors go to the log.
func withoutQuotes(err error) error {
	var failure net.Error
	if errors.As(err, &failure) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errors.New("the answer is not HTTP")
}

// answerWords is all of a 101 that verify looks at, and usualAnswer and usualEnd what is said there around the accept
// value by almost all who have nothing to choose from.
const (
	answerWords = "%q %q %q %q %q"
	usualAnswer = `["websocket"] ["Upgrade"] ["`
	usualEnd    = `"] [] []`
)

// verify is what is untrue in an upstream's 101 for an accept value and the visit's offer, or nil (RFC 6455
// section 4.1, "once the client's opening handshake has been sent"). After that the visit has what is agreed.
func verify(v *visit, answer http.Header, accept string) error {
	v.rules = v.middleware.settings.rules
	v.agreed = asksPlainly(answer)
	if !v.agreed && !asksInOtherWords(answer) {
		return errors.New("the answer is 101 but does not upgrade to websocket")
	}
	if strings.Join(answer[acceptHeader], ", ") != accept {
		return errors.New("Sec-WebSocket-Accept does not fit the key")
	}
	v.chosen = answer[protocolHeader] != nil || answer[extensionsHeader] != nil
	if !v.chosen {
		return nil
	}
	return noteChoice(v, answer)
}

// noteChoice notes what an upstream has chosen, unless that is untrue.
func noteChoice(v *visit, answer http.Header) error {
	set := v.middleware.settings
	if answer[protocolHeader] == nil && compression[strings.Join(v.offer.extensions, ",")] != nil && strings.Join(answer[extensionsHeader], ",") == deflate {
		v.rules = set.deflated
		return nil
	}
	if v.rules != lax {
		v.rules = grammarOf(answer, set.checkText)
	}
	v.subprotocol = answer.Get(protocolHeader)
	return verifyChoice(answer, v.offer)
}

// verifyChoice is what an upstream has agreed to that was not in the offer, or nil.
func verifyChoice(answer http.Header, o *offer) error {
	protocols := listItems(answer[protocolHeader])
	if len(protocols) > 1 || len(protocols) == 1 && !contains(o.protocols, protocols[0]) {
		return errors.New("the subprotocol was not offered")
	}
	offered := extensionNames(o.extensions)
	for _, name := range extensionNames(listItems(answer[extensionsHeader])) {
		if !contains(offered, name) {
			return errors.New("the extension was not offered")
		}
	}
	return nil
}

// extensionNames are extensions without their parameters, in lower case.
func extensionNames(extensions []string) []string {
	names := make([]string, 0, len(extensions))
	for _, extension := range extensions {
		name, _, _ := strings.Cut(extension, ";")
		names = append(names, strings.ToLower(strings.TrimSpace(name)))
	}
	return names
}

// grammarOf is the grammar that negotiated extensions give frames. Where text is to be checked,
// that of an extension which wsfw does not know is exempt, as compressed text is.
func grammarOf(answer http.Header, checkText bool) *grammar {
	names := extensionNames(listItems(answer[extensionsHeader]))
	if len(names) == 0 && checkText {
		return plainText
	}
	if len(names) == 0 {
		return plain
	}
	if len(names) > 1 || names[0] != deflate {
		return extended
	}
	if checkText {
		return compressedText
	}
	return compressed
}

// isTimeout reports whether a dial or an exchange failed on time.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var failure net.Error
	return errors.As(err, &failure) && failure.Timeout()
}

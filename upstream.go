package wsfw

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Bounds of an upstream's answer, in bytes: its headers, with those of the informational answers before it, and what is
// read at a time.
const (
	maxAnswerHeader   = 1 << 20
	answerBufferBytes = 1 << 10
)

// upstream is how wsfw reaches the upstream of a forward. It is never changed after parse.
type upstream struct {
	endpoint       *endpoint
	rules          []upstreamRule
	appendPath     bool
	passHost       bool
	headers        http.Header
	dialer         *net.Dialer // within connectTimeout,
	divided        bool        // which is too short for it to divide
	upgradeTimeout time.Duration
	tls            *tlsSource

	// What follows from headers: see prepare, which sets divided, too.
	withheld    map[string]bool // the client's headers that do not go along
	tellsSource bool            // X-Forwarded-For is not among them
	varies      bool            // endpoint or target depend on the request, even where that has no query
	tail        string          // the end of a request's header: Via, what is set, and an empty line
}

// prepare works out what is the same in all requests.
func (to *upstream) prepare() {
	set := http.Header{}
	names := map[string]bool{}
	for name, values := range to.headers {
		names[name] = true
		if name != "Host" && values[0] != "" {
			set[name] = values
		}
	}
	to.divided = to.dialer.Timeout > 0 && to.dialer.Timeout < undivided
	to.withheld = union(hopByHop, ofHandshake, names)
	to.varies = to.appendPath || to.rules != nil
	to.tellsSource = !names["X-Forwarded-For"]
	var b strings.Builder
	b.WriteString("Via: 1.1 " + pseudonym + "\r\n")
	_ = set.Write(&b)
	to.tail = b.String() + "\r\n"
	if host := to.headers.Get("Host"); host != "" {
		to.passHost = false
		to.endpoint.host = host
		for _, rule := range to.rules {
			rule.endpoint.host = host
		}
	}
}

// pseudonym is what this process calls itself in Via (RFC 9110 section 7.6.3), by which it sees that a request has been
// here before. No other process has that name.
var pseudonym = "wsfw-" + hex.EncodeToString(randomBytes(8))

// randomBytes are that many bytes that nobody can foresee.
func randomBytes(count int) []byte {
	b := make([]byte, count)
	_, _ = rand.Read(b)
	return b
}

// endpoint is a ws:// or wss:// URL, taken apart.
type endpoint struct {
	secure   bool
	named    bool   // by a name, not by an address
	host     string // for the Host header: as written, without an IPv6 zone (RFC 6874 section 4)
	hostname string // without port and zone, for certificates
	address  string // host:port, for the dial
	path     string // as escaped in the URL
	query    string
	target   string // the request target that these make by themselves
	label    string // for the log: no path, no query
}

// newEndpoint takes u apart.
func newEndpoint(u *url.URL, secure bool) *endpoint {
	scheme := "ws"
	if secure {
		scheme = "wss"
	}
	dialed := asciiHost(u.Hostname())
	hostname, _, zoned := strings.Cut(dialed, "%")
	host := u.Host
	if zoned || dialed != u.Hostname() {
		host = hostname
		if strings.Contains(hostname, ":") {
			host = "[" + hostname + "]"
		}
		if port := u.Port(); port != "" {
			host += ":" + port
		}
	}
	e := &endpoint{
		secure:   secure,
		named:    net.ParseIP(dialed) == nil,
		host:     host,
		hostname: hostname,
		address:  net.JoinHostPort(dialed, portOf(&url.URL{Scheme: scheme, Host: u.Host})),
		path:     u.EscapedPath(),
		query:    u.RawQuery,
		label:    scheme + "://" + u.Host,
	}
	e.target = targetOf(e, "", "")
	return e
}

// upstreamRule picks an endpoint where the named value of a request equals value.
type upstreamRule struct {
	header, query, cookie string // one of them is set
	value                 string
	endpoint              *endpoint
	inCookies             *regexp.Regexp // finds value in a Cookie header
}

// cookieValue is a value that a cookie can have (RFC 6265 section 4.1.1, and spaces and commas, as net/http has it).
var cookieValue = regexp.MustCompile(`^[!#-:<-\[\]-~]([ !#-:<-\[\]-~]*[!#-:<-\[\]-~])?$`)

// prepare has cookies looked for by compiled code: a request may have a hundred thousand.
func (r *upstreamRule) prepare() {
	if r.cookie != "" {
		value := regexp.QuoteMeta(r.value)
		r.inCookies = regexp.MustCompile(`(?:^|;)[ \t]*` + regexp.QuoteMeta(r.cookie) + `[ \t]*=[ \t]*(?:` + value + `|"` + value + `")[ \t]*(?:;|$)`)
	}
}

// matches reports whether the request, whose query is taken apart already, carries the rule's value.
func matches(r *upstreamRule, req *http.Request, query url.Values) bool {
	if r.header == "Host" {
		return req.Host == r.value // net/http keeps it apart from the headers
	}
	if r.header != "" {
		return strings.Contains("\n"+strings.Join(req.Header[r.header], "\n")+"\n", "\n"+r.value+"\n")
	}
	if r.query != "" {
		return contains(query[r.query], r.value)
	}
	return r.inCookies.MatchString(strings.Join(req.Header["Cookie"], ";"))
}

// choose is the endpoint for a request: the first rule's that matches.
func choose(to *upstream, req *http.Request) *endpoint {
	query := req.URL.Query()
	for i := range to.rules {
		if matches(&to.rules[i], req, query) {
			return to.rules[i].endpoint
		}
	}
	return to.endpoint
}

// targetFor is the request target at e for what the client asked for; empty where there must be no such request.
func targetFor(u *upgrade, to *upstream, e *endpoint) string {
	rest := ""
	if to.appendPath {
		rest, _ = below(u.middleware.settings.path, u.path)
	}
	target := targetOf(e, rest, u.req.URL.RawQuery)
	if rest != "" && (rest[0] != '/' || climbs(rest)) || strings.ContainsAny(target, unprintable) {
		return ""
	}
	return target
}

// targetOf is the endpoint's target with a path appended, and a query: its own comes first.
func targetOf(e *endpoint, below, query string) string {
	path := e.path + below
	if strings.HasSuffix(e.path, "/") && strings.HasPrefix(below, "/") {
		path = e.path + below[1:]
	}
	if path == "" {
		path = "/"
	}
	if e.query != "" && query != "" {
		query = "&" + query
	}
	if e.query+query != "" {
		return path + "?" + e.query + query
	}
	return path
}

// climbing is a dot segment of a path without escapes, also with parameters, or with what some servers cut off.
var climbing = regexp.MustCompile(`(?:^|[/\\])\.\.?(?:[; \x00][^/\\]*)?(?:[/\\]|$)`)

// unescape takes one level of those escapes away that matter to climbing, whatever else there is that is none.
var unescape = strings.NewReplacer("%25", "%", "%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`,
	"%3b", ";", "%3B", ";", "%20", " ", "%00", "\x00")

// maxEscapes is how often an escape may be escaped again until nobody is expected to read it any more.
const maxEscapes = 4

// climbs reports whether a path is badly escaped, or has a dot segment by which it would leave the path that it is appended
// to, in any spelling that an upstream might read so: escaped, once or again, with parameters, or between backslashes.
func climbs(path string) bool {
	_, err := url.PathUnescape(path)
	if err != nil {
		return true
	}
	for i := 0; i < maxEscapes; i++ {
		if climbing.MatchString(path) {
			return true
		}
		plainer := unescape.Replace(path)
		if plainer == path {
			return false
		}
		path = plainer
	}
	return true
}

// unprintable are the bytes that would break a request line in two. net/http lets none of them
// in, but a middleware before wsfw may have rewritten the path.
const unprintable = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f \x7f"

// ofHandshake are the headers of a client's request that are its handshake's own.
var ofHandshake = map[string]bool{
	keyHeader: true, versionHeader: true, protocolHeader: true, extensionsHeader: true, "Content-Length": true, "Host": true,
}

// forward asks the upstream for what the client has asked for, and joins the two once it has agreed. Otherwise it answers
// the client. It waits for the upstream's answer within upgradeTimeout, and for as long as the client waits.
func forward(u *upgrade, to *upstream) {
	e, req := to.endpoint, u.req
	if to.varies || req.URL.RawQuery != "" || req.Header["Via"] != nil {
		e = endpointFor(u, to)
	}
	if e == nil {
		return
	}
	u.upstream = e.label
	ctx := req.Context()
	conn, err := dial(ctx, to, e)
	if err != nil {
		failUpstream(u, err)
		return
	}
	u.dialed = conn
	release := onDone(ctx, conn)
	key := base64.StdEncoding.EncodeToString(randomBytes(16)) // of our own (RFC 6455 section 4.1, item 7)
	head := new(bytes.Buffer)
	limited := &io.LimitedReader{R: io.TeeReader(conn, head), N: maxAnswerHeader}
	reader := bufio.NewReaderSize(limited, answerBufferBytes)
	err = writeRequest(u, to, e, key)
	if err != nil {
		failUpstream(u, err)
		return
	}
	answer, err := readAnswer(reader, head) //nolint:bodyclose // it is read from the connection, which is closed
	switching := err == nil && answer.StatusCode == http.StatusSwitchingProtocols
	if switching {
		err = verify(u, answer.Header, acceptFor(key))
	}
	if err != nil {
		failUpstream(u, err)
		return
	}
	release()
	_ = conn.SetDeadline(never)
	if !switching {
		passAnswer(u, answer, limited)
		return
	}
	client := acceptClient(u, answer.Header)
	if client == nil {
		return
	}
	upstream := newPeer(upstreamPeer, conn)
	if reader.Buffered() > 0 {
		upstream.reader = after(early(reader), conn)
	}
	startSession(u, client, upstream)
}

// endpointFor is the endpoint for a request, with the target to ask for. It is nil where there is none, or where it leads
// back to this gateway: the client has been told.
func endpointFor(u *upgrade, to *upstream) *endpoint {
	if strings.Contains(strings.Join(u.req.Header["Via"], ","), pseudonym) {
		refuse(u, refuseLoop)
		return nil
	}
	chosen := *choose(to, u.req)
	chosen.target = targetFor(u, to, &chosen)
	if chosen.target == "" {
		refuse(u, refusePath)
		return nil
	}
	return &chosen
}

// failUpstream answers a client whose upstream could not be reached, and logs the cause, unless the client has gone and
// made it fail.
func failUpstream(u *upgrade, cause error) {
	r := refuseGateway
	if u.req.Context().Err() != nil {
		r = refuseGone
	} else if isTimeout(cause) {
		r = refuseTimeout
	}
	if r != refuseGone {
		reportUpstream(u, r, cause)
	}
	answerRefusal(u.rw, u.req, r)
	countRefused(u, r.reason)
}

// passAnswer hands an upstream's answer other than 101 to the client, while that waits for it. The answer has been read
// through limited, and its body is longer.
func passAnswer(u *upgrade, answer *http.Response, limited *io.LimitedReader) {
	to := u.middleware.settings.upstream
	if answer.StatusCode == http.StatusForbidden && !to.passHost && to.headers["Host"] == nil && u.req.Header["Origin"] != nil {
		hintHost(u)
	}
	countRefused(u, upstreamAnswered)
	limited.R = u.dialed
	limited.N = unlimited
	release := onDone(u.req.Context(), u.dialed)
	defer release()
	pass(u.rw, answer)
}

// requestForm is the opening handshake's request: its target, Host, key, offer and source, further header lines, and the
// upstream's tail.
const requestForm = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s%s%s"

// writeRequest writes the opening handshake's request to e, and has the connection's reads fail when its answer is late.
func writeRequest(u *upgrade, to *upstream, e *endpoint, key string) error {
	header, source, host := withoutNamed(u.req.Header), "", e.host
	if to.passHost {
		host = u.req.Host
	}
	if header["X-Forwarded-For"] != nil || header.Get("X-Forwarded-Proto") == "" || header.Get("X-Forwarded-Host") == "" {
		header = completed(header, u.req, u.ip)
	} else if to.tellsSource && u.ip != "" {
		source = "X-Forwarded-For: " + u.ip + "\r\n"
	}
	lines := new(bytes.Buffer)
	_ = header.WriteSubset(lines, to.withheld)
	if to.upgradeTimeout > 0 {
		_ = u.dialed.SetDeadline(time.Now().Add(to.upgradeTimeout))
	}
	_, err := fmt.Fprintf(u.dialed, requestForm, e.target, host, key, u.offer.lines, source, lines, to.tail)
	return err
}

// completed is a copy of header, what goes on of a request's, that says where the request comes from, too. What its
// Connection names is gone before: a client can take back what it says of itself, but nothing that is said of it.
func completed(header http.Header, req *http.Request, ip string) http.Header {
	header = header.Clone()
	if ip != "" {
		header["X-Forwarded-For"] = []string{strings.Join(append(header["X-Forwarded-For"], ip), ", ")}
	}
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
	return header
}

// dial connects to e within connectTimeout, for as long as ctx lives.
func dial(ctx context.Context, to *upstream, e *endpoint) (net.Conn, error) {
	if e.secure {
		return dialSecure(ctx, to, e)
	}
	if to.divided && e.named {
		return dialEach(ctx, to.dialer.Timeout, e.address)
	}
	return to.dialer.DialContext(ctx, "tcp", e.address)
}

// undivided is the shortest connectTimeout that net.Dialer divides between two addresses of a name, for it gives each 2 s.
const undivided = 4 * time.Second

// dialEach dials the addresses of a name, and divides a short timeout between them: a first address that is dead must not
// use up the time of the others.
func dialEach(ctx context.Context, timeout time.Duration, address string) (net.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	deadline := time.Now().Add(timeout)
	host, port, _ := net.SplitHostPort(address)
	addresses, failed := net.DefaultResolver.LookupHost(bounded, host)
	for i, ip := range addresses {
		share := &net.Dialer{Timeout: time.Until(deadline) / time.Duration(len(addresses)-i)}
		conn, err := share.DialContext(bounded, "tcp", net.JoinHostPort(ip, port))
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	return nil, failed
}

// dialSecure is dial where that includes TLS.
func dialSecure(ctx context.Context, to *upstream, e *endpoint) (net.Conn, error) {
	if to.dialer.Timeout > 0 {
		bounded, cancel := context.WithTimeout(ctx, to.dialer.Timeout)
		defer cancel()
		ctx = bounded
	}
	plain := *e
	plain.secure = false
	conn, err := dial(ctx, to, &plain)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, configFor(to.tls, e.hostname))
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}

// onDone closes conn when ctx ends, until the function that it returns is called.
func onDone(ctx context.Context, conn net.Conn) (release func() bool) {
	return context.AfterFunc(ctx, func() {
		defer swallow()
		_ = conn.Close()
	})
}

// readAnswer reads an answer's header, which comes through head.
func readAnswer(reader *bufio.Reader, head *bytes.Buffer) (*http.Response, error) {
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols || answer.Close {
		return finalAnswer(reader, head, answer, err)
	}
	return answer, nil
}

// finalAnswer is the first answer that is no informational one, from this one on, whose header has come through head. err
// is what has come of reading that.
func finalAnswer(reader *bufio.Reader, head *bytes.Buffer, answer *http.Response, err error) (*http.Response, error) {
	for i := 0; i < maxItems && err == nil && isInformational(answer); i++ {
		answer, err = http.ReadResponse(reader, nil)
	}
	if err != nil {
		return nil, withoutQuotes(err)
	}
	if isInformational(answer) {
		return nil, errors.New("too many informational answers")
	}
	if answer.StatusCode < 100 {
		return nil, errNotHTTP
	}
	if answer.Close {
		restoreConnection(answer, head)
	}
	if isLong(strings.Join(answer.Header["Connection"], ",")) {
		return nil, errors.New("the answer's Connection names more than 100 headers")
	}
	return answer, nil
}

// isInformational reports whether another answer follows this one.
func isInformational(answer *http.Response) bool {
	return answer.StatusCode >= 100 && answer.StatusCode < 200 && answer.StatusCode != http.StatusSwitchingProtocols
}

// restoreConnection gives an answer its Connection back: http.ReadResponse takes it out where "close" is in it, and with it
// what else is there. head begins with the answer's header, behind those of informational ones.
func restoreConnection(answer *http.Response, head *bytes.Buffer) {
	text := textproto.NewReader(bufio.NewReader(bytes.NewReader(head.Bytes())))
	status := strconv.Itoa(answer.StatusCode)
	for {
		line, _ := text.ReadLine()
		header, err := text.ReadMIMEHeader()
		if err != nil {
			return
		}
		if words := strings.Fields(line); len(words) > 1 && words[1] == status {
			answer.Header["Connection"] = header["Connection"]
			return
		}
	}
}

var errNotHTTP = errors.New("the answer is not HTTP")

// withoutQuotes is the error of a reader of HTTP without what it quotes: an upstream may send back what a client sent it in
// confidence, and errors go to the log.
func withoutQuotes(err error) error {
	var failure net.Error
	if errors.As(err, &failure) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errNotHTTP
}

// verify is what is untrue in an upstream's 101 for an accept value and the client's offer, or nil (RFC 6455 section 4.1,
// "once the client's opening handshake has been sent"). After that the upgrade has what is agreed.
func verify(u *upgrade, answer http.Header, accept string) error {
	if guardUpgrade(answer) != nil {
		return errors.New("the answer is 101 but does not upgrade to websocket")
	}
	if strings.Join(answer[acceptHeader], ",") != accept {
		return errors.New("Sec-WebSocket-Accept does not fit the key")
	}
	u.rules = u.middleware.settings.rules
	if answer[protocolHeader] != nil || answer[extensionsHeader] != nil {
		return verifyChoice(u, answer)
	}
	return nil
}

// verifyChoice is what an upstream has chosen that was not in the offer, or nil. What it has chosen is noted then.
func verifyChoice(u *upgrade, answer http.Header) error {
	protocol, extension := strings.Join(answer[protocolHeader], ","), strings.Join(answer[extensionsHeader], ",")
	if isLong(protocol) || isLong(extension) {
		return errors.New("a list of the answer has more than 100 items")
	}
	set, offered := u.middleware.settings, u.offer
	if protocol == "" && extension == deflate && compression[strings.Join(offered.extensions, ",")] != nil {
		u.rules = set.deflated // which is usual
		return nil
	}
	protocols, extensions := listItems(answer[protocolHeader]), extensionNames(listItems(answer[extensionsHeader]))
	if len(protocols) > 1 || len(protocols) == 1 && !contains(offered.protocols, protocols[0]) {
		return errors.New("the subprotocol was not offered")
	}
	names := extensionNames(offered.extensions)
	for _, name := range extensions {
		if !contains(names, name) {
			return errors.New("the extension was not offered")
		}
	}
	u.subprotocol = loggedSubprotocol(strings.Join(protocols, ""), set.protocols)
	if u.rules != lax {
		u.rules = rulesFor(extensions, set.checkText)
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

// rulesFor is the rules of frames under negotiated extensions. Where text is to be checked, frames of an extension which
// wsfw does not know are exempt, as compressed text is.
func rulesFor(extensions []string, checkText bool) *frameRules {
	if len(extensions) > 1 || len(extensions) == 1 && extensions[0] != deflate {
		return extended
	}
	if len(extensions) == 0 && checkText {
		return plainText
	}
	if len(extensions) == 0 {
		return plain
	}
	if checkText {
		return compressedText
	}
	return compressed
}

// isTimeout reports whether a dial or an exchange failed on time.
func isTimeout(err error) bool {
	var failure net.Error
	return errors.As(err, &failure) && failure.Timeout()
}

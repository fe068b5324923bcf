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
	"os"
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
	tail        string          // the end of a request's header: Via, what is set, and an empty line
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
	b.WriteString("Via: 1.1 " + pseudonym + "\r\n")
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

// pseudonym is what this process calls itself in Via (RFC 9110 section 7.6.3), where it sees that a request has been
// here before.
var pseudonym = "wsfw-" + randomName()

// randomName is a name that no other process has.
func randomName() string {
	name := make([]byte, 8)
	_, _ = rand.Read(name)
	return hex.EncodeToString(name)
}

// endpoint is a ws:// or wss:// URL, taken apart.
type endpoint struct {
	secure   bool
	host     string // for the Host header: as written, without an IPv6 zone (RFC 6874 section 4)
	hostname string // without port and zone, for certificates
	address  string // host:port, for the dial
	path     string // as escaped in the URL
	query    string
	target   string // the request target that these make by themselves
	asking   string // and what it begins with where a client has a query, too
	label    string // for the log: no path, no query
}

// newEndpoint takes u apart.
func newEndpoint(u *url.URL, secure bool) *endpoint {
	scheme := "ws"
	if secure {
		scheme = "wss"
	}
	dialed := asciiHost(u.Hostname())
	named, _, zoned := strings.Cut(dialed, "%")
	host := u.Host
	if zoned || dialed != u.Hostname() {
		host = named
		if strings.Contains(named, ":") {
			host = "[" + named + "]"
		}
		if port := u.Port(); port != "" {
			host += ":" + port
		}
	}
	e := &endpoint{
		secure:   secure,
		host:     host,
		hostname: named,
		address:  net.JoinHostPort(dialed, portOf(&url.URL{Scheme: scheme, Host: u.Host})),
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
func (r *upstreamRule) matches(req *http.Request, query url.Values) bool {
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
func choose(u *upstream, req *http.Request) *endpoint {
	query := req.URL.Query()
	for i := range u.rules {
		if u.rules[i].matches(req, query) {
			return u.rules[i].endpoint
		}
	}
	return u.endpoint
}

// targetFor is the request target at e for what the client asked for; empty where there must be no such request.
func targetFor(u *upgrade, to *upstream, e *endpoint) string {
	query := u.req.URL.RawQuery
	if !to.appendPath {
		if query == "" {
			return e.target
		}
		if strings.ContainsAny(query, unprintable) {
			return ""
		}
		return e.asking + query
	}
	rest, _ := below(u.middleware.settings.path, u.path)
	target := targetOf(e, rest, query)
	if rest != "" && rest[0] != '/' || climbs(rest) || strings.ContainsAny(target, unprintable) {
		return ""
	}
	return target
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

// requestForm begins the opening handshake's request: its target, Host, key, offer and source. Further header lines
// follow, and the upstream's tail.
const requestForm = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s"

// forward asks the upstream for what the client has asked for, and joins the two once it has agreed. Otherwise it answers
// the client.
func forward(u *upgrade) {
	req, to := u.req, u.middleware.settings.upstream
	if leadsBack(req.Header["Via"]) {
		refuse(u, refuseLoop)
		return
	}
	e := to.endpoint
	if to.rules != nil {
		e = choose(to, req)
	}
	u.upstream = e.label
	target := targetFor(u, to, e)
	if target == "" {
		refuse(u, refusePath)
		return
	}
	conn, err := dial(req.Context(), to, e)
	if err != nil {
		failUpstream(u, err)
		return
	}
	u.dialed = conn
	key, limited := newKey(), &io.LimitedReader{R: conn, N: maxAnswerHeader}
	//nolint:bodyclose // the body is read from the connection, which is closed
	answer, source, err := exchange(u, to, opening(u, to, e, target, key), limited)
	if err != nil {
		failUpstream(u, err)
		return
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		passAnswer(u, answer, limited)
		return
	}
	err = verify(u, answer.Header, acceptFor(key))
	if err != nil {
		failUpstream(u, err)
		return
	}
	near := acceptClient(u, answer.Header)
	if near != nil {
		startSession(u, near, &side{name: upstreamSide, conn: conn, source: conn, reader: source})
	}
}

// leadsBack reports whether a request has been here before: the endpoint leads back to this gateway.
func leadsBack(via []string) bool {
	return via != nil && strings.Contains(strings.Join(via, ","), pseudonym)
}

// newKey is a key of ours (RFC 6455 section 4.1, item 7).
func newKey() string {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce)
	return base64.StdEncoding.EncodeToString(nonce)
}

// opening is the opening handshake's request for target at e.
func opening(u *upgrade, to *upstream, e *endpoint, target, key string) *bytes.Buffer {
	req := u.req
	header, source, host := req.Header, "", e.host
	if to.passHost {
		host = req.Host
	}
	if header["X-Forwarded-For"] != nil || header.Get("X-Forwarded-Proto") == "" || header.Get("X-Forwarded-Host") == "" || !usualConnection[strings.Join(header["Connection"], ",")] {
		header = completed(req, u.ip)
	} else if to.tellsSource && u.ip != "" {
		source = "X-Forwarded-For: " + u.ip + "\r\n"
	}
	request := new(bytes.Buffer)
	fmt.Fprintf(request, requestForm, target, host, key, u.offer.lines, source)
	_ = header.WriteSubset(request, to.withheld)
	request.WriteString(to.tail)
	return request
}

// completed is a copy of a request's header that says where it comes from, too, and has nothing that Connection names: so
// a client can take back what it says of itself, but nothing that is said of it, which is added afterwards.
func completed(req *http.Request, ip string) http.Header {
	header := withoutNamed(req.Header).Clone()
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
	return dialTCP(ctx, to.dialer, e.address)
}

// undivided is the shortest connectTimeout that net.Dialer divides between two addresses of a name, for it gives each 2 s.
const undivided = 4 * time.Second

// dialTCP dials an address. Where the timeout is too short for net.Dialer to divide it among the addresses of a name, this
// does: a first address that is dead must not use up the time of the others.
func dialTCP(ctx context.Context, dialer *net.Dialer, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || dialer.Timeout <= 0 || dialer.Timeout >= undivided || net.ParseIP(host) != nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	bounded, cancel := context.WithTimeout(ctx, dialer.Timeout)
	defer cancel()
	deadline := time.Now().Add(dialer.Timeout)
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

// exchange sends the upstream a request, and reads its answer through limited: within upgradeTimeout, and for as long as the
// client waits. source is what comes after that.
func exchange(u *upgrade, to *upstream, request *bytes.Buffer, limited *io.LimitedReader) (answer *http.Response, source io.Reader, err error) {
	conn := u.dialed
	if to.upgradeTimeout > 0 {
		_ = conn.SetDeadline(time.Now().Add(to.upgradeTimeout))
	}
	release := onDone(u.req.Context(), conn)
	_, err = request.WriteTo(conn)
	if err == nil {
		reader := bufio.NewReaderSize(limited, answerBufferBytes)
		answer, err = readAnswer(reader, limited, new(bytes.Buffer))
		source = conn
		if reader.Buffered() > 0 {
			source = after(early(reader), conn)
		}
	}
	release()
	_ = conn.SetDeadline(never)
	return answer, source, err
}

// dialSecure connects to e: DNS, TCP and TLS, within connectTimeout and while ctx lives.
func dialSecure(ctx context.Context, to *upstream, e *endpoint) (net.Conn, error) {
	if to.dialer.Timeout > 0 {
		bounded, cancel := context.WithTimeout(ctx, to.dialer.Timeout)
		defer cancel()
		ctx = bounded
	}
	conn, err := dialTCP(ctx, to.dialer, e.address)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, to.tls.config(e.hostname))
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

// readAnswer reads an answer's header through limited, whose reader it wraps while that lasts. What it has read is in head
// then, with what reader holds besides.
func readAnswer(reader *bufio.Reader, limited *io.LimitedReader, head *bytes.Buffer) (*http.Response, error) {
	source := limited.R
	limited.R = io.TeeReader(source, head)
	answer, err := http.ReadResponse(reader, anyGet)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols || answer.Close {
		answer, err = finalAnswer(reader, head, answer, err)
	}
	limited.R = source
	return answer, err
}

// finalAnswer is the first answer that is no informational one, from this one on, whose header has come through head. err
// is what has come of reading that.
func finalAnswer(reader *bufio.Reader, head *bytes.Buffer, answer *http.Response, err error) (*http.Response, error) {
	for i := 0; i < maxItems && err == nil && isInformational(answer); i++ {
		answer, err = http.ReadResponse(reader, anyGet)
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
		line, err := text.ReadLine()
		if err != nil {
			return
		}
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

// withoutQuotes is the error of a reader of HTTP without what it quotes: an upstream
// may send back what a client sent it in confidence, and errors go to the log.
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
	if answer[protocolHeader] == nil && answer[extensionsHeader] == nil {
		return nil
	}
	return noteChoice(u, answer)
}

// noteChoice notes what an upstream has chosen, unless that is untrue.
func noteChoice(u *upgrade, answer http.Header) error {
	if isLong(strings.Join(answer[protocolHeader], ",")) || isLong(strings.Join(answer[extensionsHeader], ",")) {
		return errors.New("a list of the answer has more than 100 items")
	}
	set := u.middleware.settings
	if answer[protocolHeader] == nil && compression[strings.Join(u.offer.extensions, ",")] != nil && strings.Join(answer[extensionsHeader], ",") == deflate {
		u.rules = set.deflated
		return nil
	}
	if u.rules != lax {
		u.rules = grammarOf(answer, set.checkText)
	}
	u.subprotocol = answer.Get(protocolHeader)
	return verifyChoice(answer, u.offer)
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

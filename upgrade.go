package wsfw

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Header names in net/http's canonical form, for look-ups.
const (
	keyHeader        = "Sec-Websocket-Key"
	acceptHeader     = "Sec-Websocket-Accept"
	versionHeader    = "Sec-Websocket-Version"
	protocolHeader   = "Sec-Websocket-Protocol"
	extensionsHeader = "Sec-Websocket-Extensions"
)

// refusal is an answer to the client other than 101: a status, the reason as the log has it, one sentence that says what to
// change, and the headers that belong to the status.
type refusal struct {
	status   int
	reason   string
	sentence string
	header   map[string]string
}

var (
	// upgradeHeaders are those of every 426 (RFC 9110 section 15.5.22, RFC 6455 section 4.2.2).
	upgradeHeaders = map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
	allowGet       = map[string]string{"Allow": "GET"}
	retrySoon      = map[string]string{"Retry-After": "1"}
	retryLater     = map[string]string{"Retry-After": "5"}

	refuseNoUpgrade  = &refusal{http.StatusUpgradeRequired, "no_upgrade", "This address speaks WebSocket only: connect with a WebSocket client, or have proxies in between pass the Upgrade and Connection headers.", upgradeHeaders}
	refuseProtocol   = &refusal{http.StatusUpgradeRequired, "http_version", "WebSocket is spoken over HTTP/1.1 here.", upgradeHeaders}
	refuseMethod     = &refusal{http.StatusMethodNotAllowed, "bad_method", "A WebSocket upgrade needs the method GET.", allowGet}
	refuseVersion    = &refusal{http.StatusUpgradeRequired, "bad_version", "Only version 13 of the WebSocket protocol is spoken here.", upgradeHeaders}
	refuseKey        = &refusal{http.StatusBadRequest, "bad_key", "Sec-WebSocket-Key must be given once, as 16 bytes in base64.", nil}
	refuseBody       = &refusal{http.StatusBadRequest, "has_body", "A WebSocket upgrade must have no body.", nil}
	refuseLength     = &refusal{http.StatusBadRequest, "too_long", "A list in a header, or the path, has more than 100 items.", nil}
	refuseOrigin     = &refusal{http.StatusForbidden, "bad_origin", "This origin may not connect here.", nil}
	refuseOffer      = &refusal{http.StatusBadRequest, "no_subprotocol", "None of the offered subprotocols is spoken here.", nil}
	refusePath       = &refusal{http.StatusBadRequest, "bad_path", "The path must begin with a slash, and have neither dot segments nor spaces and control characters.", nil}
	refuseLoop       = &refusal{http.StatusLoopDetected, "loop", "The WebSocket server behind this address leads back to it.", nil}
	refuseGateway    = &refusal{http.StatusBadGateway, "upstream_failed", "The WebSocket server behind this address did not accept the connection.", nil}
	refuseTimeout    = &refusal{http.StatusGatewayTimeout, "upstream_timeout", "The WebSocket server behind this address did not answer in time.", nil}
	refuseGone       = &refusal{499, "client_gone", "The client closed the connection.", nil} // Traefik's status for that, too
	refuseRestart    = &refusal{http.StatusServiceUnavailable, "restarting", "This gateway is restarting: connect again in a moment.", retrySoon}
	refuseFull       = &refusal{http.StatusServiceUnavailable, "too_many_sessions", "There are as many WebSocket sessions here as there may be: connect again later.", retryLater}
	refuseClientFull = &refusal{http.StatusTooManyRequests, "too_many_sessions_of_client", "This client has as many WebSocket sessions here as it may have: close one, or connect again later.", retryLater}
	refuseHijack     = &refusal{http.StatusInternalServerError, "not_hijackable", "This connection cannot be upgraded.", nil}
)

// answerRefusal answers a client with a refusal, as plain text.
func answerRefusal(rw http.ResponseWriter, req *http.Request, r *refusal) {
	header := rw.Header()
	// What the server says stays. With a body unread it would wait for that before it answers.
	closing := req.ContentLength != 0 || saysClose(header)
	for name, value := range r.header {
		header[name] = []string{value} // not Set, which would spell WebSocket's names in its own way
	}
	if req.ProtoMajor > 1 {
		// RFC 9113 section 8.2.2 and RFC 9114 section 4.2: a response that has them is malformed.
		delete(header, "Upgrade")
		delete(header, "Connection")
	} else if closing && !saysClose(header) {
		header["Connection"] = append([]string{"close"}, header["Connection"]...)
	}
	body := r.sentence + "\n"
	for _, name := range []string{"Content-Encoding", "Cache-Control", "Etag", "Last-Modified", "Transfer-Encoding"} {
		header.Del(name) // of another answer
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	rw.WriteHeader(r.status)
	_, _ = io.WriteString(rw, body)
}

// closeToken is the token close in a comma-separated list, in any case.
var closeToken = regexp.MustCompile(`(?i)(?:^|,)[ \t]*close[ \t]*(?:,|$)`)

// saysClose reports whether a Connection header has the token close.
func saysClose(header http.Header) bool {
	return closeToken.MatchString(strings.Join(header["Connection"], ","))
}

// maxItems is how many items a list in a header, and how many segments a path may have: more than anybody means.
const maxItems = 100

// asking is an Upgrade list with the token websocket, a line break, and a Connection list with the token upgrade, in any
// case (RFC 6455 section 4.2.1, items 3 and 4). Compiled code looks for them: a list may be as long as a header.
var asking = regexp.MustCompile(`(?i)^(?:.*,)?[ \t]*websocket[ \t]*(?:,.*)?\n(?:.*,)?[ \t]*upgrade[ \t]*(?:,.*)?$`)

// guardUpgrade is refuseNoUpgrade where a request does not ask for a WebSocket, or an answer does not agree to one. A list
// that is too long is refused, too, and not passed on as something else: next might find the token in it.
func guardUpgrade(header http.Header) *refusal {
	lists := strings.Join(header["Upgrade"], ",") + "\n" + strings.Join(header["Connection"], ",")
	if usualUpgrade[lists] {
		return nil
	}
	return guardLists(lists)
}

// usualUpgrade are the lists that most clients and servers send, so that nobody has to look into them.
var usualUpgrade = map[string]bool{
	"websocket\nUpgrade": true, "websocket\nupgrade": true, "websocket\nkeep-alive, Upgrade": true, "WebSocket\nUpgrade": true,
}

// guardLists is guardUpgrade for an Upgrade list, a line break, and a Connection list.
func guardLists(lists string) *refusal {
	ofUpgrade, ofConnection, _ := strings.Cut(lists, "\n")
	if isLong(ofUpgrade) || isLong(ofConnection) {
		return refuseLength
	}
	if !asking.MatchString(lists) {
		return refuseNoUpgrade
	}
	return nil
}

// isLong reports whether a list has more items than it may have.
func isLong(list string) bool {
	return strings.Count(list, ",") >= maxItems
}

// listItem is an item of a list, without the spaces around it.
var listItem = regexp.MustCompile(`[^,\s](?:[^,]*[^,\s])?`)

// listItems are the items of a list that may be spread over several header lines. Whoever calls it has bounded that.
func listItems(lines []string) []string {
	return listItem.FindAllString(strings.Join(lines, ","), -1)
}

// admit is the opening handshake's guards in their order (RFC 6455 section 4.2.1). It returns the first reason to refuse,
// or nil; then the upgrade has the offer that stands, and its session counts.
func admit(u *upgrade, set *settings) *refusal {
	req, header := u.req, u.req.Header
	if req.ProtoMajor > 1 {
		return refuseProtocol
	}
	refused := guardUpgrade(header)
	if refused != nil {
		return refused
	}
	if req.Method != "GET" {
		return refuseMethod
	}
	if req.ProtoMinor == 0 {
		return refuseProtocol
	}
	if len(u.path) > maxItems && strings.Count(u.path, "/") > maxItems {
		return refuseLength
	}
	if strings.Join(header[versionHeader], ",") != "13" {
		return refuseVersion
	}
	u.key = strings.Join(header[keyHeader], ",")
	if !oneKey.MatchString(u.key) {
		return refuseKey
	}
	if req.ContentLength != 0 {
		return refuseBody // -1 is a body of unknown length
	}
	if set.origins != nil && !allowsOrigin(set.origins, req) {
		return refuseOrigin
	}
	if set.login {
		refused = admitLogin(u, set)
		if refused != nil {
			return refused
		}
		header = u.req.Header
	}
	u.offer = noOffer
	if header[protocolHeader] != nil || header[extensionsHeader] != nil {
		refused = checkOffer(u, set, header)
		if refused != nil {
			return refused
		}
	}
	return countConn(u, set.limits)
}

// oneKey is a key: 16 bytes in base64.
var oneKey = regexp.MustCompile(`^[A-Za-z0-9+/]{22}==$`)

// contains reports whether list has item.
func contains(list []string, item string) bool {
	for _, have := range list {
		if have == item {
			return true
		}
	}
	return false
}

// originRule is one of allowedOrigins.
type originRule struct {
	keyword  string // any, none or same-host; empty where it is a site
	site     origin
	anyLabel bool // one label stands before the site's host; where that is empty it is the whole host
}

// origin is a web origin (RFC 6454), the port of http and https always named. The origin "null" has "null" for its scheme,
// and nothing else.
type origin struct {
	scheme, host, port string
}

// parseOrigin reads one of allowedOrigins, and returns what to write instead where that can never match.
func parseOrigin(value string) (originRule, string) {
	switch value {
	case "any", "none", "same-host":
		return originRule{keyword: value}, ""
	case "*":
		return originRule{}, "must be written any"
	}
	lower := strings.ToLower(value)
	if strings.HasPrefix(lower, "ws://") || strings.HasPrefix(lower, "wss://") {
		return originRule{}, "must be written " + strings.Replace(lower, "ws", "http", 1) + ", for an Origin has the scheme of the page"
	}
	if strings.HasSuffix(lower, "://*") && !strings.HasPrefix(lower, "http") { // such as extensions' ids
		return originRule{site: origin{scheme: strings.TrimSuffix(lower, "://*")}, anyLabel: true}, ""
	}
	named := strings.Replace(lower, "://*.", "://", 1)
	site, ok := splitOrigin(named)
	wild := named != lower
	if !ok || strings.Contains(site.host, "*") || wild && site.host == "" {
		return originRule{}, "must be any, none, null, same-host, or scheme://host[:port], where the host may begin with one *. label"
	}
	site.host = asciiHost(site.host)
	return originRule{site: site, anyLabel: wild}, ""
}

// splitOrigin takes scheme://host[:port] apart, in lower case.
func splitOrigin(value string) (origin, bool) {
	if value == "null" { // of no site (RFC 6454 section 7.1)
		return origin{scheme: value}, true
	}
	u, err := url.Parse(strings.ToLower(value))
	if err != nil || u.Scheme == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || len(u.Path) > 1 {
		return origin{}, false
	}
	host := u.Hostname()
	return origin{scheme: u.Scheme, host: host, port: portOf(u)}, host != "" || u.Scheme == "file"
}

// defaultPorts are those of the schemes that have one.
var defaultPorts = map[string]string{"https": "443", "wss": "443", "http": "80", "ws": "80"}

// portOf is a URL's port; where none is written, its scheme's own, if it has one.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return defaultPorts[u.Scheme]
}

// asciiHost is a host with its labels as they go over the wire (RFC 5890: xn--), which net/http does for a request's.
func asciiHost(host string) string {
	if utf8.RuneCountInString(host) == len(host) {
		return host
	}
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "host", Path: "/"}, Host: host}
	var wire bytes.Buffer
	_ = req.Write(&wire)
	sent, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		return host // as it is where it cannot be written, too
	}
	return sent.Host
}

// allowsOrigin judges a request's Origin by the list of those allowed.
func allowsOrigin(rules []originRule, req *http.Request) bool {
	values := req.Header["Origin"]
	var site origin
	ok := len(values) == 0
	if len(values) == 1 {
		site, ok = splitOrigin(values[0])
	}
	for _, rule := range rules {
		if ok && allows(rule, site, req.Host) {
			return true
		}
	}
	return false
}

// allows reports whether the rule takes a request to host from site, which is empty where the request names none.
func allows(rule originRule, site origin, host string) bool {
	if rule.keyword == "none" || site.scheme == "" {
		return rule.keyword == "none" && site.scheme == ""
	}
	if rule.keyword == "same-host" {
		own, ok := splitOrigin(site.scheme + "://" + host)
		return ok && own.host == site.host && own.port == site.port
	}
	if rule.anyLabel {
		label, parent, _ := strings.Cut(site.host, ".")
		if label == "" || parent == "" && label+"." == site.host {
			return false
		}
		site.host = parent
	}
	return site == rule.site
}

// offer is what a client offers the upstream to choose from, after our policy.
type offer struct {
	protocols  []string // in the client's order
	extensions []string // each with its parameters
	cut        bool     // policy took something away
	lines      string   // the header lines that say so
}

// noOffer is that of a client which leaves nothing to choose.
var noOffer = &offer{}

// deflate is the name of the one extension that there is (RFC 7692), and compression the offers that browsers make of it.
const deflate = "permessage-deflate"

var compression = map[string]*offer{
	deflate:                              newOffer(nil, []string{deflate}, false),
	deflate + "; client_max_window_bits": newOffer(nil, []string{deflate + "; client_max_window_bits"}, false),
}

// newOffer is an offer with its header lines.
func newOffer(protocols, extensions []string, cut bool) *offer {
	o := &offer{protocols: protocols, extensions: extensions, cut: cut}
	if len(protocols) > 0 {
		o.lines = "Sec-WebSocket-Protocol: " + strings.Join(protocols, ", ") + "\r\n"
	}
	if len(extensions) > 0 {
		o.lines += "Sec-WebSocket-Extensions: " + strings.Join(extensions, ", ") + "\r\n"
	}
	return o
}

// checkOffer is the guards about what the client offers to choose from.
func checkOffer(u *upgrade, set *settings, header http.Header) *refusal {
	if isLong(strings.Join(header[protocolHeader], ",")) || isLong(strings.Join(header[extensionsHeader], ",")) {
		return refuseLength
	}
	u.offer = offerOf(set, header)
	if u.offer == nil {
		return refuseOffer
	}
	return nil
}

// offerOf is the client's offer, cut to what the settings allow; nil where there were subprotocols in it and none is left.
func offerOf(set *settings, header http.Header) *offer {
	if header[protocolHeader] == nil && !set.noCompression {
		usual := compression[strings.Join(header[extensionsHeader], ",")]
		if usual != nil {
			return usual
		}
	}
	offered, extensions := listItems(header[protocolHeader]), listItems(header[extensionsHeader])
	cut := false
	if set.noCompression {
		cut = len(extensions) > 0
		extensions = nil
	}
	if len(set.protocols) == 0 || len(offered) == 0 {
		return newOffer(offered, extensions, cut)
	}
	var allowed []string
	for _, protocol := range offered {
		if contains(set.protocols, protocol) {
			allowed = append(allowed, protocol)
		}
	}
	if allowed == nil {
		return nil
	}
	return newOffer(allowed, extensions, cut || len(allowed) < len(offered))
}

// withOffer is the request with this offer: req itself where nothing was cut.
func withOffer(req *http.Request, o *offer) *http.Request {
	if !o.cut {
		return req
	}
	clone := req.Clone(req.Context())
	setList(clone.Header, protocolHeader, o.protocols)
	setList(clone.Header, extensionsHeader, o.extensions)
	return clone
}

// setList sets a header to a list, or removes it where the list is empty.
func setList(header http.Header, name string, items []string) {
	delete(header, name)
	if len(items) > 0 {
		header[name] = []string{strings.Join(items, ", ")}
	}
}

// below is what of a path lies below prefix, both escaped as the client sent it. It is not ok for a path that lies
// elsewhere. Segments are compared decoded and whole, so an encoded slash is part of its segment.
func below(prefix []string, path string) (rest string, ok bool) {
	if len(prefix) == 0 && path == "/" {
		return "", true // the prefix itself, not something below it
	}
	for _, segment := range prefix {
		if path == "" || path[0] != '/' {
			return "", false
		}
		end := strings.IndexByte(path[1:], '/') + 1
		if end == 0 {
			end = len(path)
		}
		decoded, err := url.PathUnescape(path[1:end])
		if err != nil || decoded != segment {
			return "", false
		}
		path = path[end:]
	}
	return path, true
}

// sentPath is a URL's path escaped as it was sent. Unlike EscapedPath it keeps what should have been escaped and was not. A
// middleware may know nothing of the raw path, which then no longer stands for the path.
func sentPath(u *url.URL) string {
	decoded, err := url.PathUnescape(u.RawPath)
	if u.RawPath == "" || err != nil || decoded != u.Path {
		return u.EscapedPath()
	}
	return u.RawPath
}

// acceptFor is the accept value that proves that key was read (RFC 6455 section 4.2.2).
func acceptFor(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// errNotHijackable is what a chain looks like in which a middleware before wsfw replaces the response writer by one that
// hides the connection.
var errNotHijackable = errors.New("a middleware before wsfw hides the connection: move wsfw before it")

// takeClient takes the client's connection from the server, and reads first what may have come already. nil is for a client
// that has been told why it cannot. The server keeps the reader that it gives away for as long as its handler runs: that is
// left without its buffer of 4 KiB.
func takeClient(u *upgrade) *peer {
	if u.stream != nil {
		client := takeStream(u.stream)
		u.taken = u.stream.conn
		return client
	}
	conn, buffered, err := http.NewResponseController(u.rw).Hijack()
	if err != nil {
		reportClient(u, refuseHijack, errNotHijackable)
		refuse(u, refuseHijack)
		return nil
	}
	u.taken = conn
	client := newPeer(clientPeer, conn)
	reader := buffered.Reader
	if reader.Buffered() > 0 {
		client.reader = after(early(reader), conn)
	}
	*reader = spent
	return client
}

// spent is a reader with nothing to read.
var spent bufio.Reader

// early is what a reader holds beyond what was read from it, in memory of its own.
func early(r *bufio.Reader) []byte {
	held, _ := r.Peek(r.Buffered())
	return append([]byte(nil), held...)
}

// switchingTimeout is how long the client may block its 101. It may have left answers of earlier requests unread.
const switchingTimeout = 5 * time.Second

// acceptClient takes the client's connection over and tells the client of the upstream's agreement. nil is for a client
// that cannot be told.
func acceptClient(u *upgrade, answer http.Header) *peer {
	client, set := takeClient(u), u.rw.Header()
	if len(set) > 0 {
		answer = merged(answer, set)
	}
	if client == nil || !writeSwitching(u, answer) {
		return nil
	}
	return client
}

// switchingForm is a 101 with an accept value and further header lines.
const switchingForm = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n"

// writeSwitching writes the client's 101, the only one that there is: for forward and inline alike. Of the upstream's 101
// it has the end-to-end headers, and what has been negotiated, under the names that RFC 6455 gives it. It is false for a
// client that does not take it.
func writeSwitching(u *upgrade, answer http.Header) bool {
	lines := new(bytes.Buffer)
	if u.login != nil {
		answer = withMarker(u.login, answer)
	}
	if answer[protocolHeader] != nil || answer[extensionsHeader] != nil {
		writeNegotiated(lines, answer)
	}
	_ = withoutNamed(answer).WriteSubset(lines, notToClient)
	_ = u.taken.SetWriteDeadline(time.Now().Add(switchingTimeout))
	_, err := fmt.Fprintf(u.taken, switchingForm, acceptFor(u.key), lines)
	_ = u.taken.SetWriteDeadline(never)
	if err != nil {
		reportClient(u, refuseGone, err)
		return false
	}
	return true
}

// writeNegotiated writes what has been negotiated. An empty line says no more than none, and browsers take none.
func writeNegotiated(lines *bytes.Buffer, answer http.Header) {
	for _, name := range []string{"Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
		for _, value := range answer[http.CanonicalHeaderKey(name)] {
			if value != "" {
				lines.WriteString(name + ": " + value + "\r\n")
			}
		}
	}
}

// headOf is a 101 with header, as net/http writes it.
func headOf(header http.Header) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = header.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// merged is the header of an upstream's 101 with those headers that middlewares before wsfw have set on the response and
// the upstream has not. Cookies of both stay.
func merged(answer, set http.Header) http.Header {
	both := set.Clone()
	delete(both, "Connection") // what it names is not of this answer
	copyEndToEnd(both, answer)
	return both
}

var (
	// hopByHop are the headers that concern one connection only, beside those that Connection names (RFC 9110 section
	// 7.6.1).
	hopByHop = map[string]bool{
		"Connection": true, "Upgrade": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true,
		"Proxy-Authorization": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	}

	// notToClient are the headers of an upstream's 101 that the client's does not repeat as they come: those of the
	// connection, those that writeSwitching writes itself, and the length, for a 101 has none (RFC 9110 section 8.6).
	notToClient = union(hopByHop, map[string]bool{protocolHeader: true, extensionsHeader: true, acceptHeader: true, "Content-Length": true})

	// usualConnection are values of Connection that name nothing which is not hop by hop anyway.
	usualConnection = map[string]bool{"": true, "Upgrade": true, "upgrade": true, "keep-alive, Upgrade": true, "close": true, "keep-alive": true}
)

// union is a set of all that is in any of these.
func union(sets ...map[string]bool) map[string]bool {
	all := map[string]bool{}
	for _, set := range sets {
		for name := range set {
			all[name] = true
		}
	}
	return all
}

// withoutNamed is header without those that its Connection names as hop by hop; header itself where there are none.
// Whoever calls it has bounded that list.
func withoutNamed(header http.Header) http.Header {
	if usualConnection[strings.Join(header["Connection"], ",")] {
		return header
	}
	return withoutEach(header, listItems(header["Connection"]))
}

// withoutEach is a copy of header without these.
func withoutEach(header http.Header, names []string) http.Header {
	rest := header.Clone()
	for _, name := range names {
		rest.Del(name)
	}
	return rest
}

// copyEndToEnd adds the end-to-end headers of src to dst. Those that dst has already are replaced, but for cookies.
func copyEndToEnd(dst, src http.Header) {
	for name, values := range withoutNamed(src) {
		if name == "Set-Cookie" {
			dst[name] = append(append([]string(nil), dst[name]...), values...)
		} else if !hopByHop[name] {
			dst[name] = values
		}
	}
}

// pass hands an upstream's answer other than 101 to the client as it comes: status, end-to-end headers, body. A body that
// breaks off breaks off for the client, too.
func pass(rw http.ResponseWriter, answer *http.Response) {
	copyEndToEnd(rw.Header(), answer.Header)
	rw.WriteHeader(answer.StatusCode)
	client := http.NewResponseController(rw)
	buf := make([]byte, largeBuffer)
	for {
		_ = client.Flush()
		n, err := answer.Body.Read(buf)
		if n > 0 {
			if _, failed := rw.Write(buf[:n]); failed != nil {
				return
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			abort(client)
			return
		}
	}
}

// abort ends a client's connection in the middle of an answer. A handler's way to do that would be a panic, which Traefik
// logs with a stack trace.
func abort(client *http.ResponseController) {
	if conn, _, err := client.Hijack(); err == nil {
		_ = conn.Close()
	}
}

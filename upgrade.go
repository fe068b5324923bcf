package wsfw

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Header names in net/http's canonical form, for look-ups.
const (
	keyHeader        = "Sec-Websocket-Key"
	acceptHeader     = "Sec-Websocket-Accept"
	versionHeader    = "Sec-Websocket-Version"
	protocolHeader   = "Sec-Websocket-Protocol"
	extensionsHeader = "Sec-Websocket-Extensions"
)

// statusClientClosed is what Traefik, too, records for a client that did not wait.
const statusClientClosed = 499

// refusal is an answer to the client other than 101: a status, one sentence that says what to change, the headers that
// belong to the status, and the reason as the log has it.
type refusal struct {
	status   int
	reason   string
	sentence string
	header   map[string]string
}

// upgradeHeaders are the headers of every 426 (RFC 9110 section 15.5.22, RFC 6455 section 4.2.2).
var upgradeHeaders = map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}

var (
	refuseNoUpgrade = &refusal{http.StatusUpgradeRequired, "no_upgrade", "This address speaks WebSocket only: connect with a WebSocket client, or have proxies in between pass the Upgrade and Connection headers.", upgradeHeaders}
	refuseProtocol  = &refusal{http.StatusUpgradeRequired, "http_version", "WebSocket is spoken over HTTP/1.1 here.", upgradeHeaders}
	refuseMethod    = &refusal{http.StatusMethodNotAllowed, "bad_method", "A WebSocket upgrade needs the method GET.", map[string]string{"Allow": "GET"}}
	refuseVersion   = &refusal{http.StatusUpgradeRequired, "bad_version", "Only version 13 of the WebSocket protocol is spoken here.", upgradeHeaders}
	refuseKey       = &refusal{http.StatusBadRequest, "bad_key", "Sec-WebSocket-Key must be given once, as 16 bytes in base64.", nil}
	refuseBody      = &refusal{http.StatusBadRequest, "has_body", "A WebSocket upgrade must have no body.", nil}
	refuseLength    = &refusal{http.StatusBadRequest, "too_long", "A list in a header, or the path, has more than 100 items.", nil}
	refuseOrigin    = &refusal{http.StatusForbidden, "bad_origin", "This origin may not connect here.", nil}
	refuseOffer     = &refusal{http.StatusBadRequest, "no_subprotocol", "None of the offered subprotocols is spoken here.", nil}
	refusePath      = &refusal{http.StatusBadRequest, "bad_path", "The path must begin with a slash, and have neither dot segments nor spaces and control characters.", nil}
	refuseLoop      = &refusal{http.StatusLoopDetected, "loop", "The WebSocket server behind this address leads back to it.", nil}
	refuseGateway   = &refusal{http.StatusBadGateway, "upstream_failed", "The WebSocket server behind this address did not accept the connection.", nil}
	refuseTimeout   = &refusal{http.StatusGatewayTimeout, "upstream_timeout", "The WebSocket server behind this address did not answer in time.", nil}
	refuseGone      = &refusal{statusClientClosed, "client_gone", "The client closed the connection.", nil}
	refuseRestart   = &refusal{http.StatusServiceUnavailable, "restarting", "This gateway is restarting: connect again in a moment.", map[string]string{"Retry-After": "1"}}
	refuseCrowd     = &refusal{http.StatusServiceUnavailable, "too_many_sessions", "There are as many WebSocket sessions here as there may be: connect again later.", map[string]string{"Retry-After": "5"}}
	refuseClient    = &refusal{http.StatusTooManyRequests, "too_many_sessions_of_client", "This client has as many WebSocket sessions here as it may have: close one, or connect again later.", map[string]string{"Retry-After": "5"}}
	refuseHijack    = &refusal{http.StatusInternalServerError, "not_hijackable", "This connection cannot be upgraded.", nil}
)

// answerRefusal answers a client with a refusal, as plain text.
func answerRefusal(rw http.ResponseWriter, req *http.Request, r *refusal) {
	header := rw.Header()
	closing := closeToken.MatchString(strings.Join(header["Connection"], ",")) // said by the server
	if req.ContentLength != 0 {
		closing = true // else the server would wait for the body before it answers
	}
	for name, value := range r.header {
		// Not Set, which would spell WebSocket's names in its own way.
		header[name] = []string{value}
	}
	if req.ProtoMajor > 1 {
		// RFC 9113 section 8.2.2 and RFC 9114 section 4.2: a response that has them is malformed.
		delete(header, "Upgrade")
		delete(header, "Connection")
	} else if closing && !closeToken.MatchString(strings.Join(header["Connection"], ",")) {
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

// response is the refusal for a connection that the server has given away already.
func (r *refusal) response() []byte {
	body := r.sentence + "\n"
	answer := &http.Response{
		StatusCode: r.status, ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header:        http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(strings.NewReader(body)),
	}
	var b bytes.Buffer
	_ = answer.Write(&b)
	return b.Bytes()
}

// maxItems is how many items a list in a header, and how many segments a path may have: more than anybody means.
const maxItems = 100

// closeToken is the token close in a comma-separated list, in any case.
var closeToken = regexp.MustCompile(`(?i)(?:^|,)[ \t]*close[ \t]*(?:,|$)`)

// asking is an Upgrade list with the token websocket, a line break, and a Connection list with the token upgrade, in any
// case (RFC 6455 section 4.2.1, items 3 and 4). Compiled code looks for them: a list may be as long as a header.
var asking = regexp.MustCompile(`(?i)^(?:.*,)?[ \t]*websocket[ \t]*(?:,.*)?\n(?:.*,)?[ \t]*upgrade[ \t]*(?:,.*)?$`)

// guardUpgrade is refuseNoUpgrade where a request does not ask for a WebSocket, or an answer does not agree to one. A list
// that is too long is refused, too, and not passed on as something else: next might find the token in it.
func guardUpgrade(header http.Header) *refusal {
	upgrade, connection := strings.Join(header["Upgrade"], ","), strings.Join(header["Connection"], ",")
	if len(upgrade)+len(connection) > maxItems && (isLong(upgrade) || isLong(connection)) {
		return refuseLength
	}
	if !asking.MatchString(upgrade + "\n" + connection) {
		return refuseNoUpgrade
	}
	return nil
}

// isLong reports whether a list has more items than it may have.
func isLong(list string) bool {
	return strings.Count(list, ",") >= maxItems
}

// listItems are the items of a list that may be spread over several header lines. Whoever calls it has bounded that.
func listItems(lines []string) []string {
	var items []string
	for _, item := range strings.Split(strings.Join(lines, ","), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// check is the opening handshake's guards in their order (RFC 6455 section 4.2.1). It returns the first reason to
// refuse, or nil; then the upgrade has the offer that stands.
func check(u *upgrade, set *settings) *refusal {
	req := u.req
	header := req.Header
	if req.ProtoMajor > 1 {
		return refuseProtocol
	}
	refused := guardUpgrade(header)
	if refused != nil {
		return refused
	}
	if req.Method != http.MethodGet {
		return refuseMethod
	}
	if !req.ProtoAtLeast(1, 1) {
		return refuseProtocol
	}
	if strings.Count(u.path, "/") > maxItems {
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
	if len(set.origins) > 0 && !allowsOrigin(set.origins, req) {
		return refuseOrigin
	}
	if header[protocolHeader] == nil && header[extensionsHeader] == nil {
		u.offer = noOffer
		return nil
	}
	return checkOffer(u, set, header)
}

// checkOffer is the guards about what the client offers to choose from.
func checkOffer(u *upgrade, set *settings, header http.Header) *refusal {
	if isLong(strings.Join(header[protocolHeader], ",")) || isLong(strings.Join(header[extensionsHeader], ",")) {
		return refuseLength
	}
	u.offer = set.offerOf(header)
	if u.offer == nil {
		return refuseOffer
	}
	return nil
}

// oneKey is a key: 16 bytes in base64.
var oneKey = regexp.MustCompile(`^[A-Za-z0-9+/]{22}==$`)

// token is a token of RFC 9110 section 5.6.2.
var token = regexp.MustCompile("^[!#$%&'*+\\-.^_`|~0-9A-Za-z]+$")

// below is what of a path lies below prefix, both escaped as the client sent it. It is not ok for a
// path that lies elsewhere. Segments are compared decoded and whole, so an encoded slash is part of its
// segment.
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

// sentPath is a URL's path escaped as it was sent. Unlike EscapedPath it keeps what
// should have been escaped and was not.
func sentPath(u *url.URL) string {
	if decoded, err := url.PathUnescape(u.RawPath); err == nil && decoded == u.Path {
		return u.RawPath
	}
	return u.EscapedPath()
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

// contains reports whether list has item.
func contains(list []string, item string) bool {
	for _, have := range list {
		if have == item {
			return true
		}
	}
	return false
}

// acceptFor is the accept value that proves that key was read (RFC 6455 section 4.2.2).
func acceptFor(key string) string {
	sum := sha1.Sum([]byte(key + keyGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// keyGUID is what goes behind a key for that.
const keyGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// errNotHijackable is what a chain looks like in which a middleware before wsfw
// replaces the response writer by one that hides the connection.
var errNotHijackable = errors.New("a middleware before wsfw hides the connection: move wsfw before it")

// takeOver takes the client's connection from the server, to be read from source, for something may have
// come already. The server keeps the reader that it gives away for as long as its handler runs, so that
// is left without its buffer: net/http's is 4 KiB.
func takeOver(rw http.ResponseWriter) (conn net.Conn, source io.Reader, err error) {
	conn, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return nil, nil, errNotHijackable
	}
	reader := buffered.Reader
	source = conn
	if reader.Buffered() > 0 {
		source = after(early(reader), conn)
	}
	*reader = spent
	return conn, source, nil
}

// switchingTimeout is how long the client may block its 101. It may have left answers of earlier requests unread.
const switchingTimeout = 5 * time.Second

// acceptClient takes the client's connection over and tells the client of the upstream's agreement. nil is for a client
// that cannot be told.
func acceptClient(u *upgrade, answer http.Header) *side {
	conn, source, err := takeOver(u.rw)
	if err != nil {
		reportClient(u, refuseHijack, err)
		refuse(u, refuseHijack)
		return nil
	}
	u.taken = conn
	set := u.rw.Header()
	if len(set) > 0 {
		answer = merged(answer, set)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(switchingTimeout))
	err = writeSwitching(conn, u.key, answer)
	if err != nil {
		reportClient(u, refuseGone, err)
		return nil
	}
	_ = conn.SetWriteDeadline(never)
	return &side{name: clientSide, conn: conn, source: conn, reader: source}
}

// spent is a reader with nothing to read.
var spent = newSpent()

func newSpent() bufio.Reader {
	r := bufio.NewReaderSize(strings.NewReader(""), 0)
	return *r
}

// early is what a reader holds beyond what was read from it, in memory of its own.
func early(r *bufio.Reader) []byte {
	held, _ := r.Peek(r.Buffered())
	return append([]byte(nil), held...)
}

// switchingForm is a 101 with an accept value and further header lines.
const switchingForm = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n"

// writeSwitching writes the client's 101, the only one that there is: for forward and inline alike. Of the upstream's 101
// it has the end-to-end headers, and what has been negotiated, under the names that RFC 6455 gives it.
func writeSwitching(client io.Writer, key string, answer http.Header) error {
	lines := new(bytes.Buffer)
	if answer[protocolHeader] != nil || answer[extensionsHeader] != nil {
		writeNegotiated(lines, answer)
	}
	if !usualConnection[strings.Join(answer["Connection"], ",")] {
		answer = withoutNamed(answer)
	}
	_ = answer.WriteSubset(lines, notToClient)
	_, err := fmt.Fprintf(client, switchingForm, acceptFor(key), lines)
	return err
}

// writeNegotiated writes what has been negotiated.
func writeNegotiated(lines *bytes.Buffer, answer http.Header) {
	for _, value := range answer[protocolHeader] {
		if value == "" {
			continue // no choice, and no line that a browser takes
		}
		lines.WriteString("Sec-WebSocket-Protocol: " + value + "\r\n")
	}
	for _, value := range answer[extensionsHeader] {
		if value == "" {
			continue
		}
		lines.WriteString("Sec-WebSocket-Extensions: " + value + "\r\n")
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
	both := answer.Clone()
	for name, values := range set {
		if name == "Set-Cookie" {
			both[name] = append(append([]string(nil), values...), answer[name]...)
		} else if both[name] == nil && !hopByHop[name] {
			both[name] = values
		}
	}
	return both
}

// hopByHop are the headers that concern one connection only (RFC 9110 section
// 7.6.1), beside those that Connection names.
var hopByHop = map[string]bool{
	"Connection": true, "Upgrade": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true,
	"Proxy-Authorization": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
}

// notToClient are the headers of an upstream's 101 that the client's does not repeat as they come: those of the
// connection, those that writeSwitching writes itself, and the length, for a 101 has none (RFC 9110 section 8.6).
var notToClient = union(hopByHop, map[string]bool{protocolHeader: true, extensionsHeader: true, acceptHeader: true, "Content-Length": true})

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

// usualConnection are values of Connection that name nothing which is not hop by hop anyway.
var usualConnection = map[string]bool{"": true, "Upgrade": true, "upgrade": true, "keep-alive, Upgrade": true, "close": true, "keep-alive": true}

// withoutNamed is header without those that its Connection names as hop by hop; header itself where there are none.
// Whoever calls it has bounded that list.
func withoutNamed(header http.Header) http.Header {
	connection := header["Connection"]
	if usualConnection[strings.Join(connection, ",")] {
		return header
	}
	rest := header.Clone()
	for _, name := range listItems(connection) {
		rest.Del(name)
	}
	return rest
}

// copyEndToEnd adds the end-to-end headers of src to dst. Those that dst has already are replaced, but for cookies.
func copyEndToEnd(dst, src http.Header) {
	for name, values := range withoutNamed(src) {
		if hopByHop[name] {
			continue
		}
		if name == "Set-Cookie" {
			values = append(append([]string(nil), dst[name]...), values...)
		}
		dst[name] = values
	}
}

// pass hands an upstream's answer other than 101 to the client as it comes: status,
// end-to-end headers, body. A body that breaks off breaks off for the client, too.
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

// abort ends a client's connection in the middle of an answer. A handler's way to do
// that would be a panic, which Traefik logs with a stack trace.
func abort(client *http.ResponseController) {
	if conn, _, err := client.Hijack(); err == nil {
		_ = conn.Close()
	}
}

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
	"strings"
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

// refusal is an answer to the client other than 101: a status, one sentence that
// says what to change, and the headers that belong to the status.
type refusal struct {
	status   int
	sentence string
	header   map[string]string
}

var (
	refuseNoUpgrade = &refusal{http.StatusUpgradeRequired, "This address speaks WebSocket only: connect with a WebSocket client, or have proxies in between pass the Upgrade and Connection headers.", map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
	}}
	refuseProtocol = &refusal{http.StatusUpgradeRequired, "A WebSocket upgrade needs HTTP/1.1.", refuseNoUpgrade.header}
	refuseMethod   = &refusal{http.StatusMethodNotAllowed, "A WebSocket upgrade needs the method GET.", map[string]string{"Allow": "GET"}}
	refuseVersion  = &refusal{http.StatusUpgradeRequired, "Only version 13 of the WebSocket protocol is spoken here.", map[string]string{"Sec-WebSocket-Version": "13"}}
	refuseKey      = &refusal{http.StatusBadRequest, "Sec-WebSocket-Key must be given once, as 16 bytes in base64.", nil}
	refuseBody     = &refusal{http.StatusBadRequest, "A WebSocket upgrade must have no body.", nil}
	refuseOrigin   = &refusal{http.StatusForbidden, "This origin may not connect here.", nil}
	refuseOffer    = &refusal{http.StatusBadRequest, "None of the offered subprotocols is spoken here.", nil}
	refusePath     = &refusal{http.StatusBadRequest, "The path must have neither dot segments nor spaces and control characters.", nil}
	refuseGateway  = &refusal{http.StatusBadGateway, "The WebSocket server behind this address did not accept the connection.", nil}
	refuseTimeout  = &refusal{http.StatusGatewayTimeout, "The WebSocket server behind this address did not answer in time.", nil}
	refuseGone     = &refusal{statusClientClosed, "The client closed the connection.", nil}
	refuseRestart  = &refusal{http.StatusServiceUnavailable, "This gateway is restarting: connect again in a moment.", map[string]string{"Retry-After": "1"}}
	refuseCrowd    = &refusal{http.StatusServiceUnavailable, "There are as many WebSocket sessions here as there may be: connect again later.", map[string]string{"Retry-After": "5"}}
	refuseClient   = &refusal{http.StatusTooManyRequests, "This client has as many WebSocket sessions here as it may have: close one, or connect again later.", map[string]string{"Retry-After": "5"}}
	refuseHijack   = &refusal{http.StatusInternalServerError, "This connection cannot be upgraded.", nil}
)

// refuse answers a client with a refusal, as plain text. A function, for a method takes up a value of the
// functions that call it.
func refuse(rw http.ResponseWriter, r *refusal) {
	header := rw.Header()
	for name, value := range r.header {
		// Not Set, which would spell WebSocket's names in its own way.
		header[name] = []string{value}
	}
	http.Error(rw, r.sentence, r.status)
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

// asksUpgrade reports whether a request asks for a WebSocket (RFC 6455 section
// 4.2.1, items 3 and 4), or an answer agrees to one.
func asksUpgrade(header http.Header) bool {
	return asksPlainly(header) || asksInOtherWords(header)
}

// asksPlainly is asksUpgrade for the words that almost all use, whose Connection names nothing that
// is not hop by hop anyway.
func asksPlainly(header http.Header) bool {
	return usualWords[fmt.Sprintf("%q %q", header["Upgrade"], header["Connection"])]
}

// usualWords are Upgrade and Connection then.
var usualWords = map[string]bool{
	`["websocket"] ["Upgrade"]`: true, `["websocket"] ["upgrade"]`: true, `["websocket"] ["keep-alive, Upgrade"]`: true,
}

// asksInOtherWords is asksUpgrade for any header.
func asksInOtherWords(header http.Header) bool {
	return hasToken(header["Upgrade"], "websocket") && hasToken(header["Connection"], "upgrade")
}

// hasToken looks for token, in any case, in a comma-separated list that may be
// spread over several header lines.
func hasToken(values []string, token string) bool {
	for _, value := range values {
		for _, item := range strings.Split(value, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

// listItems are the items of a comma-separated list over several header lines. They are not to be
// changed.
func listItems(values []string) []string {
	if len(values) == 1 && oneItem.MatchString(values[0]) {
		return values
	}
	return splitItems(values)
}

// oneItem is a list of one item, without spaces around it.
var oneItem = regexp.MustCompile(`^[!-+\--~]([ -+\--~]*[!-+\--~])?$`)

// splitItems is listItems for any list.
func splitItems(values []string) []string {
	var items []string
	for _, value := range values {
		for _, item := range strings.Split(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
	}
	return items
}

// check is the opening handshake's guards (RFC 6455 section 4.2.1), of which a plain request needs those about
// origin and offer only. It returns the first reason to refuse, or nil, and then the visit has the offer that
// stands.
func check(v *visit, set *settings, req *http.Request) *refusal {
	header := req.Header
	if !v.plain {
		refused := guard(req, header)
		if refused != nil {
			return refused
		}
	}
	if len(set.origins) > 0 && !allowsOrigin(set.origins, req) {
		return refuseOrigin
	}
	if header[protocolHeader] == nil && header[extensionsHeader] == nil {
		v.offer = noOffer
		return nil
	}
	return checkOffer(v, set, header)
}

// requestWords is all of a request that guard and completed look at, and usualRequest what is almost always
// said there: that, compiled, is one comparison, where interpreted there would be twenty.
const requestWords = "%s %d.%d %d %q %q %q %q %q %q %q %q"

var usualRequest = regexp.MustCompile(`^GET 1\.1 0 \[\] \["websocket"\] \["(keep-alive, U|U|u)pgrade"\] \["13"\] \["[A-Za-z0-9+/]{22}=="\] \[\] \["[^"]+"\] \["[a-z]+"\]$`)

// guard is those guards in their order that look at the request by itself.
func guard(req *http.Request, header http.Header) *refusal {
	if !asksUpgrade(header) {
		return refuseNoUpgrade
	}
	if req.Method != http.MethodGet {
		return refuseMethod
	}
	if req.ProtoMajor != 1 || req.ProtoMinor < 1 {
		return refuseProtocol
	}
	if strings.Join(header[versionHeader], ", ") != "13" {
		return refuseVersion
	}
	if !oneKey.MatchString(strings.Join(header[keyHeader], ", ")) {
		return refuseKey
	}
	if req.ContentLength != 0 || len(req.TransferEncoding) > 0 {
		return refuseBody
	}
	return nil
}

// oneKey is a key: 16 bytes in base64.
var oneKey = regexp.MustCompile(`^[A-Za-z0-9+/]{22}==$`)

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

// climbs reports whether a path has a dot segment by which it would leave the path that
// it is appended to. An escaped slash counts as one: an upstream may decode it first.
func climbs(path string) bool {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return true
	}
	for _, segment := range strings.Split(decoded, "/") {
		if isDots(segment) {
			return true
		}
	}
	return false
}

// unprintable are the bytes that would break a request line in two. net/http lets none of them
// in, but a middleware before wsfw may have rewritten the path.
const unprintable = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f \x7f"

// isDots reports whether a segment is one of RFC 3986's dot segments.
func isDots(segment string) bool {
	return segment == "." || segment == ".."
}

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

// over is header with the end-to-end headers of an upstream's answer.
func over(header, answer http.Header) http.Header {
	merged := header.Clone()
	if merged == nil {
		merged = http.Header{}
	}
	copyEndToEnd(merged, answer)
	return merged
}

// headOf is a 101 with header, as net/http writes it.
func headOf(header http.Header) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = header.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// writeNegotiated writes what is negotiated of header into b.
func writeNegotiated(b *bytes.Buffer, header http.Header) {
	for _, value := range header[protocolHeader] {
		b.WriteString("Sec-WebSocket-Protocol: " + value + "\r\n")
	}
	for _, value := range header[extensionsHeader] {
		b.WriteString("Sec-WebSocket-Extensions: " + value + "\r\n")
	}
}

// negotiated are the headers by which a server agrees to an offer. They are written by
// themselves, under the names that RFC 6455 gives them, and the accept value of a handshake says
// nothing to the other.
var negotiated = map[string]bool{protocolHeader: true, extensionsHeader: true, acceptHeader: true}

// hopByHop are the headers that concern one connection only (RFC 9110 section
// 7.6.1), beside those that Connection names.
var hopByHop = map[string]bool{
	"Connection": true, "Upgrade": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true,
	"Proxy-Authorization": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
}

// notToClient are the headers of an upstream's answer that its 101 to the client does not repeat.
var notToClient = union(hopByHop, negotiated)

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

// copyEndToEnd adds the end-to-end headers of src to dst. Those that dst has already
// are replaced, but for cookies.
func copyEndToEnd(dst, src http.Header) {
	named := src["Connection"]
	if asksPlainly(src) {
		named = nil // those are hop by hop anyway
	}
	for name, values := range src {
		if hopByHop[name] || named != nil && hasToken(named, name) {
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

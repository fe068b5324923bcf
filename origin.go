package wsfw

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// originRule is one of allowedOrigins.
type originRule struct {
	anybody  bool // whoever it is
	none     bool // a request without an Origin
	sameHost bool
	site     origin
	anyLabel bool // one label stands before the site's host; where that is empty it is the whole host
}

// origin is a web origin (RFC 6454), the port of http and https always named. The origin "null" has "null" for its scheme,
// and nothing else.
type origin struct {
	scheme, host, port string
}

// opaque is how an origin is written that is no site's (RFC 6454 section 7.1).
const opaque = "null"

// parseOrigin reads one of allowedOrigins, and returns what to write instead where that can never match.
func parseOrigin(value string) (originRule, string) {
	switch value {
	case "any":
		return originRule{anybody: true}, ""
	case "none":
		return originRule{none: true}, ""
	case "same-host":
		return originRule{sameHost: true}, ""
	case "*":
		return originRule{}, "must be written any"
	}
	lower := strings.ToLower(value)
	for _, scheme := range []string{"ws", "wss"} {
		if strings.HasPrefix(lower, scheme+"://") {
			return originRule{}, "must be written " + strings.Replace(lower, "ws", "http", 1) + ", for an Origin has the scheme of the page"
		}
	}
	if strings.HasSuffix(lower, "://*") && !strings.HasPrefix(lower, "http") {
		return originRule{site: origin{scheme: strings.TrimSuffix(lower, "://*")}, anyLabel: true}, "" // such as extensions' ids
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
	if value == opaque {
		return origin{scheme: opaque}, true
	}
	u, err := url.Parse(strings.ToLower(value))
	if err != nil || u.Scheme == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return origin{}, false
	}
	if u.Path != "" && u.Path != "/" {
		return origin{}, false
	}
	host := u.Hostname()
	return origin{scheme: u.Scheme, host: host, port: portOf(u)}, host != "" || u.Scheme == "file"
}

// portOf is a URL's port; where none is written, its scheme's own, if it has one.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	switch u.Scheme {
	case "https", "wss":
		return "443"
	case "http", "ws":
		return "80"
	}
	return ""
}

// asciiHost is a host with its labels as they go over the wire (RFC 5890: xn--), which net/http does for a request's.
func asciiHost(host string) string {
	if utf8.RuneCountInString(host) == len(host) {
		return host
	}
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "host", Path: "/"}, Host: host}
	var wire bytes.Buffer
	if req.Write(&wire) != nil {
		return host
	}
	sent, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		return host
	}
	return sent.Host
}

// allowsOrigin judges a request's Origin by the list of those allowed.
func allowsOrigin(rules []originRule, req *http.Request) bool {
	values := req.Header["Origin"]
	if len(values) > 1 {
		return false
	}
	if len(values) == 0 {
		for _, rule := range rules {
			if rule.none {
				return true
			}
		}
		return false
	}
	site, ok := splitOrigin(values[0])
	if !ok {
		return false
	}
	for _, rule := range rules {
		if rule.allows(site, req.Host) {
			return true
		}
	}
	return false
}

// allows reports whether the rule takes site, of a request to host.
func (r originRule) allows(site origin, host string) bool {
	if r.none {
		return false
	}
	if r.sameHost {
		own, ok := splitOrigin(site.scheme + "://" + host)
		return ok && own.host == site.host && own.port == site.port
	}
	if r.anyLabel {
		label, parent, _ := strings.Cut(site.host, ".")
		if label == "" || parent == "" && label+"." == site.host {
			return false
		}
		site.host = parent
	}
	return site == r.site
}

package wsfw

import (
	"net/http"
	"net/url"
	"strings"
)

// originRule is one of allowedOrigins.
type originRule struct {
	sameHost bool
	none     bool
	site     origin
	anyLabel bool // one label stands before the site's host
}

// origin is a web origin (RFC 6454), its port always named.
type origin struct {
	scheme, host, port string
}

// origins parses the list of allowed origins.
func (m *mistakes) origins(values []string) []originRule {
	rules := make([]originRule, 0, len(values))
	for _, value := range values {
		rule, ok := parseOrigin(strings.TrimSpace(value))
		if !ok {
			m.add("allowedOrigins", "has %q, must be same-host, none, or scheme://host[:port], where the host may begin with one *. label", value)
			continue
		}
		rules = append(rules, rule)
	}
	return rules
}

// parseOrigin reads one of allowedOrigins.
func parseOrigin(value string) (originRule, bool) {
	if value == "same-host" {
		return originRule{sameHost: true}, true
	}
	if value == "none" {
		return originRule{none: true}, true
	}
	plainValue := strings.Replace(value, "://*.", "://", 1)
	site, ok := splitOrigin(plainValue)
	return originRule{site: site, anyLabel: plainValue != value}, ok && !strings.Contains(site.host, "*")
}

// splitOrigin takes scheme://host[:port] apart, in lower case.
func splitOrigin(value string) (origin, bool) {
	u, err := url.Parse(strings.ToLower(value))
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return origin{}, false
	}
	if u.Path != "" && u.Path != "/" {
		return origin{}, false
	}
	return origin{scheme: u.Scheme, host: u.Hostname(), port: portOf(u)}, true
}

// portOf is a URL's port, the scheme's own where none is written.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" || u.Scheme == "wss" {
		return "443"
	}
	return "80"
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
		label, parent, ok := strings.Cut(site.host, ".")
		if !ok || label == "" {
			return false
		}
		site.host = parent
	}
	return site == r.site
}

package wsfw

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Config is the middleware's options as Traefik decodes them: names are matched
// case-insensitively, durations are Go duration strings. README describes each.
type Config struct {
	Path           string   `json:"path,omitempty"`
	NonWebSocket   string   `json:"nonWebSocket,omitempty"`
	AllowedOrigins []string `json:"allowedOrigins,omitempty"`

	UpstreamEndpoint string            `json:"upstreamEndpoint,omitempty"`
	UpstreamPath     string            `json:"upstreamPath,omitempty"`
	UpstreamRules    []UpstreamRule    `json:"upstreamRules,omitempty"`
	PassHostHeader   bool              `json:"passHostHeader,omitempty"`
	Headers          map[string]string `json:"headers,omitempty"`
	Protocols        []string          `json:"protocols,omitempty"`
	Compression      string            `json:"compression,omitempty"`
	ConnectTimeout   string            `json:"connectTimeout,omitempty"`
	UpgradeTimeout   string            `json:"upgradeTimeout,omitempty"`
	TLS              *TLSConfig        `json:"tls,omitempty"`

	PingInterval  string `json:"pingInterval,omitempty"`
	PingTarget    string `json:"pingTarget,omitempty"`
	PongTimeout   string `json:"pongTimeout,omitempty"`
	MaxInactivity string `json:"maxInactivity,omitempty"`
	MaxLifetime   string `json:"maxLifetime,omitempty"`
	WriteTimeout  string `json:"writeTimeout,omitempty"`
	CloseTimeout  string `json:"closeTimeout,omitempty"`
	DrainTimeout  string `json:"drainTimeout,omitempty"`
	Validate      string `json:"validate,omitempty"`
	Tunnel        bool   `json:"tunnel,omitempty"`

	MaxFrameSize            string  `json:"maxFrameSize,omitempty"`
	MaxMessageSize          string  `json:"maxMessageSize,omitempty"`
	MessageRate             float64 `json:"messageRate,omitempty"`
	MessageBurst            int     `json:"messageBurst,omitempty"`
	MaxConnections          int     `json:"maxConnections,omitempty"`
	MaxConnectionsPerClient int     `json:"maxConnectionsPerClient,omitempty"`
	ClientHeader            string  `json:"clientHeader,omitempty"`

	// Unknown collects the keys that no option has, which Traefik would drop
	// without a word.
	Unknown map[string]any `json:"-" mapstructure:",remain"`
}

// UpstreamRule picks an endpoint by one value of the request: that of Header, Query
// or Cookie, whichever is set.
type UpstreamRule struct {
	Header           string `json:"header,omitempty"`
	Query            string `json:"query,omitempty"`
	Cookie           string `json:"cookie,omitempty"`
	Value            string `json:"value,omitempty"`
	UpstreamEndpoint string `json:"upstreamEndpoint,omitempty"`

	Unknown map[string]any `json:"-" mapstructure:",remain"`
}

// TLSConfig is how wsfw speaks TLS to a wss:// endpoint.
type TLSConfig struct {
	CAFile             string `json:"caFile,omitempty"`
	CertFile           string `json:"certFile,omitempty"`
	KeyFile            string `json:"keyFile,omitempty"`
	ServerName         string `json:"serverName,omitempty"`
	MinVersion         string `json:"minVersion,omitempty"`
	InsecureSkipVerify bool   `json:"insecureSkipVerify,omitempty"`

	Unknown map[string]any `json:"-" mapstructure:",remain"`
}

// CreateConfig returns the options' defaults.
func CreateConfig() *Config {
	return &Config{
		NonWebSocket:   "reject",
		UpstreamPath:   "fixed",
		Compression:    "pass",
		ConnectTimeout: "5s",
		UpgradeTimeout: "5s",
		PingTarget:     "both",
		WriteTimeout:   "30s",
		CloseTimeout:   "5s",
		DrainTimeout:   "8s",
	}
}

// settings is a Config, parsed and checked once and never changed afterwards:
// every handler of a middleware reads it.
type settings struct {
	path          []string // decoded segments; none is every path
	passOthers    bool     // requests that ask for no upgrade go to next
	selective     bool     // not all requests are ours: for one of these two reasons
	origins       []originRule
	protocols     []string
	noCompression bool
	forward       bool // to an upstream of wsfw's own, else to next
	inline        bool // to next, and wsfw relays between
	upstream      *upstream
	limits        *limits
	rules         *grammar // of frames where no extension is negotiated; lax where any is
	deflated      *grammar // of frames where the usual extension is
	checkText     bool
	tunnel        bool
	outlines      map[*grammar]*outline // of the sessions under each grammar
	metronome     *metronome            // of their pings; nil where there are none
}

// newSettings are the settings of a relay within limits, with no others.
func newSettings(l limits) *settings {
	s := &settings{}
	s.bound(l)
	return s
}

// bound has sessions keep limits, and outlines them.
func (s *settings) bound(l limits) {
	s.limits = l.settled()
	s.outlines = map[*grammar]*outline{}
	if s.limits.pingInterval > 0 {
		s.metronome = metronomeOf(s.limits.pingInterval)
	}
	for _, rules := range []*grammar{plain, compressed, extended, lax, plainText, compressedText} {
		s.outlines[rules] = newOutline(rules, s.limits)
	}
}

// mistakes collects what is wrong with a configuration, to be reported together.
type mistakes struct {
	errs []error
}

// add notes a mistake: the key, and what would be right.
func (m *mistakes) add(key, format string, args ...any) {
	m.errs = append(m.errs, errors.New(key+": "+fmt.Sprintf(format, args...)))
}

// parse turns a Config into settings. Its error names every mistake.
func parse(c *Config) (*settings, error) {
	m := &mistakes{}
	m.unknown("", c.Unknown)
	s := &settings{
		path:          m.path(c.Path),
		passOthers:    m.oneOf("nonWebSocket", c.NonWebSocket, "reject", "pass") == "pass",
		origins:       m.origins(c.AllowedOrigins),
		protocols:     m.protocols(c.Protocols),
		noCompression: m.oneOf("compression", c.Compression, "pass", "off") == "off",
		forward:       c.UpstreamEndpoint != "",
		tunnel:        c.Tunnel,
	}
	s.selective = s.passOthers || len(s.path) > 0
	s.bound(m.limits(c))
	validate := m.oneOf("validate", c.Validate, "frames", "utf8", "off")
	s.checkText = validate == "utf8"
	s.rules, s.deflated = plain, compressed
	if validate == "off" {
		s.rules, s.deflated = lax, lax
	}
	if s.checkText {
		s.rules, s.deflated = plainText, compressedText
	}
	s.upstream = m.upstream(c)
	s.inline = !s.forward && len(needFrames(c, s.limits)) > 0
	m.contradictions(c, s)
	if len(m.errs) > 0 {
		return nil, errors.Join(m.errs...)
	}
	return s, nil
}

// sortedKeys are a map's keys in an order that is the same each time.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// unknown reports keys that are no options of section.
func (m *mistakes) unknown(section string, keys map[string]any) {
	for _, name := range sortedKeys(keys) {
		m.add(section+name, "unknown key; check its spelling against the options in README")
	}
}

// oneOf is value, or the first choice where it is empty.
func (m *mistakes) oneOf(key, value string, choices ...string) string {
	if value == "" {
		return choices[0]
	}
	for _, choice := range choices {
		if value == choice {
			return value
		}
	}
	m.add(key, "is %q, must be one of %s", value, strings.Join(choices, ", "))
	return choices[0]
}

// duration is a Go duration string; empty and 0 are off.
func (m *mistakes) duration(key, value string) time.Duration {
	if value == "" || value == "0" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		m.add(key, "is %q, must be a duration with a unit, such as 30s or 1m30s, or 0 for off", value)
		return 0
	}
	if d < 0 {
		m.add(key, "is %s, must not be negative; 0 is off", value)
		return 0
	}
	return d
}

// path is a path's decoded segments. A trailing slash says nothing: what lies below
// the path belongs to it anyway.
func (m *mistakes) path(value string) []string {
	trimmed := strings.Trim(value, "/")
	if trimmed == "" && (value == "" || value[0] == '/') {
		return nil
	}
	if value[0] != '/' || strings.ContainsAny(value, "?#") {
		m.add("path", "is %q, must start with / and have neither query nor fragment, such as /socket", value)
		return nil
	}
	segments := strings.Split(trimmed, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil || decoded == "" || isDots(decoded) {
			m.add("path", "is %q, must not have empty, dot or badly escaped segments", value)
			return nil
		}
		segments[i] = decoded
	}
	return segments
}

// protocols checks a list of subprotocol names (RFC 6455 section 4.1: tokens).
func (m *mistakes) protocols(names []string) []string {
	list := make([]string, 0, len(names))
	for _, name := range names {
		name = strings.TrimSpace(name)
		if !isToken(name) {
			m.add("protocols", "has %q, must be subprotocol names such as mqtt or graphql-transport-ws", name)
			continue
		}
		list = append(list, name)
	}
	return list
}

// upstream parses all that concerns wsfw's own connection to an upstream.
func (m *mistakes) upstream(c *Config) *upstream {
	u := &upstream{
		appendPath:     m.oneOf("upstreamPath", c.UpstreamPath, "fixed", "append") == "append",
		passHost:       c.PassHostHeader,
		headers:        m.headers(c.Headers),
		dialer:         &net.Dialer{Timeout: m.duration("connectTimeout", c.ConnectTimeout)},
		upgradeTimeout: m.duration("upgradeTimeout", c.UpgradeTimeout),
	}
	if c.UpstreamEndpoint == "" {
		return u
	}
	u.endpoint = m.endpoint("upstreamEndpoint", c.UpstreamEndpoint)
	secure := u.endpoint.secure
	for i, rule := range c.UpstreamRules {
		parsed := m.rule("upstreamRules["+strconv.Itoa(i)+"]", rule)
		secure = secure || parsed.endpoint.secure
		u.rules = append(u.rules, parsed)
	}
	u.tls = m.tls(c.TLS, secure)
	u.prepare()
	return u
}

// endpoint parses a ws:// or wss:// URL. Its messages do not repeat the value, for
// an endpoint may hold a secret.
func (m *mistakes) endpoint(key, value string) *endpoint {
	u, err := url.Parse(strings.TrimSpace(value))
	if err != nil {
		m.add(key, "is not a URL; write ws://host:port/path or wss://host/path")
		return &endpoint{}
	}
	scheme := strings.ToLower(u.Scheme)
	secure := scheme == "wss" || scheme == "https"
	if !secure && scheme != "ws" && scheme != "http" {
		m.add(key, "must start with ws:// or wss://")
		return &endpoint{}
	}
	if u.User != nil {
		m.add(key, "must hold no user or password; set an Authorization header in headers instead")
	}
	if strings.Contains(u.RawQuery, " ") {
		m.add(key, "has a space in its query; write %%20")
	}
	if u.Fragment != "" {
		m.add(key, "must have no fragment (RFC 6455 section 3)")
	}
	port := u.Port()
	if number, err := strconv.Atoi(port); port != "" && (err != nil || number < 1 || number > 65535) {
		m.add(key, "has a port that is not between 1 and 65535")
	}
	if u.Hostname() == "" {
		m.add(key, "names no host; write ws://host:port/path")
	}
	return newEndpoint(u, secure)
}

// rule parses one of upstreamRules.
func (m *mistakes) rule(key string, r UpstreamRule) upstreamRule {
	m.unknown(key+".", r.Unknown)
	named := 0
	for _, name := range []string{r.Header, r.Query, r.Cookie} {
		if name != "" {
			named++
		}
	}
	if named != 1 {
		m.add(key, "must name exactly one of header, query, cookie")
	}
	if r.Header != "" && !isToken(r.Header) {
		m.add(key, "header is %q, which is no header name", r.Header)
	}
	if r.Cookie != "" && !isToken(r.Cookie) {
		m.add(key, "cookie is %q, which is no cookie name", r.Cookie)
	}
	if r.Value == "" {
		m.add(key, "must name the value that picks its upstreamEndpoint")
	}
	if r.UpstreamEndpoint == "" {
		m.add(key, "must name the upstreamEndpoint that it picks")
		return upstreamRule{endpoint: &endpoint{}}
	}
	return upstreamRule{
		header:   textproto.CanonicalMIMEHeaderKey(r.Header),
		query:    r.Query,
		cookie:   r.Cookie,
		value:    r.Value,
		endpoint: m.endpoint(key+".upstreamEndpoint", r.UpstreamEndpoint),
	}
}

// ownHeaders are the upstream request's headers that the handshake itself sets.
var ownHeaders = map[string]string{
	"Connection":               "belongs to the handshake",
	"Upgrade":                  "belongs to the handshake",
	"Content-Length":           "belongs to requests with a body",
	"Transfer-Encoding":        "belongs to requests with a body",
	"Sec-Websocket-Key":        "belongs to the handshake",
	"Sec-Websocket-Version":    "belongs to the handshake",
	"Sec-Websocket-Extensions": "is set by compression",
	"Sec-Websocket-Protocol":   "is set by protocols",
}

// headers checks what is set on the upstream request. Messages do not repeat
// values, for they may be secret.
func (m *mistakes) headers(values map[string]string) http.Header {
	headers := http.Header{}
	for _, name := range sortedKeys(values) {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		reason, own := ownHeaders[canonical]
		if !isToken(name) {
			m.add("headers", "has %q, which is no header name", name)
		} else if own {
			m.add("headers", "has %s, which %s and cannot be set here", canonical, reason)
		} else if strings.ContainsFunc(values[name], isControl) {
			m.add("headers", "has a control character in the value of %s", canonical)
		} else if headers[canonical] != nil {
			m.add("headers", "has %s twice, in two spellings", canonical)
		}
		headers[canonical] = []string{values[name]}
	}
	return headers
}

// option is a key of the configuration, and whether it asks for something.
type option struct {
	key string
	set bool
}

// keysSet are the keys of those options that ask for something.
func keysSet(options []option) []string {
	var keys []string
	for _, o := range options {
		if o.set {
			keys = append(keys, o.key)
		}
	}
	return keys
}

// needFrames are the options set that only who looks at frames can keep: those that have
// wsfw relay.
func needFrames(c *Config, l *limits) []string {
	return keysSet([]option{
		{"pingInterval", l.pingInterval > 0},
		{"pongTimeout", l.pongTimeout > 0},
		{"maxInactivity", l.maxInactivity > 0},
		{"maxLifetime", l.maxLifetime > 0},
		{"maxFrameSize", l.maxFrameSize > 0},
		{"maxMessageSize", l.maxMessageSize > 0},
		{"messageRate", l.messageRate > 0},
		{"validate", c.Validate != ""},
	})
}

// needUpstream are the options set that only a forward can keep.
func needUpstream(c *Config) []string {
	defaults := CreateConfig()
	return keysSet([]option{
		{"upstreamPath", c.UpstreamPath == "append"},
		{"upstreamRules", len(c.UpstreamRules) > 0},
		{"passHostHeader", c.PassHostHeader},
		{"headers", len(c.Headers) > 0},
		{"tls", c.TLS != nil},
		{"connectTimeout", c.ConnectTimeout != defaults.ConnectTimeout},
		{"upgradeTimeout", c.UpgradeTimeout != defaults.UpgradeTimeout},
		{"tunnel", c.Tunnel},
	})
}

// needRelay are the options set that only say how wsfw relays, and not that it does.
func needRelay(c *Config) []string {
	defaults := CreateConfig()
	return keysSet([]option{
		{"writeTimeout", c.WriteTimeout != defaults.WriteTimeout},
		{"closeTimeout", c.CloseTimeout != defaults.CloseTimeout},
		{"drainTimeout", c.DrainTimeout != defaults.DrainTimeout},
	})
}

// contradictions reports options that cannot be had together.
func (m *mistakes) contradictions(c *Config, s *settings) {
	if c.Tunnel {
		for _, key := range needFrames(c, s.limits) {
			m.add("tunnel", "cannot be had together with %s: a tunnel does not look at frames", key)
		}
	}
	if s.forward {
		return
	}
	for _, key := range needUpstream(c) {
		m.add(key, "needs upstreamEndpoint: without one the router's service is the upstream, and Traefik connects to it")
	}
	if s.inline {
		return
	}
	for _, key := range needRelay(c) {
		m.add(key, "needs upstreamEndpoint, or an option that has wsfw relay to the router's service, such as validate: frames")
	}
}

// isControl reports whether r may not stand in a header's value (RFC 9110 section 5.5).
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7F
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

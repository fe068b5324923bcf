package wsfw

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// Config is the middleware's options as Traefik decodes them. It takes each option in whatever type that leaves it, for
// New judges them all: Traefik's decoder would report the first wrong type only, by the name of a Go field, and drop
// unknown keys without a word. README describes each option.
type Config struct {
	Options map[string]any `json:"-" mapstructure:",remain"`
}

// CreateConfig returns a configuration without options: New knows the defaults.
func CreateConfig() *Config {
	return &Config{}
}

// settings is a Config, parsed and checked once and never changed afterwards: every handler of a middleware reads it.
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
	logOpening    bool                  // a line at the opening of each session,
	logEnd        bool                  // and one at its end
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

// parse turns the Config of the middleware called name into settings. Its error names every mistake.
func parse(c *Config, name string) (*settings, error) {
	m := &mistakes{}
	o := newOptions(m, "", c.Options)
	s := &settings{
		path:          o.path(),
		passOthers:    o.oneOf("nonWebSocket", "reject", "pass") == "pass",
		origins:       o.origins(),
		protocols:     o.protocols(),
		noCompression: o.oneOf("compression", "pass", "off") == "off",
		tunnel:        o.flag("tunnel"),
	}
	s.selective = s.passOthers || len(s.path) > 0
	s.bound(o.limits())
	s.validate(o.oneOf("validate", "frames", "utf8", "off"))
	sessionLog := o.oneOf("sessionLog", "end", "both", "off")
	s.logOpening = sessionLog == "both"
	s.logEnd = sessionLog != "off"
	s.upstream = o.upstream()
	s.forward = o.isOn("upstreamEndpoint")
	s.inline = !s.forward && len(o.keysOn(needFrames)) > 0
	o.contradictions(s)
	o.finish()
	err := m.err(name)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// validate has frames validated as the option says.
func (s *settings) validate(how string) {
	s.checkText = how == "utf8"
	s.rules, s.deflated = plain, compressed
	if how == "off" {
		s.rules, s.deflated = lax, lax
	}
	if s.checkText {
		s.rules, s.deflated = plainText, compressedText
	}
}

// pathPatterns are the characters by which other routers mark patterns. Here a path is compared as it is written, so a
// pattern would match nothing, and let every upgrade past the policy.
const pathPatterns = "*{}()[]|^$\\"

// path is the decoded segments of the option path. A trailing slash says nothing: what lies below the path belongs to
// it anyway.
func (o *options) path() []string {
	value := o.text("path", "")
	trimmed := strings.Trim(value, "/")
	if trimmed == "" && (value == "" || value[0] == '/') {
		return nil
	}
	if strings.ContainsAny(value, pathPatterns) || strings.Contains(value, "/:") || strings.Contains(value, ".+") {
		o.add("path", quoted(value), "must be no pattern but the path that all have in common, such as /socket, with such characters as escapes, such as %2A")
		return nil
	}
	if value[0] != '/' || strings.ContainsAny(value, "?#") {
		o.add("path", quoted(value), "must start with / and have neither query nor fragment, such as /socket")
		return nil
	}
	segments := strings.Split(trimmed, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil || decoded == "" || decoded == "." || decoded == ".." {
			o.add("path", quoted(value), "must not have empty, dot or badly escaped segments")
			return nil
		}
		segments[i] = decoded
	}
	return segments
}

// present is the list under a key. One that is there and empty is a mistake: it may be a template's variable that was
// not set, and must not open what it was to close.
func (o *options) present(key, remedy string) []string {
	items, ok := o.list(key)
	if ok && strings.Join(items, "") == "" {
		o.add(key, "empty", remedy)
		return nil
	}
	return items
}

// origins is the list of allowed origins; none where any may connect.
func (o *options) origins() []originRule {
	const key = "allowedOrigins"
	values := o.present(key, "name the origins that may connect, or write any")
	rules := make([]originRule, 0, len(values))
	anybody := false
	for _, value := range values {
		rule, remedy := parseOrigin(value)
		if remedy != "" {
			o.addItem(key, value, remedy)
		}
		anybody = anybody || rule.anybody
		rules = append(rules, rule)
	}
	if anybody {
		return nil
	}
	return rules
}

// protocols is a list of subprotocol names (RFC 6455 section 4.1: tokens).
func (o *options) protocols() []string {
	const key = "protocols"
	names := o.present(key, "name the subprotocols that are allowed, or leave it out")
	for _, name := range names {
		if !isToken(name) {
			o.addItem(key, name, "must be subprotocol names such as mqtt or graphql-transport-ws")
		}
	}
	return names
}

// limits are the bounds of a session.
func (o *options) limits() limits {
	target := o.oneOf("pingTarget", "both", "client", "upstream")
	l := limits{
		pingInterval:  o.duration("pingInterval", "", least, most),
		pingClient:    target != "upstream",
		pingUpstream:  target != "client",
		pongTimeout:   o.duration("pongTimeout", "", least, most),
		maxInactivity: o.duration("maxInactivity", "", least, most),
		maxLifetime:   o.duration("maxLifetime", "", least, most),
		writeTimeout:  o.duration("writeTimeout", "30s", least, most),
		closeTimeout:  o.duration("closeTimeout", "5s", least, mostClosing),
		drainTimeout:  o.duration("drainTimeout", "8s", 0, most),

		restartCode:      o.closeCode("restartCode", closeRestart),
		upstreamLostCode: o.closeCode("upstreamLostCode", closeBadGateway),

		maxFrameSize:   o.size("maxFrameSize"),
		maxMessageSize: o.size("maxMessageSize"),
		messageRate:    o.rate("messageRate", mostMessages),
		messageBurst:   float64(o.count("messageBurst")),
		maxConnections: o.count("maxConnections"),
		maxPerClient:   o.count("maxConnectionsPerClient"),
		clientHeader:   o.clientHeader(),
	}
	o.togetherWithPings(target)
	if l.closeTimeout == 0 {
		o.add("closeTimeout", "off", "must be set, for a peer that never answers would never be let go, 5s is the default")
	}
	if l.maxMessageSize > 0 && l.maxFrameSize > l.maxMessageSize {
		o.add("maxFrameSize", "above maxMessageSize", "must not be: no frame is larger than its message")
	}
	if l.messageBurst > mostMessages {
		o.add("messageBurst", strconv.Itoa(int(l.messageBurst)), "must be at most "+strconv.Itoa(mostMessages))
	}
	if l.messageBurst > 0 && l.messageRate == 0 {
		o.add("messageBurst", "set", "needs messageRate: without it messages are free")
	}
	if l.messageBurst == 0 {
		l.messageBurst = l.messageRate
	}
	if l.messageBurst < 1 {
		l.messageBurst = 1
	}
	return l
}

// togetherWithPings reports what needs pings and has none.
func (o *options) togetherWithPings(target string) {
	if o.isOn("pingInterval") {
		return
	}
	if o.isOn("pongTimeout") {
		o.add("pongTimeout", "set", "needs pingInterval: a peer that is not pinged may be silent for as long as it likes")
	}
	if target != "both" {
		o.add("pingTarget", "set", "needs pingInterval: without it nobody is pinged")
	}
}

// closeCode is a close code that may be sent (RFC 6455 section 7.4).
func (o *options) closeCode(key string, fallback int) int {
	value := o.text(key, "")
	if value == "" {
		return fallback
	}
	code, err := strconv.Atoi(value)
	if err != nil || !mayBeSent(code) {
		o.add(key, quoted(value), "must be a close code that may be sent, such as "+strconv.Itoa(fallback)+" (the default), "+strconv.Itoa(closeGoingAway)+" or "+strconv.Itoa(closeInternal))
	}
	return code
}

// clientHeader is the header that tells one client from another.
func (o *options) clientHeader() string {
	const key = "clientHeader"
	name := o.text(key, "")
	if name == "" {
		return ""
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if !isToken(name) {
		o.add(key, quoted(name), "must be a header name")
	}
	if neverThere[canonical] || canonical == "Host" {
		o.add(key, quoted(name), "must be a header that tells one client from another")
	}
	if !o.isOn("maxConnectionsPerClient") {
		o.add(key, "set", "needs maxConnectionsPerClient: without it clients are not told apart")
	}
	return canonical
}

// neverThere are the headers that no request has here, for net/http takes them out.
var neverThere = map[string]bool{"Transfer-Encoding": true, "Trailer": true}

// upstream is all that concerns wsfw's own connection to an upstream.
func (o *options) upstream() *upstream {
	dialing := &net.Dialer{Timeout: o.duration("connectTimeout", "5s", least, most)}
	to := &upstream{
		appendPath:     o.oneOf("upstreamPath", "fixed", "append") == "append",
		passHost:       o.flag("passHostHeader"),
		headers:        o.headers(),
		dialer:         dialing,
		upgradeTimeout: o.duration("upgradeTimeout", "5s", least, most),
	}
	rules := o.sections("upstreamRules")
	written, there := o.look("upstreamEndpoint")
	if !there {
		o.section("tls")
		return to
	}
	to.endpoint = o.endpoint("upstreamEndpoint", written)
	secure := to.endpoint.secure
	seen := map[string]string{}
	for _, rule := range rules {
		parsed := rule.rule(seen)
		secure = secure || parsed.endpoint.secure
		to.rules = append(to.rules, parsed)
	}
	to.tls = o.tls(secure)
	to.prepare()
	return to
}

// endpoint parses a ws:// or wss:// URL. Its messages do not show the value, for an endpoint may hold a secret.
func (o *options) endpoint(key string, written any) *endpoint {
	value := strings.TrimSpace(o.single(key, written))
	if value == "" {
		if kindOf(written) == "text" || written == nil {
			o.add(key, "empty", "write ws://host:port/path, or leave it out")
		}
		return &endpoint{}
	}
	u, err := url.Parse(value)
	if err != nil {
		o.add(key, "no URL", "write ws://host:port/path or wss://host/path")
		return &endpoint{}
	}
	scheme := strings.ToLower(u.Scheme)
	secure := scheme == "wss" || scheme == "https"
	if !secure && scheme != "ws" && scheme != "http" {
		o.add(key, "without ws:// or wss://", "write ws://host:port/path or wss://host/path")
		return &endpoint{}
	}
	if u.User != nil {
		o.add(key, "a URL with a user", "set an Authorization header in headers instead")
	}
	if strings.Contains(u.RawQuery, " ") {
		o.add(key, "a URL with a space in its query", "write %20")
	}
	if u.Fragment != "" {
		o.add(key, "a URL with a fragment", "leave that out (RFC 6455 section 3)")
	}
	port := u.Port()
	if number, err := strconv.Atoi(port); port != "" && (err != nil || number < 1 || number > 65535) {
		o.add(key, "a URL with a port that is not between 1 and 65535", "write ws://host:port/path")
	}
	host, _, _ := strings.Cut(u.Hostname(), "%")
	if strings.Contains(host, ":") && net.ParseIP(host) == nil {
		o.add(key, "a URL with two ports", "write ws://host:port/path, and an IPv6 address in brackets")
	}
	if host == "" {
		o.add(key, "a URL without a host", "write ws://host:port/path")
	}
	return newEndpoint(u, secure)
}

// rule parses one of upstreamRules. seen has, by what they look at, those before it.
func (o *options) rule(seen map[string]string) upstreamRule {
	defer o.finish()
	key := strings.TrimSuffix(o.prefix, ".")
	r := upstreamRule{
		header: textproto.CanonicalMIMEHeaderKey(o.text("header", "")), query: o.text("query", ""), cookie: o.text("cookie", ""),
		endpoint: &endpoint{},
	}
	value, _ := o.look("value")
	r.value = o.single(o.prefix+"value", value)
	o.checkRule(key, &r)
	look := strings.Join([]string{r.header, r.query, r.cookie, r.value}, "\n")
	if seen[look] != "" {
		o.add(key, "a repetition of "+seen[look], "leave one out: only the first would be used")
	}
	seen[look] = key
	written, there := o.look("upstreamEndpoint")
	if !there {
		o.add(key, "without an upstreamEndpoint", "name the one that it picks")
		return r
	}
	r.endpoint = o.endpoint(o.prefix+"upstreamEndpoint", written)
	return r
}

// checkRule reports what is wrong with what a rule looks at, and has a cookie looked for by one comparison.
func (o *options) checkRule(key string, r *upstreamRule) {
	named := 0
	for _, name := range []string{r.header, r.query, r.cookie} {
		if name != "" {
			named++
		}
	}
	if named != 1 {
		o.add(key, "a rule of "+strconv.Itoa(named)+" sources", "must name exactly one of header, query, cookie")
	}
	if r.header != "" && (!isToken(r.header) || neverThere[r.header]) {
		o.add(o.prefix+"header", quoted(r.header), "must be a header that requests have")
	}
	if r.cookie != "" && !isToken(r.cookie) {
		o.add(o.prefix+"cookie", quoted(r.cookie), "must be a cookie name")
	}
	if r.value == "" {
		o.add(o.prefix+"value", "empty", "name the value that picks the upstreamEndpoint")
	}
	inHeader := r.header != "" && (r.value != strings.TrimSpace(r.value) || strings.ContainsFunc(r.value, isControl))
	inCookie := r.cookie != "" && !cookieValue.MatchString(r.value)
	if inHeader || inCookie {
		o.add(o.prefix+"value", "one that no request can have", "write it without spaces around it, quotes, semicolons, backslashes and control characters")
	}
	r.prepare()
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
	"Via":                      "is set by wsfw, which finds loops by it",
}

// headers are what is set on the upstream request. Messages show no values, for they may be secret.
func (o *options) headers() http.Header {
	const key = "headers"
	headers := http.Header{}
	values := o.pairs(key)
	for _, name := range sortedKeys(values) {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		value := o.single(key+"."+canonical, values[name])
		reason, own := ownHeaders[canonical]
		if !isToken(name) {
			o.addItem(key, name, "must be a header name")
		} else if own {
			o.addItem(key, canonical, "cannot be set here: it "+reason)
		} else if strings.ContainsFunc(value, isControl) {
			o.addItem(key, canonical, "must have no control character in its value")
		} else if canonical == "Host" && strings.ContainsAny(value, " \t/?#@") {
			o.addItem(key, canonical, "must be a host, or host:port")
		} else if headers[canonical] != nil {
			o.addItem(key, canonical, "leave one of its two spellings out")
		}
		headers[canonical] = []string{value}
	}
	return headers
}

// tlsVersions are the values of tls.minVersion.
var tlsVersions = map[string]uint16{
	"":    tls.VersionTLS12,
	"1.2": tls.VersionTLS12, "VersionTLS12": tls.VersionTLS12,
	"1.3": tls.VersionTLS13, "VersionTLS13": tls.VersionTLS13,
}

// tls are the options of that name. secure tells whether there is a wss:// endpoint.
func (o *options) tls(secure bool) *tlsSource {
	section := o.section("tls")
	source := &tlsSource{minimum: tls.VersionTLS12}
	if section != nil {
		if !secure {
			o.add("tls", "set", "needs a wss:// endpoint")
		}
		section.tlsFiles(source)
		section.finish()
	}
	source.versions = source.fileVersions()
	config, failed := source.load()
	for _, f := range failed {
		o.add(f.key, f.problem, f.remedy)
	}
	source.current = config
	return source
}

// tlsFiles reads the options in the section tls into source.
func (o *options) tlsFiles(source *tlsSource) {
	source.caFile = o.text("caFile", "")
	source.certFile = o.text("certFile", "")
	source.keyFile = o.text("keyFile", "")
	source.serverName = o.text("serverName", "")
	source.insecure = o.flag("insecureSkipVerify")
	version := o.text("minVersion", "")
	minimum, known := tlsVersions[version]
	if !known {
		o.add("tls.minVersion", quoted(version), "must be 1.2 or 1.3")
	}
	source.minimum = minimum
	if strings.ContainsAny(source.serverName, "/ ") || strings.Contains(source.serverName, ":") && net.ParseIP(source.serverName) == nil {
		o.add("tls.serverName", quoted(source.serverName), "must be a host name or an IP address, with neither scheme nor port")
	}
	if source.insecure && source.caFile != "" {
		o.add("tls.caFile", "never used with tls.insecureSkipVerify: true", "leave one of the two out")
	}
}

// keysOn are those of keys that are on.
func (o *options) keysOn(keys []string) []string {
	var set []string
	for _, key := range keys {
		if o.isOn(key) {
			set = append(set, key)
		}
	}
	return set
}

// keysThere are those of keys that are there.
func (o *options) keysThere(keys []string) []string {
	var all []string
	for _, key := range keys {
		if o.isThere(key) {
			all = append(all, key)
		}
	}
	return all
}

var (
	// needFrames are the options that only who looks at frames can keep: those that have wsfw relay.
	needFrames = []string{"pingInterval", "pongTimeout", "maxInactivity", "maxLifetime", "maxFrameSize", "maxMessageSize", "messageRate", "validate"}

	// needCloses are the options about close frames of ours.
	needCloses = []string{"restartCode", "upstreamLostCode"}

	// needUpstream are the options that only a forward can keep, and needDial those of them that may also be off.
	needUpstream = []string{"upstreamRules", "passHostHeader", "headers", "tls", "tunnel"}
	needDial     = []string{"connectTimeout", "upgradeTimeout"}

	// needRelay are the options that only say how wsfw relays, and not that it does.
	needRelay = []string{"writeTimeout", "closeTimeout", "drainTimeout", "sessionLog", "restartCode", "upstreamLostCode"}
)

// contradictions reports options that cannot be had together.
func (o *options) contradictions(s *settings) {
	if s.tunnel {
		for _, key := range append(o.keysOn(needFrames), o.keysOn(needCloses)...) {
			o.add("tunnel", "set together with "+key, "leave one out: a tunnel does not look at frames")
		}
	}
	_, there := o.values["upstreamendpoint"]
	if s.forward || there {
		return
	}
	needy := append(o.keysOn(needUpstream), o.keysThere(needDial)...)
	if s.upstream.appendPath {
		needy = append(needy, "upstreamPath")
	}
	for _, key := range needy {
		o.add(key, "set", "needs upstreamEndpoint: without one the router's service is the upstream, and Traefik connects to it")
	}
	if s.inline {
		return
	}
	for _, key := range o.keysThere(needRelay) {
		o.add(key, "set", "needs upstreamEndpoint, or an option that has wsfw relay to the router's service, such as validate: frames")
	}
}

// isControl reports whether r may not stand in a header's value (RFC 9110 section 5.5).
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7F
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return token.MatchString(s)
}

package wsfw

import (
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Config is the middleware's options as Traefik decodes them, of whatever type, for New judges them: Traefik's decoder would
// report the first wrong type only, by the name of a Go field, and drop unknown keys without a word. README describes each.
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
	rules         *frameRules // of frames where no extension is negotiated; lax where any is
	deflated      *frameRules // of frames where the usual extension is
	checkText     bool
	tunnel        bool
	status        bool                             // of all middlewares is answered, and there is no session
	userFrom      string                           // the header that tells who a client is,
	userClaim     string                           // or the claim of its token
	token         *tokenPolicy                     // nil where there is none
	revalidation  *revalidation                    // nil where there is none
	login         bool                             // one of these two is set
	known         bool                             // a client is: by its login, or by userFrom
	logOpening    bool                             // a line at the opening of each session,
	logEnd        bool                             // and one at its end
	templates     map[*frameRules]*sessionTemplate // of the sessions under each frameRules
}

// bound has sessions keep limits, and makes their templates.
func (s *settings) bound(l limits) {
	s.limits = l.settled()
	s.templates = map[*frameRules]*sessionTemplate{}
	for _, rules := range []*frameRules{plain, compressed, extended, lax, plainText, compressedText} {
		s.templates[rules] = newSessionTemplate(rules, s.limits)
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
	}
	s.selective = s.passOthers || len(s.path) > 0
	s.bound(o.limits())
	validate := o.oneOf("validate", "frames", "utf8", "off")
	rules := map[string][]*frameRules{
		"frames": {plain, compressed},
		"utf8":   {plainText, compressedText},
		"off":    {lax, lax},
	}[validate]
	s.rules = rules[0]
	s.deflated = rules[1]
	s.checkText = validate == "utf8"
	sessionLog := o.oneOf("sessionLog", "end", "both", "off")
	s.logOpening = sessionLog == "both"
	s.logEnd = sessionLog != "off"
	s.upstream = o.upstream()
	mode := o.mode()
	s.forward = mode == "forward" || mode == "tunnel"
	s.inline = mode == "inline"
	s.tunnel = mode == "tunnel"
	s.status = mode == "status"
	s.token = o.tokenPolicy(name)
	s.revalidation = o.revalidation(name)
	s.login = s.token != nil || s.revalidation != nil
	s.userFrom, s.userClaim = o.userFrom(s.token != nil)
	s.known = s.login || s.userFrom != ""
	o.contradictions(mode, s.upstream.appendPath)
	o.finish()
	return s, m.err(name)
}

// userFrom is the header that tells who a client is, or the claim of its token. tokens says that it has one.
func (o *options) userFrom(tokens bool) (header, claim string) {
	value := o.text("userFrom", "")
	kind, name, _ := strings.Cut(value, ":")
	o.must(kind == "header" && token.MatchString(name) || kind == "claim" && name != "", "userFrom", value,
		"must be header: and the name of a header that a middleware before wsfw sets, such as header:X-Forwarded-User, or claim: and that of a token's claim, such as claim:sub")
	if kind == "claim" {
		o.addIf(!tokens, "userFrom", quoted(value), "needs token: without it no claims are known")
		return "", name
	}
	return textproto.CanonicalMIMEHeaderKey(name), ""
}

// mode is what the middleware does with an upgrade. Where it is not written, the other options say that.
func (o *options) mode() string {
	if o.values["mode"] != nil {
		return o.oneOf("mode", "check", "inline", "forward", "tunnel", "status")
	}
	o.lookup("mode") // a known key
	if _, there := o.values["upstreamendpoint"]; there {
		return "forward"
	}
	if o.on(needFrames, false) != nil {
		return "inline"
	}
	return "check"
}

// pathPatterns are the characters by which other routers mark patterns. Here a path is compared as it is written, so a
// pattern would match nothing, and let every upgrade past the policy.
const pathPatterns = "*{}()[]|^$\\"

// path is the decoded segments of the option path. A trailing slash says nothing: what lies below the path belongs to
// it anyway.
func (o *options) path() []string {
	value := o.text("path", "")
	pattern := strings.ContainsAny(value, pathPatterns) || strings.Contains(value, "/:") || strings.Contains(value, ".+")
	rooted := strings.HasPrefix(value, "/") && !strings.ContainsAny(value, "?#")
	o.must(!pattern, "path", value, "must be no pattern but the path that all have in common, such as /socket, with such characters as escapes, such as %2A")
	o.must(pattern || rooted, "path", value, "must start with / and have neither query nor fragment, such as /socket")
	trimmed := strings.Trim(value, "/")
	if pattern || !rooted || trimmed == "" {
		return nil
	}
	segments := strings.Split(trimmed, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil || decoded == "" || decoded == "." || decoded == ".." {
			o.must(false, "path", value, "must not have empty, dot or badly escaped segments")
			return nil
		}
		segments[i] = decoded
	}
	return segments
}

// origins is the list of allowed origins; none where any may connect.
func (o *options) origins() []originRule {
	values := o.list("allowedOrigins", "name the origins that may connect, or write any")
	var rules []originRule
	for _, value := range values {
		rule, remedy := parseOrigin(value)
		if remedy != "" {
			o.addItem("allowedOrigins", value, remedy)
		}
		rules = append(rules, rule)
	}
	if contains(values, "any") {
		return nil
	}
	return rules
}

// protocols is a list of subprotocol names (RFC 6455 section 4.1: tokens).
func (o *options) protocols() []string {
	names := o.list("protocols", "name the subprotocols that are allowed, or leave it out")
	for _, name := range names {
		if !token.MatchString(name) {
			o.addItem("protocols", name, "must be subprotocol names such as mqtt or graphql-transport-ws")
		}
	}
	return names
}

// limits are the bounds of a session, and of how many there are.
func (o *options) limits() limits {
	target := o.oneOf("pingTarget", "both", "client", "upstream")
	l := limits{
		pingInterval:  o.duration("pingInterval", "", minDuration, maxDuration),
		pingClient:    target != "upstream",
		pingUpstream:  target != "client",
		pongTimeout:   o.duration("pongTimeout", "", minDuration, maxDuration),
		maxInactivity: o.duration("maxInactivity", "", minDuration, maxDuration),
		maxLifetime:   o.duration("maxLifetime", "", minDuration, maxDuration),
		writeTimeout:  o.duration("writeTimeout", "30s", minDuration, maxDuration),
		closeTimeout:  o.duration("closeTimeout", "5s", minDuration, maxCloseTimeout),
		drainTimeout:  o.duration("drainTimeout", "8s", 0, maxDuration),

		restartCode:      o.closeCode("restartCode", closeRestart),
		upstreamLostCode: o.closeCode("upstreamLostCode", closeBadGateway),

		maxFrameSize:   o.size("maxFrameSize"),
		maxMessageSize: o.size("maxMessageSize"),
		messageRate:    o.rate("messageRate"),
		messageBurst:   float64(o.count("messageBurst")),
		maxConnections: o.count("maxConnections"),
		maxPerClient:   o.count("maxConnectionsPerClient"),
		clientHeader:   o.clientHeader(),
	}
	unpinged := !o.isOn("pingInterval")
	o.addIf(unpinged && o.isOn("pongTimeout"), "pongTimeout", "set", "needs pingInterval: a peer that is not pinged may be silent for as long as it likes")
	o.addIf(unpinged && target != "both", "pingTarget", "set", "needs pingInterval: without it nobody is pinged")
	o.addIf(l.closeTimeout == 0, "closeTimeout", "off", "must be set, for a peer that never answers would never be let go, 5s is the default")
	o.addIf(l.maxMessageSize > 0 && l.maxFrameSize > l.maxMessageSize, "maxFrameSize", "above maxMessageSize", "must not be: no frame is larger than its message")
	o.addIf(l.messageBurst > 0 && l.messageRate == 0, "messageBurst", "set", "needs messageRate: without it messages are free")
	if l.messageBurst == 0 {
		l.messageBurst = math.Max(1, l.messageRate)
	}
	return l
}

// closeCode is a close code that may be sent (RFC 6455 section 7.4); 0 where none is written.
func (o *options) closeCode(key string, usual int) int {
	value := o.text(key, "")
	code, err := strconv.Atoi(value)
	o.must(err == nil && mayBeSent(code), key, value,
		fmt.Sprintf("must be a close code that may be sent, such as %d (the default), %d or %d", usual, closeGoingAway, closeInternal))
	return code
}

// clientHeader is the header that tells one client from another.
func (o *options) clientHeader() string {
	const key = "clientHeader"
	name := o.text(key, "")
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	o.must(token.MatchString(name), key, name, "must be a header name")
	o.must(!neverThere[canonical] && canonical != "Host", key, name, "must be a header that tells one client from another")
	o.addIf(name != "" && !o.isOn("maxConnectionsPerClient"), key, "set", "needs maxConnectionsPerClient: without it clients are not told apart")
	return canonical
}

// neverThere are the headers that no request has here, for net/http takes them out.
var neverThere = map[string]bool{"Transfer-Encoding": true, "Trailer": true}

// upstream is all that concerns wsfw's own connection to an upstream.
func (o *options) upstream() *upstream {
	to := &upstream{
		appendPath:     o.oneOf("upstreamPath", "fixed", "append") == "append",
		passHost:       o.flag("passHostHeader"),
		headers:        o.headers(),
		dialer:         &net.Dialer{Timeout: o.duration("connectTimeout", "5s", minDuration, maxDuration)},
		upgradeTimeout: o.duration("upgradeTimeout", "5s", minDuration, maxDuration),
	}
	rules := o.sections("upstreamRules")
	written, there := o.lookup("upstreamEndpoint")
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

// endpointSchemes are the schemes of endpoints, and whether they stand for TLS.
var endpointSchemes = map[string]bool{"ws": false, "http": false, "wss": true, "https": true}

// endpoint parses a ws:// or wss:// URL. Its messages do not show the value, for an endpoint may hold a secret.
func (o *options) endpoint(key string, written any) *endpoint {
	value := strings.TrimSpace(o.single(key, written))
	key = o.prefix + key
	if value == "" {
		o.addIf(written == nil || kindOf(written) == "text", key, "empty", "write ws://host:port/path, or leave it out")
		return &endpoint{}
	}
	u, err := url.Parse(value)
	if err != nil {
		u = &url.URL{}
	}
	secure, known := endpointSchemes[strings.ToLower(u.Scheme)]
	if !known {
		o.add(key, "no URL with ws:// or wss://", "write ws://host:port/path or wss://host/path")
		return &endpoint{}
	}
	port, err := strconv.Atoi(u.Port())
	host, _, _ := strings.Cut(u.Hostname(), "%")
	o.addIf(u.User != nil, key, "a URL with a user", "set an Authorization header in headers instead")
	o.addIf(strings.Contains(u.RawQuery, " "), key, "a URL with a space in its query", "write %20")
	o.addIf(u.Fragment != "", key, "a URL with a fragment", "leave that out (RFC 6455 section 3)")
	o.addIf(u.Port() != "" && (err != nil || port < 1 || port > 65535), key, "a URL with a port that is not between 1 and 65535", "write ws://host:port/path")
	o.addIf(strings.Contains(host, ":") && net.ParseIP(host) == nil, key, "a URL with two ports", "write ws://host:port/path, and an IPv6 address in brackets")
	o.addIf(host == "", key, "a URL without a host", "write ws://host:port/path")
	return newEndpoint(u, secure)
}

// httpURL parses the URL of an HTTP endpoint; nil where it is none, which is noted. Messages do not show it, for it may have a
// secret in its query.
func (o *options) httpURL(key, value string) *url.URL {
	u, err := url.Parse(value)
	if err != nil {
		u = &url.URL{}
	}
	mistake := ""
	if u.Scheme != "https" && u.Scheme != "http" {
		mistake = "no URL with https:// or http://"
	} else if u.Hostname() == "" {
		mistake = "a URL without a host"
	} else if u.User != nil {
		mistake = "a URL with a user"
	} else if u.Fragment != "" {
		mistake = "a URL with a fragment"
	}
	if mistake != "" {
		o.add(o.prefix+key, mistake, "write https://host/path or http://host:port/path")
		return nil
	}
	return u
}

// rule parses one of upstreamRules. seen has, by what they look at, those before it.
func (o *options) rule(seen map[string]string) upstreamRule {
	defer o.finish()
	key := strings.TrimSuffix(o.prefix, ".")
	written, _ := o.lookup("value")
	r := upstreamRule{
		header: textproto.CanonicalMIMEHeaderKey(o.text("header", "")), query: o.text("query", ""), cookie: o.text("cookie", ""),
		value: o.single("value", written), endpoint: &endpoint{},
	}
	r.prepare()
	named := len(o.on([]string{"header", "query", "cookie"}, true))
	inHeader := r.header != "" && (r.value != strings.TrimSpace(r.value) || strings.ContainsFunc(r.value, isControl))
	inCookie := r.cookie != "" && !cookieValue.MatchString(r.value)
	o.addIf(named != 1, key, "a rule of "+strconv.Itoa(named)+" sources", "must name exactly one of header, query, cookie")
	o.must(token.MatchString(r.header) && !neverThere[r.header], "header", r.header, "must be a header that requests have")
	o.must(token.MatchString(r.cookie), "cookie", r.cookie, "must be a cookie name")
	o.addIf(r.value == "", o.prefix+"value", "empty", "name the value that picks the upstreamEndpoint")
	o.addIf(inHeader || inCookie, o.prefix+"value", "one that no request can have", "write it without spaces around it, quotes, semicolons, backslashes and control characters")
	source := strings.Join([]string{r.header, r.query, r.cookie, r.value}, "\n")
	o.addIf(seen[source] != "", key, "a repetition of "+seen[source], "leave one out: only the first would be used")
	seen[source] = key
	written, there := o.lookup("upstreamEndpoint")
	o.addIf(!there, key, "without an upstreamEndpoint", "name the one that it picks")
	if there {
		r.endpoint = o.endpoint("upstreamEndpoint", written)
	}
	return r
}

// ownHeaders are the upstream request's headers that cannot be set, and why.
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

// whyNotOurs is why a token cannot go on in a header, or a client's header cannot go on to another server; empty where it can.
func whyNotOurs(canonical string) string {
	if canonical == "Host" {
		return "names the server"
	}
	return ownHeaders[canonical]
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
		if !token.MatchString(name) {
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
	"1.2": tls.VersionTLS12, "VersionTLS12": tls.VersionTLS12,
	"1.3": tls.VersionTLS13, "VersionTLS13": tls.VersionTLS13,
}

// tls are the options of that name. secure tells whether there is a wss:// endpoint.
func (o *options) tls(secure bool) *tlsSource {
	section := o.section("tls")
	name := section.text("serverName", "")
	source := &tlsSource{
		caFile:     section.text("caFile", ""),
		certFile:   section.text("certFile", ""),
		keyFile:    section.text("keyFile", ""),
		serverName: name,
		minimum:    tlsVersions[section.oneOf("minVersion", "1.2", "1.3", "VersionTLS12", "VersionTLS13")],
		insecure:   section.flag("insecureSkipVerify"),
	}
	section.finish()
	o.addIf(!secure && section.written != nil, "tls", "set", "needs a wss:// endpoint")
	o.addIf(strings.ContainsAny(name, "/ ") || strings.Contains(name, ":") && net.ParseIP(name) == nil,
		"tls.serverName", quoted(name), "must be a host name or an IP address, with neither scheme nor port")
	o.addIf(source.insecure && source.caFile != "", "tls.caFile", "never used with tls.insecureSkipVerify: true", "leave one of the two out")
	source.versions = fileVersions(source)
	source.current = loadFiles(source, o.mistakes)
	return source
}

var (
	// needFrames are the options that only who looks at frames can keep: one of them has wsfw relay. A tunnel does not look at
	// them, and has no close frames of its own either, which needCloses are about.
	needFrames = []string{"pingInterval", "pongTimeout", "maxInactivity", "maxLifetime", "maxFrameSize", "maxMessageSize", "messageRate", "validate"}
	needCloses = []string{"restartCode", "upstreamLostCode"}

	// needUpstream are the options that only a forward can keep, and needDial those of them that may also be off.
	needUpstream = []string{"upstreamRules", "passHostHeader", "headers", "tls"}
	needDial     = []string{"connectTimeout", "upgradeTimeout"}

	// needRelay are the options that only say how wsfw relays, and not that it does. They may be off, too.
	needRelay = []string{"writeTimeout", "closeTimeout", "drainTimeout", "sessionLog", "restartCode", "upstreamLostCode"}
)

// contradictions reports options that the mode cannot keep. appendPath says that upstreamPath is one of those that need an
// upstream of wsfw's own.
func (o *options) contradictions(mode string, appendPath bool) {
	_, endpoint := o.values["upstreamendpoint"]
	_, old := o.values["tunnel"]
	o.known = append(o.known, "tunnel")
	o.addIf(old, "tunnel", "no option", "write mode: tunnel, or leave it out")
	forwards := mode == "forward" || mode == "tunnel"
	o.addIf(forwards && !endpoint, "mode", mode, "needs upstreamEndpoint: write ws://host:port/path there")
	switch mode {
	case "status":
		o.forbid(o.on(without(o.known, "mode", "path", "tunnel"), true), "needs another mode: status has no sessions of its own")
	case "tunnel":
		o.forbid(append(o.on(needFrames, false), o.on(needCloses, false)...), "leave it out, or write mode: forward: a tunnel does not look at frames")
	case "inline":
		o.forbidUpstream(endpoint, appendPath)
	case "check":
		o.forbidUpstream(endpoint, appendPath)
		o.forbid(append(o.on(needFrames, false), o.on(needRelay, true)...), "needs mode: inline or forward: a check leaves the session to the router's service")
	}
}

// forbidUpstream reports the options about an upstream of wsfw's own, where the router's service is the upstream.
func (o *options) forbidUpstream(endpoint, appendPath bool) {
	o.addIf(endpoint && o.values["mode"] != nil, "upstreamEndpoint", "set", "needs mode: forward: in this one the router's service is the upstream")
	needy := append(o.on(needUpstream, false), o.on(needDial, true)...)
	if appendPath {
		needy = append(needy, "upstreamPath")
	}
	if !endpoint {
		o.forbid(needy, "needs upstreamEndpoint: without one the router's service is the upstream, and Traefik connects to it")
	}
}

// without are the items of list that are none of these.
func without(list []string, items ...string) []string {
	var rest []string
	for _, item := range list {
		if !contains(items, item) {
			rest = append(rest, item)
		}
	}
	return rest
}

// forbid reports options that must not be set here.
func (o *options) forbid(keys []string, remedy string) {
	for _, key := range keys {
		o.add(key, "set", remedy)
	}
}

// isControl reports whether r may not stand in a header's value (RFC 9110 section 5.5).
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7F
}

// token is a token of RFC 9110 section 5.6.2.
var token = regexp.MustCompile("^[!#$%&'*+\\-.^_`|~0-9A-Za-z]+$")

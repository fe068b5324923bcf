package wsfw

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A token is a signed JWT (RFC 7519) in the compact form (RFC 7515 section 3.1), verified by the rules of RFC 8725. Compiled
// code decodes, parses and hashes. Nothing of a token is looked at before its signature holds, but for three members of its
// header: alg, which has to fit a key that is there, kid, which is compared, and crit, which is refused.

// The bounds of a token. All are looked at before anything is parsed.
const (
	maxToken      = 16 << 10              // bytes
	maxHeader     = 2 << 10               // of the header, decoded
	maxHeaderPart = (maxHeader*8 + 5) / 6 // and in base64url
	tokenParts    = 3                     // header, payload, signature
	sealedParts   = 5                     // of a JWE (RFC 7516 section 3.1)
)

var (
	askForToken = map[string]string{"WWW-Authenticate": "Bearer"}
	tokenFailed = map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`} // RFC 6750 section 3.1

	refuseNoToken = &refusal{http.StatusUnauthorized, "no_token", "A token is needed to connect here.", askForToken}
	refuseToken   = &refusal{http.StatusUnauthorized, "bad_token", "This token is not valid here.", tokenFailed}
	refuseExpired = &refusal{http.StatusUnauthorized, "token_expired", "This token has expired: connect again with a new one.", tokenFailed}
	refuseClaim   = &refusal{http.StatusForbidden, "bad_claim", "This token does not allow its holder to connect here.", nil}
)

// verifier is what a token has to be.
type verifier struct {
	keys       *keySource
	algorithms map[string]*jwsAlgorithm // that are taken
	issuer     *choice                  // nil is any
	audience   *choice                  // the same
	required   []*requirement
	leeway     float64 // seconds that clocks may differ

	mu         sync.Mutex // guards the others
	lastPart   string     // the header, in base64url, of the last token that was verified: those of an issuer have the same
	lastHeader *jwsHeader
}

// choice is what a claim may be: one of some values.
type choice struct {
	texts map[string]bool
	plain map[string]bool // the same as JSON usually has them, so that most need not be decoded
	alone map[string]bool // and lists of one of them
}

// requirement is a claim that has to have one of some values.
type requirement struct {
	path   []string // the names of the objects that it lies in, and its own
	values *choice
	words  bool // a text is a list, with spaces between (RFC 8693 section 4.2)
}

// claims are what a token says.
type claims struct {
	expires time.Time                  // without leeway; zero where it never does
	values  map[string]json.RawMessage // by name
}

// maxLeeway is more than clocks differ by.
const maxLeeway = time.Hour

// newVerifier reads what the section of a token says of its verification, for the middleware called name. It is nil where
// there is no key, and then nothing else may be there either: nobody would look at it.
func newVerifier(o *options, name string) *verifier {
	leeway := o.duration("leeway", "30s", 0, maxLeeway)
	algorithms := o.list("algorithms", "name those that are taken, or leave it out")
	v := &verifier{
		keys:     newKeySource(o, name),
		issuer:   newChoice(o.issuers()),
		audience: newChoice(filled(o, "audience", o.list("audience", "name those that are for here, or leave it out"))),
		required: o.requirements(),
		leeway:   leeway.Seconds(),
	}
	if v.keys == nil {
		idle := append(o.on([]string{"issuer", "audience", "algorithms", "claims"}, false), o.on([]string{"leeway"}, true)...)
		for _, key := range idle {
			o.add(o.prefix+key, "set", "needs one of "+strings.Join(keyOptions, ", ")+": without a key nothing is verified")
		}
		return nil
	}
	v.algorithms = algorithmsOf(o, algorithms, v.keys)
	return v
}

// issuers is the one issuer whose tokens are taken; none where any is. One that is there and empty may be a template's variable
// that was not set, and must not open what it was to close; so it is for all that is asked of claims.
func (o *options) issuers() []string {
	written, there := o.lookup("issuer")
	issuer := strings.TrimSpace(o.single("issuer", written))
	o.addIf(there && strings.TrimSpace(scalar(written)) == "", o.prefix+"issuer", "empty", "write it as the claim iss has it, or leave it out")
	return without([]string{issuer}, "")
}

// requirements is what claims have to be.
func (o *options) requirements() []*requirement {
	values, there := o.lookup("claims")
	if !there {
		return nil
	}
	return requirementsOf(o, o.prefix+"claims", nil, values)
}

// requirementsOf is what the claims under a key have to be, and those in the objects among them. Names are told apart by case.
func requirementsOf(o *options, key string, path []string, written any) []*requirement {
	const remedy = "name claims and the values of which any will do, or leave it out"
	if kindOf(written) == "empty" {
		o.add(key, "empty", remedy)
		return nil
	}
	values := (&options{mistakes: o.mistakes}).mapOf(key, written)
	o.addIf(values != nil && len(values) == 0, key, "empty", remedy)
	var all []*requirement
	for _, name := range sortedKeys(values) {
		value := values[name]
		below := append(append([]string{}, path...), name)
		if kindOf(value) == "map" {
			all = append(all, requirementsOf(o, key+"."+name, below, value)...)
			continue
		}
		one := newOptions(o.mistakes, key+".", map[string]any{name: value})
		accepted := filled(one, name, one.list(name, remedy))
		all = append(all, &requirement{path: below, values: newChoice(accepted), words: name == "scope" || name == "scp"})
	}
	return all
}

// filled is a list in which an item that is empty is a mistake.
func filled(o *options, key string, list []string) []string {
	if contains(list, "") {
		o.addItem(o.prefix+key, "", "leave that out")
	}
	return list
}

// newChoice is one of these; nil where there are none.
func newChoice(values []string) *choice {
	if len(values) == 0 {
		return nil
	}
	c := &choice{texts: map[string]bool{}, plain: map[string]bool{}, alone: map[string]bool{}}
	for _, value := range values {
		text := string(inJSON(value))
		c.texts[value] = true
		c.plain[text] = true
		c.alone["["+text+"]"] = true
	}
	return c
}

// verifyJWT holds a token against v: its claims, or the refusal and what is wrong, in which there is nothing of the token.
func verifyJWT(v *verifier, token string, now time.Time) (*claims, *refusal, string) {
	if token == "" {
		return nil, refuseNoToken, "there is none"
	}
	parts, wrong := splitToken(token)
	if wrong != "" {
		return nil, refuseToken, wrong
	}
	header := usualHeader(v, parts[0])
	isNew := header == nil
	if isNew {
		header, wrong = headerOf(v, parts[0])
	}
	if wrong == "" {
		wrong = checkSignature(v.keys, header, token, parts[2], now)
	}
	if wrong != "" {
		return nil, refuseToken, wrong
	}
	if isNew {
		rememberHeader(v, header, parts[0])
	}
	values := objectOf(parts[1])
	if values == nil {
		return nil, refuseToken, "its payload is no JSON object, or has a name twice"
	}
	return judgeClaims(v, values, now)
}

// believeJWT are the claims of a token that somebody else has verified; nil where it is no JWT.
func believeJWT(token string) *claims {
	parts, wrong := splitToken(token)
	if wrong != "" {
		return nil
	}
	values := objectOf(parts[1])
	if values == nil {
		return nil
	}
	expires := dateOf(values["exp"])
	if expires == badDate {
		return nil
	}
	return &claims{expires: timeOf(expires), values: values}
}

// splitToken are the three parts of a token, or what is wrong with it.
func splitToken(token string) ([]string, string) {
	if len(token) > maxToken {
		return nil, "it is longer than 16 KiB"
	}
	parts := strings.SplitN(token, ".", sealedParts+1)
	if len(parts) == sealedParts {
		return nil, "it is encrypted (a JWE), and not signed"
	}
	if len(parts) != tokenParts {
		return nil, "it does not consist of three parts"
	}
	if len(parts[0]) > maxHeaderPart {
		return nil, "its header is longer than 2 KiB"
	}
	if strings.ContainsAny(token, "\r\n") { // which encoding/base64 passes over
		return nil, "it has line breaks"
	}
	return parts, ""
}

// jwsHeader is what counts of a token's header (RFC 7515 section 4.1).
type jwsHeader struct {
	algorithm *jwsAlgorithm
	kid       string // empty where there is none
}

// headerOf is a token's header, or what is wrong with it. Keys that it brings along or points to (jwk, jku, x5c, x5u) are as
// good as not there.
func headerOf(v *verifier, part string) (*jwsHeader, string) {
	values := objectOf(part)
	if values == nil {
		return nil, "its header is no JSON object, or has a name twice"
	}
	header := &jwsHeader{algorithm: v.algorithms[textOf(values["alg"])], kid: textOf(values["kid"])}
	if header.algorithm == nil { // none is no algorithm, in any spelling
		return nil, "its algorithm is not one that is taken here"
	}
	if values["crit"] != nil {
		return nil, "its header has extensions that have to be understood (crit)"
	}
	if values["kid"] != nil && !isString(values["kid"]) {
		return nil, "its kid is no text"
	}
	return header, ""
}

// usualHeader is the header of the last token that was verified, where this is the same; else nil.
func usualHeader(v *verifier, part string) *jwsHeader {
	v.mu.Lock()
	header, last := v.lastHeader, v.lastPart
	v.mu.Unlock()
	if part != last {
		return nil
	}
	return header
}

// rememberHeader keeps the header of a token that was verified.
func rememberHeader(v *verifier, header *jwsHeader, part string) {
	v.mu.Lock()
	v.lastHeader = header
	v.lastPart = part
	v.mu.Unlock()
}

// judgeClaims is what claims, which are those of the key's holder, are good for.
func judgeClaims(v *verifier, values map[string]json.RawMessage, now time.Time) (*claims, *refusal, string) {
	expires, begins, issued := dateOf(values["exp"]), dateOf(values["nbf"]), dateOf(values["iat"])
	if expires == badDate || begins == badDate || issued == badDate {
		return nil, refuseToken, "its exp, nbf or iat is no date"
	}
	clock := float64(now.UnixMilli()) / 1000
	if expires != noDate && clock >= expires+v.leeway {
		return nil, refuseExpired, "it has expired"
	}
	if begins > clock+v.leeway || issued > clock+v.leeway {
		return nil, refuseToken, "it is not valid yet (nbf, iat)"
	}
	if v.issuer != nil && !v.issuer.plain[string(values["iss"])] && !v.issuer.texts[textOf(values["iss"])] {
		return nil, refuseToken, "it is of another issuer (iss)"
	}
	if v.audience != nil && !isOne(v.audience, values["aud"], false) {
		return nil, refuseToken, "it is for another audience (aud)"
	}
	for _, r := range v.required {
		if !isOne(r.values, claimAt(values, r.path), r.words) {
			return nil, refuseClaim, "its " + strings.Join(r.path, ".") + " is none of those that may connect"
		}
	}
	return &claims{expires: timeOf(expires), values: values}, nil, ""
}

// Where a claim is no date.
const (
	noDate  = -1.0 // for it is not there
	badDate = -2.0
)

// maxDate is 9999-12-31T23:59:59Z.
const maxDate = 253402300799.0

// dateOf is a claim that is a date, in seconds since 1970 (RFC 7519 section 2).
func dateOf(value json.RawMessage) float64 {
	if value == nil {
		return noDate
	}
	seconds, err := strconv.ParseFloat(string(value), 64) // which takes nothing of what JSON has but numbers
	if err != nil || seconds < 0 || seconds > maxDate {
		return badDate
	}
	return seconds
}

// timeOf is a date as a time; zero where it is none.
func timeOf(seconds float64) time.Time {
	if seconds < 0 {
		return time.Time{}
	}
	whole := int64(seconds)
	return time.Unix(whole, int64((seconds-float64(whole))*1e9))
}

// claimAt is the claim at a path; nil where there is none.
func claimAt(values map[string]json.RawMessage, path []string) json.RawMessage {
	last := len(path) - 1
	for _, name := range path[:last] {
		values = jsonObject(values[name])
	}
	return values[path[last]]
}

// isOne reports whether a claim is one of the choice, or a list that has one: also one with spaces between the words of a
// text, where that is asked for.
func isOne(c *choice, value json.RawMessage, words bool) bool {
	return c.plain[string(value)] || c.alone[string(value)] || isOneDecoded(c, valueOf(value), words)
}

// isOneDecoded is isOne for a value that is not as JSON usually has it.
func isOneDecoded(c *choice, value any, words bool) bool {
	if value == nil {
		return false
	}
	list, isList := value.([]any)
	if words && !isList {
		text := scalarText(value)
		list = append(list, text)
		for _, word := range strings.Fields(text) {
			list = append(list, word)
		}
	} else if !isList {
		return c.texts[scalarText(value)]
	}
	for _, item := range list {
		if c.texts[scalarText(item)] {
			return true
		}
	}
	return false
}

// claimText is a claim's value as text; empty where there is none, or where it is no text, number or truth value.
func claimText(c *claims, name string) string {
	if c == nil {
		return ""
	}
	return scalarText(valueOf(c.values[name]))
}

// base64url is that of JWS: no padding, and the bits beyond the last byte are 0 (RFC 7515 section 2), so that a text stands
// for bytes that no other one stands for. It passes over line breaks.
var base64url = base64.RawURLEncoding.Strict()

// objectOf is the JSON object that a part of a token has in base64url; nil where it has none.
func objectOf(part string) map[string]json.RawMessage {
	text, err := base64url.DecodeString(part)
	if err != nil {
		return nil
	}
	return jsonObject(text)
}

// jsonObject is a text that is a JSON object in UTF-8 and nothing else, and has no name twice, for others may take another of
// the two than we do (RFC 8725 section 2.4). It is nil where it is anything else. An object within it is looked at in the same
// way by whoever wants to know what it has.
func jsonObject(text []byte) map[string]json.RawMessage {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) != nil || !utf8.Valid(text) {
		return nil
	}
	// Each member has a colon. So where there are as many as names have been kept, none came twice.
	if bytes.Count(text, colon) != len(object) && !allKept(text, object) {
		return nil
	}
	return object
}

// What allKept looks for.
var (
	colon      = []byte{':'}
	nameEnd    = []byte{'"', ':'}
	lateColon  = []byte{' ', ':'}
	separators = []byte{0xe2, 0x80} // begins U+2028 and U+2029, which encoding/json escapes, and others that it does not
)

// allKept reports whether an object has all members of its text.
func allKept(text []byte, object map[string]json.RawMessage) bool {
	// No space parts a name from its colon: then there are no more members than such ends of names.
	if bytes.Count(text, nameEnd) == len(object) && !bytes.ContainsAny(text, "\t\r\n") && !bytes.Contains(text, lateColon) {
		return true
	}
	// Nothing is written in another way than it was: then the text is longer than the object where it has a member more.
	if bytes.IndexByte(text, '\\') < 0 && !bytes.Contains(text, separators) && len(inJSON(object)) == len(text) {
		return true
	}
	return countNames(text) == countNames(inJSON(valueOf(text)))
}

// inJSON is a value as JSON, with no spaces between, and no escapes but where there have to be.
func inJSON(value any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return nil
	}
	return text.Bytes()[:text.Len()-1] // without the line's end
}

// anyText is a text in JSON, with the colon behind it where it is a name.
var anyText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"(?:[ \t\r\n]*(:))?`)

// countNames is how many members there are in a JSON text, on all levels.
func countNames(text []byte) int {
	return bytes.Count(anyText.ReplaceAll(text, []byte("$1")), colon)
}

// isString reports whether a JSON value is a text.
func isString(value json.RawMessage) bool {
	return len(value) > 0 && value[0] == '"'
}

// textOf is a JSON value that is a text; empty where it is none.
func textOf(value json.RawMessage) string {
	text := ""
	if isString(value) {
		_ = json.Unmarshal(value, &text)
	}
	return text
}

// valueOf is a JSON value, with numbers as they are written; nil where there is none.
func valueOf(text json.RawMessage) any {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil
	}
	return value
}

// scalarText is a JSON value as text; empty where it is no text, number or truth value.
func scalarText(value any) string {
	if value == nil {
		return ""
	}
	if number, ok := value.(json.Number); ok {
		return numberText(number.String())
	}
	if truth, ok := value.(bool); ok {
		return strconv.FormatBool(truth)
	}
	text, _ := value.(string)
	return text
}

// numberText is a number in the one way that the configuration's numbers are written in, too. A whole one stays as it is, for it
// may have more digits than a float64.
func numberText(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		return text
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return ""
	}
	return strconv.FormatFloat(number, 'f', -1, 64)
}

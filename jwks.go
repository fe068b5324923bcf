package wsfw

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/big"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// jwsAlgorithm is one of RFC 7518 section 3.1, or that of RFC 8037.
type jwsAlgorithm struct {
	name   string
	family string
	hash   crypto.Hash
	size   int              // of its values, in bytes: the hash, or a coordinate of the curve
	new    func() hash.Hash // of HMAC
	curve  string           // of ECDSA
}

// The families of algorithms.
const (
	familyHS = "HS" // HMAC, with a secret
	familyRS = "RS" // RSA by PKCS #1 1.5
	familyPS = "PS" // RSA by PSS
	familyES = "ES" // ECDSA
	familyEd = "Ed" // Ed25519
)

// jwsAlgorithms are those that there are, in their order.
var jwsAlgorithms = []*jwsAlgorithm{
	{"HS256", familyHS, crypto.SHA256, 32, sha256.New, ""},
	{"HS384", familyHS, crypto.SHA384, 48, sha512.New384, ""},
	{"HS512", familyHS, crypto.SHA512, 64, sha512.New, ""},
	{"RS256", familyRS, crypto.SHA256, 32, nil, ""},
	{"RS384", familyRS, crypto.SHA384, 48, nil, ""},
	{"RS512", familyRS, crypto.SHA512, 64, nil, ""},
	{"PS256", familyPS, crypto.SHA256, 32, nil, ""},
	{"PS384", familyPS, crypto.SHA384, 48, nil, ""},
	{"PS512", familyPS, crypto.SHA512, 64, nil, ""},
	{"ES256", familyES, crypto.SHA256, 32, nil, "P-256"},
	{"ES384", familyES, crypto.SHA384, 48, nil, "P-384"},
	{"ES512", familyES, crypto.SHA512, 66, nil, "P-521"},
	{"EdDSA", familyEd, 0, 0, nil, ""},
}

// curves are those of ECDSA by their names in keys (RFC 7518 section 6.2.1.1).
var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// jwk is a key that can be used (RFC 7517): one of secret, rsaKey, ecKey and edKey.
type jwk struct {
	kid    string // empty where it has none
	only   string // the algorithm that it is for; empty where it says none
	secret []byte
	rsaKey *rsa.PublicKey
	ecKey  *ecdsa.PublicKey
	edKey  ed25519.PublicKey
}

// fits reports whether a key is one for an algorithm (RFC 8725 section 3.1): so that a public key is no secret, and no curve
// another one. A secret has to be as long as the hash (RFC 7518 section 3.2).
func fits(k *jwk, a *jwsAlgorithm) bool {
	if k.only != "" && k.only != a.name {
		return false
	}
	switch a.family {
	case familyHS:
		return len(k.secret) >= a.size
	case familyES:
		return k.ecKey != nil && k.ecKey.Curve.Params().Name == a.curve
	case familyEd:
		return k.edKey != nil
	}
	return k.rsaKey != nil
}

// verifies reports whether a signature of this text is one by the key, which fits the algorithm.
func verifies(k *jwk, a *jwsAlgorithm, text, signature []byte) bool {
	if a.family == familyHS {
		mac := hmac.New(a.new, k.secret)
		mac.Write(text)
		return hmac.Equal(mac.Sum(nil), signature)
	}
	return verifiesPublicly(k, a, text, signature)
}

// verifiesPublicly is verifies for public keys.
func verifiesPublicly(k *jwk, a *jwsAlgorithm, text, signature []byte) bool {
	if a.family == familyEd {
		return ed25519.Verify(k.edKey, text, signature)
	}
	digest := a.hash.New()
	digest.Write(text)
	sum := digest.Sum(nil)
	if a.family == familyES {
		return verifiesECDSA(k, a, sum, signature)
	}
	if a.family == familyRS {
		return rsa.VerifyPKCS1v15(k.rsaKey, a.hash, sum, signature) == nil
	}
	return rsa.VerifyPSS(k.rsaKey, a.hash, sum, signature, pssOptions) == nil
}

// verifiesECDSA is verifies for a hash and a signature of two numbers of the same size (RFC 7518 section 3.4).
func verifiesECDSA(k *jwk, a *jwsAlgorithm, sum, signature []byte) bool {
	if len(signature) != 2*a.size {
		return false
	}
	r, s := new(big.Int), new(big.Int)
	return ecdsa.Verify(k.ecKey, sum, r.SetBytes(signature[:a.size]), s.SetBytes(signature[a.size:]))
}

// pssOptions has the salt be as long as the hash (RFC 7518 section 3.5).
var pssOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}

// keySet is a set of keys, which nobody changes.
type keySet struct {
	all      map[string][]*jwk // by the algorithms that they fit
	named    map[string][]*jwk // the same by algorithm, line break and kid
	hasNames bool              // any has a kid
	hasOther bool              // any has none
}

// newKeySet is the set of these keys.
func newKeySet(keys ...*jwk) *keySet {
	set := &keySet{all: map[string][]*jwk{}, named: map[string][]*jwk{}}
	for _, k := range keys {
		for _, a := range jwsAlgorithms {
			if fits(k, a) {
				named := a.name + "\n" + k.kid
				set.all[a.name] = append(set.all[a.name], k)
				set.named[named] = append(set.named[named], k)
			}
		}
		set.hasNames = set.hasNames || k.kid != ""
		set.hasOther = set.hasOther || k.kid == ""
	}
	return set
}

// isEmpty reports whether a set has no key that fits any algorithm.
func isEmpty(set *keySet) bool {
	return set == nil || len(set.all) == 0
}

// keysFor are the keys of a set that may have signed what has this header: those with its kid, and those that have none. The
// other result tells whether there are any with its kid.
func keysFor(set *keySet, header *jwsHeader) ([]*jwk, bool) {
	name := header.algorithm.name
	if header.kid == "" || !set.hasNames {
		return set.all[name], false
	}
	named := set.named[name+"\n"+header.kid]
	if !set.hasOther {
		return named, len(named) > 0
	}
	return append(append([]*jwk{}, named...), set.named[name+"\n"]...), len(named) > 0
}

// maxTries is how many keys a signature is held against.
const maxTries = 10

// signedBy reports whether one of the set's keys has made a signature, of which it tries a few, and whether any has its kid.
func signedBy(set *keySet, header *jwsHeader, text, signature []byte) (bool, bool) {
	if set == nil {
		return false, false
	}
	keys, known := keysFor(set, header)
	for i, k := range keys {
		if i < maxTries && verifies(k, header.algorithm, text, signature) {
			return true, known
		}
	}
	return false, known
}

// checkSignature is what is wrong with a token's signature, which comes encoded, too; empty where it holds.
func checkSignature(s *keySource, header *jwsHeader, token, encoded string, now time.Time) string {
	signature, err := base64url.DecodeString(encoded)
	if err != nil {
		return "its signature is not in base64url"
	}
	set := keysNow(s, now)
	text := []byte(token[:len(token)-len(encoded)-1])
	signed, known := signedBy(set, header, text, signature)
	if signed {
		return ""
	}
	return checkAgain(s, set, header, text, signature, known, now)
}

// checkAgain is checkSignature where the set has not made the signature. One that is fetched is fetched again where it does not
// have the token's key.
func checkAgain(s *keySource, set *keySet, header *jwsHeader, text, signature []byte, known bool, now time.Time) string {
	signed := false
	if !known && s.endpoint != nil {
		set = newerKeys(s, now)
		signed, _ = signedBy(set, header, text, signature)
	}
	if signed {
		return ""
	}
	if isEmpty(set) {
		return "there are no keys to verify it with"
	}
	return "its signature is by none of the keys that fit it"
}

// keyOptions are the options that name a key, of which there may be one.
var keyOptions = []string{"signingSecret", "signingSecretFile", "publicKey", "jwksFile", "jwksUrl"}

// keySource is where keys come from: the configuration, a file that is read again when it has changed, or an endpoint.
type keySource struct {
	middleware string
	option     string       // that names it
	current    *keySet      // at New; nil of an endpoint
	changes    bool         // it is one of the next two
	file       string       // empty where it is none
	endpoint   *keyEndpoint // nil where it is none

	mu       sync.Mutex // guards the others
	fromFile *keySet
	versions string // of the file that fromFile was made from
	failed   bool   // the file could not be used the last time
}

// newKeySource is the source that a section names, with what is wrong with it noted; nil where it names none.
func newKeySource(o *options, middleware string) *keySource {
	var named []string
	for _, option := range keyOptions {
		if _, there := o.lookup(option); there {
			named = append(named, option)
		}
	}
	if len(named) == 0 {
		return nil
	}
	for _, option := range named[1:] {
		o.add(o.prefix+option, "set beside "+o.prefix+named[0], "leave all but one of them out")
	}
	option := named[0]
	written, _ := o.lookup(option)
	value := o.single(option, written)
	source := &keySource{middleware: middleware, option: option, changes: true}
	if strings.TrimSpace(value) == "" {
		o.addIf(strings.TrimSpace(scalar(written)) == "", o.prefix+option, "empty", "write it, or leave it out to have nobody verify tokens")
		return source
	}
	if option == "jwksUrl" {
		source.endpoint = endpointOfKeys(o, strings.TrimSpace(value))
		prefetch(source.endpoint, middleware, time.Now())
		return source
	}
	shown := "set"
	if option == "signingSecretFile" || option == "jwksFile" || option == "publicKey" && !strings.Contains(value, pemBegin) {
		source.file = strings.TrimSpace(value)
		shown = "a file"
		value = ""
	}
	source.changes = source.file != ""
	source.versions = versionsOf(source.file)
	keys, wrong := loadKeys(source, value)
	source.current = keys
	source.fromFile = keys
	o.addIf(wrong != "", o.prefix+option, shown, wrong)
	return source
}

// loadKeys are the keys of a source that is no endpoint, from its file, where it has one, or else from text; nil where they
// cannot be used, with a sentence that says why and shows nothing of them.
func loadKeys(s *keySource, text string) (*keySet, string) {
	if s.file != "" {
		content, err := os.ReadFile(s.file)
		if err != nil {
			return nil, "cannot be read: " + withoutPath(err)
		}
		text = string(content)
	}
	switch s.option {
	case "publicKey":
		return publicKeys(text)
	case "jwksFile":
		return parseKeySet([]byte(text), false)
	}
	set := newKeySet(&jwk{secret: []byte(strings.TrimRight(text, "\r\n"))})
	if isEmpty(set) {
		return nil, "is too short: it must be at least 32 bytes for HS256, 48 for HS384, 64 for HS512 (RFC 7518 section 3.2)"
	}
	return set, ""
}

// withoutPath is what an error of a file says but for the file's name.
func withoutPath(err error) string {
	if cause := errors.Unwrap(err); cause != nil {
		return cause.Error()
	}
	return err.Error()
}

// pemBegin begins keys in PEM form (RFC 7468).
const pemBegin = "-----BEGIN "

// publicKeys is the set of the one public key that a text has in PEM form, by itself or in a certificate, behind which others
// of a chain may follow. In a label, line breaks may be written \n.
func publicKeys(text string) (*keySet, string) {
	block, rest := pem.Decode([]byte(strings.ReplaceAll(text, `\n`, "\n")))
	if block == nil {
		return nil, "holds no public key and no certificate in PEM form"
	}
	if strings.Contains(block.Type, "PRIVATE") {
		return nil, "holds a private key: take the public one that belongs to it"
	}
	if more, _ := pem.Decode(rest); more != nil && block.Type != "CERTIFICATE" {
		return nil, "holds several keys: those belong into a jwksFile"
	}
	k := &jwk{}
	if !takePublic(k, parsePublic(block)) || isEmpty(newKeySet(k)) {
		return nil, "holds no public key for " + keyKinds
	}
	return newKeySet(k), ""
}

// keyKinds are the public keys that can be used.
const keyKinds = "RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519"

// parsePublic is the public key of a PEM block; nil where there is none.
func parsePublic(block *pem.Block) any {
	switch block.Type {
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err == nil {
			return key
		}
	case "RSA PUBLIC KEY":
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err == nil {
			return key
		}
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err == nil {
			return certificate.PublicKey
		}
	}
	return nil
}

// takePublic has k be a public key, and reports whether that is one that can be used.
func takePublic(k *jwk, public any) bool {
	if public == nil {
		return false
	}
	if key, ok := public.(*rsa.PublicKey); ok {
		return takeRSA(k, key)
	}
	if key, ok := public.(*ecdsa.PublicKey); ok {
		return takeEC(k, key)
	}
	if key, ok := public.(ed25519.PublicKey); ok {
		k.edKey = key
		return len(key) == ed25519.PublicKeySize
	}
	return false
}

// The sizes of RSA keys: below is too weak (RFC 7518 section 3.3), and above takes longer than a handshake should.
const (
	minRSA = 2048
	maxRSA = 8192
)

// takeRSA is takePublic for RSA.
func takeRSA(k *jwk, key *rsa.PublicKey) bool {
	k.rsaKey = key
	bits := key.N.BitLen()
	return bits >= minRSA && bits <= maxRSA && key.E > 1 && key.E%2 == 1 && key.N.Bit(0) == 1
}

// takeEC is takePublic for ECDSA. ECDH looks whether the point is on the curve.
func takeEC(k *jwk, key *ecdsa.PublicKey) bool {
	k.ecKey = key
	_, err := key.ECDH()
	return err == nil
}

// keysNow are those that a source has now; nil where there are none.
func keysNow(s *keySource, now time.Time) *keySet {
	if s.changes {
		return currentKeys(s, now)
	}
	return s.current
}

// currentKeys is keysNow for a source that changes.
func currentKeys(s *keySource, now time.Time) *keySet {
	if s.endpoint != nil {
		return fetchedKeys(s.endpoint, s.middleware, now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if versions := versionsOf(s.file); versions != s.versions || s.failed {
		s.versions = versions
		readAgain(s)
	}
	return s.fromFile
}

// readAgain reads the source's file. Where there are no keys in it, for it is being written or gone, those that were there stay
// in use, and the next token has it read again. A set without a key that can be used is one nevertheless.
func readAgain(s *keySource) {
	fresh, wrong := loadKeys(s, "")
	s.failed = wrong != ""
	if s.failed {
		const message = "token file not read again"
		logEvent(&eventLine{Level: "error", Message: message, Name: s.middleware, Reason: message, Error: s.option + " " + wrong})
	}
	if fresh != nil {
		s.fromFile = fresh
	}
}

// maxKeys is how many keys a set may have.
const maxKeys = 100

// parseKeySet reads a JSON Web Key Set (RFC 7517 section 5). Keys that cannot be used are left out: a set may be for others,
// too. With public, so are secrets, and private keys, which are private no more where everybody may fetch them. It is nil
// where it is no set; where it has no key that can be used, it is empty. Both come with a sentence that says so.
func parseKeySet(text []byte, public bool) (*keySet, string) {
	var document map[string]json.RawMessage
	var members []json.RawMessage
	if json.Unmarshal(text, &document) != nil || json.Unmarshal(document["keys"], &members) != nil || members == nil {
		return nil, `holds no JSON Web Key Set: {"keys": […]}`
	}
	if len(members) > maxKeys {
		return nil, fmt.Sprintf("has more than %d keys", maxKeys)
	}
	var usable []*jwk
	for _, member := range members {
		k := &jwk{}
		if takeJWK(k, jsonObject(member), public) {
			usable = append(usable, k)
		}
	}
	set := newKeySet(usable...)
	if isEmpty(set) {
		return set, fmt.Sprintf("has no key that can be used among its %d: they must be for signatures, and for %s", len(members), keyKinds)
	}
	return set, ""
}

// takeJWK has k be the key of a set's member, and reports whether that is one that can be used.
func takeJWK(k *jwk, member map[string]json.RawMessage, public bool) bool {
	if member == nil || !isForVerifying(member) {
		return false
	}
	k.kid = textOf(member["kid"])
	k.only = textOf(member["alg"])
	if public && member["d"] != nil {
		return false
	}
	switch textOf(member["kty"]) {
	case "oct":
		k.secret = octets(member["k"])
		return !public
	case "RSA":
		exponent := new(big.Int).SetBytes(octets(member["e"]))
		if exponent.BitLen() > 31 { // an int of 32 bits
			return false
		}
		return takeRSA(k, &rsa.PublicKey{N: new(big.Int).SetBytes(octets(member["n"])), E: int(exponent.Int64())})
	case "EC":
		return takeCoordinates(k, curves[textOf(member["crv"])], octets(member["x"]), octets(member["y"]))
	case "OKP":
		k.edKey = octets(member["x"])
		return textOf(member["crv"]) == "Ed25519" && len(k.edKey) == ed25519.PublicKeySize
	}
	return false
}

// takeCoordinates is takeEC for a point (RFC 7518 section 6.2.1.2: coordinates have all their leading zeros).
func takeCoordinates(k *jwk, curve elliptic.Curve, x, y []byte) bool {
	if curve == nil {
		return false
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size {
		return false
	}
	return takeEC(k, &ecdsa.PublicKey{Curve: curve, X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)})
}

// isForVerifying reports whether a key says that it is not for anything but signatures (RFC 7517 sections 4.2 and 4.3), and
// whether what it says of that and of itself is text.
func isForVerifying(member map[string]json.RawMessage) bool {
	for _, name := range []string{"use", "alg", "kid"} {
		if member[name] != nil && !isString(member[name]) {
			return false
		}
	}
	if member["use"] != nil && textOf(member["use"]) != "sig" {
		return false
	}
	if member["key_ops"] == nil {
		return true
	}
	var operations []string
	return json.Unmarshal(member["key_ops"], &operations) == nil && contains(operations, "verify")
}

// octets are the bytes of a key's member; none where it is no text in base64url.
func octets(value json.RawMessage) []byte {
	text := textOf(value)
	if strings.ContainsAny(text, "\r\n") {
		return nil
	}
	decoded, err := base64url.DecodeString(text)
	if err != nil {
		return nil
	}
	return decoded
}

// algorithmsOf are the algorithms that are taken: those that are named, or all that a source may ever have a key for. Whether
// one fits a key is another matter.
func algorithmsOf(o *options, names []string, s *keySource) map[string]*jwsAlgorithm {
	known := map[string]*jwsAlgorithm{}
	taken := map[string]*jwsAlgorithm{}
	var list []string
	for _, a := range jwsAlgorithms {
		list = append(list, a.name)
		known[a.name] = a
		if len(names) == 0 && mayFit(s, a) {
			taken[a.name] = a
		}
	}
	served := 0
	for _, name := range names {
		a := known[name]
		if a == nil {
			o.addItem(o.prefix+"algorithms", name, "must be of "+strings.Join(list, ", "))
			continue
		}
		if !mayFit(s, a) || !hasKeyFor(s, a) && s.option != "jwksFile" {
			o.addItem(o.prefix+"algorithms", name, noKeyFor(s, a))
		} else if hasKeyFor(s, a) {
			served++
		}
		taken[name] = a
	}
	o.addIf(s.option == "jwksFile" && len(taken) > 0 && len(names) > 0 && served == 0, o.prefix+"algorithms", "set", "names none that the keys of jwksFile fit")
	return taken
}

// mayFit reports whether a source may ever have a key for an algorithm.
func mayFit(s *keySource, a *jwsAlgorithm) bool {
	if s.option == "jwksFile" {
		return true
	}
	isSecret := s.option == "signingSecret" || s.option == "signingSecretFile"
	return isSecret == (a.family == familyHS)
}

// hasKeyFor reports whether a source has a key for an algorithm at New, as far as it has any by then.
func hasKeyFor(s *keySource, a *jwsAlgorithm) bool {
	return s.current == nil || len(s.current.all[a.name]) > 0
}

// noKeyFor is what to do about an algorithm that a source has no key for.
func noKeyFor(s *keySource, a *jwsAlgorithm) string {
	if s.option == "jwksUrl" {
		return "needs a secret, which no jwksUrl gives: everybody may fetch that"
	}
	if a.family == familyHS && s.option != "publicKey" {
		return "needs a longer " + s.option + ": of " + strconv.Itoa(a.size) + " bytes at least (RFC 7518 section 3.2)"
	}
	return "is not for the key that " + s.option + " names"
}

// keyEndpoint is a key set that is fetched, for all middlewares that name its URL.
type keyEndpoint struct {
	url   string
	shown string // its scheme and host

	mu      sync.Mutex
	keys    *keySet       // the last that was fetched; nil before
	fetched time.Time     // when that fetch began
	begun   time.Time     // when the last one began
	over    chan struct{} // closed when the one under way is over; nil where there is none
}

// When a set is fetched: again, but not sooner than keysPause after the last time, once it is keysAge old, or a token's key is
// not in it; where there are none, not sooner than keysRetry.
const (
	keysAge     = 15 * time.Minute
	keysPause   = time.Minute
	keysRetry   = 5 * time.Second
	keysTimeout = 5 * time.Second
)

// keyEndpoints are those of all middlewares, by URL. They outlive reloads.
var (
	keyEndpointsMu sync.Mutex
	keyEndpoints   = map[string]*keyEndpoint{}
)

// endpointOfKeys is the endpoint of a URL; one without it where that is a mistake. Messages do not show it, for it may have a
// secret in its query.
func endpointOfKeys(o *options, value string) *keyEndpoint {
	u := o.httpURL("jwksUrl", value)
	if u == nil {
		return &keyEndpoint{}
	}
	keyEndpointsMu.Lock()
	defer keyEndpointsMu.Unlock()
	e := keyEndpoints[u.String()]
	if e == nil {
		e = &keyEndpoint{url: u.String(), shown: u.Scheme + "://" + u.Host}
		keyEndpoints[e.url] = e
	}
	return e
}

// prefetch has a set be there before the first token.
func prefetch(e *keyEndpoint, middleware string, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.url != "" {
		renew(e, middleware, now)
	}
}

// renew begins a fetch where a set is old, or empty. e.mu is held.
func renew(e *keyEndpoint, middleware string, now time.Time) {
	if isEmpty(e.keys) {
		beginFetch(e, middleware, now, keysRetry)
	} else if now.Sub(e.fetched) >= keysAge {
		beginFetch(e, middleware, now, keysPause)
	}
}

// beginFetch begins a fetch, unless one is under way, or the last one began less than pause ago. e.mu is held.
func beginFetch(e *keyEndpoint, middleware string, now time.Time, pause time.Duration) {
	if e.over == nil && (e.begun.IsZero() || now.Sub(e.begun) >= pause) {
		e.begun = now
		e.over = make(chan struct{})
		go fetchKeys(e, middleware, now)
	}
}

// fetchedKeys is the endpoint's set. Nobody waits for it, not even where there is none yet: newerKeys does that.
func fetchedKeys(e *keyEndpoint, middleware string, now time.Time) *keySet {
	e.mu.Lock()
	defer e.mu.Unlock()
	renew(e, middleware, now)
	return e.keys
}

// newerKeys is a source's set after the fetch that is under way. Where there is none, one begins, unless the last one began not
// long ago: so that a flood of tokens with keys that are unknown has one fetched a minute.
func newerKeys(s *keySource, now time.Time) *keySet {
	e := s.endpoint
	e.mu.Lock()
	beginFetch(e, s.middleware, now, keysPause)
	keys, over := e.keys, e.over
	e.mu.Unlock()
	if over == nil {
		return keys
	}
	<-over // keysTimeout at most
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.keys
}

// fetchKeys fetches a set. Where that fails, the keys that there are stay in use.
func fetchKeys(e *keyEndpoint, middleware string, begun time.Time) {
	defer endFetch(e)
	keys, wrong := askForKeys(e.url)
	if wrong != "" {
		logEvent(&eventLine{
			Level: "error", Message: "key set of " + e.shown + " not to be used", Name: middleware, Reason: "jwks_failed", Error: wrong,
		})
	}
	if keys != nil {
		e.mu.Lock()
		e.keys = keys
		e.fetched = begun
		e.mu.Unlock()
	}
}

// endFetch, deferred, has nobody wait for a fetch any more, whatever has happened.
func endFetch(e *keyEndpoint) {
	_ = recover()
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.over)
	e.over = nil
}

// keyTransport fetches sets, from anywhere, and keeps no connection.
var keyTransport = &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}

// maxKeySet is how large a set may be, in bytes.
const maxKeySet = 1 << 20

// askForKeys fetches the set of a URL, whose redirections are not followed; nil where there is none that may be used, with what
// is wrong.
func askForKeys(from string) (*keySet, string) {
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, "its URL cannot be used"
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", userAgent)
	answer, err := keyTransport.RoundTrip(req)
	if err != nil {
		return nil, err.Error()
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, "it was answered with " + strconv.Itoa(answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySet+1))
	if err != nil {
		return nil, err.Error()
	}
	if len(text) > maxKeySet {
		return nil, "it is larger than 1 MiB"
	}
	keys, wrong := parseKeySet(text, true)
	if wrong != "" {
		wrong = "it " + wrong
	}
	return keys, wrong
}

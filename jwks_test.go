package wsfw

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKeySets has members of a key set, and for which algorithms they are used: in a file, and where everybody may fetch them.
func TestKeySets(t *testing.T) {
	k := keysForTests()
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	p256 := jwkOf(k.p256, "")
	point := map[string]string{}
	_ = json.Unmarshal([]byte(p256), &point)
	x, y := decode(t, point["x"]), decode(t, point["y"])
	ec := func(x, y []byte) string {
		return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}`, encode(x), encode(y))
	}
	rsaKey := func(n, e string) string { return `{"kty":"RSA","n":"` + n + `","e":"` + e + `"}` }
	modulus := encode(k.rsa.N.Bytes())
	const allRSA = "RS256 RS384 RS512 PS256 PS384 PS512"
	cases := []struct {
		member       string
		file, public string
	}{
		{jwkOf(k.rsa, ""), allRSA, allRSA},
		{jwkOf(k.p256, ""), "ES256", "ES256"},
		{jwkOf(k.p384, ""), "ES384", "ES384"},
		{jwkOf(k.p521, ""), "ES512", "ES512"},
		{jwkOf(k.ed, ""), "EdDSA", "EdDSA"},
		{jwkOf(k.secret, ""), "HS256 HS384 HS512", ""},
		{jwkOf(k.secret[:63], ""), "HS256 HS384", ""},
		{jwkOf(k.secret[:32], ""), "HS256", ""},
		{jwkOf(k.secret[:31], ""), "", ""},
		{jwkOf("", ""), "", ""},
		{jwkOf(k.rsa, `,"d":"AAAA"`), allRSA, ""},
		{jwkOf(k.rsa, `,"use":"sig"`), allRSA, allRSA},
		{jwkOf(k.rsa, `,"use":"enc"`), "", ""},
		{jwkOf(k.rsa, `,"use":""`), "", ""},
		{jwkOf(k.rsa, `,"use":["sig"]`), "", ""},
		{jwkOf(k.rsa, `,"alg":"PS384"`), "PS384", "PS384"},
		{jwkOf(k.rsa, `,"alg":"RSA-OAEP"`), "", ""},
		{jwkOf(k.rsa, `,"alg":"HS256"`), "", ""},
		{jwkOf(k.rsa, `,"alg":["RS256"]`), "", ""},
		{jwkOf(k.p256, `,"alg":"ES384"`), "", ""},
		{jwkOf(k.rsa, `,"kid":1`), "", ""},
		{jwkOf(k.rsa, `,"kid":"a"`), allRSA, allRSA},
		{jwkOf(k.rsa, `,"kid":"a","kid":"b"`), "", ""},
		{jwkOf(k.rsa, `,"key_ops":["verify"]`), allRSA, allRSA},
		{jwkOf(k.rsa, `,"key_ops":["sign","verify"]`), allRSA, allRSA},
		{jwkOf(k.rsa, `,"key_ops":["sign"]`), "", ""},
		{jwkOf(k.rsa, `,"key_ops":[]`), "", ""},
		{jwkOf(k.rsa, `,"key_ops":null`), "", ""},
		{jwkOf(k.rsa, `,"key_ops":"verify"`), "", ""},
		{jwkOf(k.rsa, `,"key_ops":[1,"verify"]`), "", ""},
		{jwkOf(k.rsa, `,"x5c":["AA\/A"],"x5t":"a","other":{"a":[1]}`), allRSA, allRSA},
		{jwkOf(weak, ""), "", ""},
		{jwkOf(p224, ""), "", ""},
		{rsaKey(modulus, "Aw"), allRSA, allRSA},
		{rsaKey("AA"+modulus, "AQAB"), "", ""}, // not the same bits: an even number
		{rsaKey(encode(append([]byte{0}, k.rsa.N.Bytes()...)), "AQAB"), allRSA, allRSA},
		{rsaKey(modulus, "AQ"), "", ""},
		{rsaKey(modulus, "BA"), "", ""},
		{rsaKey(modulus, ""), "", ""},
		{rsaKey(modulus, "f____w"), allRSA, allRSA},
		{rsaKey(modulus, "gAAAAQ"), "", ""},
		{rsaKey(modulus, "AQABAQABAQABAQABAQ"), "", ""},
		{rsaKey("", "AQAB"), "", ""},
		{rsaKey(modulus+"=", "AQAB"), "", ""},
		{rsaKey(modulus[:9]+`\n`+modulus[9:], "AQAB"), "", ""},
		{rsaKey(encode(append(append([]byte{1}, make([]byte, 1023)...), 1)), "AQAB"), "", ""},
		{rsaKey(encode(append(append([]byte{128}, make([]byte, 1022)...), 1)), "AQAB"), allRSA, allRSA},
		{rsaKey(encode(append([]byte{128}, make([]byte, 1023)...)), "AQAB"), "", ""},
		{ec(x, y), "ES256", "ES256"},
		{ec(y, x), "", ""},
		{ec(x, x), "", ""},
		{ec(make([]byte, 32), make([]byte, 32)), "", ""},
		{ec(append([]byte{0}, x...), y), "", ""},
		{ec(x[1:], y), "", ""},
		{ec(nil, nil), "", ""},
		{ec(elliptic.P256().Params().P.Bytes(), y), "", ""},
		{strings.Replace(p256, "P-256", "P-384", 1), "", ""},
		{strings.Replace(p256, "P-256", "secp256k1", 1), "", ""},
		{strings.Replace(jwkOf(k.ed, ""), "Ed25519", "Ed448", 1), "", ""},
		{strings.Replace(jwkOf(k.ed, ""), "Ed25519", "X25519", 1), "", ""},
		{`{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`, "", ""},
		{`{"kty":"OKP","crv":"Ed25519"}`, "", ""},
		{`{"kty":"oct"}`, "", ""},
		{`{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}`, "", ""},
		{`{"kty":["RSA"],"n":"` + modulus + `","e":"AQAB"}`, "", ""},
		{`{"KTY":"RSA","n":"` + modulus + `","e":"AQAB"}`, "", ""},
		{`{}`, "", ""},
		{`[]`, "", ""},
		{`null`, "", ""},
		{`1`, "", ""},
		{`"x"`, "", ""},
		{rfcEncrypts, "", ""},
		{rfcSigns, "RS256", "RS256"},
		{rfcWraps, "", ""},
		{rfcSecret, "HS256 HS384 HS512", ""},
	}
	for _, c := range cases {
		for public, want := range map[bool]string{false: c.file, true: c.public} {
			set, wrong := parseKeySet([]byte(keySetOf(c.member)), public)
			if set == nil || (wrong != "") != (want == "") || fitting(set) != want {
				t.Errorf("%s, public %v: it fits %s, want %s (%s)", c.member, public, fitting(set), want, wrong)
			}
			// A bad one spoils none beside it.
			set, wrong = parseKeySet([]byte(keySetOf(c.member, rfcEd25519, c.member)), public)
			if set == nil || wrong != "" || !strings.Contains(fitting(set), "EdDSA") {
				t.Errorf("%s spoils others: %s", c.member, wrong)
			}
		}
	}
}

// fitting are the algorithms that a set has keys for.
func fitting(set *keySet) string {
	var names []string
	for _, a := range jwsAlgorithms {
		if set != nil && len(set.all[a.name]) > 0 {
			names = append(names, a.name)
		}
	}
	return strings.Join(names, " ")
}

// TestNoKeySets has what is no key set, or too large a one.
func TestNoKeySets(t *testing.T) {
	many := func(n int) string {
		return keySetOf(strings.Split(strings.Repeat(rfcEd25519+"\n", n)[:n*(len(rfcEd25519)+1)-1], "\n")...)
	}
	for _, text := range []string{"", "x", "[]", "null", "{}", `{"keys":null}`, `{"keys":{}}`, `{"keys":"x"}`, `{"Keys":[` + rfcEd25519 + `]}`, rfcEd25519, `{"keys":[` + rfcEd25519 + `]`, `{"keys":[` + rfcEd25519 + `]}x`, `{"keys":[` + rfcEd25519 + `,]}`, many(maxKeys + 1)} {
		if set, wrong := parseKeySet([]byte(text), true); set != nil || wrong == "" {
			t.Errorf("%.80s is a set: %q", text, wrong)
		}
	}
	if set, wrong := parseKeySet([]byte(many(maxKeys)), true); isEmpty(set) || wrong != "" {
		t.Errorf("%d keys: %s", maxKeys, wrong)
	}
	if set, wrong := parseKeySet([]byte(`{"keys":[]}`), true); set == nil || !isEmpty(set) || wrong == "" {
		t.Errorf("no keys: %q", wrong)
	}
}

// A signature is held against the keys with its kid, and those that have none, and not against more than a few.
func TestKeysByKid(t *testing.T) {
	k := keysForTests()
	others := make([]string, 0, 2*maxTries)
	for i := 0; i < 2*maxTries; i++ {
		others = append(others, jwkOf(strings.Repeat(fmt.Sprintf("%02d", i), 32), `,"kid":"same"`))
	}
	secret := func(i int) string { return strings.Repeat(fmt.Sprintf("%02d", i), 32) }
	v := verifierOf(t, object{"jwksFile": fileWith(t, keySetOf(append(others, jwkOf(k.secret, `,"kid":"one"`), jwkOf(k.ed, "")+``)...))})
	cases := []struct {
		algorithm string
		key       any
		kid       string
		want      *refusal
	}{
		{"HS256", secret(0), "same", nil},
		{"HS256", secret(maxTries - 1), "same", nil},
		{"HS256", secret(maxTries), "same", refuseToken},
		{"HS256", secret(maxTries - 1), "", nil},
		{"HS256", k.secret, "one", nil},
		{"HS256", k.secret, "same", refuseToken},
		{"HS256", k.secret, "other", refuseToken},
		{"HS256", k.secret, "", refuseToken}, // behind too many others
		{"EdDSA", k.ed, "any", nil},
		{"EdDSA", k.ed, "", nil},
	}
	for _, c := range cases {
		token := mint(t, c.algorithm, c.key, fmt.Sprintf(`{"alg":"%s","kid":"%s"}`, c.algorithm, c.kid), `{}`)
		wantVerdict(t, fmt.Sprintf("%+v", c), v, token, tokenTime, c.want)
	}
}

// A certificate has a key, too, whatever follows it and whatever it says of its time.
func TestCertificates(t *testing.T) {
	k := keysForTests()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotAfter: tokenTime.Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.p256.PublicKey, k.p256)
	if err != nil {
		t.Fatal(err)
	}
	leaf := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	template.SerialNumber = big.NewInt(2)
	der, _ = x509.CreateCertificate(rand.Reader, template, template, &k.rsa.PublicKey, k.rsa)
	root := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey)}))
	for text, want := range map[string]string{leaf: "ES256", "subject=issuer\n" + leaf + root: "ES256", root: "RS256", pkcs1: "RS256"} {
		v := verifierOf(t, object{"publicKey": fileWith(t, text)})
		for name, key := range map[string]any{"ES256": k.p256, "RS256": k.rsa} {
			refused := refuseToken
			if name == want {
				refused = nil
			}
			wantVerdict(t, text+name, v, usual(t, name, key, `{}`), tokenTime, refused)
		}
	}
}

// TestKeyFiles has files that change, go, and are written in two pieces.
func TestKeyFiles(t *testing.T) {
	k := keysForTests()
	first, second := strings.Repeat("a", 32), strings.Repeat("b", 40)
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		option            string
		old, fresh        string
		torn              []string
		before, afterward string
	}{
		{"signingSecretFile", first, second, []string{"", "short"}, usual(t, "HS256", first, `{}`), usual(t, "HS256", second, `{}`)},
		{"publicKey", pemOf(t, publicOf(k.p256)), pemOf(t, publicOf(k.rsa)), []string{"", pemOf(t, publicOf(k.rsa))[:60], "x"}, usual(t, "ES256", k.p256, `{}`), usual(t, "RS256", k.rsa, `{}`)},
		{"jwksFile", keySetOf(jwkOf(first, "")), keySetOf(jwkOf(k.p256, ""), jwkOf(k.ed, "")), []string{"", `{"keys":[`}, usual(t, "HS256", first, `{}`), usual(t, "EdDSA", k.ed, `{}`)},
	}
	for _, c := range cases {
		path := fileWith(t, c.old)
		v := verifierOf(t, object{c.option: path})
		wantVerdict(t, c.option, v, c.before, tokenTime, nil)
		wantVerdict(t, c.option, v, c.afterward, tokenTime, refuseToken)
		for _, text := range c.torn {
			write(path, text)
			line := capture(t, func() { wantVerdict(t, c.option+", torn", v, c.before, tokenTime, nil) })
			if !strings.Contains(line, c.option) || strings.Contains(line, path) || !strings.Contains(line, `"name":"test@file"`) {
				t.Errorf("log: %s", line)
			}
		}
		// A file that could not be used is read again, also where it looks as before.
		torn := strings.Repeat("\n", len(c.fresh))
		write(path, torn)
		then := time.Unix(1e9, 0)
		_ = os.Chtimes(path, then, then)
		capture(t, func() { wantVerdict(t, c.option+", torn", v, c.before, tokenTime, nil) })
		write(path, c.fresh)
		_ = os.Chtimes(path, then, then)
		wantVerdict(t, c.option+", whole", v, c.afterward, tokenTime, nil)
		write(path, c.old)
		wantVerdict(t, c.option+", as it was", v, c.before, tokenTime, nil)

		_ = os.Remove(path)
		line := capture(t, func() { wantVerdict(t, c.option+", gone", v, c.before, tokenTime, nil) })
		if !strings.Contains(line, "cannot be read: no such file") || strings.Contains(line, path) {
			t.Errorf("log: %s", line)
		}
		write(path, c.fresh)
		wantVerdict(t, c.option+", again", v, c.before, tokenTime, refuseToken)
		wantVerdict(t, c.option+", again", v, c.afterward, tokenTime, nil)
		forgetEvents()
	}
}

// forgetEvents has lines of the same reason be logged again.
func forgetEvents() {
	eventRatesMu.Lock()
	defer eventRatesMu.Unlock()
	eventRates = map[string]eventRate{}
}

// A file whose set has no key any more has nobody in.
func TestEmptiedKeyFile(t *testing.T) {
	k := keysForTests()
	path := fileWith(t, keySetOf(jwkOf(k.ed, "")))
	v := verifierOf(t, object{"jwksFile": path})
	token := usual(t, "EdDSA", k.ed, `{}`)
	wantVerdict(t, "before", v, token, tokenTime, nil)
	_ = os.WriteFile(path, []byte(`{"keys":[]}`), 0o600)
	line := capture(t, func() { wantVerdict(t, "emptied", v, token, tokenTime, refuseToken) })
	if !strings.Contains(line, "has no key that can be used") {
		t.Errorf("log: %s", line)
	}
	forgetEvents()
	_ = os.WriteFile(path, []byte(keySetOf(jwkOf(k.ed, ""))), 0o600)
	wantVerdict(t, "filled", v, token, tokenTime, nil)
}

// keyServer serves a key set, and counts. Its answers wait while it is held.
type keyServer struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(rw http.ResponseWriter)
	asked  int
	held   chan struct{} // closed when answers may go; nil where nothing holds them
}

// serveKeys serves these keys.
func serveKeys(t *testing.T, members ...string) *keyServer {
	s := &keyServer{}
	s.set(members...)
	s.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		s.mu.Lock()
		s.asked++
		answer, held := s.answer, s.held
		s.mu.Unlock()
		if held != nil {
			<-held
		}
		if req.Method != http.MethodGet || req.Header.Get("User-Agent") != userAgent || !strings.Contains(req.Header.Get("Accept"), "application/jwk-set+json") {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		answer(rw)
	}))
	t.Cleanup(func() { s.Close() })
	return s
}

// set has the server serve these keys from now on.
func (s *keyServer) set(members ...string) {
	text := keySetOf(members...)
	s.answers(func(rw http.ResponseWriter) { _, _ = io.WriteString(rw, text) })
}

// answers has the server answer so from now on.
func (s *keyServer) answers(answer func(rw http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// count is how often the server was asked.
func (s *keyServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// hold has answers wait until what it returns is called.
func (s *keyServer) hold() func() {
	held := make(chan struct{})
	s.mu.Lock()
	s.held = held
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.held = nil
		s.mu.Unlock()
		close(held)
	}
}

// settle waits until no fetch is under way.
func settle(v *verifier) {
	e := v.keys.endpoint
	e.mu.Lock()
	over := e.over
	e.mu.Unlock()
	if over != nil {
		<-over
	}
}

// wantCount wants a number of requests so far.
func wantCount(t *testing.T, what string, s *keyServer, want int) {
	t.Helper()
	if got := s.count(); got != want {
		t.Errorf("%s: asked %d times, want %d", what, got, want)
	}
}

// TestKeyEndpoint has a set whose keys change, while a clock goes on.
func TestKeyEndpoint(t *testing.T) {
	k := keysForTests()
	s := serveKeys(t, jwkOf(k.p256, `,"kid":"old"`), jwkOf(k.secret, `,"kid":"secret"`), `{"kty":"?"}`)
	token := func(algorithm string, key any, kid string) string {
		return mint(t, algorithm, key, fmt.Sprintf(`{"alg":"%s","kid":"%s"}`, algorithm, kid), `{}`)
	}
	old, fresh, unknown := token("ES256", k.p256, "old"), token("EdDSA", k.ed, "new"), token("RS256", k.rsa, "unknown")
	v := verifierOf(t, object{"jwksUrl": s.URL + "/keys?secret"})
	now := time.Now()
	wantVerdict(t, "the first", v, old, now, nil)
	wantVerdict(t, "a secret of the set", v, token("HS256", k.secret, "secret"), now, refuseToken)
	wantCount(t, "fetched from New on", s, 1)
	if fits := fitting(v.keys.endpoint.keys); fits != "ES256" {
		t.Errorf("the set fits %s", fits)
	}
	other := verifierOf(t, object{"jwksUrl": s.URL + "/keys?secret"})
	if other.keys.endpoint != v.keys.endpoint {
		t.Error("two middlewares have an endpoint each")
	}
	wantVerdict(t, "another middleware", other, old, now, nil)

	// A key that is unknown has the set fetched, once a minute.
	s.set(jwkOf(k.p256, `,"kid":"old"`), jwkOf(k.ed, `,"kid":"new"`))
	wantVerdict(t, "a new key, too soon", v, fresh, now.Add(50*time.Second), refuseToken)
	wantCount(t, "within a minute", s, 1)
	wantVerdict(t, "a new key", v, fresh, now.Add(61*time.Second), nil)
	wantCount(t, "after a minute", s, 2)
	for i := 0; i < 20; i++ {
		wantVerdict(t, "unknown", v, unknown, now.Add(62*time.Second+time.Duration(i)*time.Second), refuseToken)
		wantVerdict(t, "unknown, no kid", other, usual(t, "RS256", k.rsa, `{}`), now.Add(70*time.Second), refuseToken)
		wantVerdict(t, "forged", v, old[:len(old)-4]+"AAAA", now.Add(10*time.Minute), refuseToken)
	}
	wantCount(t, "a flood", s, 2)
	wantVerdict(t, "unknown, later", v, unknown, now.Add(122*time.Second), refuseToken)
	wantVerdict(t, "unknown, later", v, unknown, now.Add(122*time.Second), refuseToken)
	wantCount(t, "a minute later", s, 3)

	// A key that is removed is gone with the next fetch.
	s.set(jwkOf(k.ed, `,"kid":"new"`))
	wantVerdict(t, "removed, not yet known", v, old, now.Add(16*time.Minute), nil)
	wantVerdict(t, "unknown: one more fetch, or the same", v, unknown, now.Add(17*time.Minute), refuseToken)
	wantVerdict(t, "removed", v, old, now.Add(17*time.Minute), refuseToken)
	wantCount(t, "an old set", s, 4)
	wantVerdict(t, "new", v, fresh, now.Add(31*time.Minute+50*time.Second), nil)
	settle(v)
	wantCount(t, "a set that is not old", s, 4)
	wantVerdict(t, "new", v, fresh, now.Add(33*time.Minute), nil)
	settle(v)
	wantCount(t, "an old set", s, 5)

	// Nobody waits for a set that is old: while its server holds the answer, its keys are there.
	release := s.hold()
	s.set()
	wantVerdict(t, "held", v, fresh, now.Add(50*time.Minute), nil)
	wantVerdict(t, "held", v, fresh, now.Add(60*time.Minute), nil)
	release()
	settle(v)
	wantCount(t, "held", s, 6)
	wantVerdict(t, "no keys any more", v, fresh, now.Add(60*time.Minute), refuseToken)
	settle(v)
	asked := s.count()
	wantVerdict(t, "no keys, too soon", v, fresh, now.Add(60*time.Minute+4*time.Second), refuseToken)
	wantCount(t, "no keys, too soon", s, asked)
	s.set(jwkOf(k.ed, ""))
	wantVerdict(t, "there is one again", v, fresh, now.Add(60*time.Minute+6*time.Second), nil)
	wantCount(t, "no keys", s, asked+1)
}

// A token waits for the fetch that is under way, where there are no keys yet, or its own is not among them.
func TestTokensWaitForKeys(t *testing.T) {
	k := keysForTests()
	s := serveKeys(t, jwkOf(k.ed, `,"kid":"a"`))
	release := s.hold()
	v := verifierOf(t, object{"jwksUrl": s.URL})
	now := time.Now()
	known, unknown := mint(t, "EdDSA", k.ed, `{"alg":"EdDSA","kid":"a"}`, `{}`), mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":"b"}`, `{}`)
	verdicts := make(chan string, 100)
	verify := func(token string, at time.Time) {
		go func() {
			_, refused, _ := verifyJWT(v, token, at)
			verdicts <- reasonOf(refused)
		}()
	}
	for i := 0; i < 20; i++ {
		verify(known, now)
	}
	if len(verdicts) > 0 {
		t.Error("a token has not waited")
	}
	release()
	for i := 0; i < 20; i++ {
		if got := <-verdicts; got != "none" {
			t.Errorf("a token that has waited: %s", got)
		}
	}
	wantCount(t, "together", s, 1)
	release = s.hold()
	s.set(jwkOf(k.ed, `,"kid":"a"`), jwkOf(k.rsa, `,"kid":"b"`))
	for i := 0; i < 20; i++ {
		verify(unknown, now.Add(2*time.Minute))
	}
	wantVerdict(t, "known, meanwhile", v, known, now.Add(2*time.Minute), nil)
	release()
	for i := 0; i < 20; i++ {
		if got := <-verdicts; got != "none" {
			t.Errorf("a token whose key was unknown: %s", got)
		}
	}
	wantCount(t, "together", s, 2)
}

// TestBadEndpoints has endpoints that have no set: what there is stays in use, and the log tells, without the URL's path and query.
func TestBadEndpoints(t *testing.T) {
	k := keysForTests()
	token := usual(t, "EdDSA", k.ed, `{}`)
	cases := map[string]func(rw http.ResponseWriter){
		"it was answered with 404":     func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusNotFound) },
		"it was answered with 302":     func(rw http.ResponseWriter) { rw.Header().Set("Location", "/other"); rw.WriteHeader(http.StatusFound) },
		"it holds no JSON Web Key Set": func(rw http.ResponseWriter) { _, _ = io.WriteString(rw, "<html>") },
		"it is larger than 1 MiB": func(rw http.ResponseWriter) {
			_, _ = io.WriteString(rw, keySetOf(rfcEd25519)+strings.Repeat(" ", maxKeySet))
		},
		"it has more than 100 keys": func(rw http.ResponseWriter) { _, _ = io.WriteString(rw, keySetOf(strings.Repeat("{},", maxKeys)+"{}")) },
		"unexpected EOF": func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(rw, keySetOf(rfcEd25519))
		},
		"among its 2: they must be for s": func(rw http.ResponseWriter) { _, _ = io.WriteString(rw, keySetOf(rfcWraps, rfcEncrypts)) },
		"EOF": func(rw http.ResponseWriter) {
			conn, _, _ := rw.(http.Hijacker).Hijack()
			_ = conn.Close()
		},
	}
	for want, answer := range cases {
		s := serveKeys(t, rfcEd25519)
		s.answers(answer)
		var v *verifier
		now := time.Now()
		line := capture(t, func() {
			v = verifierOf(t, object{"jwksUrl": s.URL + "/secret-path?secret"})
			wantVerdict(t, want+": no keys", v, token, now, refuseToken)
		})
		if !strings.Contains(line, want) || !strings.Contains(line, `"reason":"jwks_failed"`) || !strings.Contains(line, s.URL) || strings.Contains(line, "secret") {
			t.Errorf("%s: %s", want, line)
		}
		asked := s.count()
		wantVerdict(t, want+": no keys, too soon", v, token, now.Add(4*time.Second), refuseToken)
		wantCount(t, want+", too soon", s, asked)
		s.set(jwkOf(k.ed, ""))
		wantVerdict(t, want+": there are keys", v, token, now.Add(6*time.Second), nil)
		wantCount(t, want+", again", s, asked+1)
		s.answers(answer)
		line = capture(t, func() { wantVerdict(t, want+": the keys stay", v, token, now.Add(20*time.Minute), nil) })
		settle(v)
		if !strings.Contains(line, want) {
			t.Errorf("%s: %s", want, line)
		}
		if keepsKeys := !strings.HasPrefix(want, "among"); keepsKeys {
			wantVerdict(t, want+": they still stay", v, token, now.Add(20*time.Minute+30*time.Second), nil)
			settle(v)
			asked = s.count()
			forgetEvents()
			wantVerdict(t, want+": they still stay", v, token, now.Add(22*time.Minute), nil)
			settle(v)
			wantCount(t, want+", a minute later", s, asked+1)
		}
		forgetEvents()
	}
}

// A fetch keeps nothing: no connection, no goroutine, nobody who waits. One that panics ends, too.
func TestFetchesEnd(t *testing.T) {
	k := keysForTests()
	s := serveKeys(t, jwkOf(k.ed, ""))
	v := verifierOf(t, object{"jwksUrl": s.URL})
	settle(v)
	s.Close() // waits for connections that are busy, and closes the others
	e := &keyEndpoint{over: make(chan struct{})}
	over := e.over
	func() {
		defer endFetch(e)
		panic("in a fetch")
	}()
	<-over
	if e.over != nil {
		t.Error("it is still under way")
	}
	wantVerdict(t, "gone", v, usual(t, "EdDSA", k.ed, `{}`), time.Now(), nil)
}

// FuzzKeySet holds parseKeySet to properties: whatever it reads, each key of the set is one that can be used, and no signature
// makes it panic.
func FuzzKeySet(f *testing.F) {
	k := keysForTests()
	for _, key := range []any{k.secret, k.rsa, k.p256, k.p384, k.p521, k.ed} {
		f.Add([]byte(keySetOf(jwkOf(key, `,"kid":"a","use":"sig"`), jwkOf(key, `,"key_ops":["verify"]`))), []byte("signature"))
	}
	f.Add([]byte(keySetOf(rfcSecret, rfcRSA, rfcP256, rfcP521, rfcEd25519, rfcEncrypts, rfcSigns, rfcWraps)), sum(sha256.New(), "x"))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AA","e":"AQ"},{},null]}`), make([]byte, 64))
	f.Fuzz(func(t *testing.T, text, signature []byte) {
		for _, public := range []bool{false, true} {
			set, wrong := parseKeySet(text, public)
			if set == nil && wrong == "" || set != nil && isEmpty(set) != (wrong != "") {
				t.Fatalf("set %v, %q", set, wrong)
			}
			if set == nil {
				continue
			}
			for _, a := range jwsAlgorithms {
				if len(set.all[a.name]) > maxKeys {
					t.Errorf("%d keys", len(set.all[a.name]))
				}
				for _, one := range set.all[a.name] {
					wantUsable(t, one, a, public)
					if verifies(one, a, []byte("text"), signature) && one.edKey == nil {
						t.Errorf("%q is a signature", signature)
					}
				}
			}
		}
	})
}

// wantUsable wants a key to be a strong one of the algorithm's kind.
func wantUsable(t *testing.T, k *jwk, a *jwsAlgorithm, public bool) {
	t.Helper()
	right := false
	switch a.name[:2] {
	case "HS":
		right = !public && len(k.secret)*8 >= map[string]int{"HS256": 256, "HS384": 384, "HS512": 512}[a.name]
	case "RS", "PS":
		right = k.rsaKey.N.BitLen() >= 2048 && k.rsaKey.E >= 3
	case "ES":
		_, err := k.ecKey.ECDH()
		right = err == nil && k.ecKey.Curve == map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[a.name]
	case "Ed":
		right = len(k.edKey) == 32
	}
	if !right || k.only != "" && k.only != a.name {
		t.Errorf("%+v is a key for %s", k, a.name)
	}
}

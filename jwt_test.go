package wsfw

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// testKeys are private keys of all kinds, made once.
type testKeys struct {
	rsa, other       *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
	secret           string // a text, for the interpreter takes Ed25519's keys for any []byte
}

var (
	testKeysOnce sync.Once
	testKeysMade *testKeys
)

// keysForTests makes them.
func keysForTests() *testKeys {
	testKeysOnce.Do(func() {
		k := &testKeys{secret: strings.Repeat("0123456789abcdef", 4)}
		k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
		k.other, _ = rsa.GenerateKey(rand.Reader, 2048)
		k.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		k.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		k.p521, _ = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
		testKeysMade = k
	})
	return testKeysMade
}

// encode is base64url without padding.
func encode(data []byte) string {
	return base64.RawURLEncoding.EncodeToString(data)
}

// decode is the reverse of it.
func decode(t testing.TB, text string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sign signs a text as an algorithm says, with whatever key.
func sign(t testing.TB, algorithm string, key any, text string) []byte {
	t.Helper()
	newHash, hashed := sha256.New, crypto.SHA256
	size := 32
	if strings.HasSuffix(algorithm, "384") {
		newHash, hashed, size = sha512.New384, crypto.SHA384, 48
	} else if strings.HasSuffix(algorithm, "512") {
		newHash, hashed, size = sha512.New, crypto.SHA512, 66
	}
	digest := sum(newHash(), text)
	var signature []byte
	var err error
	switch algorithm[:2] {
	case "HS":
		return sum(hmac.New(newHash, []byte(key.(string))), text)
	case "RS":
		signature, err = rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), hashed, digest)
	case "PS":
		signature, err = rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), hashed, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES":
		r, s, failed := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest)
		signature, err = make([]byte, 2*size), failed
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
	case "Ed":
		signature = ed25519.Sign(key.(ed25519.PrivateKey), []byte(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// sum is the hash of a text.
func sum(h hash.Hash, text string) []byte {
	h.Write([]byte(text))
	return h.Sum(nil)
}

// mint is a token with this header and payload, signed as an algorithm says.
func mint(t testing.TB, algorithm string, key any, header, payload string) string {
	t.Helper()
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(sign(t, algorithm, key, signed))
}

// usual is a token with an ordinary header.
func usual(t testing.TB, algorithm string, key any, payload string) string {
	t.Helper()
	return mint(t, algorithm, key, `{"alg":"`+algorithm+`","typ":"JWT"}`, payload)
}

// pemOf is a public key in PEM form.
func pemOf(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// jwkOf is a key as a member of a key set, with these members beside.
func jwkOf(key any, more string) string {
	if secret, ok := key.(string); ok {
		return fmt.Sprintf(`{"kty":"oct","k":"%s"%s}`, encode([]byte(secret)), more)
	}
	if k, ok := key.(*rsa.PrivateKey); ok {
		return fmt.Sprintf(`{"kty":"RSA","n":"%s","e":"%s"%s}`, encode(k.N.Bytes()), encode(big.NewInt(int64(k.E)).Bytes()), more)
	}
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		size := (k.Curve.Params().BitSize + 7) / 8
		x, y := k.X.FillBytes(make([]byte, size)), k.Y.FillBytes(make([]byte, size))
		return fmt.Sprintf(`{"kty":"EC","crv":"%s","x":"%s","y":"%s"%s}`, k.Curve.Params().Name, encode(x), encode(y), more)
	}
	public := key.(ed25519.PrivateKey).Public().(ed25519.PublicKey)
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":"%s"%s}`, encode(public), more)
}

// keySetOf is a key set in JSON.
func keySetOf(members ...string) string {
	return `{"keys":[` + strings.Join(members, ",") + `]}`
}

// fileWith is a file with this content.
func fileWith(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// verifierOf is a verifier by options without a mistake.
func verifierOf(t testing.TB, options object) *verifier {
	t.Helper()
	m := &mistakes{}
	o := newOptions(m, "token.", options)
	v := newVerifier(o, "test@file")
	o.finish()
	if len(m.list) > 0 {
		t.Fatal(m.list)
	}
	return v
}

// tokenTime is the time of the tests: 2026-09-01T12:00:00Z.
var tokenTime = time.Unix(1788264000, 0)

// wantVerdict verifies a token and wants a refusal, or none, and no word of the token in what is said of it.
func wantVerdict(t *testing.T, what string, v *verifier, token string, now time.Time, want *refusal) *claims {
	t.Helper()
	c, refused, cause := verifyJWT(v, token, now)
	if refused != want {
		t.Errorf("%s: %s, want %s (%s)", what, reasonOf(refused), reasonOf(want), cause)
	}
	if (c == nil) != (refused != nil) || (cause == "") != (refused == nil) {
		t.Errorf("%s: claims %v, %s, cause %q", what, c, reasonOf(refused), cause)
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 3 && strings.Contains(cause, part) {
			t.Errorf("%s: %q is in %q", what, part, cause)
		}
	}
	return c
}

// reasonOf names a refusal.
func reasonOf(r *refusal) string {
	if r == nil {
		return "none"
	}
	return r.reason
}

// Keys and tokens of RFC 7515 appendix A, RFC 7517 appendix A, RFC 7520 sections 3 and 4, and RFC 8037 appendix A.
const (
	rfcSecret    = `{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow","kid":"HMAC key used in JWS spec Appendix A.1 example"}`
	rfcRSA       = `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`
	rfcP256      = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	rfcP521      = `{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}`
	rfcEd25519   = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfcEncrypts  = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}`
	rfcSigns     = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	rfcWraps     = `{"kty":"oct","alg":"A128KW","k":"GawgguFyGrWKav7AX4VKUg"}`
	bilboRSA     = `{"kty":"RSA","kid":"bilbo.baggins@hobbiton.example","use":"sig","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw","e":"AQAB"}`
	bilboP521    = `{"kty":"EC","kid":"bilbo.baggins@hobbiton.example","use":"sig","crv":"P-521","x":"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt","y":"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"}`
	bilboSecret  = `{"kty":"oct","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037","use":"sig","alg":"HS256","k":"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"}`
	rfcPayload   = `eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ`
	rfcA1        = `eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.` + rfcPayload + `.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk`
	rfcA2        = `eyJhbGciOiJSUzI1NiJ9.` + rfcPayload + `.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw`
	rfcA3        = `eyJhbGciOiJFUzI1NiJ9.` + rfcPayload + `.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q`
	rfcA4        = `eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn`
	rfcA5        = `eyJhbGciOiJub25lIn0.` + rfcPayload + `.`
	rfc8037      = `eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg`
	bilboPayload = `SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4`
	bilboRS256   = `eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.` + bilboPayload + `.MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg`
	bilboPS384   = `eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.` + bilboPayload + `.cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw`
	bilboES512   = `eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.` + bilboPayload + `.AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2`
	bilboHS256   = `eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9.` + bilboPayload + `.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0`
)

// The RFCs' own tokens verify by the RFCs' own keys, in one set. Those with other payloads than claims are refused for these.
func TestTokensOfTheRFCs(t *testing.T) {
	v := verifierOf(t, object{"jwksFile": fileWith(t, keySetOf(rfcSecret, rfcRSA, rfcP256, rfcP521, rfcEd25519, rfcEncrypts, rfcSigns, rfcWraps, bilboRSA, bilboP521, bilboSecret))})
	then := time.Unix(1300819379, 0)
	for _, token := range []string{rfcA1, rfcA2, rfcA3} {
		c := wantVerdict(t, token, v, token, then, nil)
		if c != nil && (claimText(c, "iss") != "joe" || claimText(c, "http://example.com/is_root") != "true" || c.expires.Unix() != 1300819380) {
			t.Errorf("claims %v, expires %v", c.values, c.expires)
		}
		wantVerdict(t, token, v, token, tokenTime, refuseExpired)
	}
	for _, token := range []string{rfcA4, rfc8037, bilboRS256, bilboPS384, bilboES512, bilboHS256} {
		_, refused, cause := verifyJWT(v, token, then)
		if refused != refuseToken || !strings.Contains(cause, "payload") {
			t.Errorf("%s: %s, %s", token, reasonOf(refused), cause)
		}
		head, _, _ := strings.Cut(token, ".")
		forged := head + "." + encode([]byte("x")) + token[strings.LastIndexByte(token, '.'):]
		_, refused, cause = verifyJWT(v, forged, then)
		if refused != refuseToken || !strings.Contains(cause, "signature") {
			t.Errorf("%s: %s, %s", forged, reasonOf(refused), cause)
		}
	}
	wantVerdict(t, "none", v, rfcA5, then, refuseToken)
}

// A token in each algorithm verifies by its key, from each source that there is, and by no other.
func TestAlgorithms(t *testing.T) {
	k := keysForTests()
	keys := []struct {
		names string
		key   any
	}{
		{"HS256 HS384 HS512", k.secret},
		{"RS256 RS384 RS512 PS256 PS384 PS512", k.rsa},
		{"ES256", k.p256},
		{"ES384", k.p384},
		{"ES512", k.p521},
		{"EdDSA", k.ed},
	}
	const payload = `{"sub":"a","exp":1788264060}`
	for _, c := range keys {
		set := keySetOf(jwkOf(c.key, `,"kid":"here"`))
		sources := []object{{"jwksFile": fileWith(t, set)}}
		if secret, ok := c.key.(string); ok {
			sources = append(sources, object{"signingSecret": secret}, object{"signingSecretFile": fileWith(t, secret+"\n")})
		} else {
			text := pemOf(t, publicOf(c.key))
			sources = append(sources, object{"publicKey": text}, object{"publicKey": fileWith(t, text)}, object{"publicKey": strings.ReplaceAll(text, "\n", `\n`)})
		}
		for _, source := range sources {
			v := verifierOf(t, source)
			for _, other := range keys {
				for _, name := range strings.Fields(other.names) {
					var want *refusal
					if !strings.Contains(c.names, name) {
						want = refuseToken
					}
					wantVerdict(t, name, v, usual(t, name, other.key, payload), tokenTime, want)
					wantVerdict(t, name+" with a kid", v, mint(t, name, other.key, `{"kid":"here","alg":"`+name+`"}`, payload), tokenTime, want)
				}
			}
		}
	}
}

// publicOf is the public half of a key.
func publicOf(key any) any {
	if k, ok := key.(*rsa.PrivateKey); ok {
		return &k.PublicKey
	}
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		return &k.PublicKey
	}
	return key.(ed25519.PrivateKey).Public()
}

// A key is used for what it says that it is for, and for the algorithms that are allowed.
func TestKeysAreForOneAlgorithm(t *testing.T) {
	k := keysForTests()
	cases := []struct {
		members    string
		algorithms any
		algorithm  string
		want       *refusal
	}{
		{``, nil, "RS256", nil},
		{`,"use":"sig","alg":"RS256","key_ops":["verify"],"kid":""`, nil, "RS256", nil},
		{`,"alg":"RS256"`, nil, "PS256", refuseToken},
		{`,"alg":"PS256"`, nil, "PS256", nil},
		{``, "RS256, ES256", "RS256", nil},
		{``, []any{"ES256", "RS256"}, "RS384", refuseToken},
		{`,"alg":"RS256"`, "RS256,RS384", "RS384", refuseToken},
	}
	for _, c := range cases {
		options := object{"jwksFile": fileWith(t, keySetOf(jwkOf(k.rsa, c.members), jwkOf(k.p256, "")))}
		if c.algorithms != nil {
			options["algorithms"] = c.algorithms
		}
		v := verifierOf(t, options)
		wantVerdict(t, fmt.Sprintf("%+v", c), v, usual(t, c.algorithm, k.rsa, `{}`), tokenTime, c.want)
	}
}

// TestForgedHeaders has tokens that somebody without a key makes, or that say something else than their signature.
func TestForgedHeaders(t *testing.T) {
	k := keysForTests()
	const payload = `{"sub":"root"}`
	public := verifierOf(t, object{"publicKey": pemOf(t, publicOf(k.rsa))})
	secret := verifierOf(t, object{"signingSecret": k.secret})
	set := verifierOf(t, object{"jwksFile": fileWith(t, keySetOf(
		jwkOf(k.rsa, `,"kid":"rsa"`), jwkOf(k.p256, `,"kid":"p256"`), jwkOf(k.ed, `,"kid":"ed"`), jwkOf(k.secret, `,"kid":"secret"`)))})

	for _, name := range []string{"none", "None", "NONE", "nOnE", "", " none", "HS256 ", "hs256", "RS1", "HS1", "HS256\\u0000", "ES256K", "RSA-OAEP", "dir"} {
		for _, v := range []*verifier{public, secret, set} {
			for _, signature := range []string{"", ".AAAA", "." + encode(sign(t, "HS256", k.secret, "x"))} {
				token := encode([]byte(`{"alg":"`+name+`"}`)) + "." + encode([]byte(payload)) + "." + strings.TrimPrefix(signature, ".")
				wantVerdict(t, "alg "+name, v, token, tokenTime, refuseToken)
			}
		}
	}

	// The public key as a secret: in all forms that somebody may have it in.
	der, _ := x509.MarshalPKIXPublicKey(publicOf(k.rsa))
	for _, form := range []string{pemOf(t, publicOf(k.rsa)), strings.TrimSpace(pemOf(t, publicOf(k.rsa))), string(der), string(k.rsa.N.Bytes()), jwkOf(k.rsa, `,"kid":"rsa"`)} {
		for _, name := range []string{"HS256", "HS384", "HS512"} {
			wantVerdict(t, "a public key as a secret", public, usual(t, name, form, payload), tokenTime, refuseToken)
			wantVerdict(t, "one of a set", set, mint(t, name, form, `{"alg":"`+name+`","kid":"rsa"}`, payload), tokenTime, refuseToken)
		}
	}

	own := jwkOf(k.other, `,"kid":"rsa"`)
	attacker := func(members string) string {
		return mint(t, "RS256", k.other, `{"alg":"RS256"`+members+`}`, payload)
	}
	bad := map[string]string{
		"another key":                      attacker(``),
		"its own key":                      attacker(`,"jwk":` + own),
		"its own key by kid":               attacker(`,"kid":"rsa","jwk":` + own),
		"its own set":                      attacker(`,"jku":"https://attacker.example/jwks.json"`),
		"its own certificate":              attacker(`,"x5c":["` + base64.StdEncoding.EncodeToString(der) + `"]`),
		"its own certificate's URL":        attacker(`,"x5u":"file:///dev/null"`),
		"a kid that is a path":             mint(t, "HS256", "", `{"alg":"HS256","kid":"../../../../dev/null"}`, payload),
		"a kid that is a query":            mint(t, "HS256", "secret", `{"alg":"HS256","kid":"' UNION SELECT 'secret'; --"}`, payload),
		"a kid that is a URL":              attacker(`,"kid":"https://attacker.example/key"`),
		"a kid with a line break":          mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":"\nrsa"}`, payload),
		"the kid of another key":           mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":"p256"}`, payload),
		"a kid that is a number":           mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":1}`, payload),
		"a kid that is null":               mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":null}`, payload),
		"a kid in another case":            mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":"RSA"}`, payload),
		"crit":                             mint(t, "RS256", k.rsa, `{"alg":"RS256","crit":["exp"],"exp":1}`, payload),
		"crit with nothing in it":          mint(t, "RS256", k.rsa, `{"alg":"RS256","crit":[]}`, payload),
		"crit that is null":                mint(t, "RS256", k.rsa, `{"alg":"RS256","crit":null}`, payload),
		"crit and b64":                     mint(t, "RS256", k.rsa, `{"alg":"RS256","b64":false,"crit":["b64"]}`, payload),
		"no alg":                           mint(t, "RS256", k.rsa, `{"typ":"JWT"}`, payload),
		"alg in another case":              mint(t, "RS256", k.rsa, `{"ALG":"RS256"}`, payload),
		"alg that is a number":             mint(t, "RS256", k.rsa, `{"alg":256}`, payload),
		"alg that is a list":               mint(t, "RS256", k.rsa, `{"alg":["RS256"]}`, payload),
		"alg that is null":                 mint(t, "RS256", k.rsa, `{"alg":null}`, payload),
		"alg twice":                        mint(t, "RS256", k.rsa, `{"alg":"none","alg":"RS256"}`, payload),
		"alg twice, one escaped":           mint(t, "RS256", k.rsa, `{"\u0061lg":"none","alg":"RS256"}`, payload),
		"alg twice, with spaces":           mint(t, "RS256", k.rsa, `{"alg" : "none" , "alg" : "RS256"}`, payload),
		"kid twice":                        mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":"p256","kid":"rsa"}`, payload),
		"a header that is a list":          mint(t, "RS256", k.rsa, `[{"alg":"RS256"}]`, payload),
		"a header that is a text":          mint(t, "RS256", k.rsa, `"RS256"`, payload),
		"a header that is null":            mint(t, "RS256", k.rsa, `null`, payload),
		"no header":                        mint(t, "RS256", k.rsa, ``, payload),
		"a header with something behind":   mint(t, "RS256", k.rsa, `{"alg":"RS256"}{}`, payload),
		"a header with a brace behind":     mint(t, "RS256", k.rsa, `{"alg":"RS256"}}`, payload),
		"a header with a byte order mark":  mint(t, "RS256", k.rsa, "\ufeff"+`{"alg":"RS256"}`, payload),
		"a header with a comma too many":   mint(t, "RS256", k.rsa, `{"alg":"RS256",}`, payload),
		"a header with a comment":          mint(t, "RS256", k.rsa, `{"alg":"RS256"/**/}`, payload),
		"a header that is not UTF-8":       mint(t, "RS256", k.rsa, "{\"alg\":\"RS256\",\"x\":\"\xff\"}", payload),
		"a header that is UTF-16":          mint(t, "RS256", k.rsa, "{\x00\"\x00a\x00l\x00g\x00\"\x00:\x00\"\x00R\x00S\x002\x005\x006\x00\"\x00}\x00", payload),
		"ES256 by an RSA key":              mint(t, "RS256", k.rsa, `{"alg":"ES256"}`, payload),
		"ES256 by a key of another curve":  mint(t, "ES384", k.p384, `{"alg":"ES256"}`, payload),
		"PS256 that is RS256":              mint(t, "RS256", k.rsa, `{"alg":"PS256"}`, payload),
		"RS256 that is PS256":              mint(t, "PS256", k.rsa, `{"alg":"RS256"}`, payload),
		"RS512 that is RS256":              mint(t, "RS256", k.rsa, `{"alg":"RS512"}`, payload),
		"HS512 that is HS256":              mint(t, "HS256", k.secret, `{"alg":"HS512","kid":"secret"}`, payload),
		"a secret that is empty":           mint(t, "HS256", "", `{"alg":"HS256"}`, payload),
		"a secret that is the key in JSON": mint(t, "HS256", encode([]byte(k.secret)), `{"alg":"HS256","kid":"secret"}`, payload),
	}
	for _, what := range sortedKeys(bad) {
		wantVerdict(t, what, set, bad[what], tokenTime, refuseToken)
	}
	good := map[string]string{
		"spaces":                   mint(t, "RS256", k.rsa, " {\r\n\t\"alg\" : \"RS256\" } ", payload),
		"escapes":                  mint(t, "RS256", k.rsa, `{"\u0061lg":"\u0052S256"}`, payload),
		"keys that nobody uses":    mint(t, "RS256", k.rsa, `{"alg":"RS256","jwk":`+own+`,"jku":"https://a","x5u":"https://a","x5c":["x"]}`, payload),
		"members that nobody uses": mint(t, "RS256", k.rsa, `{"alg":"RS256","typ":"at+jwt","cty":"x","zip":"DEF","a":{"b":[1,{"c":null}]}}`, payload),
		"a kid":                    mint(t, "RS256", k.rsa, `{"kid":"rsa","alg":"RS256"}`, payload),
		"an escaped kid":           mint(t, "RS256", k.rsa, `{"kid":"\u0072sa","alg":"RS256"}`, payload),
		"a kid that is empty":      mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":""}`, payload),
	}
	for _, what := range sortedKeys(good) {
		wantVerdict(t, what, set, good[what], tokenTime, nil)
	}
}

// TestForgedSignatures has signatures that are not the one, and texts that are not base64url.
func TestForgedSignatures(t *testing.T) {
	k := keysForTests()
	set := verifierOf(t, object{"jwksFile": fileWith(t, keySetOf(jwkOf(k.rsa, ""), jwkOf(k.p256, ""), jwkOf(k.ed, ""), jwkOf(k.secret, "")))})
	order := elliptic.P256().Params().N
	prime, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10) // of Ed25519
	for algorithm, key := range map[string]any{"HS256": k.secret, "RS256": k.rsa, "PS256": k.rsa, "ES256": k.p256, "EdDSA": k.ed} {
		token := usual(t, algorithm, key, `{"sub":"a"}`)
		wantVerdict(t, algorithm, set, token, tokenTime, nil)
		at := strings.LastIndexByte(token, '.')
		signed, signature := token[:at+1], decode(t, token[at+1:])
		forged := [][]byte{{}, {0}, signature[1:], signature[:len(signature)-1], append([]byte{0}, signature...), append(append([]byte{}, signature...), 0), append(append([]byte{}, signature...), signature...), make([]byte, len(signature)), bytes.Repeat([]byte{0xff}, len(signature))}
		for i := 0; i < len(signature); i += 1 + len(signature)/40 {
			changed := append([]byte{}, signature...)
			changed[i] ^= 1 << (i % 8)
			forged = append(forged, changed)
		}
		if algorithm == "ES256" {
			der, _ := ecdsa.SignASN1(rand.Reader, k.p256, sum(sha256.New(), signed[:at]))
			r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
			forged = append(forged, der, numbers(order, order, 32), numbers(big.NewInt(1), big.NewInt(0), 32), numbers(big.NewInt(0), s, 32), numbers(r, order, 32), numbers(r, s, 33), numbers(s, r, 32), append(append(append([]byte{}, signature[:32]...), 0), signature[32:]...))
		}
		if algorithm == "PS256" { // a salt of another length
			for _, salt := range []int{rsa.PSSSaltLengthAuto, 20, 31, 33} {
				other, _ := rsa.SignPSS(rand.Reader, k.rsa, crypto.SHA256, sum(sha256.New(), signed[:at]), &rsa.PSSOptions{SaltLength: salt})
				forged = append(forged, other)
			}
		}
		if algorithm == "EdDSA" { // the same number, above the group's order
			low := new(big.Int).SetBytes(reversed(signature[32:]))
			forged = append(forged, append(append([]byte{}, signature[:32]...), reversed(low.Add(low, prime).FillBytes(make([]byte, 32)))...))
		}
		for _, other := range forged {
			wantVerdict(t, fmt.Sprintf("%s, %x instead of %x", algorithm, other, signature), set, signed+encode(other), tokenTime, refuseToken)
		}
	}
}

// numbers is two numbers of a size each.
func numbers(r, s *big.Int, size int) []byte {
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

// reversed is bytes in the reverse order.
func reversed(data []byte) []byte {
	var other []byte
	for i := len(data) - 1; i >= 0; i-- {
		other = append(other, data[i])
	}
	return other
}

// TestTokenForm has texts that are no token in the compact form.
func TestTokenForm(t *testing.T) {
	k := keysForTests()
	v := verifierOf(t, object{"signingSecret": k.secret})
	token := usual(t, "HS256", k.secret, `{"sub":"??>>~~"}`)
	wantVerdict(t, "good", v, token, tokenTime, nil)
	if strings.ContainsAny(token, "=+/") || !strings.ContainsAny(token, "-_") {
		t.Fatal(token)
	}
	parts := strings.Split(token, ".")
	header, payload, signature := parts[0], parts[1], parts[2]
	last := signature[len(signature)-1:]
	spare := strings.Index("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", last)
	loose := signature[:len(signature)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[spare^1])
	for _, text := range []string{
		" ", "a", ".", "..", "...", "....", ".....", header, header + ".", header + "." + payload, header + "." + payload + ".",
		"." + payload + "." + signature, header + ".." + signature, token + ".", "." + token, token + "." + signature, token + ".." + signature,
		header + "." + payload + "." + loose, token + "=", token + "==", token + "A", token + " ", " " + token, token + "\n", token + "\r", token + "\x00", token + "%",
		strings.ReplaceAll(token, ".", ". "), header + "\n." + payload + "." + signature, header + "." + payload + "\n." + signature, header + "." + payload + ".\n" + signature,
		header + "." + payload + "." + signature[:9] + "\r\n" + signature[9:], header + "." + payload[:4] + "\n" + payload[4:] + "." + signature,
		strings.NewReplacer("-", "+", "_", "/").Replace(token), header + "=." + payload + "." + signature, header + "." + payload + "=." + signature,
		"Bearer " + token, `"` + token + `"`, `{"payload":"` + payload + `","protected":"` + header + `","signature":"` + signature + `"}`,
	} {
		wantVerdict(t, fmt.Sprintf("%q", text), v, text, tokenTime, refuseToken)
	}
	wantVerdict(t, "nothing", v, "", tokenTime, refuseNoToken)
	_, _, cause := verifyJWT(v, "a.b.c.d.e", tokenTime)
	if !strings.Contains(cause, "encrypted") {
		t.Errorf("a JWE: %s", cause)
	}

	// Signed with the line breaks, or with bits to spare: the signature holds, the form does not.
	for _, signed := range []string{header + "\n." + payload, header + "." + payload + "\n", header + "." + payload + "=", header + "." + encode([]byte(`{"a":12}`))[:10] + "R"} {
		wantVerdict(t, fmt.Sprintf("%q, signed", signed), v, signed+"."+encode(sign(t, "HS256", k.secret, signed)), tokenTime, refuseToken)
	}
}

// TestTokenSizes has tokens at their bounds, and above.
func TestTokenSizes(t *testing.T) {
	k := keysForTests()
	v := verifierOf(t, object{"signingSecret": k.secret})
	const header, payload = `{"alg":"HS256","x":""}`, `{"x":""}`
	for size, want := range map[int]*refusal{maxHeader: nil, maxHeader + 1: refuseToken} {
		long := strings.Replace(header, `""`, `"`+strings.Repeat("x", size-len(header))+`"`, 1)
		wantVerdict(t, fmt.Sprint("a header of ", size), v, mint(t, "HS256", k.secret, long, payload), tokenTime, want)
	}
	around := len(mint(t, "HS256", k.secret, header, "")) // a payload of n bytes takes 4n/3 more, rounded up
	for size, want := range map[int]*refusal{(maxToken - around) * 3 / 4: nil, (maxToken-around)*3/4 + 1: refuseToken} {
		long := strings.Replace(payload, `""`, `"`+strings.Repeat("x", size-len(payload))+`"`, 1)
		token := mint(t, "HS256", k.secret, header, long)
		if (len(token) > maxToken) != (want != nil) {
			t.Fatalf("%d bytes", len(token))
		}
		wantVerdict(t, fmt.Sprint("a token of ", len(token)), v, token, tokenTime, want)
	}
	deep := `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`
	wantVerdict(t, "a deep one", v, usual(t, "HS256", k.secret, deep), tokenTime, nil)
	wantVerdict(t, "one that is too deep", v, usual(t, "HS256", k.secret, strings.Repeat(`{"a":`, 5)+strings.Repeat("[", 11000)+strings.Repeat("]", 11000)+strings.Repeat("}", 5)), tokenTime, refuseToken)
}

// TestPayloads has payloads that are signed, and claims about time. The leeway is 30 seconds.
func TestPayloads(t *testing.T) {
	k := keysForTests()
	v := verifierOf(t, object{"signingSecret": k.secret, "claims": object{"role": "admin", "nested": object{"role": "user"}}})
	const roles = `"role":"admin","nested":{"role":"user"}`
	now := tokenTime.Unix()
	at := func(seconds int64) string { return fmt.Sprint(now + seconds) }
	cases := []struct {
		payload string
		want    *refusal
	}{
		{`{` + roles + `}`, nil},
		{" {\n" + roles + "\r\n}\t", nil},
		{`[{` + roles + `}]`, refuseToken},
		{``, refuseToken},
		{`null`, refuseToken},
		{`"text"`, refuseToken},
		{`1`, refuseToken},
		{`{` + roles + `}{}`, refuseToken},
		{`{` + roles + `},`, refuseToken},
		{`{` + roles + `}]`, refuseToken},
		{`{` + roles + `,}`, refuseToken},
		{"\ufeff{" + roles + "}", refuseToken},
		{"{" + roles + ",\"x\":\"\xff\"}", refuseToken},
		{"{" + roles + ",\"\xc0\x80\":1}", refuseToken},
		{`{` + roles + `,"x":"\ud800"}`, nil},
		{`{` + roles + `,"x":"<&>"}`, nil},
		{`{` + roles + `,"x":"a:b","y":":"}`, nil},
		{`{` + roles + `,"https://a/b":"\":\""}`, nil},
		{"{" + roles + ",\"\u2028\":\"\u2029’“\"}", nil},
		{`{` + roles + `,"role":"user"}`, refuseToken},
		{`{"role":"user",` + roles + `}`, refuseToken},
		{`{` + roles + `,"role" :"admin"}`, refuseToken},
		{`{` + roles + `,"\u0072ole":"admin"}`, refuseToken},
		{`{` + roles + `,"\ud800":1,"\udfff":2}`, refuseToken},
		{`{` + roles + `,"nested":{}}`, refuseToken},
		{`{"role":"admin","nested":{"role":"guest","role":"user"}}`, refuseClaim},
		{`{"role":"admin","nested":{"role":"guest","ro\u006ce":"user"}}`, refuseToken},
		{`{"role":"admin","nested":[{"role":"user"}]}`, refuseClaim},
		{`{"role":"admin","nested":"role"}`, refuseClaim},
		{`{"role":"admin","nested":null}`, refuseClaim},
		{`{"role":"admin"}`, refuseClaim},
		{`{"Role":"admin","nested":{"role":"user"}}`, refuseClaim},
		{`{"role":{"role":"admin"},"nested":{"role":"user"}}`, refuseClaim},
		{`{}`, refuseClaim},

		{`{` + roles + `,"exp":` + at(1) + `}`, nil},
		{`{` + roles + `,"exp":` + at(-29) + `}`, nil},
		{`{` + roles + `,"exp":` + at(-30) + `}`, refuseExpired},
		{`{` + roles + `,"exp":` + at(-30) + `.5}`, nil},
		{`{` + roles + `,"exp":` + at(-31) + `.999}`, refuseExpired},
		{`{` + roles + `,"exp":0}`, refuseExpired},
		{`{` + roles + `,"exp":-0}`, refuseExpired},
		{`{` + roles + `,"exp":1.9e9}`, nil},
		{`{` + roles + `,"exp":253402300799}`, nil},
		{`{` + roles + `,"exp":253402300799.5}`, refuseToken},
		{`{` + roles + `,"exp":253402300800}`, refuseToken},
		{`{` + roles + `,"exp":1e400}`, refuseToken},
		{`{` + roles + `,"exp":1e99999999999}`, refuseToken},
		{`{` + roles + `,"exp":-1}`, refuseToken},
		{`{` + roles + `,"exp":"` + at(60) + `"}`, refuseToken},
		{`{` + roles + `,"exp":null}`, refuseToken},
		{`{` + roles + `,"exp":true}`, refuseToken},
		{`{` + roles + `,"exp":[` + at(60) + `]}`, refuseToken},
		{`{` + roles + `,"exp":{}}`, refuseToken},
		{`{` + roles + `,"exp":` + at(60) + `,"exp":` + at(61) + `}`, refuseToken},
		{`{` + roles + `,"EXP":1}`, nil},
		{`{` + roles + `,"nbf":` + at(0) + `,"iat":` + at(0) + `}`, nil},
		{`{` + roles + `,"nbf":` + at(30) + `}`, nil},
		{`{` + roles + `,"nbf":` + at(31) + `}`, refuseToken},
		{`{` + roles + `,"nbf":` + at(30) + `.5}`, refuseToken},
		{`{` + roles + `,"iat":` + at(30) + `}`, nil},
		{`{` + roles + `,"iat":` + at(31) + `}`, refuseToken},
		{`{` + roles + `,"nbf":"` + at(0) + `"}`, refuseToken},
		{`{` + roles + `,"iat":null}`, refuseToken},
		{`{` + roles + `,"iat":-5}`, refuseToken},
		{`{"exp":1}`, refuseExpired}, // before its claims
	}
	for _, c := range cases {
		wantVerdict(t, c.payload, v, usual(t, "HS256", k.secret, c.payload), tokenTime, c.want)
	}
	c := wantVerdict(t, "a fraction", v, usual(t, "HS256", k.secret, `{`+roles+`,"exp":`+at(10)+`.25}`), tokenTime, nil)
	if c != nil && !c.expires.Equal(tokenTime.Add(10250*time.Millisecond)) {
		t.Errorf("it expires at %v", c.expires)
	}
	c = wantVerdict(t, "no end", v, usual(t, "HS256", k.secret, `{`+roles+`}`), tokenTime, nil)
	if c != nil && !c.expires.IsZero() {
		t.Errorf("it expires at %v", c.expires)
	}
}

// TestLeeway has other leeways.
func TestLeeway(t *testing.T) {
	k := keysForTests()
	for leeway, seconds := range map[string]int64{"0": 0, "1h": 3600, "1m": 60} {
		v := verifierOf(t, object{"signingSecret": k.secret, "leeway": leeway})
		for after, want := range map[int64]*refusal{seconds - 1: nil, seconds: refuseExpired} {
			payload := fmt.Sprintf(`{"exp":%d}`, tokenTime.Unix()-after)
			wantVerdict(t, leeway+" "+payload, v, usual(t, "HS256", k.secret, payload), tokenTime, want)
		}
		for before, want := range map[int64]*refusal{seconds: nil, seconds + 1: refuseToken} {
			payload := fmt.Sprintf(`{"nbf":%d}`, tokenTime.Unix()+before)
			wantVerdict(t, leeway+" "+payload, v, usual(t, "HS256", k.secret, payload), tokenTime, want)
		}
	}
}

// TestRequiredClaims has claims, and what is asked of them.
func TestRequiredClaims(t *testing.T) {
	k := keysForTests()
	cases := []struct {
		options object
		payload string
		want    *refusal
	}{
		{object{"issuer": "https://a/"}, `{"iss":"https://a/"}`, nil},
		{object{"issuer": "https://a/"}, `{"iss":"https:\/\/a/"}`, nil},
		{object{"issuer": "https://a/"}, `{"iss":"https://a"}`, refuseToken},
		{object{"issuer": "https://a/"}, `{"iss":"https://A/"}`, refuseToken},
		{object{"issuer": "https://a/"}, `{"iss":["https://a/"]}`, refuseToken},
		{object{"issuer": "https://a/"}, `{}`, refuseToken},
		{object{"issuer": `a\n`}, `{"iss":"a\n"}`, refuseToken},
		{object{"issuer": `a\n`}, `{"iss":"a\\n"}`, nil},
		{object{"issuer": `"a"`}, `{"iss":"a"}`, refuseToken},

		{object{"audience": "a"}, `{"aud":"a"}`, nil},
		{object{"audience": "a"}, `{"aud":["a"]}`, nil},
		{object{"audience": "a"}, `{"aud":["b","a"]}`, nil},
		{object{"audience": "a, b"}, `{"aud":"b"}`, nil},
		{object{"audience": []any{"a", "b"}}, `{"aud":["c", "b" ]}`, nil},
		{object{"audience": "a"}, `{"aud":"A"}`, refuseToken},
		{object{"audience": "a"}, `{"aud":"a b"}`, refuseToken},
		{object{"audience": "a"}, `{"aud":[]}`, refuseToken},
		{object{"audience": "a"}, `{"aud":[["a"]]}`, refuseToken},
		{object{"audience": "a"}, `{"aud":{"a":"a"}}`, refuseToken},
		{object{"audience": "a"}, `{"aud":null}`, refuseToken},
		{object{"audience": "a"}, `{}`, refuseToken},
		{object{"audience": `["a"]`}, `{"aud":["a"]}`, refuseToken},

		{object{"claims": object{"r": "a"}}, `{"r":"a"}`, nil},
		{object{"claims": object{"r": "a"}}, `{"r":["b","a"]}`, nil},
		{object{"claims": object{"r": "a"}}, `{"r":"b"}`, refuseClaim},
		{object{"claims": object{"r": "a"}}, `{"r":"a b"}`, refuseClaim},
		{object{"claims": object{"r": "a,b"}}, `{"r":"b"}`, nil},
		{object{"claims": object{"r": []any{"a,b"}}}, `{"r":"b"}`, refuseClaim},
		{object{"claims": object{"r": []any{"a,b"}}}, `{"r":"a,b"}`, nil},
		{object{"claims": object{"r": []any{"a", 5, true}}}, `{"r":5}`, nil},
		{object{"claims": object{"r": []any{"a", 5, true}}}, `{"r":5.0}`, nil},
		{object{"claims": object{"r": []any{"a", 5, true}}}, `{"r":50e-1}`, nil},
		{object{"claims": object{"r": []any{"a", 5, true}}}, `{"r":true}`, nil},
		{object{"claims": object{"r": []any{"a", 5, true}}}, `{"r":[false,"true"]}`, nil},
		{object{"claims": object{"r": []any{"a", 5, true}}}, `{"r":false}`, refuseClaim},
		{object{"claims": object{"r": []any{"a", 5, true}}}, `{"r":6}`, refuseClaim},
		{object{"claims": object{"r": 1.5}}, `{"r":1.50}`, nil},
		{object{"claims": object{"r": "9007199254740993"}}, `{"r":9007199254740993}`, nil},
		{object{"claims": object{"r": "9007199254740993"}}, `{"r":9007199254740992}`, refuseClaim},
		{object{"claims": object{"r": "null"}}, `{"r":null}`, refuseClaim},
		{object{"claims": object{"r": "a"}}, `{"R":"a"}`, refuseClaim},
		{object{"claims": object{"r": "a", "R": "b"}}, `{"r":"a","R":"b"}`, nil},
		{object{"claims": object{"r": "a", "R": "b"}}, `{"r":"b","R":"a"}`, refuseClaim},
		{object{"claims": object{"r": "a", "s": "b"}}, `{"r":"a"}`, refuseClaim},
		{object{"claims": object{"https://a.b/c": "a"}}, `{"https://a.b/c":"a"}`, nil},
		{object{"claims": object{"a.b": "c"}}, `{"a":{"b":"c"}}`, refuseClaim},
		{object{"claims": object{"a": object{"b": object{"c": "d"}, "e": "f"}}}, `{"a":{"b":{"c":["d"]},"e":"f"}}`, nil},
		{object{"claims": object{"a": object{"b": object{"c": "d"}, "e": "f"}}}, `{"a":{"b":{"c":"d"},"e":"g"}}`, refuseClaim},
		{object{"claims": object{"scope": "chat:read"}}, `{"scope":"openid chat:read chat:write"}`, nil},
		{object{"claims": object{"scope": "chat:read"}}, `{"scope":"chat:read"}`, nil},
		{object{"claims": object{"scope": "chat:read"}}, `{"scope":"chat:reader openid"}`, refuseClaim},
		{object{"claims": object{"scope": "chat:read"}}, `{"scope":""}`, refuseClaim},
		{object{"claims": object{"scp": "chat"}}, `{"scp":["mail","chat"]}`, nil},
		{object{"claims": object{"scp": "chat"}}, `{"scp":"mail chat"}`, nil},
		{object{"claims": object{"scp": "a b"}}, `{"scp":"a b"}`, nil},
		{object{"claims": object{"scope": "chat"}}, `{"scope":["mail chat"]}`, refuseClaim},
	}
	for _, c := range cases {
		c.options["signingSecret"] = k.secret
		v := verifierOf(t, c.options)
		wantVerdict(t, fmt.Sprint(c.options, c.payload), v, usual(t, "HS256", k.secret, c.payload), tokenTime, c.want)
	}
}

func TestClaimText(t *testing.T) {
	values := jsonObject([]byte(`{"a":"b","n":12345678901234567890,"f":1.50,"e":1e3,"t":true,"x":null,"l":["a"],"o":{},"u":"\u00e9"}`))
	for name, want := range map[string]string{"a": "b", "n": "12345678901234567890", "f": "1.5", "e": "1000", "t": "true", "x": "", "l": "", "o": "", "u": "é", "none": "", "A": ""} {
		if got := claimText(&claims{values: values}, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := claimText(nil, "a"); got != "" {
		t.Errorf("of nothing it is %q", got)
	}
}

func TestBelieve(t *testing.T) {
	k := keysForTests()
	c := believeJWT(usual(t, "HS256", k.secret, `{"sub":"a","exp":1}`))
	if c == nil || claimText(c, "sub") != "a" || c.expires.Unix() != 1 {
		t.Errorf("claims %v", c)
	}
	c = believeJWT(usual(t, "RS256", k.rsa, `{"sub":"b"}`))
	if c == nil || claimText(c, "sub") != "b" || !c.expires.IsZero() {
		t.Errorf("claims %v", c)
	}
	for _, token := range []string{"", "opaque", "a.b.c", "a.b.c.d.e", rfcA4, "a." + encode([]byte(`{"a":1,"a":2}`)) + ".", "a." + encode([]byte(`{"exp":"1"}`)) + ".", "a.\n" + encode([]byte(`{}`)) + ".", "a." + encode([]byte(`{}`)) + "." + strings.Repeat("A", maxToken)} {
		if c := believeJWT(token); c != nil {
			t.Errorf("%.40s has claims: %v", token, c.values)
		}
	}
}

// The header of the last token is remembered, and never makes another token good.
func TestRememberedHeader(t *testing.T) {
	k := keysForTests()
	v := verifierOf(t, object{"jwksFile": fileWith(t, keySetOf(jwkOf(k.secret, `,"kid":"a"`), jwkOf(k.rsa, `,"kid":"b"`)))})
	first, second := mint(t, "HS256", k.secret, `{"alg":"HS256","kid":"a"}`, `{}`), mint(t, "RS256", k.rsa, `{"alg":"RS256","kid":"b"}`, `{}`)
	for i := 0; i < 3; i++ {
		wantVerdict(t, "first", v, first, tokenTime, nil)
		wantVerdict(t, "first, forged", v, first[:len(first)-4]+"AAAA", tokenTime, refuseToken)
		wantVerdict(t, "again", v, first, tokenTime, nil)
		wantVerdict(t, "header of the first", v, strings.SplitN(first, ".", 2)[0]+"."+strings.SplitN(second, ".", 2)[1], tokenTime, refuseToken)
		wantVerdict(t, "second", v, second, tokenTime, nil)
	}
	wantVerdict(t, "no header", verifierOf(t, object{"signingSecret": k.secret}), "."+encode([]byte(`{}`))+"."+encode(sign(t, "HS256", k.secret, "."+encode([]byte(`{}`)))), tokenTime, refuseToken)
}

// Many at once, for the race detector.
func TestVerifyAtOnce(t *testing.T) {
	k := keysForTests()
	v := verifierOf(t, object{"jwksFile": fileWith(t, keySetOf(jwkOf(k.secret, ""), jwkOf(k.ed, `,"kid":"b"`)))})
	tokens := []string{usual(t, "HS256", k.secret, `{}`), usual(t, "EdDSA", k.ed, `{}`), mint(t, "EdDSA", k.ed, `{"alg":"EdDSA","kid":"b"}`, `{}`)}
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for j := 0; j < 20; j++ {
				_, refused, cause := verifyJWT(v, tokens[j%len(tokens)], tokenTime)
				if refused != nil {
					t.Error(cause)
				}
			}
		}()
	}
	all.Wait()
}

// TestVerifierMistakes has mistakes in the configuration, by the keys that are named; none shows a secret, a path or a URL.
func TestVerifierMistakes(t *testing.T) {
	k := keysForTests()
	secret := k.secret
	public := pemOf(t, publicOf(k.rsa))
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	private, _ := x509.MarshalPKCS8PrivateKey(k.rsa)
	const gone = "/no/such/secret-path"
	cases := []struct {
		options object
		want    string // the mistakes' keys, sorted
	}{
		{object{}, ""},
		{object{"issuer": "a", "audience": "a", "algorithms": "RS256", "claims": object{"a": "b"}, "leeway": "0"}, "token.algorithms token.audience token.claims token.issuer token.leeway"},
		{object{"signingSecret": ""}, "token.signingSecret"},
		{object{"jwksUrl": nil}, "token.jwksUrl"},
		{object{"signingSecret": secret[:31]}, "token.signingSecret"},
		{object{"signingSecret": secret[:31] + "\n"}, "token.signingSecret"},
		{object{"signingSecret": []any{secret}}, "token.signingSecret"},
		{object{"signingSecret": "urn:k8s:secret:a:b"}, "token.signingSecret"},
		{object{"signingSecret": secret[:32], "algorithms": "HS256"}, ""},
		{object{"signingSecret": secret[:47], "algorithms": "HS256,HS384,HS512"}, "token.algorithms token.algorithms"},
		{object{"signingSecret": secret, "algorithms": []any{"RS256", "none", "hs256", "HS512", "ES256"}}, "token.algorithms token.algorithms token.algorithms token.algorithms"},
		{object{"signingSecret": secret, "signingSecretFile": gone}, "token.signingSecretFile"},
		{object{"signingSecret": secret, "publicKey": public, "jwksUrl": "https://a/secret-path"}, "token.jwksUrl token.publicKey"},
		{object{"signingSecretFile": gone}, "token.signingSecretFile"},
		{object{"signingSecretFile": fileWith(t, secret[:31]+"\n\n")}, "token.signingSecretFile"},
		{object{"signingSecretFile": t.TempDir()}, "token.signingSecretFile"},
		{object{"publicKey": gone}, "token.publicKey"},
		{object{"publicKey": secret}, "token.publicKey"},
		{object{"publicKey": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, "token.publicKey"},
		{object{"publicKey": "-----BEGIN PUBLIC KEY-----\n"}, "token.publicKey"},
		{object{"publicKey": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}, "token.publicKey"},
		{object{"publicKey": pemOf(t, publicOf(weak))}, "token.publicKey"},
		{object{"publicKey": pemOf(t, publicOf(p224))}, "token.publicKey"},
		{object{"publicKey": public + public}, "token.publicKey"},
		{object{"publicKey": fileWith(t, secret)}, "token.publicKey"},
		{object{"publicKey": public, "algorithms": "HS256"}, "token.algorithms"},
		{object{"publicKey": public, "algorithms": "ES256, PS512"}, "token.algorithms"},
		{object{"jwksFile": gone}, "token.jwksFile"},
		{object{"jwksFile": fileWith(t, public)}, "token.jwksFile"},
		{object{"jwksFile": fileWith(t, `{"keys":[]}`)}, "token.jwksFile"},
		{object{"jwksFile": fileWith(t, keySetOf(jwkOf(weak, "")))}, "token.jwksFile"},
		{object{"jwksFile": fileWith(t, keySetOf(jwkOf(k.rsa, ""))), "algorithms": "ES256, HS256"}, "token.algorithms"},
		{object{"jwksFile": fileWith(t, keySetOf(jwkOf(k.rsa, ""))), "algorithms": "ES256, RS256, HS256"}, ""},
		{object{"jwksUrl": "ftp://a/secret-path"}, "token.jwksUrl"},
		{object{"jwksUrl": "secret-path"}, "token.jwksUrl"},
		{object{"jwksUrl": "https:///secret-path"}, "token.jwksUrl"},
		{object{"jwksUrl": "https://:443/secret-path"}, "token.jwksUrl"},
		{object{"jwksUrl": "https://secret-user:secret-path@a/"}, "token.jwksUrl"},
		{object{"jwksUrl": "https://a b/secret-path"}, "token.jwksUrl"},
		{object{"jwksUrl": "http://127.0.0.1:1/secret-path#x"}, "token.jwksUrl"},
		{object{"jwksUrl": "http://127.0.0.1:1/secret-path", "algorithms": "HS256,RS256"}, "token.algorithms"},
		{object{"signingSecret": secret, "leeway": "2h"}, "token.leeway"},
		{object{"signingSecret": secret, "leeway": "5"}, "token.leeway"},
		{object{"signingSecret": secret, "issuer": ""}, "token.issuer"},
		{object{"signingSecret": secret, "issuer": []any{"a"}}, "token.issuer"},
		{object{"signingSecret": secret, "audience": ""}, "token.audience"},
		{object{"signingSecret": secret, "audience": []any{"a", ""}}, "token.audience"},
		{object{"signingSecret": secret, "audience": object{"a": "b"}}, "token.audience"},
		{object{"signingSecret": secret, "algorithms": []any{}}, "token.algorithms"},
		{object{"signingSecret": secret, "claims": ""}, "token.claims"},
		{object{"signingSecret": secret, "claims": "a"}, "token.claims"},
		{object{"signingSecret": secret, "claims": object{}}, "token.claims"},
		{object{"signingSecret": secret, "claims": object{"a": "", "b": []any{}, "c": object{}, "d": nil, "e": "f"}}, "token.claims.a token.claims.b token.claims.c token.claims.d"},
		{object{"signingSecret": secret, "claims": object{"a": object{"b": "", "c": []any{"", "d"}}}}, "token.claims.a.b token.claims.a.c"},
		{object{"signingSecret": secret, "issuers": "a"}, "token.issuers"},
	}
	if _, wrong := publicKeys(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))); !strings.Contains(wrong, "private") {
		t.Errorf("a private key: %s", wrong)
	}
	for _, c := range cases {
		m := &mistakes{}
		o := newOptions(m, "token.", c.options)
		if v := newVerifier(o, "test@file"); v != nil && v.keys.endpoint != nil {
			settle(v)
		}
		o.finish()
		var keys []string
		for _, mistake := range m.list {
			key := mistaken.FindStringSubmatch(mistake)
			if key == nil || strings.Contains(mistake, "secret-path") || strings.Contains(mistake, secret[:31]) || strings.Contains(mistake, os.TempDir()) {
				t.Errorf("mistake %q", mistake)
				continue
			}
			keys = append(keys, key[1])
		}
		sort.Strings(keys)
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("mistakes in %s, want %s: %q", got, c.want, m.list)
		}
	}
}

// A refusal says what to do, and the 401s how (RFC 6750 section 3).
func TestTokenRefusals(t *testing.T) {
	for _, c := range []struct {
		refused *refusal
		status  int
		asks    string
	}{
		{refuseNoToken, 401, "Bearer"},
		{refuseToken, 401, `Bearer error="invalid_token"`},
		{refuseExpired, 401, `Bearer error="invalid_token"`},
		{refuseClaim, 403, ""},
	} {
		if c.refused.status != c.status || c.refused.header["WWW-Authenticate"] != c.asks || !strings.HasSuffix(c.refused.sentence, ".") {
			t.Errorf("%+v", c.refused)
		}
	}
}

// jsonTexts are objects, and what is none, with names that are hard to count.
var jsonTexts = []string{
	`{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":":","a":2}`, `{"a":"b:c","d":":"}`, `{"a":1,"\u0061":2}`, `{"a" :1,"a" :2,"b":":::"}`,
	`{"a":{"a":1,"b":{"a":1}},"b":[{"a":1},{"a":1}]}`, `{"a":{"b":1,"b":2}}`, `{"a":1,"b":{"c":1},"a":{"d":2}}`, `{"":1,"":2}`, `{"\"":1,"\"":2}`,
	`{"\\":":","\"":"\\\":"}`, "{\"\u2028\":1}", "{\"\u2028\":1,\"\u2028\":\"&&&&&&\"}", `{"<":"&","<":">"}`, `{"a":"’","b":"“"}`, "{\"a\"\n:1,\"b\"\t:2,\"b\"\r:3}", `{"a":1e5,"b":-0.0,"c":1E+2}`,
	"{\"a\"\n:1,\"a\"\n:2,\"b\":\":\"}", "{\"a\"\t:1,\"a\"\t:2,\"b\":\":\"}", `{"a" :1,"a" :2,"b":":"}`, `{"a":12345,"a":1,"&&":{"b":1}}`, "{\"a\":1,\"a\":1,\"\u2028\u2028\":{\"b\":2}}",
	`{"a":12345678,"a":1,"\b\b\b":{"b":1}}`, `[]`, `null`, `""`, `1`, ``, `{`, `{"a"}`, `{"a":1}}`, `{"a":1}x`, "\ufeff{}", "{\"\xff\":1}", `{"\ud800":1,"\udc00":2}`, ` { } `, `{"a":[[[{"b":[":",{"c":":"}]}]]]}`, `{"a":"\\","a":"\""}`,
}

// twins reports, by the decoder's tokens, whether an object has a name twice on its first level, or on any.
func twins(text []byte) (bool, bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	onFirst, onAny := false, false
	var around []*level
	for {
		next, err := decoder.Token()
		if err != nil {
			return onFirst, onAny
		}
		if next == json.Delim('}') || next == json.Delim(']') {
			around = around[:len(around)-1]
			continue
		}
		isName := false
		if len(around) > 0 {
			in := around[len(around)-1]
			isName = in.isObject && in.items%2 == 0
			in.items++
			if isName {
				name := next.(string)
				onAny = onAny || in.names[name]
				onFirst = onFirst || in.names[name] && len(around) == 1
				in.names[name] = true
			}
		}
		if !isName && (next == json.Delim('{') || next == json.Delim('[')) {
			around = append(around, &level{isObject: next == json.Delim('{'), names: map[string]bool{}})
		}
	}
}

// level is an object or a list around a token.
type level struct {
	isObject bool
	items    int // so far; in an object every other one is a name
	names    map[string]bool
}

// checkObject holds jsonObject to what encoding/json's tokens say.
func checkObject(t *testing.T, text []byte) {
	t.Helper()
	object := jsonObject(text)
	isObject := json.Valid(text) && utf8.Valid(text) && bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))
	if !isObject {
		if object != nil {
			t.Errorf("%q is an object", text)
		}
		return
	}
	onFirst, onAny := twins(text)
	if object != nil && onFirst {
		t.Errorf("%q has a name twice", text)
	}
	if object == nil && !onAny {
		t.Errorf("%q is no object", text)
	}
}

func TestObjects(t *testing.T) {
	for _, text := range jsonTexts {
		checkObject(t, []byte(text))
		checkObject(t, []byte(strings.NewReplacer(":", " : ", ",", "\n,").Replace(text)))
	}
}

// FuzzVerifyJWT holds verifyJWT to properties: it takes no token whose signature is not the one, or that has been changed in any
// place, and of those that are signed only those that are objects with names that are unique, and in their time.
func FuzzVerifyJWT(f *testing.F) {
	for i, text := range jsonTexts {
		f.Add(`{"alg":"HS256"}`, text, uint16(7*i), byte(i))
		f.Add(text, `{"exp":1788264060}`, uint16(7*i), byte(1))
	}
	f.Add(`{"alg":"HS256","kid":"a","typ":"JWT"}`, `{"exp":1788263970,"nbf":1788264030.5,"aud":["x"]}`, uint16(1), byte('.'))
	f.Add(`{"alg":"none"}`, `{"exp":1e9}`, uint16(60), byte('='))
	f.Add(`{"alg":"HS256","crit":["exp"]}`, rfcA1, uint16(60), byte('\n'))
	k := keysForTests()
	v := verifierOf(f, object{"jwksFile": fileWith(f, keySetOf(jwkOf(k.secret, `,"kid":"a"`), jwkOf(k.ed, ``), jwkOf(k.p256, ``), jwkOf(k.rsa, ``)))})
	f.Fuzz(func(t *testing.T, header, payload string, at uint16, other byte) {
		for _, text := range []string{header, payload, header + "." + payload, header + "." + payload + ".", rfcA5 + payload} {
			if c, refused, cause := verifyJWT(v, text, tokenTime); c != nil || refused == nil || cause == "" {
				t.Fatalf("%q is a token", text)
			}
			believeJWT(text)
		}
		token := mint(t, "HS256", k.secret, header, payload)
		c := wantSound(t, v, token, header, payload)
		changed := []byte(token)
		place := int(at) % len(changed)
		changed[place] = other
		forged, refused, _ := verifyJWT(v, string(changed), tokenTime)
		if forged != nil && string(changed) != token || (forged == nil) != (refused != nil) {
			t.Errorf("%q, which was %q, is a token", changed, token)
		}
		if again, _, _ := verifyJWT(v, token, tokenTime); (again == nil) != (c == nil) {
			t.Errorf("%q is a token, or none, another time", token)
		}
		checkObject(t, []byte(payload))
	})
}

// wantSound verifies a token that is signed, and wants a reason for what comes of it.
func wantSound(t *testing.T, v *verifier, token, header, payload string) *claims {
	t.Helper()
	c, refused, cause := verifyJWT(v, token, tokenTime)
	if (c == nil) != (refused != nil) || (cause == "") != (refused == nil) {
		t.Fatalf("claims %v, %s, %q", c, reasonOf(refused), cause)
	}
	var head struct{ Alg, Kid any }
	var body map[string]any
	sound := len(header) <= maxHeader && len(token) <= maxToken && json.Unmarshal([]byte(header), &head) == nil && json.Unmarshal([]byte(payload), &body) == nil
	if c != nil && (!sound || head.Alg != "HS256" || body == nil) {
		t.Errorf("%q, %q is a token", header, payload)
	}
	if c == nil {
		return nil
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		value, there := body[name]
		seconds, isNumber := value.(float64)
		now := float64(tokenTime.Unix())
		if there && (!isNumber || seconds < 0 || name == "exp" && seconds+30 <= now || name != "exp" && seconds-30 > now) {
			t.Errorf("%q is a token", payload)
		}
	}
	return c
}

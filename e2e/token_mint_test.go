package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// mint makes tokens with go-jose: good ones in all algorithms, and those that are broken in one way each. Which ones come is
// told by a seed; keys and the random part of signatures are new each time.
type mint struct {
	*rand.Rand
	keys   []mintKey
	others []mintKey // that sign as the first do, and nobody trusts
}

// mintKey is a key, and an algorithm that it signs by.
type mintKey struct {
	algorithm jose.SignatureAlgorithm
	kid       string
	key       any // that signs
	public    any // that verifies
}

// minted is a token.
type minted struct {
	token     string
	algorithm jose.SignatureAlgorithm
	what      string // is broken of it; empty: it is good
}

// newMint is a mint with keys of its own, where each algorithm has one.
func newMint(t *testing.T, seed uint64) *mint {
	t.Helper()
	return &mint{Rand: rand.New(rand.NewPCG(seed, 0)), keys: mintKeys(t), others: mintKeys(t)}
}

// mintKeys are new keys. Those of RSA do for all its algorithms.
func mintKeys(t *testing.T) []mintKey {
	t.Helper()
	var keys []mintKey
	add := func(algorithm jose.SignatureAlgorithm, key, public any) {
		keys = append(keys, mintKey{algorithm, string(algorithm) + "-key", key, public})
	}
	secret := make([]byte, 64)
	_, _ = crand.Read(secret) // never fails
	for _, algorithm := range []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512} {
		add(algorithm, secret, secret)
	}
	ofRSA, err := rsa.GenerateKey(crand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512} {
		add(algorithm, ofRSA, &ofRSA.PublicKey)
	}
	for algorithm, curve := range map[jose.SignatureAlgorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, crand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		add(algorithm, key, &key.PublicKey)
	}
	public, private, err := ed25519.GenerateKey(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	add(jose.EdDSA, private, public)
	slices.SortFunc(keys, func(a, b mintKey) int { return strings.Compare(a.kid, b.kid) })
	return keys
}

// keySet is the mint's keys as a JSON Web Key Set, public ones alone, or secrets, too.
func (m *mint) keySet(secrets bool) string {
	var set jose.JSONWebKeySet
	for _, k := range m.keys {
		if _, secret := k.key.([]byte); !secret || secrets {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.public, KeyID: k.kid, Algorithm: string(k.algorithm), Use: "sig"})
		}
	}
	text, err := json.Marshal(set)
	if err != nil {
		panic(err) // go-jose can write its own keys
	}
	return string(text)
}

// pick is one of the mint's keys: never a secret where those are not known.
func (m *mint) pick(secrets bool) int {
	for {
		i := m.IntN(len(m.keys))
		if _, secret := m.keys[i].key.([]byte); !secret || secrets {
			return i
		}
	}
}

// claims are such as tokens have, with an end in an hour.
func (m *mint) claims(now time.Time) object {
	claims := object{"sub": fmt.Sprint("user-", m.Uint32()), "exp": now.Add(time.Hour).Unix(), "iat": now.Unix()}
	more := []object{
		{"nbf": now.Add(-time.Minute).Unix()},
		{"iss": "https://issuer.example/realms/a", "aud": []string{"a", "b"}},
		{"exp": float64(now.Add(time.Hour).UnixMilli()) / 1000},
		{"scope": "openid chat:read", "realm_access": object{"roles": []string{"user", "admin"}}},
		{"name": "Zoë & <Søren> \"\\ \u2028:", "groups": []object{{"id": 1, "name": "a"}, {"id": 2, "name": "b"}}},
		{"text": strings.Repeat("x", m.IntN(5000))},
	}
	for _, some := range more {
		if m.IntN(3) == 0 {
			for name, value := range some {
				claims[name] = value
			}
		}
	}
	return claims
}

// sign signs a payload with a key, with these members of the header besides.
func (m *mint) sign(k mintKey, payload []byte, options *jose.SignerOptions) *jose.JSONWebSignature {
	if options == nil {
		options = (&jose.SignerOptions{}).WithType("JWT")
		if m.IntN(2) == 0 {
			options = options.WithHeader("kid", k.kid)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.algorithm, Key: k.key}, options)
	if err != nil {
		panic(err) // all keys fit
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	return signed
}

// compact is a signed payload as a token.
func compact(signed *jose.JSONWebSignature) string {
	token, err := signed.CompactSerialize()
	if err != nil {
		panic(err) // one signature, all of its header protected
	}
	return token
}

// payload is claims in JSON, with spaces or without.
func (m *mint) payload(claims object) []byte {
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	if m.IntN(4) == 0 {
		var spaced bytes.Buffer
		_ = json.Indent(&spaced, text, "", "\t")
		return spaced.Bytes()
	}
	return text
}

// good makes a token that verifies.
func (m *mint) good(now time.Time, secrets bool) minted {
	k := m.keys[m.pick(secrets)]
	return minted{compact(m.sign(k, m.payload(m.claims(now)), nil)), k.algorithm, ""}
}

// broken makes one that does not, in one of the ways.
func (m *mint) broken(now time.Time, secrets bool) minted {
	way := breakages[m.IntN(len(breakages))]
	i := m.pick(secrets)
	return minted{way.make(m, i, now), m.keys[i].algorithm, way.what}
}

// breakage is a way to break the token of a key.
type breakage struct {
	what string
	make func(m *mint, i int, now time.Time) string
}

// breakages are all ways.
var breakages = []breakage{
	{"a character", (*mint).withCharacter},
	{"its length", (*mint).withLength},
	{"its signature's bits", (*mint).withBits},
	{"its parts", (*mint).withParts},
	{"its key", func(m *mint, i int, now time.Time) string {
		return compact(m.sign(m.others[i], m.payload(m.claims(now)), (&jose.SignerOptions{}).WithHeader("kid", m.keys[i].kid)))
	}},
	{"its key, which it brings along", func(m *mint, i int, now time.Time) string {
		k := m.others[9] // not a secret, which go-jose does not embed
		return compact(m.sign(k, m.payload(m.claims(now)), &jose.SignerOptions{EmbedJWK: true}))
	}},
	{"its algorithm", (*mint).withAlgorithm},
	{"its key, which is public, as a secret", (*mint).withPublicSecret},
	{"its header, which has crit", func(m *mint, i int, now time.Time) string {
		options := (&jose.SignerOptions{}).WithHeader("extension", 1).WithCritical("extension")
		return compact(m.sign(m.keys[i], m.payload(m.claims(now)), options))
	}},
	{"its header, which has two", (*mint).withTwoHeaders},
	{"its kid", func(m *mint, i int, now time.Time) string {
		kid := []any{"../" + m.keys[i].kid, 1, nil, []string{m.keys[i].kid}, strings.ToLower(m.keys[i].kid)}[m.IntN(5)]
		return compact(m.sign(m.keys[i], m.payload(m.claims(now)), (&jose.SignerOptions{}).WithHeader("kid", kid)))
	}},
	{"its payload", func(m *mint, i int, now time.Time) string {
		whole := string(m.payload(m.claims(now)))
		bad := []string{
			"[" + whole + "]", whole + whole, whole + "x", "", "null", "\ufeff" + whole, strings.TrimSuffix(whole, "}"),
			strings.Replace(whole, "{", `{"sub":"root",`, 1), strings.Replace(whole, "{", `{"\u0073ub":"root",`, 1), strings.Replace(whole, "{", "{\"a\":\"\xff\",", 1),
		}
		return compact(m.sign(m.keys[i], []byte(bad[m.IntN(len(bad))]), nil))
	}},
	{"its time", func(m *mint, i int, now time.Time) string {
		claims := m.claims(now)
		switch m.IntN(4) {
		case 0:
			claims["exp"] = now.Add(-time.Hour + time.Duration(m.IntN(59))*time.Minute).Unix()
		case 1:
			claims["nbf"] = now.Add(time.Minute + time.Duration(m.IntN(1e6))*time.Second).Unix()
		case 2:
			claims["iat"] = now.Add(time.Minute + time.Duration(m.IntN(1e6))*time.Second).Unix()
		case 3:
			claims["exp"] = []any{"soon", nil, true, -1, 1e300, fmt.Sprint(now.Add(time.Hour).Unix()), []int{1}}[m.IntN(7)]
		}
		return compact(m.sign(m.keys[i], m.payload(claims), nil))
	}},
	{"its form", func(m *mint, i int, now time.Time) string {
		signed := m.sign(m.keys[i], m.payload(m.claims(now)), nil)
		detached, err := signed.DetachedCompactSerialize()
		if err != nil {
			panic(err)
		}
		token := compact(signed)
		return []string{signed.FullSerialize(), detached, token + "=", token + ".", "." + token, strings.ReplaceAll(token, ".", "..")}[m.IntN(6)]
	}},
	{"its form, which is encrypted", func(m *mint, _ int, now time.Time) string {
		sealer, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: make([]byte, 32)}, nil)
		if err != nil {
			panic(err)
		}
		sealed, err := sealer.Encrypt(m.payload(m.claims(now)))
		if err != nil {
			panic(err)
		}
		token, err := sealed.CompactSerialize()
		if err != nil {
			panic(err)
		}
		return token
	}},
	{"its size", func(m *mint, i int, now time.Time) string {
		claims := m.claims(now)
		claims["text"] = strings.Repeat("x", 12<<10+m.IntN(2<<10))
		return compact(m.sign(m.keys[i], m.payload(claims), nil))
	}},
}

// whole is a good token by a key.
func (m *mint) whole(i int, now time.Time) string {
	return compact(m.sign(m.keys[i], m.payload(m.claims(now)), nil))
}

// alphabet is that of base64url, and some that is not.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/."

// withCharacter changes a character.
func (m *mint) withCharacter(i int, now time.Time) string {
	token := []byte(m.whole(i, now))
	at := m.IntN(len(token))
	was := token[at]
	for token[at] == was {
		token[at] = alphabet[m.IntN(len(alphabet))]
	}
	return string(token)
}

// withLength takes characters out, or doubles them.
func (m *mint) withLength(i int, now time.Time) string {
	token := m.whole(i, now)
	at := m.IntN(len(token))
	n := 1 + m.IntN(min(8, len(token)-at))
	if m.IntN(2) == 0 {
		return token[:at] + token[at+n:]
	}
	return token[:at+n] + token[at:]
}

// withBits changes bits of the signature.
func (m *mint) withBits(i int, now time.Time) string {
	signed, encoded := cutToken(m.whole(i, now))
	signature, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		panic(err)
	}
	switch m.IntN(4) {
	case 0:
		signature[m.IntN(len(signature))] ^= 1 << m.IntN(8)
	case 1:
		clear(signature)
	case 2:
		signature = append(signature, 0)
	case 3:
		signature = signature[:m.IntN(len(signature))]
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// withParts takes a part from another token.
func (m *mint) withParts(i int, now time.Time) string {
	parts := strings.Split(m.whole(i, now), ".")
	other := strings.Split(m.whole((i+1)%len(m.keys), now), ".")
	at := 1 + m.IntN(2) // headers may be alike
	parts[at] = other[at]
	return strings.Join(parts, ".")
}

// withAlgorithm has the header name another algorithm, or none.
func (m *mint) withAlgorithm(i int, now time.Time) string {
	_, rest, _ := strings.Cut(m.whole(i, now), ".")
	names := []string{"none", "None", "nOnE", "", "HS1", strings.ToLower(string(m.keys[i].algorithm))}
	for _, k := range m.keys {
		if k.algorithm != m.keys[i].algorithm {
			names = append(names, string(k.algorithm))
		}
	}
	token := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":%q}`, names[m.IntN(len(names))])) + "." + rest
	if m.IntN(2) == 0 {
		token, _ = cutToken(token)
		return token + "."
	}
	return token
}

// withPublicSecret signs with what everybody knows, as if it were a secret.
func (m *mint) withPublicSecret(_ int, now time.Time) string {
	k := m.keys[m.pick(false)]
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		panic(err)
	}
	known := [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), make([]byte, 64)}[m.IntN(3)]
	algorithm := []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}[m.IntN(3)]
	options := (&jose.SignerOptions{}).WithHeader("kid", []string{k.kid, string(algorithm) + "-key"}[m.IntN(2)])
	if len(known) < 64 {
		known = append(known, known...)
	}
	return compact(m.sign(mintKey{algorithm: algorithm, key: known}, m.payload(m.claims(now)), options))
}

// withTwoHeaders has the header name an algorithm twice, and signs that, too, where the key is a secret.
func (m *mint) withTwoHeaders(i int, now time.Time) string {
	_, rest, _ := strings.Cut(m.whole(i, now), ".")
	body, _ := cutToken(rest)
	header := fmt.Sprintf(`{"alg":"none","%s":%q}`, []string{"alg", `\u0061lg`}[m.IntN(2)], m.keys[i].algorithm)
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + body
	if secret, ok := m.keys[i].key.([]byte); ok {
		return signed + "." + base64.RawURLEncoding.EncodeToString(hmacOf(m.keys[i].algorithm, secret, signed))
	}
	return signed + rest[len(body):]
}

// cutToken is a token without its last part, and that.
func cutToken(token string) (string, string) {
	at := strings.LastIndexByte(token, '.')
	return token[:at], token[at+1:]
}

// hmacOf is the signature of a text by a secret.
func hmacOf(algorithm jose.SignatureAlgorithm, secret []byte, text string) []byte {
	hashes := map[jose.SignatureAlgorithm]func() hash.Hash{jose.HS256: sha256.New, jose.HS384: sha512.New384, jose.HS512: sha512.New}
	mac := hmac.New(hashes[algorithm], secret)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// TestMint has go-jose verify what the mint calls good, in all algorithms, and the mint break tokens in all ways.
func TestMint(t *testing.T) {
	m := newMint(t, 1)
	seen := map[string]int{}
	for range 500 {
		token := m.good(time.Now(), true)
		k := m.keys[slices.IndexFunc(m.keys, func(k mintKey) bool { return k.algorithm == token.algorithm })]
		signed, err := jose.ParseSignedCompact(token.token, []jose.SignatureAlgorithm{token.algorithm})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signed.Verify(k.public); err != nil {
			t.Errorf("%s: %v", token.token, err)
		}
		seen[string(token.algorithm)]++
		seen[m.broken(time.Now(), true).what]++
	}
	if len(seen) != len(m.keys)+len(breakages) {
		t.Errorf("there were %v", seen)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(m.keySet(false)), &set); err != nil || len(set.Keys) != len(m.keys)-3 {
		t.Errorf("a set of %d keys: %v", len(set.Keys), err)
	}
}

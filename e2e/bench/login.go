package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// loggedIn is a Traefik with the plugin, which forwards, and verifies the tokens of its clients by an algorithm.
func loggedIn(name string, algorithm jose.SignatureAlgorithm) system {
	start := func(upstream string, profiled bool) (*gateway, error) {
		policy, token, err := mint(algorithm)
		if err != nil {
			return nil, fmt.Errorf("minting a token: %w", err)
		}
		of := inTraefik(name, 0, forward(object{"token": policy}))
		g, err := of.start(upstream, profiled)
		if err != nil {
			return nil, err
		}
		g.token = token
		return g, nil
	}
	return system{name: name, start: start}
}

const (
	// verifyPath is where an upstream answers whether a login still holds.
	verifyPath = "/verify"

	// verifyInterval is how often it is asked.
	verifyInterval = time.Minute
)

// revalidating is a Traefik with the plugin, which forwards, and asks whether the logins of its clients still hold.
func revalidating() system {
	s := inTraefik("wsfw-revalidate", 0, func(upstream string) object {
		return object{
			"upstreamEndpoint": "ws://" + upstream,
			"revalidate":       object{"url": "http://" + upstream + verifyPath, "interval": verifyInterval.String()},
		}
	})
	s.logins = true
	return s
}

// mint makes a key, the option token that verifies by it, and a token that is as usual ones are.
func mint(algorithm jose.SignatureAlgorithm) (policy object, token string, err error) {
	policy = object{"issuer": "https://login.example.com", "audience": "chat"}
	var key any
	if algorithm == jose.HS256 {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // which never fails
		text := hex.EncodeToString(secret)
		policy["signingSecret"] = text
		key = []byte(text)
	} else {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, "", err
		}
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			return nil, "", err
		}
		policy["publicKey"] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		key = private
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "1"))
	if err != nil {
		return nil, "", err
	}
	now := time.Now()
	token, err = jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: "https://login.example.com", Audience: jwt.Audience{"chat"}, Subject: "5f0c6a1e-2d41-4c0e-9a50-6f1f3e7d9b21",
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(24 * time.Hour)),
	}).Claims(map[string]any{"scope": "openid profile chat", "name": "Alice Example"}).Serialize()
	return policy, token, err
}

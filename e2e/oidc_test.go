package e2e

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/pace"
	"github.com/wsfw/wsfw/e2e/wire"
)

// identityProvider is an OpenID provider of zitadel's library, on the storage of its example, with keys that can be replaced
// and tokens that live as long as a case wants.
type identityProvider struct {
	*storage.Storage
	url      string
	lifetime time.Duration                                    // of tokens
	callback func(ctx context.Context, request string) string // where the browser is sent once its user has logged in
	client   rp.RelyingParty                                  // an application that is registered there

	mu      sync.Mutex
	keys    []*providerKey // the last one signs
	fetches int            // of the key set
}

// The application that is registered with a provider, and two users of it.
const (
	application   = "chat"
	applicationAt = "http://localhost:9999/auth/callback"
	alice         = "id1"
	bob           = "id2"
)

// newIdentityProvider runs one until the test ends.
func newIdentityProvider(t *testing.T, lifetime time.Duration) *identityProvider {
	t.Helper()
	p := &identityProvider{lifetime: lifetime}
	server := httptest.NewUnstartedServer(nil)
	p.url = "http://" + server.Listener.Addr().String()
	web := storage.WebClient(application, "hunter2-client", applicationAt)
	p.Storage = storage.NewStorageWithClients(storage.NewUserStore(p.url), map[string]*storage.Client{application: web})
	p.addKey(t)
	quiet := slog.New(slog.DiscardHandler)
	provider, err := op.NewProvider(&op.Config{}, p, op.StaticIssuer(p.url), op.WithAllowInsecure(), op.WithLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	p.callback = op.AuthCallbackURL(provider)
	server.Config.Handler = provider
	server.Start()
	t.Cleanup(server.Close)
	scopes := []string{oidc.ScopeOpenID, oidc.ScopeProfile}
	// To revoke a token, rp changes the HTTP client that it has: so that is no other's.
	options := []rp.Option{rp.WithLogger(quiet), rp.WithHTTPClient(&http.Client{})}
	p.client, err = rp.NewRelyingPartyOIDC(t.Context(), p.url, application, "hunter2-client", applicationAt, scopes, options...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// GetClientByClientID implements [op.Storage].
func (p *identityProvider) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := p.Storage.GetClientByClientID(ctx, id)
	return jwtClient{client}, err
}

// jwtClient is an application whose access tokens are JWTs.
type jwtClient struct{ op.Client }

// AccessTokenType implements [op.Client].
func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// CreateAccessToken implements [op.Storage].
func (p *identityProvider) CreateAccessToken(ctx context.Context, req op.TokenRequest) (id string, expires time.Time, err error) {
	id, _, err = p.Storage.CreateAccessToken(ctx, req)
	return id, time.Now().Add(p.lifetime), err
}

// providerKey is a key of a provider's, private and public.
type providerKey struct {
	id  string
	key any
}

// ID implements [op.Key] and [op.SigningKey].
func (k *providerKey) ID() string { return k.id }

// Key implements [op.Key] and [op.SigningKey].
func (k *providerKey) Key() any { return k.key }

// Use implements [op.Key].
func (*providerKey) Use() string { return "sig" }

// Algorithm implements [op.Key].
func (*providerKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }

// SignatureAlgorithm implements [op.SigningKey].
func (*providerKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

// addKey has a new key sign from now on.
func (p *identityProvider) addKey(t *testing.T) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, &providerKey{rand.Text(), key})
}

// removeKey has the oldest key be there no more.
func (p *identityProvider) removeKey() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = p.keys[1:]
}

// SigningKey implements [op.Storage].
func (p *identityProvider) SigningKey(context.Context) (op.SigningKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[len(p.keys)-1], nil
}

// KeySet implements [op.Storage].
func (p *identityProvider) KeySet(context.Context) ([]op.Key, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetches++
	var keys []op.Key
	for _, k := range p.keys {
		keys = append(keys, &providerKey{k.id, &k.key.(*rsa.PrivateKey).PublicKey})
	}
	return keys, nil
}

// fetched is how often the key set has been fetched.
func (p *identityProvider) fetched() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

// login is an access token of a user's, who logs in to the application by a browser (the flow with an authorization code).
func (p *identityProvider) login(t *testing.T, user string) string {
	t.Helper()
	request := p.sentTo(t, rp.AuthURL("state", p.client)).Get("authRequestID")
	name := map[string]string{alice: "test-user@127.0.0.1", bob: "test-user2"}[user]
	if err := p.CheckUsernamePassword(name, "verysecure", request); err != nil {
		t.Fatal(err)
	}
	code := p.sentTo(t, p.callback(op.ContextWithIssuer(t.Context(), p.url), request)).Get("code")
	tokens, err := rp.CodeExchange[*oidc.IDTokenClaims](t.Context(), code, p.client)
	if err != nil {
		t.Fatal(err)
	}
	return tokens.AccessToken
}

// sentTo is the query of the URL to which a browser is sent on from there.
func (*identityProvider) sentTo(t *testing.T, from string) url.Values {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		body, _ := io.ReadAll(resp.Body) // for the message only
		t.Fatalf("%s is answered by %d: %.300s", from, resp.StatusCode, body)
	}
	return to.Query()
}

// logout revokes a token (RFC 7009).
func (p *identityProvider) logout(t *testing.T, token string) {
	t.Helper()
	if err := rp.RevokeToken(t.Context(), p.client, token, "access_token"); err != nil {
		t.Fatal(err)
	}
}

// expires is when a token does.
func expires(t *testing.T, token string) time.Time {
	t.Helper()
	claims := &oidc.AccessTokenClaims{}
	if _, err := oidc.ParseToken(token, claims); err != nil {
		t.Fatal(err)
	}
	return claims.GetExpiration()
}

// verifying are options of a gateway that takes the tokens of a provider for the application, from the query unless further ones
// of the token's say otherwise.
func (p *identityProvider) verifying(options object) object {
	token := object{"from": "query:access_token", "jwksUrl": p.url + "/keys", "issuer": p.url, "audience": application}
	maps.Copy(token, options)
	return object{"token": token, "userFrom": "claim:sub"}
}

// byToken is an upgrade's request with a token in its query.
func byToken(token string) string { return upgrade("GET /socket?access_token=" + token + " HTTP/1.1") }

// welcomed opens a session with a token. The upstream gets it in the header, and nowhere else.
func welcomed(t *testing.T, gateway *engine.Gateway, server *peerUpstream, token string) (client, upstream *peerConn) {
	t.Helper()
	client = peerDial(t, gateway, byToken(token))
	upstream, head := server.request(t)
	checkGoesOn(t, head, token)
	upstream.send(t, head.switching())
	if status := client.answer(t).StatusCode; status != http.StatusSwitchingProtocols {
		t.Fatalf("status is %d, want 101", status)
	}
	return client, upstream
}

// checkGoesOn wants a token in a request's Authorization, and nowhere else in it.
func checkGoesOn(t *testing.T, head peerHead, token string) {
	t.Helper()
	if got, want := head.values("Authorization"), []string{"Bearer " + token}; !slices.Equal(got, want) {
		t.Errorf("Authorization is %q, want %q", got, want)
	}
	rest := slices.DeleteFunc(slices.Clone(head), func(line string) bool { return names(line, "Authorization") })
	checkNoToken(t, "the upstream's request", strings.Join(rest, "\n"), token)
}

// checkNoToken wants nothing of tokens in a text: neither they nor, of a JWT, what makes it one.
func checkNoToken(t *testing.T, where, text string, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		parts := strings.Split(token, ".")
		for _, part := range parts[max(0, len(parts)-2):] {
			if at := strings.Index(text, part); at >= 0 {
				t.Errorf("%s has a token: %s", where, text[max(0, at-200):min(len(text), at+len(part)+200)])
			}
		}
	}
}

// TestOIDC has users of a provider log in, and come with the tokens that their application gets. Those of others are refused.
func TestOIDC(t *testing.T) {
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		p, stranger := newIdentityProvider(t, time.Hour), newIdentityProvider(t, time.Hour)
		server := peerListen(t)
		gateway := e.Start(t, setupIn(mode, server.addr, p.verifying(nil)))
		tokens := []string{p.login(t, alice), p.login(t, bob)}
		for i, user := range []string{alice, bob} {
			client, upstream := welcomed(t, gateway, server, tokens[i])
			client.Close()
			upstream.Close()
			if relays(mode) && gateway.WaitRecord(t)["user"] != user {
				t.Errorf("the log says %v, want the user %s", gateway.Lines(), user)
			}
		}
		others := e.Start(t, setupIn(mode, server.addr, p.verifying(object{"audience": "another"})))
		checkTokenRefusal(t, peerDial(t, others, byToken(tokens[0])), others, "bad_token")
		foreign := stranger.login(t, alice)
		checkTokenRefusal(t, peerDial(t, gateway, byToken(foreign)), gateway, "bad_token")
		checkNoToken(t, "the log", gateway.Text()+others.Text(), append(tokens, foreign)...)
	})
}

// TestHeavyOIDCExpires has a provider give a token that does not live long: neither does the session.
func TestHeavyOIDCExpires(t *testing.T) {
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		t.Parallel()                                                    // it waits most of the time
		p := newIdentityProvider(t, pace.Of(2*time.Second)+time.Second) // exp has whole seconds
		options := p.verifying(object{"endSessions": true, "from": "header:Authorization"})
		g := newLogin(t, e, mode, options)
		token := p.login(t, alice)
		exp := expires(t, token)
		g.enter(t, "Authorization: Bearer "+token).loggedOut(t, mode, "token expired")
		if late := time.Since(exp); late < -10*time.Millisecond || late > pace.Of(time.Second) {
			t.Errorf("it ended %v after exp, want a second at most", late)
		}
		checkNoToken(t, "the log", g.gateway.Text(), token)
	})
}

// TestHeavyOIDCRevoked has users log out at their provider, which the gateway asks about their tokens by its userinfo: their sessions
// end, and those of others go on.
func TestHeavyOIDCRevoked(t *testing.T) {
	eachLoginMode(t, func(t *testing.T, e engine.Engine, mode string) {
		t.Parallel() // it waits most of the time
		p := newIdentityProvider(t, time.Hour)
		options := p.verifying(object{"from": "cookie:session"})
		options["revalidate"] = object{"url": p.client.UserinfoEndpoint(), "interval": "1s"}
		g := newLogin(t, e, mode, options)
		leaving, staying := p.login(t, alice), p.login(t, bob)
		goes := g.enter(t, "Cookie: theme=dark; session="+leaving)
		stays := g.enter(t, "Cookie: session="+staying)
		for name, want := range map[string]string{"Authorization": "Bearer " + leaving, "Cookie": "theme=dark"} {
			if got := goes.upstream.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		p.logout(t, leaving)
		goes.loggedOut(t, mode, "token revoked")
		send(t, stays.client, wire.Text("still here"))
		expect(t, stays.upstream, stays.client.Encode(wire.Text("still here")))
		p.logout(t, staying)
		stays.loggedOut(t, mode, "token revoked")
		checkNoToken(t, "the log", g.gateway.Text(), leaving, staying)
	})
}

// TestHeavyOIDCRotates has a provider change its key while gateways run. One token with the new key has the key set fetched, once the
// last fetch is a minute ago, and however many come until then. A key that is gone is no key any more.
func TestHeavyOIDCRotates(t *testing.T) {
	rows := map[string]func(p *identityProvider){
		"beside the old one":      func(*identityProvider) {},
		"in place of the old one": (*identityProvider).removeKey,
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for name, also := range rows {
			t.Run(name, func(t *testing.T) {
				t.Parallel() // it waits most of the time
				p := newIdentityProvider(t, time.Hour)
				old := p.login(t, alice)
				before := p.fetched() // by the application
				grounds := map[string]*ground{}
				for _, mode := range []string{"check", "inline", "forward"} {
					g := newLogin(t, e, mode, p.verifying(object{"from": "header:Authorization"}))
					grounds[mode] = g
					if err := g.admits(old); err != nil {
						t.Fatalf("%s: %v", mode, err)
					}
				}
				p.addKey(t)
				also(p)
				fresh := p.login(t, bob) // for which the application fetches, too
				before++
				awaitRotation(t, grounds["forward"], fresh)
				for mode, g := range grounds {
					if err := g.admits(fresh); err != nil {
						t.Errorf("%s with the new key: %v", mode, err)
					}
					err := g.admits(old)
					var refused *wire.Refusal
					if name == "beside the old one" && err != nil {
						t.Errorf("%s with the old key: %v", mode, err)
					} else if name != "beside the old one" && (!errors.As(err, &refused) || refused.Status != http.StatusUnauthorized) {
						t.Errorf("%s with a key that is gone: %v, want 401", mode, err)
					}
					checkNoToken(t, "the log", g.gateway.Text(), old, fresh)
				}
				if got := p.fetched() - before; got != 2 {
					t.Errorf("the gateways have fetched the keys %d times, want twice", got)
				}
			})
		}
	})
}

// awaitRotation has a client come with a token until it is let in, which takes a minute.
func awaitRotation(t *testing.T, g *ground, token string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute + wire.Timeout)
	for now := range time.Tick(500 * time.Millisecond) {
		err := g.admits(token)
		if err == nil {
			return
		}
		var refused *wire.Refusal
		if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || now.After(deadline) {
			t.Fatalf("with the new key: %v", err)
		}
	}
}

// admits reports whether a session can be had with a token, or the error.
func (g *ground) admits(token string) error {
	client, err := dial(g.gateway, "Authorization: Bearer "+token)
	if err != nil {
		return err
	}
	defer client.Close()
	upstream, err := g.server.Accept()
	if err != nil {
		return err
	}
	return upstream.Close()
}

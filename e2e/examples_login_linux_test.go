package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wsfw/wsfw/e2e/pace"
)

// loginVisits are requests to the recipe of logins, with tokens for an audience.
var loginVisits = []struct {
	name, audience string
	url, origin    string
	offer          func(token string) []string
	status         int
	upstream       string // which the answer comes from, with its path
	protocol       string // of the session
	key            string // in place of the token upstream
}{
	{
		name: "members", audience: "members", url: "ws://members.example.com/socket/lobby", origin: "http://members.example.com",
		offer:  func(token string) []string { return []string{"bearer", token} },
		status: 101, upstream: "members.internal/socket/lobby", protocol: "bearer",
	},
	{
		name: "members, another audience", audience: "voice", url: "ws://members.example.com/socket", origin: "http://members.example.com",
		offer: func(token string) []string { return []string{"bearer", token} }, status: 401,
	},
	{name: "members, no token", url: "ws://members.example.com/socket", origin: "http://members.example.com", status: 401},
	{
		name: "members, foreign origin", audience: "members", url: "ws://members.example.com/socket", origin: "http://example.org",
		offer: func(token string) []string { return []string{"bearer", token} }, status: 403,
	},
	{
		name: "voice", audience: "voice", url: "ws://voice.example.com/v1/realtime?model=gpt-realtime", origin: "https://www.example.com",
		offer:  func(token string) []string { return []string{"realtime", "openai-insecure-api-key." + token} },
		status: 101, upstream: "api.openai.com/v1/realtime", protocol: "realtime", key: "Bearer sk-change-me",
	},
	{name: "voice, no token", url: "ws://voice.example.com/v1/realtime", status: 401},
	{
		name: "cluster", audience: "https://kubernetes.default.svc", url: "ws://cluster.example.com/exec", origin: "http://cluster.example.com",
		offer:  func(token string) []string { return []string{"v5.channel.k8s.io", kubernetes + base64URL(token)} },
		status: 101, upstream: "dashboard.internal/exec", protocol: "v5.channel.k8s.io",
	},
	{name: "cluster, page", url: "http://cluster.example.com/pods", status: 200, upstream: "dashboard.internal/pods"},
}

// TestExamplesLogin has the recipe of logins in a Traefik, with a provider whose tokens it takes.
func TestExamplesLogin(t *testing.T) {
	onOwnMachine(t, func(t *testing.T) {
		named(t, "members.example.com", "voice.example.com", "cluster.example.com", "login.internal", "members.internal", "dashboard.internal", "api.openai.com")
		trusted := newTLSAuthority(t)
		t.Setenv("SSL_CERT_FILE", tlsDir(t.TempDir()).write(t, "ca.pem", trusted.pem))
		serveExample(t, "members.internal:4000", nil, nil)
		serveExample(t, "dashboard.internal:8000", []string{"v5.channel.k8s.io"}, nil)
		openAI := &tls.Config{Certificates: []tls.Certificate{trusted.server(t, "api.openai.com")}}
		serveExample(t, "api.openai.com:443", []string{"realtime"}, openAI)
		login := newExampleLogin(t, "login.internal:8080")
		log := startExamples(t)
		var tokens []string
		for _, v := range loginVisits {
			t.Run(v.name, func(t *testing.T) {
				r, want := request{url: v.url, header: http.Header{}}, ""
				if v.origin != "" {
					r.header = origin(v.origin)
				}
				if v.offer != nil {
					token := login.token(t, v.audience, time.Hour)
					tokens = append(tokens, token)
					r.offer, want = v.offer(token), "Bearer "+token
				}
				client, resp := r.gets(t, v.status)
				if from := resp.Header.Get(serverMark); from != v.upstream {
					t.Errorf("the answer is from %q, want %q", from, v.upstream)
				}
				if v.status != http.StatusSwitchingProtocols {
					return
				}
				if v.key != "" {
					want = v.key
				}
				if got := resp.Header.Get(authorizationMark); got != want {
					t.Errorf("the upstream gets the authorization %q, want %q", got, want)
				}
				if protocol := client.conn.Subprotocol(); protocol != v.protocol {
					t.Errorf("the subprotocol is %q, want %q", protocol, v.protocol)
				}
				talk(t, client)
				leave(t, client, v.name)
				awaitRecord(t, log, v.name+"@file", v.name)
			})
		}
		t.Run("logout", func(t *testing.T) {
			token := login.token(t, "members", time.Hour)
			tokens = append(tokens, token)
			r := request{url: "ws://members.example.com/socket", header: origin("http://members.example.com"), offer: []string{"bearer", token}}
			client, _ := r.gets(t, http.StatusSwitchingProtocols)
			login.answers("Bearer "+token, http.StatusUnauthorized)
			login.ends(t, client, forwardEnd{3000, "token revoked"})
		})
		t.Run("expiry", func(t *testing.T) {
			token := login.token(t, "any", pace.Of(3*time.Second))
			tokens = append(tokens, token)
			r := request{url: "ws://cluster.example.com/exec", header: origin("http://cluster.example.com")}
			r.offer = []string{"v5.channel.k8s.io", kubernetes + base64URL(token)}
			client, _ := r.gets(t, http.StatusSwitchingProtocols)
			login.ends(t, client, forwardEnd{3000, "token expired"})
		})
		checkNoToken(t, "the log", log(), tokens...)
	})
}

// exampleLogin is a provider: its keys, and its userinfo, which answers as an authority does.
type exampleLogin struct {
	*authority
	signer jose.Signer
}

func newExampleLogin(t *testing.T, addr string) *exampleLogin {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &exampleLogin{authority: &authority{answer: map[string]int{}}}
	signing := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: "1"}}
	l.signer, err = jose.NewSigner(signing, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "1", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/userinfo", l.authority)
	mux.HandleFunc("/keys", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(keys) })
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l.Server = httptest.NewUnstartedServer(mux)
	l.Listener.Close()
	l.Listener = listener
	l.Start()
	t.Cleanup(l.Close)
	return l
}

// token is one for an audience.
func (l *exampleLogin) token(t *testing.T, audience string, lifetime time.Duration) string {
	t.Helper()
	token, err := jwt.Signed(l.signer).Claims(object{
		"iss": "https://login.example.com", "aud": audience, "sub": "alice", "exp": time.Now().Add(lifetime).Unix(), "jti": rand.Text(),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// ends wants a session to end like this.
func (*exampleLogin) ends(t *testing.T, client gorillaSpeaker, want forwardEnd) {
	t.Helper()
	_, _, err := client.hear()
	if got := client.ended(err); got != want {
		t.Errorf("the session ends with %v, want %v", got, want)
	}
}

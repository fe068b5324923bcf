package e2e

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// fileSize is that of all files of these cases: so their time tells them apart, and nothing else.
const fileSize = 4096

// at puts a file in place in one step, as one written at a time.
func (d tlsDir) at(t *testing.T, name string, content []byte, written time.Time) string {
	t.Helper()
	padding := bytes.Repeat([]byte("\n"), fileSize-len(content))
	path := d.write(t, name, append(bytes.Clone(content), padding...))
	draft := filepath.Join(string(d), "draft")
	if err := os.Rename(path, draft); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(draft, written, written); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(draft, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTLSFilesRepaired wants files that could not be used read again though they look the same as then: their size and
// time are those that they had when reading them failed.
func TestTLSFilesRepaired(t *testing.T) {
	first := time.Now().Add(-time.Hour).Truncate(time.Second)
	second := first.Add(time.Minute)
	rows := []struct {
		name   string
		ruin   func(t *testing.T, dir tlsDir, ca *tlsAuthority, pair tls.Certificate)
		repair func(t *testing.T, dir tlsDir, ca *tlsAuthority, pair tls.Certificate)
	}{
		{
			name: "garbage",
			ruin: func(t *testing.T, dir tlsDir, _ *tlsAuthority, _ tls.Certificate) {
				dir.at(t, "ca.pem", []byte("garbage"), second)
			},
			repair: func(t *testing.T, dir tlsDir, ca *tlsAuthority, pair tls.Certificate) {
				dir.at(t, "ca.pem", ca.pem, second)
				dir.at(t, "cert.pem", certPEM(pair), first)
				dir.at(t, "key.pem", keyPEM(t, pair), first)
			},
		},
		{
			name: "key before its certificate",
			ruin: func(t *testing.T, dir tlsDir, ca *tlsAuthority, pair tls.Certificate) {
				dir.at(t, "ca.pem", ca.pem, first)
				dir.at(t, "key.pem", keyPEM(t, pair), second)
			},
			repair: func(t *testing.T, dir tlsDir, _ *tlsAuthority, pair tls.Certificate) {
				dir.at(t, "cert.pem", certPEM(pair), first)
			},
		},
		{
			name: "removed",
			ruin: func(t *testing.T, dir tlsDir, _ *tlsAuthority, _ tls.Certificate) {
				if err := os.Remove(filepath.Join(string(dir), "ca.pem")); err != nil {
					t.Fatal(err)
				}
			},
			repair: func(t *testing.T, dir tlsDir, ca *tlsAuthority, pair tls.Certificate) {
				dir.at(t, "ca.pem", ca.pem, first)
				dir.at(t, "cert.pem", certPEM(pair), first)
				dir.at(t, "key.pem", keyPEM(t, pair), first)
			},
		},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				dir := tlsDir(t.TempDir())
				before, after := newTLSAuthority(t), newTLSAuthority(t)
				old, fresh := before.client(t), after.client(t)
				server := peerListen(t)
				server.tls = mutualTLS(t, before)
				gateway := forwardTo(t, e, server.endpoint(), object{"tls": object{
					"caFile":   dir.at(t, "ca.pem", before.pem, first),
					"certFile": dir.at(t, "cert.pem", certPEM(old), first),
					"keyFile":  dir.at(t, "key.pem", keyPEM(t, old), first),
				}})
				row.ruin(t, dir, after, fresh)
				checkShown(t, gateway, server, old)
				gateway.Wait(t, unread)
				row.repair(t, dir, after, fresh)
				server.tls = mutualTLS(t, after)
				checkShown(t, gateway, server, fresh)
			})
		}
	})
}

// mutualTLS is a server's configuration of an authority's, from whose clients it wants certificates.
func mutualTLS(t *testing.T, authority *tlsAuthority) *tls.Config {
	t.Helper()
	return &tls.Config{
		Certificates: []tls.Certificate{authority.server(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.pool(),
		SessionTicketsDisabled: true,
	}
}

// checkShown wants a session to an upstream with TLS that is shown this certificate.
func checkShown(t *testing.T, gateway *engine.Gateway, server *peerUpstream, pair tls.Certificate) {
	t.Helper()
	state := checkTrusted(t, gateway, server)
	if got := state.PeerCertificates[0]; !bytes.Equal(got.Raw, pair.Leaf.Raw) {
		t.Errorf("the certificate shown is %s, want %s", got.Subject, pair.Leaf.Subject)
	}
}

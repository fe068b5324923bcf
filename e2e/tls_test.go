package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// tlsAuthority is a private CA.
type tlsAuthority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newTLSAuthority(t *testing.T) *tlsAuthority {
	t.Helper()
	template := tlsTemplate()
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	a := &tlsAuthority{cert: template}
	pair := a.issue(t, template)
	a.cert, a.key, a.pem = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey), certPEM(pair)
	return a
}

func tlsTemplate() *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "wsfw " + serial.String()},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
}

// issue signs a certificate; the first one, its own.
func (a *tlsAuthority) issue(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// server issues a certificate for names; none stands for the address of the suite's upstreams.
func (a *tlsAuthority) server(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	template := tlsTemplate()
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = names
	if len(names) == 0 {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	return a.issue(t, template)
}

func (a *tlsAuthority) client(t *testing.T) tls.Certificate {
	t.Helper()
	template := tlsTemplate()
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(t, template)
}

func (a *tlsAuthority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func certPEM(pair tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
}

func keyPEM(t *testing.T, pair tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// tlsWritten counts files.
var tlsWritten atomic.Int64

// tlsDir holds the files that a configuration names.
type tlsDir string

// write puts a file in place in one step, and returns its path.
func (d tlsDir) write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(string(d), name)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	// File systems' clocks tick more slowly than these cases change files.
	written := time.Now().Add(time.Duration(tlsWritten.Add(1)) * time.Second)
	if err := os.Chtimes(path+".new", written, written); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// pair writes a certificate and its key.
func (d tlsDir) pair(t *testing.T, pair tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	return d.write(t, "cert.pem", certPEM(pair)), d.write(t, "key.pem", keyPEM(t, pair))
}

// checkTrusted wants a session to an upstream with TLS.
func checkTrusted(t *testing.T, gateway *engine.Gateway, server *peerUpstream) tls.ConnectionState {
	t.Helper()
	client, upstream := server.join(t, gateway)
	upstream.send(t, "\x82\x05hello")
	client.expect(t, "\x82\x05hello")
	return upstream.Conn.(*tls.Conn).ConnectionState()
}

// checkUntrusted wants the upstream refused, or the gateway by it, before any session.
func checkUntrusted(t *testing.T, gateway *engine.Gateway, server *peerUpstream) {
	t.Helper()
	client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
	upstream := server.accept(t)
	if err := upstream.Conn.(*tls.Conn).Handshake(); err != nil {
		upstream.Close() // what comes of one that the gateway has refused is no matter
	}
	client.refusal(t, http.StatusBadGateway)
	upstream.expectEnd(t)
	checkComplaint(t, gateway, server.endpoint())
}

func TestTLS(t *testing.T) {
	dir := tlsDir(t.TempDir())
	own, other := newTLSAuthority(t), newTLSAuthority(t)
	caFile := dir.write(t, "ca.pem", own.pem)
	bundle := dir.write(t, "bundle.pem", bytes.Join([][]byte{other.pem, own.pem}, nil))
	certFile, keyFile := dir.pair(t, own.client(t))
	pair := func(cert tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}} }
	mutual := pair(own.server(t))
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, own.pool()
	mutual12 := mutual.Clone()
	mutual12.MaxVersion = tls.VersionTLS12
	tls12 := pair(own.server(t))
	tls12.MaxVersion = tls.VersionTLS12
	tls11 := pair(own.server(t))
	tls11.MinVersion, tls11.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	rows := []struct {
		name    string
		server  *tls.Config
		options object // nil: none are set
		trusted bool
	}{
		{name: "private CA", server: pair(own.server(t)), options: object{"caFile": caFile}, trusted: true},
		{name: "bundle", server: pair(own.server(t)), options: object{"caFile": bundle}, trusted: true},
		{name: "system's roots", server: pair(own.server(t))},
		{name: "other CA", server: pair(other.server(t)), options: object{"caFile": caFile}},
		{name: "other name", server: pair(own.server(t, "upstream.example.com")), options: object{"caFile": caFile}},
		{name: "server name", server: pair(own.server(t, "upstream.example.com")), options: object{"caFile": caFile, "serverName": "upstream.example.com"}, trusted: true},
		{name: "wrong server name", server: pair(own.server(t)), options: object{"caFile": caFile, "serverName": "upstream.example.com"}},
		{name: "skip verify", server: pair(other.server(t, "upstream.example.com")), options: object{"insecureSkipVerify": true}, trusted: true},
		{name: "client certificate", server: mutual, options: object{"caFile": caFile, "certFile": certFile, "keyFile": keyFile}, trusted: true},
		{name: "client certificate, TLS 1.2", server: mutual12, options: object{"caFile": caFile, "certFile": certFile, "keyFile": keyFile}, trusted: true},
		{name: "client certificate not configured", server: mutual, options: object{"caFile": caFile}},
		{name: "client certificate not configured, TLS 1.2", server: mutual12, options: object{"caFile": caFile}},
		{name: "TLS 1.2", server: tls12, options: object{"caFile": caFile}, trusted: true},
		{name: "TLS 1.2 as the least", server: tls12, options: object{"caFile": caFile, "minVersion": "1.2"}, trusted: true},
		{name: "TLS 1.3 as the least", server: pair(own.server(t)), options: object{"caFile": caFile, "minVersion": "1.3"}, trusted: true},
		{name: "TLS 1.2 where 1.3 is the least", server: tls12, options: object{"caFile": caFile, "minVersion": "1.3"}},
		{name: "TLS 1.1", server: tls11, options: object{"caFile": caFile}},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				server := peerListen(t)
				server.tls = row.server
				options := object{}
				if row.options != nil {
					options["tls"] = row.options
				}
				gateway := forwardTo(t, e, server.endpoint(), options)
				if row.trusted {
					checkTrusted(t, gateway, server)
				} else {
					checkUntrusted(t, gateway, server)
				}
			})
		}
	})
}

// TestTLSHandshake is about what the upstream sees of the negotiation.
func TestTLSHandshake(t *testing.T) {
	own := newTLSAuthority(t)
	caFile := tlsDir(t.TempDir()).write(t, "ca.pem", own.pem)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		server.tls = &tls.Config{
			Certificates: []tls.Certificate{own.server(t, "upstream.example.com")},
			NextProtos:   []string{"h2", "http/1.1"}, // WebSocket's upgrade is HTTP/1.1's
		}
		gateway := forwardTo(t, e, server.endpoint(), object{"tls": object{"caFile": caFile, "serverName": "upstream.example.com"}})
		state := checkTrusted(t, gateway, server)
		if state.ServerName != "upstream.example.com" || state.NegotiatedProtocol == "h2" {
			t.Errorf("server name is %q and protocol %q", state.ServerName, state.NegotiatedProtocol)
		}
	})
}

// TestTLSSchemes wants http and https to be other words for ws and wss.
func TestTLSSchemes(t *testing.T) {
	own := newTLSAuthority(t)
	caFile := tlsDir(t.TempDir()).write(t, "ca.pem", own.pem)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for scheme, secure := range map[string]bool{"wss": true, "https": true, "WSS": true, "ws": false, "http": false, "HTTP": false} {
			t.Run(scheme, func(t *testing.T) {
				server := peerListen(t)
				options := object{}
				if secure {
					server.tls = &tls.Config{Certificates: []tls.Certificate{own.server(t)}}
					options["tls"] = object{"caFile": caFile}
				}
				gateway := forwardTo(t, e, scheme+"://"+server.addr, options)
				client, _ := server.join(t, gateway)
				client.Close()
				if upstream := gateway.WaitRecord(t)["upstream"]; upstream != server.endpoint() {
					t.Errorf("the record's upstream is %q, want %q", upstream, server.endpoint())
				}
			})
		}
	})
}

// TestTLSPlain is about upstreams at wss:// that speak no TLS.
func TestTLSPlain(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		endpoint := "wss://" + server.addr
		gateway := forwardTo(t, e, endpoint, object{"tls": object{"insecureSkipVerify": true}})
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		upstream := server.accept(t)
		upstream.send(t, raw("HTTP/1.1 400 Bad Request", "Content-Length: 0"))
		client.refusal(t, http.StatusBadGateway)
		upstream.expectEnd(t)
		checkComplaint(t, gateway, endpoint)
	})
}

package e2e

import (
	"bytes"
	"crypto/tls"
	"os"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// unread is the line about files that cannot be used.
const unread = "tls files not read again"

// TestTLSFilesRotate changes the CA of a running gateway, and then what its upstream is signed by.
func TestTLSFilesRotate(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		dir := tlsDir(t.TempDir())
		before, after := newTLSAuthority(t), newTLSAuthority(t)
		server := peerListen(t)
		server.tls = &tls.Config{Certificates: []tls.Certificate{before.server(t)}}
		caFile := dir.write(t, "ca.pem", before.pem)
		gateway := forwardTo(t, e, server.endpoint(), object{"tls": object{"caFile": caFile}})
		client, upstream := server.join(t, gateway)

		dir.write(t, "ca.pem", after.pem)
		checkUntrusted(t, gateway, server)
		server.tls = &tls.Config{Certificates: []tls.Certificate{after.server(t)}}
		checkTrusted(t, gateway, server)

		// A session that was open all the while goes on.
		upstream.send(t, "\x82\x02hi")
		client.expect(t, "\x82\x02hi")
	})
}

// TestTLSClientCertificateRotates wants each dial to show the certificate that is in the files then.
func TestTLSClientCertificateRotates(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		dir := tlsDir(t.TempDir())
		own := newTLSAuthority(t)
		server := peerListen(t)
		server.tls = &tls.Config{
			Certificates: []tls.Certificate{own.server(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: own.pool(),
			SessionTicketsDisabled: true,
		}
		pair := own.client(t)
		certFile, keyFile := dir.pair(t, pair)
		gateway := forwardTo(t, e, server.endpoint(), object{"tls": object{
			"caFile": dir.write(t, "ca.pem", own.pem), "certFile": certFile, "keyFile": keyFile,
		}})
		for range 3 {
			state := checkTrusted(t, gateway, server)
			if got := state.PeerCertificates[0]; !bytes.Equal(got.Raw, pair.Leaf.Raw) {
				t.Errorf("the certificate shown is %s, want %s", got.Subject, pair.Leaf.Subject)
			}
			pair = own.client(t)
			dir.pair(t, pair)
		}
	})
}

// TestTLSFilesBreak wants the old content in use for as long as the new one cannot be.
func TestTLSFilesBreak(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		dir := tlsDir(t.TempDir())
		before, after := newTLSAuthority(t), newTLSAuthority(t)
		server := peerListen(t)
		server.tls = &tls.Config{Certificates: []tls.Certificate{before.server(t)}}
		pair := before.client(t)
		certFile, keyFile := dir.pair(t, pair)
		caFile := dir.write(t, "ca.pem", before.pem)
		gateway := forwardTo(t, e, server.endpoint(), object{"tls": object{"caFile": caFile, "certFile": certFile, "keyFile": keyFile}})

		for name, ruin := range map[string]func(){
			"half a file":  func() { dir.write(t, "ca.pem", before.pem[:len(before.pem)/2]) },
			"empty file":   func() { dir.write(t, "ca.pem", nil) },
			"no file":      func() { os.Remove(caFile) },
			"other's key":  func() { dir.write(t, "key.pem", keyPEM(t, after.client(t))) },
			"key, no file": func() { os.Remove(keyFile) },
		} {
			ruin()
			checkTrusted(t, gateway, server)
			if line := gateway.Wait(t, unread); line["error"] == "" || line["level"] != "error" {
				t.Errorf("%s: the line is no error with its cause: %v", name, line)
			}
			dir.write(t, "ca.pem", before.pem)
			dir.pair(t, pair)
			checkTrusted(t, gateway, server)
		}

		dir.write(t, "ca.pem", after.pem)
		server.tls = &tls.Config{Certificates: []tls.Certificate{after.server(t)}}
		checkTrusted(t, gateway, server)
	})
}

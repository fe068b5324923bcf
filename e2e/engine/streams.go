package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/wsfw/wsfw/e2e/engine/xconnect"
)

// Over is an engine whose gateways have streams, and clients that come over them.
type Over struct {
	Engine

	// HTTP is the version that the clients speak: 2 or 3.
	HTTP int
}

// Start implements [Engine].
func (o Over) Start(t testing.TB, s Setup) *Gateway {
	t.Helper()
	s.Streams = true
	gateway := o.Engine.Start(t, s)
	gateway.HTTP = o.HTTP
	return gateway
}

// streams are an in-process gateway's servers of HTTP/2 and HTTP/3, beside that for [Gateway.Addr].
type streams struct {
	http2 *http.Server // nil where there are none
	http3 *http3.Server
	addrs [2]string
}

// shutdown does what Traefik does: HTTP/3 has no grace.
func (s *streams) shutdown(plain func(*http.Server)) {
	if s.http2 == nil {
		return
	}
	plain(s.http2)
	s.http3.Close()
}

// serveStreams runs both until the test ends.
func serveStreams(t testing.TB, handler http.Handler, setup Setup) *streams {
	t.Helper()
	certificate, err := ownCertificate()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(setup.Host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", net.JoinHostPort(setup.Host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	s := &streams{
		http2: &http.Server{Handler: handler, TLSConfig: config, ReadTimeout: setup.ReadTimeout},
		http3: &http3.Server{Handler: handler, TLSConfig: http3.ConfigureTLSConfig(config)},
		addrs: [2]string{listener.Addr().String(), packets.LocalAddr().String()},
	}
	go func() { _ = s.http2.ServeTLS(listener, "", "") }() // both always fail: once the server is closed
	go func() { _ = s.http3.Serve(packets) }()
	t.Cleanup(func() {
		s.http2.Close()
		s.http3.Close()
		packets.Close()
	})
	return s
}

// ownCertificate vouches for itself, and is for whatever name clients ask for: these believe every certificate.
var ownCertificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

// CertificatePEM is a certificate that vouches for itself, and its key.
func CertificatePEM() ([]byte, error) {
	pair, err := ownCertificate()
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	return append(certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}

// streamsEntryPoint is what an entry point needs for streams that are sessions: HTTP/3, and an end of what a client sends
// by the clock only where a case asks for it.
func streamsEntryPoint(readTimeout time.Duration) map[string]map[string]any {
	return map[string]map[string]any{
		"http3":     {},
		"transport": {"respondingTimeouts": object{"readTimeout": readTimeout.String()}},
	}
}

// environment is what a Traefik gets of this process's, with an extended CONNECT over HTTP/2 or without.
func environment(base []string, extendedConnect bool) []string {
	value := xconnect.Inherited
	if extendedConnect {
		value = xconnect.With(value)
	}
	return append(base, xconnect.Variable+"="+value)
}

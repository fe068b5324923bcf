package e2e

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// zonedListen is an upstream at this machine's IPv6 loopback address, and its authority with that interface's zone, as a
// URL spells it (RFC 6874). Cases that ask for it need a machine that has that address.
func zonedListen(t *testing.T) (server *peerUpstream, authority string) {
	t.Helper()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	server = &peerUpstream{listener: listener.(*net.TCPListener), addr: listener.Addr().String()}
	return server, strings.Replace(server.addr, "]", "%25"+loopbackName(t)+"]", 1)
}

// loopbackName is how this machine calls its loopback interface.
func loopbackName(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Name
		}
	}
	t.Fatal("there is no loopback interface")
	return ""
}

// TestZone is about endpoints with an IPv6 zone, which means something to this machine only: it is for the dial, and not
// in what the upstream is told (RFC 6874 section 4).
func TestZone(t *testing.T) {
	own := newTLSAuthority(t)
	caFile := tlsDir(t.TempDir()).write(t, "ca.pem", own.pem)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		t.Run("plain", func(t *testing.T) {
			server, authority := zonedListen(t)
			gateway := forwardTo(t, e, "ws://"+authority+"/ws", nil)
			checkLines(t, server.head(t, gateway, upgrade("GET / HTTP/1.1")), lines{"Host": {server.addr}})
		})
		t.Run("without a zone", func(t *testing.T) {
			server, _ := zonedListen(t)
			gateway := forwardTo(t, e, "ws://"+server.addr+"/ws", nil)
			checkLines(t, server.head(t, gateway, upgrade("GET / HTTP/1.1")), lines{"Host": {server.addr}})
		})
		t.Run("in a rule", func(t *testing.T) {
			server, authority := zonedListen(t)
			gateway := forwardTo(t, e, "ws://"+peerDeadAddr(t), object{"upstreamRules": []object{
				{"query": "zone", "value": "yes", "upstreamEndpoint": "ws://" + authority},
			}})
			checkLines(t, server.head(t, gateway, upgrade("GET /?zone=yes HTTP/1.1")), lines{"Host": {server.addr}})
		})
		t.Run("TLS", func(t *testing.T) {
			server, authority := zonedListen(t)
			template := tlsTemplate()
			template.IPAddresses = []net.IP{net.IPv6loopback}
			server.tls = &tls.Config{Certificates: []tls.Certificate{own.issue(t, template)}}
			gateway := forwardTo(t, e, "wss://"+authority+"/ws", object{"tls": object{"caFile": caFile}})
			checkLines(t, server.head(t, gateway, upgrade("GET / HTTP/1.1")), lines{"Host": {server.addr}})
			checkTrusted(t, gateway, server)
		})
		t.Run("TLS with another's certificate", func(t *testing.T) {
			server, authority := zonedListen(t)
			server.tls = &tls.Config{Certificates: []tls.Certificate{own.server(t)}} // of 127.0.0.1
			gateway := forwardTo(t, e, "wss://"+authority, object{"tls": object{"caFile": caFile}})
			client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
			_ = server.accept(t).Conn.(*tls.Conn).Handshake() // which the gateway breaks off
			client.refusal(t, 502)
		})
	})
}

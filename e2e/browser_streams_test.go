package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/wsfw/wsfw/e2e/engine"
)

// TestExternalBrowserHTTP2 has a page that Chromium has loaded by HTTP/2 open its sessions on that connection (RFC 8441), which
// the records tell. When the gateway shuts down it comes back over HTTP/1.1: Chromium opens no connection of HTTP/2 for a
// session, and takes one that is there.
func TestExternalBrowserHTTP2(t *testing.T) {
	browser := newBrowser(t, chromedp.IgnoreCertErrors)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, engine.Over{Engine: e, HTTP: 2}, func(t *testing.T, e engine.Engine) {
			server := newPageServer(t)
			s := newSite(t, e, server.url+"/socket", object{
				"path": "/socket", "protocols": "chat", "allowedOrigins": "same-host",
			})
			page := browser.open(t, "https://"+s.addr)
			page.expectLoadedBy(t, "h2")
			page.talks(t, server, s.first, "2")

			page.connects(t)
			s.first.Terminate(t)
			page.expect(t, "closed 1012 "+restartReason)
			server.expectEnd(t, forwardEnd{1001, restartReason})
			expectOver(t, s.first, "2", parting{"chat", "wsfw", 1012})
			page.expect(t, pageOpen)
			page.leaves(t, server, s.second, "")

			page.run(t, `fetch("/").then(() => connect())`) // which takes a connection of HTTP/2
			page.expect(t, pageOpen)
			page.leaves(t, server, s.second, "2")
		})
	})
}

// TestExternalBrowserHTTP3 has a page come by HTTP/3. Chromium opens its sessions over HTTP/1.1 then, offered an extended CONNECT
// or not, unless it is started with a feature that it has not by default: that takes the connection of HTTP/3 (RFC 9220).
func TestExternalBrowserHTTP3(t *testing.T) {
	const feature = "EnableWebsocketsOverHttp3"
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		inEachUse(t, engine.Over{Engine: e, HTTP: 3}, func(t *testing.T, e engine.Engine) {
			server := newPageServer(t)
			gateway := e.Start(t, engine.Setup{Next: server.url, Config: object{
				"upstreamEndpoint": server.url + "/socket", "path": "/socket", "allowedOrigins": "same-host",
			}})
			t.Run("feature", func(t *testing.T) {
				quicPage(t, gateway, chromedp.Flag("enable-features", feature)).talks(t, server, gateway, "3")
			})
			if gateway.AddrHTTP2 != gateway.AddrHTTP3 {
				return // there is nothing but HTTP/3 where the page comes from
			}
			t.Run("default", func(t *testing.T) {
				quicPage(t, gateway).talks(t, server, gateway, "")
			})
		})
	})
}

// TestExternalBrowserNoConnect has a Traefik speak HTTP/2 as it does by itself, without an extended CONNECT: a page that has come
// by HTTP/2 opens its sessions over HTTP/1.1.
func TestExternalBrowserNoConnect(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		browser, server := newBrowser(t, chromedp.IgnoreCertErrors), newPageServer(t)
		gateway := e.Start(t, engine.Setup{
			Config: object{"upstreamEndpoint": server.url + "/socket", "path": "/socket"}, Next: server.url,
			Streams: true, Dedicated: true, Traefik: engine.Surroundings{NoExtendedConnect: true},
		})
		page := browser.open(t, "https://"+gateway.AddrHTTP2)
		page.expectLoadedBy(t, "h2")
		page.talks(t, server, gateway, "")
	})
}

// TestExternalBrowserNative has Traefik by itself offer an extended CONNECT: a page that has come by HTTP/2 takes the offer,
// and has no session.
func TestExternalBrowserNative(t *testing.T) {
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		browser, server := newBrowser(t, chromedp.IgnoreCertErrors), newPageServer(t)
		gateway := e.Start(t, engine.Setup{Next: server.url, Streams: true, Traefik: engine.Surroundings{Native: true}})
		page := browser.open(t, "https://"+gateway.AddrHTTP2)
		page.expectLoadedBy(t, "h2")
		page.run(t, "connect()")
		page.expect(t, "lost 1006 ")
	})
}

// quicPage is the page of a gateway's service, in a Chromium that knows the gateway to speak HTTP/3.
func quicPage(t *testing.T, gateway *engine.Gateway, flags ...chromedp.ExecAllocatorOption) page {
	t.Helper()
	conn, err := tls.Dial("tcp", gateway.AddrHTTP2, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	key := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	browser := newBrowser(t, append(flags,
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])),
		chromedp.Flag("origin-to-force-quic-on", gateway.AddrHTTP3),
	)...)
	page := browser.open(t, "https://"+gateway.AddrHTTP3)
	page.expectLoadedBy(t, "h3")
	return page
}

// pageOpen is what a page tells of a session that has begun.
const pageOpen = "open chat permessage-deflate"

// expectLoadedBy wants the page to have come over this version of HTTP, by its name in TLS.
func (p page) expectLoadedBy(t *testing.T, name string) {
	t.Helper()
	p.run(t, `tell(performance.getEntriesByType("navigation")[0].nextHopProtocol)`)
	p.expect(t, name)
}

// connects opens a session.
func (p page) connects(t *testing.T) {
	t.Helper()
	p.run(t, "connect()")
	p.expect(t, pageOpen)
}

// talks has two sessions, which the server and then the page ends, come over this version of HTTP.
func (p page) talks(t *testing.T, server *pageServer, gateway *engine.Gateway, version string) {
	t.Helper()
	p.connects(t)
	for _, size := range []int{3, 1 << 20} {
		p.mirrors(t, size)
	}
	p.run(t, `socket.send("bye")`)
	p.expect(t, fmt.Sprintf("closed %d %s", serverBye.code, serverBye.reason))
	server.expectEnd(t, forwardEnd{code: serverBye.code})
	expectOver(t, gateway, version, parting{"chat", "upstream", serverBye.code})

	p.connects(t)
	p.leaves(t, server, gateway, version)
}

// mirrors has a message of text and a binary one come back, of so many bytes that do not compress well.
func (p page) mirrors(t *testing.T, size int) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data) // which always works
	text := base64.StdEncoding.EncodeToString(data)
	p.run(t, fmt.Sprintf(`socket.send(%q)`, text[:size]))
	p.expect(t, "text "+text[:size])
	p.run(t, fmt.Sprintf(`socket.send(Uint8Array.from(atob(%q), (c) => c.charCodeAt(0)))`, text))
	numbers := make([]string, size)
	for i, b := range data {
		numbers[i] = strconv.Itoa(int(b))
	}
	p.expect(t, "binary "+strings.Join(numbers, ","))
}

// leaves has the page end its session, which has come over this version of HTTP.
func (p page) leaves(t *testing.T, server *pageServer, gateway *engine.Gateway, version string) {
	t.Helper()
	p.run(t, `socket.close(4000, "the page has seen enough")`)
	p.expect(t, "closed 4000 ")
	server.expectEnd(t, forwardEnd{4000, "the page has seen enough"})
	expectOver(t, gateway, version, parting{"chat", "client", 4000})
}

// expectOver wants the gateway's next record to tell of a session over this version of HTTP, empty for 1.1.
func expectOver(t *testing.T, gateway *engine.Gateway, version string, want parting) {
	t.Helper()
	record := gateway.WaitRecord(t)
	expectParting(t, record, want)
	if httpOf(record) != version {
		t.Errorf("the record is %v, want it over HTTP version %q", record, version)
	}
}

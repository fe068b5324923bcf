package e2e

import (
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalNoVNC has noVNC in Chromium show a screen of TigerVNC's by websockify, and have it resized. It comes back when a
// gateway shuts down, and leaves.
func TestExternalNoVNC(t *testing.T) {
	browser := newBrowser(t)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		options := object{"path": "/websockify", "nonWebSocket": "pass", "allowedOrigins": "same-host"}
		s := newSite(t, e, "ws://127.0.0.1:"+websockify(t, tigerVNC(t))+"/websockify", options)
		page := browser.open(t, "http://"+s.addr+"/novnc.html")
		page.expectScreen(t)
		page.awaitShown(t, "320x240 in 2 colors")
		page.run(t, "resize(400, 300)")
		page.awaitShown(t, "400x300 in 2 colors")

		s.first.Terminate(t)
		page.expect(t, "disconnected")
		expectParting(t, s.first.WaitRecord(t), parting{"", "wsfw", 1012})
		page.expectScreen(t)
		page.awaitShown(t, "400x300 in 2 colors")

		page.run(t, "leave()")
		s.expectLeft(t, parting{"", "client", 1005}) // for the client says no code
	})
}

// desktop is what TigerVNC calls its screen.
const desktop = "wsfw"

// expectScreen wants a page of noVNC's to have a session.
func (p page) expectScreen(t *testing.T) {
	t.Helper()
	p.expect(t, "desktop "+desktop)
	p.expect(t, "connected")
}

// awaitShown waits until the page shows a screen like this.
func (p page) awaitShown(t *testing.T, want string) {
	t.Helper()
	p.awaitValue(t, "shown()", want)
}

// tigerVNC runs a server with a screen of black and white, and returns its port, which is the number of its display, too.
func tigerVNC(t *testing.T) (port string) {
	t.Helper()
	port = freePort(t)
	server := runProgram(t, []string{
		"Xtigervnc", ":" + port, "-rfbport", port, "-localhost", "-SecurityTypes", "None", "-desktop", desktop,
		"-geometry", "320x240", "-retro", "-noreset", "-nolock", "-nolisten", "unix",
	})
	server.await(t, wire.Timeout, "Listening for VNC connections")
	return port
}

// websockify serves noVNC and, to that, a server of VNC. It returns its port.
func websockify(t *testing.T, vnc string) (port string) {
	t.Helper()
	port = freePort(t)
	server := runProgram(t, []string{"websockify", "--web", "peers", "127.0.0.1:" + port, "127.0.0.1:" + vnc})
	t.Cleanup(server.stop) // for each of its connections has a process of its own
	awaitListener(t, port)
	return port
}

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/wsfw/wsfw/e2e/engine"
)

// Those of a client who would have the operator's browser run something, and lead the operator's eye astray.
const (
	hostileUser = "\"><img src=x onerror=hacked=1>\u202eeve"
	shownUser   = `"><img src=x onerror=hacked=1>\u202eeve`
	hostilePath = `/"><img/src=x/onerror=hacked=1><script>hacked=1</script>/`
)

// TestExternalStatusPage has an operator look at sessions, one of them hostile, and end one.
func TestExternalStatusPage(t *testing.T) {
	browser := newBrowser(t)
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{"userFrom": "header:X-User"}))
		path := hostilePath + strings.Repeat("x", 2000)
		g.joinRaw(t, path, hostileUser)
		awaitListed(t, g.gateway, 1)
		g.offer = []string{"X-User: ann"}
		ann := g.join(t)
		awaitListed(t, g.gateway, 2)
		page := openStatusPage(t, browser, g.gateway)

		page.awaitValue(t, `document.querySelector("#figures b").textContent`, "2")
		page.awaitText(t, "count", "2 sessions")
		page.awaitValue(t, `document.querySelectorAll("#figures b")[1].textContent`, "0/s")
		page.awaitValue(t, cellOf(1), shownUser)
		page.awaitValue(t, cellOf(2), path)
		page.staysItself(t)

		page.press(t, "[name=user]", "ann"+kb.Enter)
		page.awaitText(t, "count", "1 session matches")
		page.awaitValue(t, cellOf(2), "/socket")
		page.press(t, "#rows button", kb.Enter)
		page.awaitValue(t, `String(document.getElementById("details").open)`, "true")
		page.awaitValue(t, `document.querySelectorAll("#facts span")[4].textContent`, "ann")
		page.press(t, "#end-one", kb.Enter)
		page.awaitValue(t, `String(document.getElementById("ask").open)`, "true")
		page.run(t, `document.getElementById("code").select()`)
		page.press(t, "#code", "4001")
		page.press(t, "#reason", "<b>enough</b>")
		page.awaitValue(t, `document.getElementById("effect").textContent.split(",")[0]`, "Each client gets the close code 4001")
		page.press(t, "#end", kb.Enter)
		for end, code := range map[string]int{"client": 4001, "upstream": 1001} {
			near, _ := ann.from(end)
			if got := expectClose(t, near, end == "upstream", code); got != "<b>enough</b>" {
				t.Errorf("the %s's reason is %q", end, got)
			}
		}
		ann.answers(t, 4001, 1001)
		ann.expectOutcome(t, "wsfw", 4001, "<b>enough</b>")
		page.awaitText(t, "said", "Ended 1 session with code 4001.")
		page.awaitText(t, "count", "0 sessions match")

		page.press(t, "#clear", kb.Enter)
		page.awaitText(t, "count", "1 session")
		page.awaitValue(t, `String(document.getElementById("end-all").disabled)`, "true")
		page.staysItself(t)
	})
}

// TestExternalStatusPageAway has the page's requests fail for a while. It says so, keeps its figures, and goes on.
func TestExternalStatusPageAway(t *testing.T) {
	browser := newBrowser(t)
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{}))
		g.join(t)
		awaitListed(t, g.gateway, 1)
		page := openStatusPage(t, browser, g.gateway)
		page.awaitText(t, "state", "Live")
		page.run(t, `real = fetch; fetch = () => Promise.reject(new TypeError("Failed to fetch"))`)
		page.awaitText(t, "state", "Not reached")
		page.awaitValue(t, `document.getElementById("lost").textContent.split(".")[0]`, "Cannot reach the gateway: no answer")
		page.awaitText(t, "count", "1 session")
		g.join(t)
		page.run(t, "fetch = real")
		page.awaitText(t, "state", "Live")
		page.awaitText(t, "lost", "")
		page.awaitText(t, "count", "2 sessions")
		page.press(t, "#pause", kb.Enter)
		page.awaitText(t, "state", "Paused")
	})
}

// joinRaw opens a session of a user with a path as it is.
func (g *ground) joinRaw(t *testing.T, path, user string) {
	t.Helper()
	client := peerDial(t, g.gateway, upgrade("GET "+path+" HTTP/1.1", "X-User: "+user))
	upstream, err := g.server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if resp := client.answer(t); resp.StatusCode != 101 {
		t.Fatalf("status is %d, want 101", resp.StatusCode)
	}
	before := g.owed
	g.owed++
	t.Cleanup(func() {
		client.Close()
		upstream.Close()
		g.settle(t, before)
	})
}

// statusPage is the operator's page in a tab.
type statusPage struct {
	page

	mu       sync.Mutex
	troubles []string // errors of its script and what its policy has refused
}

// openStatusPage opens that of a gateway in a window of a phone's width.
func openStatusPage(t *testing.T, b browser, gateway *engine.Gateway) *statusPage {
	t.Helper()
	p := &statusPage{page: b.open(t, "about:blank")}
	if err := chromedp.Listen(p.tab, p.note); err != nil {
		t.Fatal(err)
	}
	p.do(t, chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile), chromedp.Navigate("http://"+gateway.Addr+engine.StatusPath))
	return p
}

// note keeps what goes wrong in the page.
func (p *statusPage) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.troubles = append(p.troubles, fmt.Sprint(e.ExceptionDetails))
	case *log.EventEntryAdded:
		p.troubles = append(p.troubles, e.Entry.Text+" "+e.Entry.URL)
	}
}

// do does what a person would do.
func (p *statusPage) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// press types keys where a selector leads.
func (p *statusPage) press(t *testing.T, selector, keys string) {
	t.Helper()
	p.run(t, fmt.Sprintf("document.querySelector(%q).focus()", selector))
	p.do(t, chromedp.KeyEvent(keys))
}

// awaitText waits until the element with an id has a text.
func (p *statusPage) awaitText(t *testing.T, id, want string) {
	t.Helper()
	p.awaitValue(t, fmt.Sprintf("document.getElementById(%q).textContent", id), want)
}

// cellOf is an expression for a cell's text in the first row.
func cellOf(column int) string {
	return fmt.Sprintf(`document.querySelector("#rows tr").cells[%d].textContent`, column)
}

// staysItself wants the page to be what it was written as, whatever sessions are called, and to go nowhere sideways.
func (p *statusPage) staysItself(t *testing.T) {
	t.Helper()
	p.awaitValue(t, "String([typeof hacked, document.images.length, document.scripts.length])", "undefined,0,1")
	p.awaitValue(t, "String(document.documentElement.scrollWidth)", "360")
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.troubles) > 0 {
		t.Errorf("the page has troubles: %q", p.troubles)
	}
}

package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browserTimeout bounds a test in a browser; running every scenario takes the better part of a minute.
const browserTimeout = 3 * time.Minute

// window is a size to look at the page in.
type window struct {
	name          string
	width, height int64
	options       []chromedp.EmulateViewportOption
}

func windows() []window {
	return []window{
		{name: "desktop", width: 1280, height: 900},
		{name: "phone", width: 390, height: 844, options: []chromedp.EmulateViewportOption{chromedp.EmulateMobile, chromedp.EmulateTouch}},
	}
}

// browser is Chromium with the demo's page.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// browse opens the page in a window, and fails the test for every error that its scripts throw.
func browse(t *testing.T, d *demo, w window) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), browserTimeout)
	t.Cleanup(cancel)
	// The sandbox does not work for root, as whom CI runs, and is no loss where all pages are our own.
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t, ctx}
	b.do("starting Chromium")
	err := chromedp.Listen(ctx, func(e any) {
		if thrown, ok := e.(*runtime.EventExceptionThrown); ok {
			t.Errorf("the page throws %v", thrown.ExceptionDetails)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.do("opening the page", chromedp.EmulateViewport(w.width, w.height, w.options...), chromedp.Navigate("http://"+d.addr+"/"))
	return b
}

// do does what a person would do.
func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// get reads something off the page.
func get[T any](b *browser, what string, read chromedp.Action[T]) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, read)
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	return value
}

// picture leaves a screenshot in the directory that WSFW_PICTURES names.
func (b *browser) picture(name string) {
	b.t.Helper()
	b.do("scrolling up", chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`))
	png := get(b, "taking a screenshot", chromedp.FullScreenshot(100))
	dir := os.Getenv("WSFW_PICTURES")
	if dir == "" {
		dir = b.t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// stageIs waits for a state of the live session.
func stageIs(state string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitReady(chromedp.CSS("#stage[data-state=" + state + "]"))
}

// click presses what has that id.
func click(id string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.ID(id)) }

// holds waits until a condition in JavaScript is true.
func holds(condition string) chromedp.Action[chromedp.Void] {
	return chromedp.Poll[chromedp.Void](condition, chromedp.WithPollingTimeout(browserTimeout))
}

// shown is what the page shows of the close code that an act brings to a side.
func (a act) shown(side string) string {
	code := map[string]int{clientSide: a.Client, upstreamSide: a.Upstream}[side]
	if code > 0 {
		return strconv.Itoa(code)
	}
	if side == a.Side {
		return "–" // it is gone by itself
	}
	return "none"
}

// TestExternalBrowserLive breaks a live session in every way, on a desktop and a phone.
func TestExternalBrowserLive(t *testing.T) {
	eachHost(t, func(t *testing.T, d *demo) {
		for _, w := range windows() {
			t.Run(w.name, func(t *testing.T) {
				b := browse(t, d, w)
				b.checkWidth()
				b.checkBeats(w)
				for _, a := range acts() {
					b.checkButton(a)
				}
				b.checkWidth()
				b.picture(w.name + "-over")
			})
		}
	})
}

// checkBeats wants to see heartbeats, round trips and frames.
func (b *browser) checkBeats(w window) {
	b.t.Helper()
	b.do("connecting", click("begin"), stageIs("open"))
	b.do("waiting for heartbeats", holds(
		`["client", "upstream"].every(side => / answered/.test(document.getElementById("beats-" + side).textContent)) &&
		 document.querySelectorAll("#wireLog .ping").length > 8 && / ms/.test(document.getElementById("now").textContent)`))
	b.do("sending a message", chromedp.SetValue(chromedp.ID("words"), "ahoy"), chromedp.SendKeys(chromedp.ID("words"), kb.Enter),
		holds(`[...document.querySelectorAll("#wireLog .text .text")].filter(e => e.textContent === "ahoy").length >= 4`))
	b.picture(w.name + "-open")
	b.do("disconnecting", click("begin"), stageIs("over"), holds(
		`["client", "upstream"].every(side => /answered in .* ms/.test(document.getElementById("beats-" + side).textContent))`))
}

// checkButton presses one and compares what comes back with what is promised.
func (b *browser) checkButton(a act) {
	b.t.Helper()
	what := a.Side + ": " + a.Title
	b.do(what, click("begin"), stageIs("open"),
		click("act-"+a.Side+"-"+a.ID), stageIs("over"))
	for _, side := range []string{clientSide, upstreamSide} {
		if got := get(b, what, chromedp.Text(chromedp.ID("got-"+side))); got != a.shown(side) {
			b.t.Errorf("%s: for the %s the page shows %q, want %q", what, side, got, a.shown(side))
		}
	}
}

// checkWidth wants nothing that sticks out of the window to the side.
func (b *browser) checkWidth() {
	b.t.Helper()
	over := get(b, "measuring", chromedp.Evaluate[float64](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
	if over > 0 {
		b.t.Errorf("the page is %v pixels wider than the window", over)
	}
}

// TestExternalBrowserScenarios runs every scenario from the page, as the button does.
func TestExternalBrowserScenarios(t *testing.T) {
	eachHost(t, func(t *testing.T, d *demo) {
		b := browse(t, d, windows()[0])
		b.do("running every scenario", chromedp.Click(chromedp.CSS(`#tabs a[href="#scenarios"]`)), click("all"),
			holds(`/promised/.test(document.getElementById("all").textContent) && !document.getElementById("all").disabled`))
		missed := get(b, "reading what came of them",
			chromedp.Evaluate[string](`[...document.querySelectorAll("#list button:not(.kept)")].map(b => b.textContent).join("; ")`))
		if missed != "" {
			t.Errorf("not as promised: %s", missed)
		}
		b.picture("scenarios")
	})
}

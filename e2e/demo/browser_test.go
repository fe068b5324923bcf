package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// picture leaves a screenshot of what the window shows in the directory that WSFW_PICTURES names; whole is one of the page
// from top to bottom.
func (b *browser) picture(name string, whole bool) {
	b.t.Helper()
	shot := chromedp.CaptureScreenshot()
	if whole {
		shot = chromedp.FullScreenshot(100)
	}
	png := get(b, "taking a screenshot", shot)
	dir := os.Getenv("WSFW_PICTURES")
	if dir == "" {
		dir = b.t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// scroll brings what has that id, or the top of the page where that is empty, into the window.
func (b *browser) scroll(id string) {
	b.t.Helper()
	script := "scrollTo(0, 0)"
	if id != "" {
		script = "document.getElementById(" + strconv.Quote(id) + ").scrollIntoView()"
	}
	b.do("scrolling", chromedp.Evaluate[chromedp.Void](script))
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
	return a.shows(side, a.Client, a.Upstream)
}

// shownNative is the same for the session without wsfw.
func (a act) shownNative(side string) string {
	gone := a.ID == "vanish" || a.ID == "kill"
	if a.Native.Open && !gone {
		return "open"
	}
	return a.shows(side, a.Native.Client, a.Native.Upstream)
}

// shows is what stands for one of two close codes.
func (a act) shows(side string, client, upstream int) string {
	code := map[string]int{clientSide: client, upstreamSide: upstream}[side]
	if code > 0 {
		return strconv.Itoa(code)
	}
	if side == a.Side {
		return "–" // it is gone by itself
	}
	return "none"
}

// TestExternalBrowserLive does all that one click can do, on a desktop and a phone.
func TestExternalBrowserLive(t *testing.T) {
	eachHost(t, func(t *testing.T, d *demo) {
		for _, w := range windows() {
			t.Run(w.name, func(t *testing.T) {
				b := browse(t, d, w)
				b.checkFirstView(w)
				b.checkBeats()
				for _, a := range acts() {
					b.checkButton(a, w)
				}
				b.checkLimit()
				b.checkRestart(w)
				b.checkTakeAway(d)
				b.checkWidth()
				b.scroll("")
				b.picture(w.name+"-whole", true)
				b.checkScenario(w)
			})
		}
	})
}

// checkFirstView wants both sessions to open, and every button to be of use, before anything is pressed.
func (b *browser) checkFirstView(w window) {
	b.t.Helper()
	b.do("waiting for the session", stageIs("open"))
	for _, via := range []string{withWsfw, withoutWsfw} {
		if got := get(b, "reading", chromedp.Text(chromedp.ID("got-"+via+"-client"))); got != "101" {
			b.t.Errorf("%s: at first the page shows %q, want 101", via, got)
		}
	}
	dead := get(b, "looking for dead buttons",
		chromedp.Evaluate[float64](`document.querySelectorAll("#view-live :is(:disabled, [aria-disabled=true])").length`))
	if dead > 0 {
		b.t.Errorf("%v buttons are dead at first", dead)
	}
	b.checkWidth()
	b.picture(w.name+"-first", false)
}

// checkBeats wants to see heartbeats, round trips and frames.
func (b *browser) checkBeats() {
	b.t.Helper()
	b.do("waiting for heartbeats", holds(
		`["client", "upstream"].every(side => / answered/.test(document.getElementById("beats-" + side).textContent)) &&
		 document.querySelectorAll("#frames-wsfw .ping").length > 8 && / ms/.test(document.getElementById("now").textContent)`))
	b.do("sending a message", chromedp.SetValue(chromedp.ID("words"), "ahoy"), chromedp.SendKeys(chromedp.ID("words"), kb.Enter),
		holds(`["wsfw", "native"].every(via =>
			[...document.querySelectorAll("#frames-" + via + " .text .text")].filter(e => e.textContent === "ahoy").length >= 4)`),
		holds(`["client sent", "client received", "upstream sent", "upstream received"].every(way =>
			[...document.querySelectorAll("#frames-wsfw .text .who")].some(e => e.textContent === way))`))
	b.do("looking at the other's frames", click("shown-native"), chromedp.WaitVisible(chromedp.ID("frames-native")), click("shown-wsfw"))
}

// checkButton presses one, which opens new sessions where the last have ended, and compares what comes back with what is
// promised.
func (b *browser) checkButton(a act, w window) {
	b.t.Helper()
	what := a.Side + ": " + a.Title
	b.do(what, click("act-"+a.Side+"-"+a.ID))
	if len(a.Waits) > 0 {
		b.do(what, holds(`/pongTimeout: 2s/.test(document.getElementById("waiting").textContent)`))
	}
	b.do(what, stageIs("over"))
	if a.Native.Open {
		b.do(what, holds(`/nobody has noticed.*for \d+\.\d s/.test(document.getElementById("why-native-client").textContent)`))
	}
	for _, side := range []string{clientSide, upstreamSide} {
		b.checkShown(what, "got-"+withWsfw+"-"+side, a.shown(side))
		b.checkShown(what, "got-"+withoutWsfw+"-"+side, a.shownNative(side))
	}
	if a.ID == "silent" {
		b.scroll("")
		b.checkRecord(w)
		b.picture(w.name+"-"+a.Side+"-silent", false)
	}
}

// checkShown waits for what the page has to show.
func (b *browser) checkShown(what, id, want string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, testTimeout)
	defer cancel()
	condition := "document.getElementById(" + strconv.Quote(id) + ").textContent === " + strconv.Quote(want)
	if err := chromedp.Do(ctx, holds(condition)); err != nil {
		b.t.Errorf("%s: %s is %q, want %q", what, id, get(b, what, chromedp.Text(chromedp.ID(id))), want)
	}
}

// checkRecord wants the session's record where it is seen without scrolling, on a desktop.
func (b *browser) checkRecord(w window) {
	b.t.Helper()
	bottom := get(b, "measuring", chromedp.Evaluate[float64](`document.querySelector("#record dl").getBoundingClientRect().bottom`))
	if w.name == "desktop" && bottom > float64(w.height) {
		b.t.Errorf("the record ends at %v of %d pixels", bottom, w.height)
	}
}

// checkLimit presses the button of the limit.
func (b *browser) checkLimit() {
	b.t.Helper()
	b.do("reaching the limit", click("limit"), holds(`/were let in/.test(document.getElementById("limit-state").textContent)`))
	got := get(b, "reading the answers",
		chromedp.Evaluate[string](`[...document.querySelectorAll("#answers td b")].map(e => e.textContent).join(" ")`))
	if want := "101 101 101 101 429 101 101 101 503 101"; got != want {
		b.t.Errorf("the answers, with wsfw and without, are %s, want %s", got, want)
	}
}

// checkRestart presses the button of the restart.
func (b *browser) checkRestart(w window) {
	b.t.Helper()
	b.do("restarting", click("restart"), holds(`document.querySelectorAll("#crowd-wsfw [data-state=back]").length >= 4`))
	b.scroll("crowd-wsfw")
	b.picture(w.name+"-drain", false)
	b.do("waiting for the end", holds(`/All clients are back/.test(document.getElementById("restart-state").textContent)`))
	for id, want := range map[string]string{
		"crowd-wsfw":   `/12 clients were told 1012, spread over \d/`,
		"crowd-native": `/12 connections were cut within \d/`,
	} {
		b.do("reading "+id, holds(want+`.test(document.getElementById(`+strconv.Quote(id)+`).textContent)`))
	}
}

// checkTakeAway copies a line for another client, and looks at the live route as labels.
func (b *browser) checkTakeAway(d *demo) {
	b.t.Helper()
	b.do("copying", chromedp.Click(chromedp.CSS("#own button")),
		holds(`/Copied|Selected/.test(document.querySelector("#own button").textContent)`))
	if got, want := get(b, "reading the line", chromedp.Text(chromedp.CSS("#own pre"))), "websocat ws://"+d.addr+"/ws/echo"; got != want {
		b.t.Errorf("the line to try is %q, want %q", got, want)
	}
	b.do("opening the labels", chromedp.Click(chromedp.CSS("#live-route summary")), chromedp.WaitVisible(chromedp.CSS("#live-route pre")))
	if got := get(b, "reading the labels", chromedp.Text(chromedp.CSS("#live-route pre"))); got != strings.TrimSpace(d.live.Labels) {
		b.t.Errorf("the labels are\n%s\nwant\n%s", got, d.live.Labels)
	}
}

// checkScenario looks at a scenario's whole route in the other view.
func (b *browser) checkScenario(w window) {
	b.t.Helper()
	b.do("opening the scenarios", chromedp.Click(chromedp.CSS(`#tabs a[href="#scenarios"]`)),
		chromedp.Click(chromedp.CSS("#route details:last-child summary")), chromedp.WaitVisible(chromedp.CSS("#route details:last-child pre")))
	b.checkWidth()
	b.scroll("")
	b.picture(w.name+"-scenario", true)
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
		b.scroll("")
		b.picture("scenarios", true)
	})
}

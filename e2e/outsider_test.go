package e2e

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// outsider is an onlooker in a process of its own: one of the scripts in peers, which all understand the flags and
// commands of peers/peer.js.
type outsider struct {
	journal
	script   []string // the command that runs it, with flags
	launcher []string // the command that runs the script's, where there is one
	host     string   // on which it listens

	process  *exec.Cmd
	commands *json.Encoder
	exited   chan struct{} // closed once the process is gone and all its events are told
}

// newOutsider is an outsider that is not running yet.
func newOutsider(script ...string) *outsider {
	return &outsider{journal: newJournal(), script: script, host: "127.0.0.1", exited: make(chan struct{})}
}

// newGWS is one on the Go library gws. Flags are further ones of the script's.
func newGWS(flags ...string) *outsider {
	return newOutsider(append([]string{gwsPeer()}, flags...)...)
}

// newGobwas is one on the Go library gobwas/ws.
func newGobwas(flags ...string) *outsider {
	return newOutsider(append([]string{gobwasPeer()}, flags...)...)
}

var (
	gwsPeer    = goPeer("gws")
	gobwasPeer = goPeer("gobwas")
)

// goPeer builds one of the scripts in Go, once, and returns where it is.
func goPeer(name string) func() string {
	return sync.OnceValue(func() string {
		path := filepath.Join(workshop(), name)
		if output, err := exec.Command("go", "build", "-o", path, "./peers/"+name).CombinedOutput(); err != nil {
			panic(fmt.Sprintf("building peers/%s: %v\n%s", name, err, output))
		}
		return path
	})
}

// workshop makes a folder, once, for what tests build. TestMain removes it.
var workshop = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "wsfw-e2e-")
	if err != nil {
		panic(err)
	}
	return dir
})

// newNode is one on Node's library ws. Flags are further ones of the script's.
func newNode(flags ...string) *outsider {
	return newOutsider(append([]string{"node", "peers/peer.js"}, flags...)...)
}

// newPython is one on the libraries of the system's own Python: websockets, unless flags say otherwise.
func newPython(flags ...string) *outsider {
	return newOutsider(append([]string{"/usr/bin/python3", "-B", "peers/peer.py"}, flags...)...)
}

// start runs the script until the test ends.
func (o *outsider) start(t *testing.T, flags ...string) {
	t.Helper()
	command := slices.Concat(o.launcher, o.script, flags)
	o.process = exec.Command(command[0], command[1:]...)
	o.process.Stderr = os.Stderr
	engine.DieWithParent(o.process)
	in, err := o.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := o.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.process.Start(); err != nil {
		t.Fatal(err)
	}
	o.commands = json.NewEncoder(in)
	go o.watch(out)
	t.Cleanup(func() { o.kill(t) })
}

// watch reads what the script tells until its end.
func (o *outsider) watch(out io.Reader) {
	defer close(o.exited)
	defer close(o.events)
	for told := json.NewDecoder(out); ; {
		var e event
		if told.Decode(&e) != nil {
			_ = o.process.Wait() // that it has ended is told by exited; its status does not matter
			return
		}
		o.note(e)
	}
}

// listen implements [party].
func (o *outsider) listen(t *testing.T) string {
	t.Helper()
	o.start(t, "--listen", o.host)
	return fmt.Sprintf("ws://%s:%d", o.host, o.await(t, wire.Timeout, eventListening).Port)
}

// dial implements [party].
func (o *outsider) dial(t *testing.T, addr string) {
	t.Helper()
	o.visit(t, "ws://"+addr+"/socket")
}

// visit is dial with the whole URL.
func (o *outsider) visit(t *testing.T, url string) {
	t.Helper()
	o.start(t, "--connect", url)
	o.arrive(t)
}

// do gives the script a command.
func (o *outsider) do(t *testing.T, command object) {
	t.Helper()
	if err := o.commands.Encode(command); err != nil {
		t.Fatal(err)
	}
}

func (o *outsider) say(t *testing.T, text string) {
	t.Helper()
	o.do(t, object{"do": "say", "text": text})
}

// ping implements [pinger].
func (o *outsider) ping(t *testing.T, payload string) {
	t.Helper()
	o.do(t, object{"do": "ping", "payload": hex.EncodeToString([]byte(payload))})
}

// sayBinary has the script say a binary message.
func (o *outsider) sayBinary(t *testing.T, payload []byte) {
	t.Helper()
	o.do(t, object{"do": "sayBinary", "payload": hex.EncodeToString(payload)})
}

// expect wants the next message to be this one.
func (o *outsider) expect(t *testing.T, want event) {
	t.Helper()
	got := o.await(t, wire.Timeout, eventMessage, eventError, eventClose, eventEnd)
	want.Kind, got.at = eventMessage, time.Time{}
	if got != want {
		t.Fatalf("the outsider tells %.200v, want %.200v", got, want)
	}
}

// largeCount is how often a word is said that makes a large message of it, worth to be compressed.
const largeCount = 50_000

// allSizes are messages in all sizes of frames, up to a word that is repeated.
func allSizes(count int) []string {
	return []string{"small", "grüße 🌍", strings.Repeat("medium", 100), strings.Repeat("large", count)}
}

// sayAndHear says messages in all sizes of frames, and wants each to come back.
func (o *outsider) sayAndHear(t *testing.T, count int) {
	t.Helper()
	for _, text := range allSizes(count) {
		o.say(t, text)
		o.expect(t, event{Text: text})
	}
}

// awaitKeepAlive wants so many heartbeats of the application's own.
func (o *outsider) awaitKeepAlive(t *testing.T, kind string, beats int) {
	t.Helper()
	for range beats {
		if e := o.await(t, wire.Timeout, kind, eventClose, eventError); e.Kind != kind {
			t.Fatalf("the outsider tells %v, want %s", e, kind)
		}
	}
}

// expectClosed wants the next close to be this one, whatever has come before it. Some outsiders know no code.
func (o *outsider) expectClosed(t *testing.T, code int, reason string) {
	t.Helper()
	if e := o.await(t, wire.Timeout, eventClose, eventError); e.Kind != eventClose || e.Code != code || e.Reason != reason {
		t.Errorf("the outsider tells %v, want it closed with %d %q", e, code, reason)
	}
}

// close sends a close frame, which the other end answers.
func (o *outsider) close(t *testing.T, code int, reason string) {
	t.Helper()
	o.do(t, object{"do": "close", "code": code, "reason": reason})
}

// expectFarewell wants this close frame next, and the end of the connection behind it.
func (o *outsider) expectFarewell(t *testing.T, code int, reason string) {
	t.Helper()
	awaitFarewell(t, o, wire.Timeout, code, reason)
	o.await(t, wire.Timeout, eventEnd)
}

// signal has the kernel stop the process, or let it go on.
func (o *outsider) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := o.process.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process, also a stopped one, and waits for its end. The kernel ends its connections.
func (o *outsider) kill(t *testing.T) {
	t.Helper()
	if err := o.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-o.exited
}

// leave implements [onlooker].
func (o *outsider) leave(t *testing.T) {
	t.Helper()
	o.kill(t)
}

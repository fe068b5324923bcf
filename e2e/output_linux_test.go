package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// outlet is what a Traefik has as its standard output, and who reads it.
type outlet struct {
	reader interface {
		Read(b []byte) (int, error)
		Close() error
	}
	writer *os.File
}

// outlets are the kinds that have a reader: a pipe, as between containers and their engine, and a socket, as under
// systemd. Both hold a few lines only.
var outlets = map[string]func(t *testing.T) outlet{"pipe": openPipe, "socket": openSocket}

// outletSize is how many bytes an outlet holds, at the least: a page.
const outletSize = 4096

func openPipe(t *testing.T) outlet {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const setPipeSize = 1031 // F_SETPIPE_SZ
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), setPipeSize, outletSize); errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { r.Close() })
	return outlet{r, w}
}

func openSocket(t *testing.T) outlet {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, ours := os.NewFile(uintptr(pair[0]), "stdout"), os.NewFile(uintptr(pair[1]), "journal")
	defer ours.Close()
	if err := syscall.SetsockoptInt(pair[0], syscall.SOL_SOCKET, syscall.SO_SNDBUF, outletSize); err != nil {
		t.Fatal(err)
	}
	r, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return outlet{r, w}
}

// eachOutlet runs a case on a real Traefik, which is the one with an output of its own, in each use and with each kind of
// output.
func eachOutlet(t *testing.T, run func(t *testing.T, e engine.Engine, out outlet)) {
	t.Helper()
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		for name, open := range outlets {
			t.Run(name, func(t *testing.T) {
				inEachUse(t, e, func(t *testing.T, e engine.Engine) { run(t, e, open(t)) })
			})
		}
	})
}

// newOutletHouse is a house whose Traefik has an output of the case's.
func newOutletHouse(t *testing.T, e engine.Engine, w *os.File, options object) *house {
	t.Helper()
	h := newService(t)
	setup := regimes[0].setup(h.addr(), options) // which e turns into another where it is inline
	setup.Dedicated, setup.Traefik.Output = true, w
	h.gateway = e.Start(t, setup)
	return h
}

// visits opens and ends sessions, one after the other.
func (h *house) visits(t *testing.T, count int) {
	t.Helper()
	for range count {
		h.visit(t)
	}
}

// visit is one session, in which both ends hear each other.
func (h *house) visit(t *testing.T) {
	t.Helper()
	l := h.enter(t)
	l.talk(t)
	l.leave()
}

func (l lodger) talk(t *testing.T) {
	t.Helper()
	send(t, l.client, wire.Text("hello"))
	expect(t, l.upstream, l.client.Encode(wire.Text("hello")))
	send(t, l.upstream, wire.Text("welcome"))
	expect(t, l.client, wire.Text("welcome").Bytes())
}

// lives wants the Traefik not to have ended.
func (h *house) lives(t *testing.T) {
	t.Helper()
	select {
	case <-h.gateway.Process.Exited():
		t.Fatal("Traefik has ended")
	default:
	}
}

// transcript is what was read of an output. It is safe for concurrent use.
type transcript struct {
	mu    sync.Mutex
	lines []object
	ended chan struct{}
}

// transcribe reads an output to its end.
func transcribe(out outlet) *transcript {
	tr := &transcript{ended: make(chan struct{})}
	go func() {
		defer close(tr.ended)
		for in := bufio.NewScanner(out.reader); in.Scan(); {
			line := object{}
			if json.Unmarshal(in.Bytes(), &line) == nil && line["plugin"] == "wsfw" {
				tr.mu.Lock()
				tr.lines = append(tr.lines, line)
				tr.mu.Unlock()
			}
		}
	}()
	return tr
}

// told counts the sessions that the lines so far tell of, and those of which they tell that their lines were dropped.
func (tr *transcript) told() (records, dropped int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, line := range tr.lines {
		if line["msg"] == "websocket session" {
			records++
		}
		if n, ok := line["linesDropped"].(float64); ok {
			dropped += int(n)
		}
	}
	return records, dropped
}

// fewPluginStacks are as many as a log may have for itself.
const fewPluginStacks = 8

// settles wants no more of the plugin's goroutines soon than those of live sessions and of the log.
func (h *house) settles(t *testing.T, sessions int) {
	t.Helper()
	await(t, settleTimeout, func() string {
		return excess("stacks of the plugin", ofPlugin(goroutines(t, h.gateway)), 2*sessions+fewPluginStacks)
	})
}

// TestOutputReaderLeaves has nobody read Traefik's output any more: writing to it fails. Sessions go on, and others come
// and go.
func TestOutputReaderLeaves(t *testing.T) {
	eachOutlet(t, func(t *testing.T, e engine.Engine, out outlet) {
		h := newOutletHouse(t, e, out.writer, nil)
		live := []lodger{h.enter(t), h.enter(t), h.enter(t)}
		out.reader.Close()
		h.visits(t, 30)
		h.settles(t, len(live))
		for _, l := range live {
			l.talk(t)
			l.leave()
		}
		h.settles(t, 0)
		h.visit(t)
		h.lives(t)
	})
}

// TestOutputUnread has the reader of Traefik's output stop reading, so that writing to it blocks. That holds up no
// session, keeps no place, and nothing of what cannot be written. When reading goes on, the log tells how much was lost.
func TestOutputUnread(t *testing.T) {
	const sessions, growth = 300, 8 << 20
	eachOutlet(t, func(t *testing.T, e engine.Engine, out outlet) {
		h := newOutletHouse(t, e, out.writer, object{"maxConnections": 20})
		h.visits(t, sessions)
		h.settles(t, 0)
		stacks, heap := len(goroutines(t, h.gateway)), liveHeap(t, h.gateway)
		h.visits(t, sessions)
		h.settles(t, 0)
		await(t, settleTimeout, func() string { return excess("stacks", goroutines(t, h.gateway), stacks+fewPluginStacks) })
		if now := liveHeap(t, h.gateway); now > heap+growth {
			t.Errorf("%d further sessions have %d bytes become %d", sessions, heap, now)
		}

		tr := transcribe(out)
		opened := 2 * sessions
		await(t, settleTimeout, func() string {
			records, dropped := tr.told()
			if dropped > 0 && records+dropped == opened {
				return ""
			}
			if dropped == 0 { // lines may wait for the next one
				h.visit(t)
				opened++
			}
			return "the log tells of too few or too many sessions"
		})
		h.lives(t)
	})
}

// TestOutputUnreadLargePaths is TestOutputUnread for records that are made of much: what is cut off them is not kept.
func TestOutputUnreadLargePaths(t *testing.T) {
	const sessions, size, growth = 60, 900_000, 20 << 20
	request := upgrade("GET /" + strings.Repeat("a", size) + " HTTP/1.1")
	eachTraefik(t, func(t *testing.T, e engine.Engine) {
		out := openPipe(t)
		h := newOutletHouse(t, e, out.writer, nil)
		h.visits(t, 20) // which fill the pipe
		h.settles(t, 0)
		before := liveHeap(t, h.gateway)
		for range sessions {
			client := peerDial(t, h.gateway, request)
			upstream, err := h.server.Accept()
			if err != nil {
				t.Fatal(err)
			}
			client.answer(t)
			client.Close()
			upstream.Close()
		}
		h.settles(t, 0)
		if now := liveHeap(t, h.gateway); now > before+growth {
			t.Errorf("%d sessions with paths of %d bytes have %d bytes become %d", sessions, size, before, now)
		}
	})
}

// TestOutputDrained wants the record of each session that a shutdown ends read before the process has ended.
func TestOutputDrained(t *testing.T) {
	const sessions = 100
	eachOutlet(t, func(t *testing.T, e engine.Engine, out outlet) {
		h := newOutletHouse(t, e, out.writer, object{"drainTimeout": "500ms"})
		tr := transcribe(out)
		h.drainAll(t, sessions)
		select {
		case <-tr.ended:
		case <-time.After(wire.Timeout):
			t.Fatal("the output does not end")
		}
		if records, dropped := tr.told(); records != sessions || dropped != 0 {
			t.Errorf("the log tells of %d sessions, and of %d lines left out, want %d and none", records, dropped, sessions)
		}
	})
}

// TestOutputUnreadDrained shuts a Traefik down whose output nobody reads: it ends all the same, sooner than it ends by
// force.
func TestOutputUnreadDrained(t *testing.T) {
	eachOutlet(t, func(t *testing.T, e engine.Engine, out outlet) {
		h := newOutletHouse(t, e, out.writer, object{"drainTimeout": "500ms"})
		h.drainAll(t, 100)
	})
}

// drainAll shuts Traefik down with sessions, all of which it ends in order, and waits until it has ended.
func (h *house) drainAll(t *testing.T, sessions int) {
	t.Helper()
	var lodgers []lodger
	for range sessions {
		lodgers = append(lodgers, h.enter(t))
	}
	start := time.Now()
	h.gateway.Terminate(t)
	for _, l := range lodgers {
		expectClose(t, l.client, false, 1012)
		expectClose(t, l.upstream, true, 1001)
		send(t, l.client, wire.Close(1012, ""))
		send(t, l.upstream, wire.Close(1001, ""))
	}
	awaitExit(t, h.gateway, start)
}

// TestOutputBlocks wants the process's standard output to stay one that blocks: Traefik would lose lines of its own else.
func TestOutputBlocks(t *testing.T) {
	eachOutlet(t, func(t *testing.T, e engine.Engine, out outlet) {
		h := newOutletHouse(t, e, out.writer, nil)
		visited := make(chan struct{})
		go func() {
			defer close(visited)
			h.visits(t, 2)
		}()
		defer func() { <-visited }()
		in := bufio.NewReader(out.reader)
		for line := ""; !strings.Contains(line, "websocket session"); {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/1", h.gateway.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, flags, _ := strings.Cut(string(info), "flags:\t")
		flags, _, _ = strings.Cut(flags, "\n")
		if number, err := strconv.ParseUint(flags, 8, 64); err != nil || number&syscall.O_NONBLOCK != 0 {
			t.Errorf("standard output has the flags %s (%v), among them the one not to block", flags, err)
		}
	})
}

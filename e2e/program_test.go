package e2e

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// program is a server of somebody else's in a process of its own, known by the lines that it writes.
type program struct {
	name    string
	lines   chan string // with room for all that a test has it write
	process *os.Process
}

// runProgram has it run until the test ends. Variables are those that it gets besides the test's own.
func runProgram(t *testing.T, command []string, variables ...string) *program {
	t.Helper()
	run := exec.Command(command[0], command[1:]...)
	run.Env = append(os.Environ(), variables...)
	engine.DieWithParent(run)
	r, w := io.Pipe()
	run.Stdout, run.Stderr = w, w
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{name: command[0], lines: make(chan string, 10000), process: run.Process}
	go p.watch(r)
	go func() {
		_ = run.Wait() // its status does not matter
		w.Close()
	}()
	t.Cleanup(func() {
		_ = run.Process.Kill() // it may have ended already
		p.end()
	})
	return p
}

// finishChild runs a command with more variables to its end, and returns what it has written.
func finishChild(t *testing.T, cmd *exec.Cmd, variables ...string) string {
	t.Helper()
	cmd.Env = append(os.Environ(), variables...)
	engine.DieWithParent(cmd)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Args[0], err, output)
	}
	return string(output)
}

// watch reads what the program writes, to its end.
func (p *program) watch(output io.Reader) {
	defer close(p.lines)
	for in := bufio.NewReader(output); ; {
		line, err := in.ReadString('\n')
		p.lines <- line
		if err != nil {
			return
		}
	}
}

// stop has the program end by itself, and what it has started.
func (p *program) stop() {
	_ = p.process.Signal(syscall.SIGTERM) // it may have ended already
	p.end()
}

// end waits until all that the program has written is read.
func (p *program) end() {
	for more := true; more; {
		_, more = <-p.lines
	}
}

// await waits for a line that contains text, and passes over all before it.
func (p *program) await(t *testing.T, limit time.Duration, text string) {
	t.Helper()
	var passed []string
	for timeout := time.After(limit); ; {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("%s has ended before it wrote %q; it wrote\n%s", p.name, text, strings.Join(passed, ""))
			}
			if strings.Contains(line, text) {
				return
			}
			passed = append(passed, line)
		case <-timeout:
			t.Fatalf("%s does not write %q within %v; it wrote\n%s", p.name, text, limit, strings.Join(passed, ""))
		}
	}
}

// freePort is a port of 127.0.0.1 for a program that cannot say which one it has been given.
func freePort(t *testing.T) string {
	t.Helper()
	addrs, err := engine.FreeAddrs("127.0.0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// awaitListener waits until somebody listens on a port of 127.0.0.1.
func awaitListener(t *testing.T, port string) {
	t.Helper()
	await(t, wire.Timeout, func() string {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return err.Error()
		}
		conn.Close()
		return ""
	})
}

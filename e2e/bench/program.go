package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// program is a process that is a gateway, or a part of one.
type program struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process is gone
}

const (
	// readyTimeout is for a program's start on a busy machine.
	readyTimeout = 30 * time.Second

	// stopTimeout is for a program that ends by itself when it is told to.
	stopTimeout = 5 * time.Second
)

// launch starts a command, whose standard output is the caller's to choose.
func launch(cmd *exec.Cmd) (*program, error) {
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	engine.DieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &program{cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // whoever waits for the program wants to know only that it is gone
	}()
	return p, nil
}

// pid is the process's id.
func (p *program) pid() int { return p.cmd.Process.Pid }

// stop ends the process, and gives it the time to end its children.
func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill() // it may have ended meanwhile
		<-p.exited
	}
}

// awaitListening returns when something listens at addr.
func (p *program) awaitListening(addr string) error {
	deadline := time.After(readyTimeout)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s has ended: %v", p.cmd.Path, p.cmd.ProcessState)
		case <-deadline:
			return fmt.Errorf("%s: %w", p.cmd.Path, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// launchListener starts a command that chooses its address itself, and writes it as the first line of its output.
func launchListener(cmd *exec.Cmd) (p *program, addr string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	cmd.Stdout = w
	p, err = launch(cmd)
	w.Close()
	if err != nil {
		r.Close()
		return nil, "", err
	}
	late := time.AfterFunc(readyTimeout, func() { r.Close() })
	lines := bufio.NewReader(r)
	addr, err = lines.ReadString('\n')
	if !late.Stop() || err != nil {
		r.Close()
		p.stop()
		return nil, "", fmt.Errorf("%s tells no address: %w", cmd.Path, err)
	}
	go func() {
		defer r.Close()
		_, _ = io.Copy(io.Discard, lines) // until the process ends
	}()
	return p, strings.TrimSpace(addr), nil
}

// freeAddr is an address where nobody listens. Its port is none from which the kernel serves outgoing connections.
func freeAddr() (string, error) {
	const lowest, end, tries = 12000, 32000, 100
	var errs []error
	for range tries {
		addr := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(end-lowest))
		listener, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, listener.Close()
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

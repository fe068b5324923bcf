package main

import (
	"context"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"

	"github.com/wsfw/wsfw/e2e/engine"
)

// crew is a process of [Peers], as the bench sees it.
type crew struct {
	pid   int
	cmd   *exec.Cmd
	peers *rpc.Client
}

// enlist starts this program once more, to serve as peers.
func enlist() (*crew, error) {
	cmd, err := again(partCrew)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	engine.DieWithParent(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &crew{pid: cmd.Process.Pid, cmd: cmd, peers: jsonrpc.NewClient(pipes{out, in})}, nil
}

// listen has the crew be upstreams, and returns the host:port to connect to.
func (c *crew) listen() (addr string, err error) {
	err = c.peers.Call("Peers.Listen", struct{}{}, &addr)
	return addr, err
}

// open has the crew open sessions as clients, and returns when all are open.
func (c *crew) open(ctx context.Context, o Opening) error {
	return c.call(ctx, "Peers.Open", o, &struct{}{})
}

// flood has the crew flood the gateway from now on.
func (c *crew) flood(ctx context.Context, f Flood) error {
	return c.call(ctx, "Peers.Flood", f, &struct{}{})
}

// converse has the crew carry on a conversation, and returns when that is over.
func (c *crew) converse(ctx context.Context, talk Conversation) (Latency, error) {
	var l Latency
	err := c.call(ctx, "Peers.Converse", talk, &l)
	return l, err
}

// talk has the crew talk from now on.
func (c *crew) talk(ctx context.Context, t Talk) error {
	return c.call(ctx, "Peers.Talk", t, &struct{}{})
}

// push has the crew push to its sessions from now on.
func (c *crew) push(ctx context.Context, p Push) error {
	return c.call(ctx, "Peers.Push", p, &struct{}{})
}

// knock has the crew do handshakes from now on.
func (c *crew) knock(ctx context.Context, k Knock) error {
	return c.call(ctx, "Peers.Knock", k, &struct{}{})
}

// visit has the crew open and close sessions, and returns when that is over.
func (c *crew) visit(ctx context.Context, v Visit) (Visits, error) {
	var made Visits
	err := c.call(ctx, "Peers.Visit", v, &made)
	return made, err
}

// score is what the crew has had since it was last asked.
func (c *crew) score() (Score, error) {
	var s Score
	err := c.peers.Call("Peers.Score", struct{}{}, &s)
	return s, err
}

// call waits for a method's result, for as long as ctx lets it.
func (c *crew) call(ctx context.Context, method string, args, reply any) error {
	call := c.peers.Go(method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tally is what the crew has seen since it was last asked.
func (c *crew) tally() (Tally, error) {
	var t Tally
	err := c.peers.Call("Peers.Tally", struct{}{}, &t)
	return t, err
}

// dismiss ends the process, and with it all its sessions.
func (c *crew) dismiss() {
	c.peers.Close()
	_ = c.cmd.Process.Kill() // it may have ended already
	_ = c.cmd.Wait()         // that it was killed is no news
}

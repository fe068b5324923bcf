package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// graceTimeOut is how long a replica may take to end, as Traefik's option of that name has it. It is longer than the
// drainTimeout of drainRoute.
const graceTimeOut = 6 * time.Second

// replica is one instance of the gateway among several, as behind a balancer: it can end while another one serves.
type replica struct {
	addr     string
	shutDown func() // begins its end, as SIGTERM does, and returns at once; after graceTimeOut it cuts what is left
	stop     func() // ends it at once, and returns when it has ended
}

// embeddedReplica serves the routes from an HTTP server of its own. Its end is the demo's copy of Traefik's:
// [http.Server.Shutdown], which knows nothing of connections that were taken over, and the cut after graceTimeOut.
func embeddedReplica(routes http.Handler) (*replica, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := serve(listener, routes)
	over := make(chan struct{})
	var wait sync.WaitGroup
	end := func() {
		grace := time.NewTimer(graceTimeOut)
		defer grace.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), graceTimeOut)
		defer cancel()
		_ = s.http.Shutdown(ctx)
		select {
		case <-grace.C:
			s.stop()
		case <-over:
		}
	}
	return &replica{
		addr:     s.addr,
		shutDown: func() { wait.Go(end) },
		stop: func() {
			close(over)
			wait.Wait()
			s.stop()
		},
	}, nil
}

// replica runs one more Traefik with the routes of list, and returns when it serves them. What it needs is in a
// directory of its own below t's, which goes with it.
func (t *traefik) replica(ctx context.Context, binary, root string, list []scenario, lines *journal) (*replica, error) {
	addrs, err := engine.FreeAddrs("127.0.0.1", 1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(t.dir, "replica-")
	if err != nil {
		return nil, err
	}
	one := &traefik{dir: dir, addr: addrs[0], page: t.page, service: t.service, grace: graceTimeOut}
	if err := one.start(binary, root, list, lines); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	r := &replica{
		addr:     one.addr,
		shutDown: func() { _ = one.cmd.Process.Signal(syscall.SIGTERM) },
		stop: func() {
			one.stop()
			os.RemoveAll(dir)
		},
	}
	if err := one.ready(ctx); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

package p

import (
	"context"
	"net/http"
	"time"
)

type pump struct{ done func() }

func (p *pump) run() { p.done() }

func (p *pump) late() {
	n := 0
	defer caught()
	_ = n
}

func (p *pump) wrong() {
	defer p.done()
	p.run()
}

func (p *pump) nested() {
	defer func() {
		func() { _ = recover() }()
	}()
}

func bad(ctx context.Context, server *http.Server, p *pump, f func()) {
	go p.run()                        // want `recover: a panic here ends Traefik: the first statement must be a defer that recovers`
	go p.late()                       // want `recover: `
	go p.wrong()                      // want `recover: `
	go p.nested()                     // want `recover: `
	go f()                            // want `recover: `
	go func() { p.run() }()           // want `recover: `
	time.AfterFunc(0, p.run)          // want `recover: `
	time.AfterFunc(0, p.done)         // want `recover: `
	context.AfterFunc(ctx, func() {}) // want `recover: `
	server.RegisterOnShutdown(p.run)  // want `recover: `
}

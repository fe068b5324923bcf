package p

import (
	"context"
	"net/http"
	"time"
)

type guarded struct{ finish func() }

func caught() {
	if r := recover(); r != nil {
		_ = r
	}
}

func (g *guarded) run() {
	defer caught()
	g.finish()
}

func (g *guarded) two() {
	defer g.finish()
	defer func() { _ = recover() }()
	g.finish()
}

func good(ctx context.Context, server *http.Server, g *guarded, cancel context.CancelFunc) {
	go g.run()
	go (g.two)()
	go func() {
		defer caught()
		g.finish()
	}()
	time.AfterFunc(0, g.run)
	time.AfterFunc(0, cancel)
	context.AfterFunc(ctx, g.two)
	server.RegisterOnShutdown(g.run)
	caught()
}

package p

import "io"

type timer struct{}

func (t *timer) stop() {}

func calls(c io.Closer, t *timer) {
	_ = c.Close()
	_ = (c.Close)()
	f := t.stop
	f()
	g := func() error { return c.Close() }
	_ = g()
}

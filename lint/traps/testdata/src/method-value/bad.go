package p

import (
	"bytes"
	"io"
)

type own interface{ stop() }

func values(c io.Closer, o own, b *bytes.Buffer) {
	f := c.Close // want `method-value: `
	_ = f()
	g := o.stop // want `method-value: `
	g()
	h := b.Len // want `method-value: `
	h()
}

package p

import "io"

func keep(a, b io.Closer, n int) {
	n = 1
	defer a.Close()
	defer count(n)
	defer func() { count(n) }()
	c := b
	c.Close()
}

func closure(n int) {
	defer func() { count(n) }()
	n++
}

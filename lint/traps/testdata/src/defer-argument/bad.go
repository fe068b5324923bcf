package p

import "io"

func swap(a, b io.Closer, n int) {
	defer a.Close() // want `defer-argument: `
	defer count(n)  // want `defer-argument: `
	a = b
	n++
	a.Close()
}

func count(int) {}

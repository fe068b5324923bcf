package p

func closure() {
	read := func(c conn) { c.read() }
	read(conn{})
}

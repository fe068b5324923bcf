package p

type conn struct{}

func (c conn) read()   {}
func (c *conn) write() {}

func expressions() {
	read := conn.read      // want `method-expression: `
	write := (*conn).write // want `method-expression: `
	read(conn{})
	write(&conn{})
}

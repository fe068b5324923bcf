package p

import (
	"io"
	"net"
)

type side struct{}

func whole(c any) bool {
	_, tcp := c.(*net.TCPConn)
	_, std := c.(io.Closer)
	_, own := c.(*side)
	_, empty := c.(any)
	switch c.(type) {
	case nil, error, interface{}:
		return true
	}
	switch c {
	case 1:
		return false
	}
	return tcp || std || own || empty
}

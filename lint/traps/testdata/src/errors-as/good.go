package p

import (
	"errors"
	"net"
)

var errClosed = errors.New("closed")

func is(err error) bool {
	var op *net.OpError
	var n net.Error
	return errors.Is(err, errClosed) || errors.As(err, &op) || errors.As(err, &n)
}

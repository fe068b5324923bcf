package p

import "errors"

var errClosed = errors.New("closed")

type outcome struct {
	code int
	err  error
}

type failure interface{ Error() string }

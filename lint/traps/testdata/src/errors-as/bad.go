package p

import "errors"

type closeError struct{} // want `error-type: `

func (*closeError) Error() string { return "closed" }

type timeout interface{ Timeout() bool }

func as(err error) bool {
	var e *closeError
	var t timeout
	return errors.As(err, &e) || // want `errors-as: `
		errors.As(err, &t) // want `errors-as: `
}

package p

import "net/http"

func check(err error) {
	if err == http.ErrAbortHandler {
		panic("unexpected")
	}
}

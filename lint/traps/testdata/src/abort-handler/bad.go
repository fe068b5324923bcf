package p

import "net/http"

func abort() {
	panic(http.ErrAbortHandler) // want `abort-handler: `
}

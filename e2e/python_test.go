package e2e

import "testing"

// TestExternalPython has a client of Python's websockets talk to a server of it.
func TestExternalPython(t *testing.T) {
	pair{client: onPython("websockets"), server: onPython("websockets"), heard: whole, answered: whole}.converse(t)
}

// TestExternalTornado is the same of tornado.
func TestExternalTornado(t *testing.T) {
	pair{client: onPython("tornado"), server: onPython("tornado"), heard: whole, answered: codeAlone}.converse(t)
}

// TestExternalAiohttp is the same of aiohttp.
func TestExternalAiohttp(t *testing.T) {
	pair{client: onPython("aiohttp"), server: onPython("aiohttp"), heard: whole, answered: unheard}.converse(t)
}

// TestExternalUvicorn is the same of an ASGI application under uvicorn, over websockets, and of websockets' client.
func TestExternalUvicorn(t *testing.T) {
	server := onPython("uvicorn/websockets")
	pair{client: onPython("websockets"), server: server, heard: codeAlone, answered: codeAlone}.converse(t)
}

// TestExternalWsproto is the same of wsproto: a client of it, and uvicorn over it.
func TestExternalWsproto(t *testing.T) {
	server := onPython("uvicorn/wsproto")
	pair{client: onPython("wsproto"), server: server, heard: codeAlone, answered: codeAlone}.converse(t)
}

// onPython makes outsiders on one of the libraries in peers/sessions.
func onPython(library string) func(flags ...string) *outsider {
	return func(flags ...string) *outsider { return newPython(append(flags, "--library", library)...) }
}

// Package xconnect switches HTTP/2's extended CONNECT (RFC 8441) on in the servers of this process.
//
// net/http looks at GODEBUG when it is initialised, and never again. This package imports nothing but os and sorts before
// net/http, and packages are initialised in the order of their paths where their imports allow it: so it comes first.
package xconnect

import "os"

// Variable is the environment variable, and On what it has to hold.
const (
	Variable = "GODEBUG"
	On       = "http2xconnect=1"
)

// Inherited is what the variable held when the process began.
var Inherited = os.Getenv(Variable)

func init() {
	os.Setenv(Variable, With(Inherited))
}

// With is a value of the variable with which it is on, too.
func With(value string) string {
	if value == "" {
		return On
	}
	return value + "," + On
}

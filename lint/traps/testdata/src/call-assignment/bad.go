package p

import "strings"

func trim(s string) (short string, n int) {
	short, n = strings.TrimSpace(s), 2 // want `call-assignment: `
	n, short = 3, trimmed(s)           // want `call-assignment: `
	return short, n
}

func trimmed(s string) string { return s }

package p

import "strings"

func cut(s string) (short string, n int) {
	short = strings.TrimSpace(s)
	n = 2
	long, m := strings.ToUpper(s), 3
	long, m = short, n
	short, _, _ = strings.Cut(long, " ")
	return short, m
}

package p

func length(int, string) string { // want `unnamed-parameter: `
	s := "a"
	return s
}

var count = func(string) int { // want `unnamed-parameter: `
	n := 1
	return n
}

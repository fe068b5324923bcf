package p

func sign(n int, known bool) string {
	switch {
	case n < 0, n > 0: // want `switch: `
		return "signed"
	}
	switch known {
	case n == 1, n == 2: // want `switch: `
		return "small"
	}
	return ""
}

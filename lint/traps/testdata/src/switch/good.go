package p

func kind(v any, n int) string {
	switch {
	case n < 0 || n > 0:
		return "signed"
	}
	switch n {
	case 1, 2:
		return "small"
	}
	switch v.(type) {
	case int, string:
		return "basic"
	}
	return ""
}

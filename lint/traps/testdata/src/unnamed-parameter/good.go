package p

func longest(_ int, _ string) string {
	s := "a"
	return s
}

var nothing = func(string) {}

type counter interface{ count(int) }

type handler func(int, string)

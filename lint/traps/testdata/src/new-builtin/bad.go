package p

func builtins(m map[int]int) int {
	clear(m)                 // want `new-builtin: `
	return min(1, max(2, 3)) // want `new-builtin: ` `new-builtin: `
}

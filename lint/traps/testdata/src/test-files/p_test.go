package p

func compiled(m map[int]int) { clear(m) }

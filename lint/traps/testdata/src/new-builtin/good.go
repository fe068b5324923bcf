package p

func lower(a, b int) int {
	min := a
	if b < min {
		min = b
	}
	return min
}

type list struct{}

func (list) clear() {}

func empty(l list) { l.clear() }

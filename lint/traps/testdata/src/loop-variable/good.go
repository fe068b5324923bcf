package p

func copies() (list []func() int) {
	var k int
	for i := 0; i < 3; i++ {
		i := i
		list = append(list, func() int { return i })
		list = append(list, func() int { return k })
	}
	for _, v := range []int{1, 2} {
		func() { k += v }()
	}
	return append(list, func() int {
		n := 0
		for i := 0; i < 3; i++ {
			n += i
		}
		return n
	})
}

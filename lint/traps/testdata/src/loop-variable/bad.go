package p

func closures() (list []func() int, addresses []*int) {
	for i := 0; i < 3; i++ {
		list = append(list, func() int { return i }) // want `loop-variable: `
		addresses = append(addresses, &i)            // want `loop-variable: `
	}
	for _, v := range []int{1, 2} {
		defer func() { _ = v }() // want `defer-loop: ` `loop-variable: `
	}
	return list, addresses
}

package p

func set() (n int, err error) {
	n = 3
	err = nil
	m, k := 1, 2
	m, k = k, m
	_, _ = m, k
	return 3, nil
}

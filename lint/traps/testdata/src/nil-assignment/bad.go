package p

func reset() (n int, err error) {
	n, err = 3, nil // want `nil-assignment: `
	var p, q *int
	p, q = nil, nil // want `nil-assignment: `
	_, _ = p, q
	return n, err
}

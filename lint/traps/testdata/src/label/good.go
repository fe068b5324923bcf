package p

func findOne(row []int) {
	for _, n := range row {
		if n == 0 {
			continue
		}
		if n < 0 {
			break
		}
	}
}

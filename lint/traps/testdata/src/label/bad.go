package p

func find(table [][]int) {
rows:
	for _, row := range table {
		for _, n := range row {
			if n == 0 {
				continue rows // want `label: `
			}
			if n < 0 {
				break rows // want `label: `
			}
		}
	}
}

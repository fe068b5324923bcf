package p

func containers(list []int, m map[int]int, c chan int, array *[3]int) {
	for range list {
	}
	for range m {
	}
	for range c {
	}
	for range array {
	}
	for range "text" {
	}
}

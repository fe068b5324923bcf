package p

func pick(a, b chan int) int {
	select { // want `select: `
	case x := <-a:
		return x
	case x := <-b:
		return x
	}
}

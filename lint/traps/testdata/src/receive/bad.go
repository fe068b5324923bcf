package p

type box struct{ n int }

func receive(b *box, list []int, c chan int) (n int) {
	b.n = <-c     // want `receive: `
	list[0] = <-c // want `receive: `
	func() {
		n = <-c // want `receive: `
	}()
	n, ok := <-c // want `receive: `
	select {     // want `select: `
	case n = <-c: // want `receive: `
	case m := <-c:
		n = m
	}
	if ok {
		return <-c // want `receive: `
	}
	return n
}

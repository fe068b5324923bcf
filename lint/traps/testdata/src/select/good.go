package p

func take(a chan int) int { first := <-a; return first }

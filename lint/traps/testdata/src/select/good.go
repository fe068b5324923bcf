package p

func take(a chan int) int { return <-a }

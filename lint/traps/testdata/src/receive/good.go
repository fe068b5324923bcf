package p

type store struct{ n int }

func named(s *store, c chan int) int {
	first, ok := <-c
	second, ok := <-c
	s.n = second
	<-c
	if third, ok := <-c; ok {
		return third
	}
	if !ok {
		last := <-c
		return last
	}
	return first
}

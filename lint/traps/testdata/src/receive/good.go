package p

type store struct{ n int }

func plain(s *store, c chan int) (n int) {
	n = <-c
	first, ok := <-c
	second, ok := <-c
	s.n = second
	if ok {
		_, ok = <-c
	}
	<-c
	if third, ok := <-c; ok {
		return third
	}
	return first
}

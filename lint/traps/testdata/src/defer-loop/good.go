package p

import "io"

func closeEach(list []io.Closer) {
	for _, c := range list {
		func() {
			defer c.Close()
		}()
	}
	defer list[0].Close()
}

package p

import "io"

func closeAll(list []io.Closer) {
	for _, c := range list {
		defer c.Close() // want `defer-loop: `
	}
	for {
		if len(list) > 0 {
			defer list[0].Close() // want `defer-loop: `
		}
	}
}

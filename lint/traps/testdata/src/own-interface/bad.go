package p

type closer interface{ CloseWrite() error }

func half(c any) bool {
	_, named := c.(closer)                            // want `own-interface: `
	_, literal := c.(interface{ CloseWrite() error }) // want `own-interface: `
	switch c.(type) {
	case int, closer: // want `own-interface: `
		return true
	}
	return named || literal
}

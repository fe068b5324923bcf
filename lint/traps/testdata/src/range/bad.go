package p

import "iter"

func ranges(seq iter.Seq[int]) { // want `generic: `
	for range 3 { // want `range: `
	}
	for i := range len("abc") { // want `range: `
		_ = i
	}
	for v := range seq { // want `range: `
		_ = v
	}
}

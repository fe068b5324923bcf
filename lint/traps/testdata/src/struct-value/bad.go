package p

import "io"

type reader struct{}

func (reader) Read(_ []byte) (int, error) { return 0, io.EOF }

type holder struct {
	r io.Reader
	v any
}

var r0 io.Reader = reader{} // want `struct-value: `

func box(h *holder, value reader) {
	h.r = reader{}                 // want `struct-value: `
	h.v = value                    // want `struct-value: `
	_ = &holder{v: reader{}}       // want `struct-value: `
	_ = holder{reader{}, nil}      // want `struct-value: `
	_ = []any{1, value}            // want `struct-value: `
	_ = map[string]any{"a": value} // want `struct-value: `
}

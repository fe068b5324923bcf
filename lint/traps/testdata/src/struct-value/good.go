package p

import (
	"io"
	"time"
)

var _ io.Reader = (*reader)(nil)

func point(h *holder, value reader) {
	h.r = &reader{}
	h.v = time.Time{}
	h.v = 3
	value = reader{}
	other := reader{}
	_ = &holder{v: &other}
	_ = []reader{value}
	_, h.v = pair()
}

func pair() (int, any) { return 0, nil }

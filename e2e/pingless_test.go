package e2e

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/wsfw/wsfw/e2e/wire"
)

// pingless reads what a peer is sent, less the gateway's own pings.
type pingless struct {
	r       io.Reader
	token   []byte // of the pings left out; nil is any of their length
	pending []byte // of a header that has been read
	left    uint64 // of the current frame's payload
}

// withoutOwnPings is what a peer is sent but for the gateway's pings with the token that begins payload.
func withoutOwnPings(r io.Reader, payload []byte) *pingless {
	return &pingless{r: r, token: payload[:min(8, len(payload))]}
}

// Read implements [io.Reader].
func (p *pingless) Read(b []byte) (int, error) {
	for len(p.pending) == 0 && p.left == 0 {
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	if len(p.pending) > 0 {
		n := copy(b, p.pending)
		p.pending = p.pending[n:]
		return n, nil
	}
	n, err := p.r.Read(b[:min(uint64(len(b)), p.left)])
	p.left -= uint64(n)
	return n, err
}

// next reads a header; of a ping the whole, and drops it where it is one to leave out.
func (p *pingless) next() error {
	head, err := p.take(nil, 2)
	if err != nil {
		return err
	}
	rest, length := 0, uint64(head[1]&0x7F)
	switch length {
	case 126:
		rest = 2
	case 127:
		rest = 8
	}
	if head, err = p.take(head, rest); err != nil {
		return err
	}
	if rest > 0 {
		var long [8]byte
		copy(long[8-rest:], head[2:])
		length = binary.BigEndian.Uint64(long[:])
	}
	if head[1]&0x80 != 0 {
		if head, err = p.take(head, 4); err != nil {
			return err
		}
	}
	p.pending, p.left = head, length
	if head[0] != 0x80|wire.OpPing || length != ownPing {
		return nil
	}
	whole, err := p.take(head, ownPing)
	if err != nil {
		return err
	}
	p.pending, p.left = whole, 0
	f, err := wire.ReadFrame(bytes.NewReader(whole))
	if err == nil && bytes.HasPrefix(f.Payload, p.token) {
		p.pending = nil
	}
	return err
}

// take appends n bytes to b.
func (p *pingless) take(b []byte, n int) ([]byte, error) {
	more := make([]byte, n)
	_, err := io.ReadFull(p.r, more)
	return append(b, more...), err
}

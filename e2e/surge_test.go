package e2e

import (
	"bytes"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// surge is a flood of one frame.
type surge struct {
	name     string
	first    []wire.Frame // before it
	frame    wire.Frame
	by       string // who sends it
	answered bool   // by the same
	blocks   int    // of it, at least; a hundred times that in a soak
}

// surgeBlock is how many frames are written at a time, and surgeAhead how many blocks are on their way: so the gateway
// finds more whenever it looks, and kernels do not keep what takes it many seconds.
const (
	surgeBlock = 5000
	surgeAhead = 4
)

var surges = []surge{
	{name: "pings", by: "upstream", frame: wire.New(wire.OpPing, nil), blocks: 3}, // a client may not send so many
	{name: "pongs", by: "upstream", frame: wire.New(wire.OpPong, nil), blocks: 3},
	{name: "messages and answers", by: "client", frame: wire.Binary([]byte{'x'}), answered: true, blocks: 3},
	{name: "messages of a byte", by: "client", frame: wire.Binary([]byte{'x'}), blocks: 20},
	{name: "empty fragments", by: "client", first: []wire.Frame{{Opcode: wire.OpText}}, frame: wire.Frame{}, blocks: 20},
}

// pass has the surge go from one end to the other, and its answers back, until there was enough of it.
func (s surge) pass(j *joined, enough <-chan struct{}) error {
	blocks := s.blocks
	if soaking() {
		blocks *= 100
	}
	for _, peer := range []*wire.Peer{j.client, j.upstream} {
		if err := peer.SetDeadline(time.Now().Add(shipmentTimeout)); err != nil {
			return err
		}
	}
	near, far := j.from(s.by)
	block := bytes.Repeat(near.Encode(s.frame), surgeBlock)
	answers := bytes.Repeat(far.Encode(s.frame), surgeBlock)
	sent, answered := make(chan struct{}, surgeAhead), make(chan struct{}, surgeAhead) // one for each block
	return together(
		func() error {
			defer close(sent)
			err := near.Send(s.first...)
			for i := 0; err == nil && (i < blocks || !isClosed(enough)); i++ {
				sent <- struct{}{}
				_, err = near.Write(block)
			}
			return err
		},
		func() error {
			defer close(answered)
			err := same(far, near.Encode(s.first...))
			for range sent {
				if err == nil {
					err = same(far, block)
				}
				if err == nil && s.answered {
					answered <- struct{}{}
					_, err = far.Write(answers)
				}
				if err != nil {
					near.Close() // and so there is an end to what is sent
				}
			}
			return err
		},
		func() error {
			var err error
			for range answered {
				if err == nil {
					err = same(near, answers)
				}
				if err != nil {
					near.Close()
				}
			}
			return err
		},
	)
}

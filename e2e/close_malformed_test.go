package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// patiently is a gateway that waits for an answer for longer than any test runs: what ends soon has waited for none.
var patiently = object{"closeTimeout": "1h"}

// atOnce bounds what takes no time that anybody waits for, by far.
var atOnce = 2 * soon

// overAtOnce wants the session to be over with nothing further said, and its record to tell this.
func (j *joined) overAtOnce(t *testing.T, endedBy string, code int, text string) {
	t.Helper()
	for _, peer := range []*wire.Peer{j.client, j.upstream} {
		peer.SetDeadline(time.Now().Add(atOnce))
		expectCut(t, peer)
		peer.Close() // lest the record of a session that holds comes with another's
	}
	j.expectOutcome(t, endedBy, code, text)
}

// malformedCloses are close frames that break RFC 6455 and can be told for close frames all the same.
func malformedCloses(mask bool) []breach {
	long := wire.Close(1000, strings.Repeat("r", 124))
	form16, form64 := wire.Close(1000, "bye"), wire.Close(1000, "bye")
	form16.Form, form64.Form = wire.Form16, wire.Form64
	fragment := wire.Close(1000, "bye")
	fragment.Fin = false
	bits := wire.Close(1000, "bye")
	bits.RSV = wire.RSV1
	rows := []struct {
		name string
		f    wire.Frame
		code int
	}{
		{"126 bytes", long, 1002},
		{"length in 16 bits", form16, 1002},
		{"length in 64 bits", form64, 1002},
		{"not the last fragment", fragment, 1002},
		{"reserved bit", bits, 1002},
		{"one byte", wire.New(wire.OpClose, []byte{3}), 1002},
		{"code 1005", wire.Close(1005, ""), 1002},
		{"code 999", wire.Close(999, "bye"), 1002},
		{"reason that is no UTF-8", wire.Close(1000, "\xFF"), 1007},
	}
	var all []breach
	for _, row := range rows {
		all = append(all, breach{row.name, nil, row.f.Masking(mask).Bytes(), row.code})
	}
	return append(all, breach{"wrong masking", nil, wire.Close(1000, "bye").Masking(!mask).Bytes(), 1002})
}

// TestMalformedClose has one end close with a close frame that breaks the rules, and say nothing further: it is told so,
// the other end is closed and answers, and then nobody is waited for.
func TestMalformedClose(t *testing.T) {
	eachVersion(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, patiently)
		for _, by := range ends {
			for _, row := range malformedCloses(by == "client") {
				t.Run(by+" "+row.name, func(t *testing.T) { g.join(t).closesBadly(t, by, row) })
			}
		}
	})
}

// closesBadly is one row of that.
func (j *joined) closesBadly(t *testing.T, by string, row breach) {
	t.Helper()
	near, far := j.from(by)
	before := near.Encode(wire.Text("before"))
	if _, err := near.Write(append(before[:len(before):len(before)], row.bad...)); err != nil {
		t.Fatal(err)
	}
	expect(t, far, before)
	expectClose(t, far, by == "client", lost(opposite(by)))
	expectClose(t, near, by == "upstream", row.code)
	send(t, far, wire.Close(1000, ""))
	j.overAtOnce(t, "wsfw", row.code, by)
}

// TestMalformedCloseAnswer has one end answer a close frame with one that breaks the rules: it has said its last word, and
// the end that has closed gets a close frame of the gateway's in place of the answer.
func TestMalformedCloseAnswer(t *testing.T) {
	bye := wire.Close(4009, "bye")
	eachUse(t, func(t *testing.T, e engine.Engine) {
		g := newGround(t, e, patiently)
		for _, by := range ends {
			for _, row := range malformedCloses(by == "upstream") {
				t.Run(opposite(by)+" "+row.name, func(t *testing.T) {
					j := g.join(t)
					near, far := j.from(by)
					send(t, near, bye)
					expect(t, far, near.Encode(bye))
					if _, err := far.Write(row.bad); err != nil {
						t.Fatal(err)
					}
					expectClose(t, near, by == "upstream", lost(by))
					j.overAtOnce(t, by, 4009, "bye")
				})
			}
		}
	})
}

package e2e

import (
	"encoding/binary"
	"net/http"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// earlyFrame is a binary frame; a client's is masked, under a key of zeroes.
func earlyFrame(size int, masked bool) string {
	maskBit, key := byte(0), ""
	if masked {
		maskBit, key = 0x80, "\x00\x00\x00\x00"
	}
	header := []byte{0x82}
	switch {
	case size < 126:
		header = append(header, maskBit|byte(size))
	case size < 1<<16:
		header = binary.BigEndian.AppendUint16(append(header, maskBit|126), uint16(size))
	default:
		header = binary.BigEndian.AppendUint64(append(header, maskBit|127), uint64(size))
	}
	return string(header) + key + string(payload(size))
}

// TestEarlyBytes is about frames that share a segment with the handshake before them.
func TestEarlyBytes(t *testing.T) {
	// Readers of handshakes buffer 4 KiB.
	for name, sizes := range map[string][]int{
		"one small": {5}, "many small": {0, 1, 125, 5, 126}, "one of 6000": {6000}, "small and large": {5, 6000, 5}, "one of 100 KiB": {100 << 10, 3},
	} {
		t.Run(name, func(t *testing.T) {
			eachUse(t, func(t *testing.T, e engine.Engine) {
				server := peerListen(t)
				gateway := forwardTo(t, e, server.endpoint(), nil)
				var fromClient, fromUpstream strings.Builder
				for _, size := range sizes {
					fromClient.WriteString(earlyFrame(size, true))
					fromUpstream.WriteString(earlyFrame(size, false))
				}
				client := peerDial(t, gateway, upgrade("GET / HTTP/1.1")+fromClient.String())
				upstream, head := server.request(t)
				upstream.send(t, head.switching()+fromUpstream.String())
				if resp := client.answer(t); resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("status is %d, want 101", resp.StatusCode)
				}
				client.expect(t, fromUpstream.String())
				upstream.expect(t, fromClient.String())

				// What comes later comes after it.
				client.send(t, earlyFrame(7, true))
				upstream.send(t, earlyFrame(7, false))
				client.expect(t, earlyFrame(7, false))
				upstream.expect(t, earlyFrame(7, true))
			})
		})
	}
}

// TestEarlyEnd is about an upstream that is gone as soon as it has said all.
func TestEarlyEnd(t *testing.T) {
	const bye = "\x88\x05\x0f\xa0bye" // 4000
	eachUse(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		client := peerDial(t, gateway, upgrade("GET / HTTP/1.1"))
		upstream, head := server.request(t)
		upstream.send(t, head.switching()+earlyFrame(6000, false)+bye)
		upstream.Close()
		client.answer(t)
		client.expect(t, earlyFrame(6000, false)+bye)
		record := gateway.WaitRecord(t)
		if record["code"] != 4000.0 || record["reason"] != "bye" {
			t.Errorf("the record is %v, want close 4000", record)
		}
	})
}

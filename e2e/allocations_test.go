package e2e

import (
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// allocationLimits are how many allocations a session may take that is opened and closed at once, by use: a tenth more than
// it took when they were written. Those of the HTTP server, of both peers and of whoever reads the log count, too; a
// session through the proxy alone takes 224.
var allocationLimits = []struct {
	use    string
	config object // the endpoint is filled in
	inline bool
	limit  uint64
}{
	{"forward", object{}, false, 2450},
	{"tunnel", object{"mode": "tunnel"}, false, 2780},
	{"inline", object{"mode": "inline"}, true, 2780},
}

const (
	// allocationRounds are taken, of which the least counts: what goes on beside the test only adds to one.
	allocationRounds = 7

	// allocationSessions are a round's.
	allocationSessions = 60
)

// TestAllocations bounds what opening and closing a session takes where the plugin is interpreted: in allocations, which
// are steadier than times and what its cost is made of.
func TestAllocations(t *testing.T) {
	root, err := engine.Root()
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := engine.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	service := closingService(t)
	next, err := engine.Proxy("http://" + service)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range allocationLimits {
		t.Run(row.use, func(t *testing.T) {
			if !row.inline {
				row.config["upstreamEndpoint"] = "ws://" + service
			}
			handler, err := plugin.Handler(t.Context(), next, row.config, "allocations-"+row.use)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(handler)
			t.Cleanup(server.Close)
			took := leastAllocations(t, server.Listener.Addr().String())
			t.Logf("a session takes %d allocations", took)
			if took > row.limit {
				t.Errorf("a session takes %d allocations, want %d at most", took, row.limit)
			}
		})
	}
}

// leastAllocations is how many a session takes in the best round. Without the collector nothing pooled is made anew.
func leastAllocations(t *testing.T, addr string) uint64 {
	t.Helper()
	request := []byte(upgrade("GET / HTTP/1.1", "X-Forwarded-Host: a", "X-Forwarded-Proto: http"))
	round := func() uint64 {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range allocationSessions {
			openAndClose(t, addr, request)
		}
		runtime.ReadMemStats(&after)
		return (after.Mallocs - before.Mallocs) / allocationSessions
	}
	round() // what is made on first use
	least := round()
	for range allocationRounds - 1 {
		least = min(least, round())
	}
	return least
}

// usualClose is a client's close frame 1000, under a key of zeros.
var usualClose = []byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8}

// openAndClose is a session of a client that closes it at once.
func openAndClose(t *testing.T, addr string, request []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(rawTimeout))
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	var answer [1024]byte
	n := 0
	for !strings.HasSuffix(string(answer[:n]), "\r\n\r\n") {
		more, err := conn.Read(answer[n:])
		if err != nil {
			t.Fatalf("after %q: %v", answer[:n], err)
		}
		n += more
	}
	if _, err := conn.Write(usualClose); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, answer[:4]); err != nil || answer[0] != usualClose[0] {
		t.Fatalf("the answer to the close frame is %x (%v)", answer[:4], err)
	}
	if rest, err := io.Copy(io.Discard, conn); err != nil || rest > 0 {
		t.Fatalf("behind the answer to the close frame come %d bytes (%v)", rest, err)
	}
}

// closingService is an upstream that answers a close frame and closes its connection.
func closingService(t *testing.T) (addr string) {
	t.Helper()
	server, err := wire.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for t.Context().Err() == nil {
			peer, err := server.Accept()
			if err != nil {
				continue // nobody has come for a while
			}
			go func() {
				defer peer.Close()
				if f, err := peer.ReadFrame(); err == nil {
					_ = peer.Send(f)
				}
			}()
		}
	}()
	return strings.TrimPrefix(server.URL, "ws://")
}

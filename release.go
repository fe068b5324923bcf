package wsfw

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"
)

// releaseTimeout is how long the proxy may take to leave its server's connection to a session.
const releaseTimeout = time.Second

// upstreamOf makes a peer of the server's connection, or of the service where that is not to be had.
// early is what has come after the 101.
func upstreamOf(t *takeover, early []byte) *peer {
	if t.server == nil {
		return servicePeer(t.service, early)
	}
	more, ok := release(t.server, t.service)
	early = append(early, more...)
	if !ok {
		return servicePeer(t.service, early)
	}
	x := newPeer(upstreamPeer, t.server)
	if len(early) > 0 {
		x.reader = after(early, t.server)
	}
	return x
}

// release has Traefik's proxy leave its server's connection to the session, which then needs none of the
// proxy's goroutines and buffers of 32 KiB, and passes each message on once. early is what the proxy has
// read before. It is not ok where the proxy goes on.
//
// All that the proxy reads from now on comes too late, but for what is buffered already. For that it
// closes its client's connection, where it is held up until the session has ended: so Traefik still
// counts the request, and nobody closes the server's connection.
func release(server net.Conn, c *service) (early []byte, ok bool) {
	_ = server.SetReadDeadline(past)
	_ = c.reads.SetReadDeadline(time.Now().Add(releaseTimeout))
	early, err := io.ReadAll(c.reads)
	_ = server.SetReadDeadline(time.Time{})
	if err != nil {
		_ = c.reads.SetReadDeadline(time.Time{})
		return early, false
	}
	_ = c.farReads.Close() // no end of stream, which the proxy would pass on to its server
	return early, true
}

// mostFrames is how many frames of a stack there are to be seen: runtime.Stack tells no more than 100.
const mostFrames = 128

// takers has, by the return addresses of a stack, whether that is the proxy's: from string to bool. There
// are as many as there are ways through the middlewares behind wsfw. To read a stack as text takes as long
// as a tenth of a handshake.
var takers sync.Map

// byProxy reports whether it is Traefik's proxy that takes the connection over.
func byProxy() bool {
	frames := make([]uintptr, mostFrames)
	way := fmt.Sprint(frames[:runtime.Callers(0, frames)])
	known, ok := takers.Load(way)
	if ok {
		return known.(bool)
	}
	yes := readStack()
	takers.Store(way, yes)
	return yes
}

// readStack is byProxy for a stack that has not been seen before.
func readStack() bool {
	buf := borrow(&largeBuffers, largeBuffer)
	yes := leadsToProxy((*buf)[:runtime.Stack(*buf, false)])
	largeBuffers.Put(buf)
	return yes
}

// leadsToProxy reports whether a stack, from Hijack on, leads to net/http's proxy: its server is
// the one that its transport has connected to last. Another plugin between it and us may have put
// something between its connection and ours: that would be a second interpreted function.
func leadsToProxy(stack []byte) bool {
	ours, _, found := bytes.Cut(stack, []byte("net/http/httputil.(*ReverseProxy).handleUpgradeResponse("))
	return found && bytes.Count(ours, []byte("yaegi/interp.genFunctionWrapper")) <= 1
}

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// TestUpstreamConnectTimeout is about an address that takes no connection and refuses none.
func TestUpstreamConnectTimeout(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		endpoint := "ws://" + fullAddr(t)
		gateway := forwardTo(t, e, endpoint, object{"connectTimeout": "100ms"})
		peerDial(t, gateway, upgrade("GET / HTTP/1.1")).refusal(t, http.StatusGatewayTimeout)
		checkComplaint(t, gateway, endpoint)
	})
}

// fullAddr is an address on which somebody listens who takes no more connections: with a backlog that is full,
// Linux drops what asks for one.
func fullAddr(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	for {
		conn, err := net.DialTimeout("tcp", addr, 50*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
}

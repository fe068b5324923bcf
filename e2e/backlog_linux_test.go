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

// TestUpstreamOfSeveralAddresses is about a name whose first address takes no connection: the second has its share of
// connectTimeout, however short that is.
func TestUpstreamOfSeveralAddresses(t *testing.T) {
	onOwnMachine(t, func(t *testing.T) {
		_, port, err := net.SplitHostPort(fullAddr(t))
		if err != nil {
			t.Fatal(err)
		}
		second, err := net.Listen("tcp", net.JoinHostPort("127.0.0.2", port))
		if err != nil {
			t.Fatal(err)
		}
		upstream := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) })}
		go func() { _ = upstream.Serve(second) }() // which fails when it is closed
		t.Cleanup(func() { upstream.Close() })
		addHosts(t, "127.0.0.1 several.test\n127.0.0.2 several.test\n")
		for _, e := range engine.All() {
			for _, timeout := range []string{"1s", "2s", "5s"} {
				t.Run(e.Name()+"/"+timeout, func(t *testing.T) {
					gateway := forwardTo(t, e, "ws://several.test:"+port, object{"connectTimeout": timeout})
					resp, _ := exchange(t, gateway.Addr, upgrade("GET / HTTP/1.1"))
					if resp.StatusCode != http.StatusNoContent {
						t.Errorf("status is %d, want the second address's 204", resp.StatusCode)
					}
				})
			}
		}
	})
}

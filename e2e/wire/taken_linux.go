package wire

import (
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"syscall"
	"time"
)

// Taken waits until the other end's program, which runs on this machine, has read all that has been sent. It asks the
// kernel about the other end's socket, so that writes before and after it are never one read. Of a stream the kernel
// knows nothing: then the other end is but let run.
func (p *Peer) Taken() error {
	if _, alone := p.Conn.(tcp); !alone {
		runtime.Gosched()
		return nil
	}
	here, there := p.LocalAddr().(*net.TCPAddr), p.RemoteAddr().(*net.TCPAddr)
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, syscall.NETLINK_INET_DIAG)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	for {
		waiting, err := receiveQueue(fd, there, here)
		if err != nil || waiting == 0 {
			return err
		}
		// The kernel has no event for this. Whoever spins instead keeps the runtime from its network poller.
		time.Sleep(20 * time.Microsecond)
	}
}

// Offsets and sizes from linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const (
	sockDiagByFamily = 20
	headerSize       = 16
	requestSize      = headerSize + 56
	replyQueueAt     = headerSize + 4 + 48 + 4 // inet_diag_msg.idiag_rqueue
	allStates        = 0xFFFFFFFF
)

// receiveQueue is how many bytes the socket at local, connected to remote, holds unread.
func receiveQueue(fd int, local, remote *net.TCPAddr) (uint32, error) {
	b := make([]byte, requestSize)
	order := binary.NativeEndian
	order.PutUint32(b, requestSize)
	order.PutUint16(b[4:], sockDiagByFamily)
	order.PutUint16(b[6:], syscall.NLM_F_REQUEST)
	request := b[headerSize:]
	request[0], request[1] = syscall.AF_INET, syscall.IPPROTO_TCP
	order.PutUint32(request[4:], allStates)
	binary.BigEndian.PutUint16(request[8:], uint16(local.Port))
	binary.BigEndian.PutUint16(request[10:], uint16(remote.Port))
	copy(request[12:], local.IP.To4())
	copy(request[28:], remote.IP.To4())
	order.PutUint64(request[48:], 1<<64-1) // INET_DIAG_NOCOOKIE
	if err := syscall.Sendto(fd, b, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return 0, err
	}
	reply := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(fd, reply, 0)
	if err != nil {
		return 0, err
	}
	if n < replyQueueAt+4 || order.Uint16(reply[4:]) != sockDiagByFamily {
		return 0, errors.New("the kernel does not know the other end's socket")
	}
	return order.Uint32(reply[replyQueueAt:]), nil
}

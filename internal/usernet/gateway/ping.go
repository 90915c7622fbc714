package gateway

import (
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// pings are a guest's echo requests to the world outside, each on a socket of its
// own, where the host lets users make such sockets (net.ipv4.ping_group_range).
type pings struct {
	sync.Mutex
	open    map[*os.File]struct{}
	closing bool
}

// pingOut passes an ICMP message on if it is an echo request to where the guest
// may connect, and its answer back. It reports false for all others.
func (p *port) pingOut(from, to netip.Addr, message []byte) bool {
	request := byte(header.ICMPv4Echo)
	domain, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if to.Is6() {
		request, domain, protocol = byte(header.ICMPv6EchoRequest), unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	if len(message) < header.ICMPv4MinimumSize || message[0] != request || message[1] != 0 || !p.outbound.Allows(to) {
		return false
	}
	f := p.pings.start(domain, protocol)
	if f == nil {
		return false
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(to.AsSlice()[:4])}
	if to.Is6() {
		sa = &unix.SockaddrInet6{Addr: to.As16()}
	}
	raw, err := f.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			if err = unix.Connect(int(fd), sa); err == nil {
				_, err = unix.Write(int(fd), message)
			}
		})
	}
	if err != nil {
		p.pings.end(f)
		return false
	}
	p.use()
	id := header.ICMPv4(message).Ident()
	p.work.Go(func() {
		defer p.pings.end(f)
		f.SetReadDeadline(time.Now().Add(pingIdle))
		if b, n, err := readPacket(raw); err == nil {
			if reply := (*b)[:n]; n >= header.ICMPv4MinimumSize {
				p.network.transmitEcho(to, from, id, header.ICMPv4(reply).Sequence(), reply[header.ICMPv4MinimumSize:])
			}
			buffers.Put(b)
		}
	})
	return true
}

// start makes a socket for one request, nil if there are too many or it may not.
func (ps *pings) start(domain, protocol int) *os.File {
	ps.Lock()
	defer ps.Unlock()
	if ps.closing || len(ps.open) >= maxPings {
		return nil
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "ping")
	if ps.open == nil {
		ps.open = map[*os.File]struct{}{}
	}
	ps.open[f] = struct{}{}
	return f
}

func (ps *pings) end(f *os.File) {
	ps.Lock()
	delete(ps.open, f)
	ps.Unlock()
	f.Close()
}

func (ps *pings) closeAll() {
	ps.Lock()
	defer ps.Unlock()
	ps.closing = true
	for f := range ps.open {
		f.SetReadDeadline(time.Now())
	}
}

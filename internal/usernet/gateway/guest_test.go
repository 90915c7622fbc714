package gateway

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"gocat/internal/usernet"
)

// testNetwork makes a network as --net asks for it, with more options set by more.
func testNetwork(t testing.TB, spec string, more func(*Options)) *Network {
	t.Helper()
	c, err := usernet.Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Config: c, Connections: 4096}
	if more != nil {
		more(&opt)
	}
	n, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stack.Close)
	return n
}

// socketpair returns the gateway's end of a guest's device, and the guest's.
func socketpair(t testing.TB) (theirs *os.File, guest int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range pair {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	}
	return os.NewFile(uintptr(pair[0]), "frames"), pair[1]
}

// peer is a guest that has joined: its end of the device, and what it got.
type peer struct {
	testing.TB
	Joined
	fd      int
	mac     [6]byte
	network *Network
	port    *port
}

func macOf(number byte) [6]byte { return [6]byte{2, 0, 0, 0, 0, number} }

// join has guest number join; its end is closed when the test ends.
func join(t testing.TB, n *Network, number byte, name string, listens ...Listen) *peer {
	t.Helper()
	theirs, fd := socketpair(t)
	p := &peer{TB: t, fd: fd, mac: macOf(number), network: n}
	var err error
	p.Joined, err = n.Join(Guest{Name: name, MAC: p.mac, Frames: theirs, Outbound: n.opt.Outbound, Listens: listens})
	if err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	p.port = n.portOf(p.IPv4)
	t.Cleanup(func() {
		p.leave()
		select {
		case <-p.Done:
		case <-time.After(30 * time.Second):
			t.Error("a guest that has gone is not cleaned up")
		}
	})
	return p
}

// leave ends the guest.
func (p *peer) leave() {
	if p.fd >= 0 {
		unix.Shutdown(p.fd, unix.SHUT_RDWR)
		unix.Close(p.fd)
		p.fd = -1
	}
}

// write sends a frame, waiting while the gateway is behind.
func (p *peer) write(frame []byte) {
	p.Helper()
	for {
		_, err := unix.Write(p.fd, frame)
		if err == unix.EAGAIN {
			unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}, 1000)
			continue
		}
		if err != nil && err != unix.EINTR {
			p.Fatal("write a frame: ", err)
		}
		return
	}
}

// read returns the next frame that want takes, nil if none comes in time.
func (p *peer) read(timeout time.Duration, want func([]byte) bool) []byte {
	b := make([]byte, 1<<16)
	for end := time.Now().Add(timeout); ; {
		n, err := unix.Read(p.fd, b)
		if err == nil && n > 0 && want(b[:n]) {
			return b[:n]
		}
		if err == unix.EAGAIN {
			left := time.Until(end)
			if left <= 0 {
				return nil
			}
			unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		} else if err != nil && err != unix.EINTR || n == 0 && err == nil {
			return nil
		}
	}
}

// inside is a guest with a TCP/IP stack of its own.
type inside struct {
	*peer
	stack *stack.Stack
	addr  netip.Addr
}

// boot gives the guest a stack with an address.
func (p *peer) boot(addresses ...netip.Addr) *inside {
	p.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		p.Fatal(err)
	}
	ep, err := fdbased.New(&fdbased.Options{
		FDs: []int{fd}, MTU: uint32(p.network.opt.MTU), EthernetHeader: true,
		Address: tcpip.LinkAddress(p.mac[:]), PacketDispatchMode: fdbased.Readv,
	})
	if err != nil {
		p.Fatal(err)
	}
	if err := s.CreateNIC(1, ep); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		p.leave()
		ep.Wait() // it reads fd until then, and the number is soon another's
		s.Close()
		unix.Close(fd)
	})
	in := &inside{peer: p, stack: s, addr: p.IPv4}
	if len(addresses) > 0 {
		in.addr = addresses[0]
	}
	for _, a := range append([]netip.Addr{in.addr}, addresses[min(1, len(addresses)):]...) {
		bits := p.network.opt.Net4.Bits()
		if a.Is6() {
			bits = 64
		}
		if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: protocolOf(a),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(a), PrefixLen: bits}}, stack.AddressProperties{}); err != nil {
			p.Fatal(err)
		}
	}
	route := func(prefix netip.Prefix) tcpip.Subnet {
		sub, err := tcpip.NewSubnet(address(prefix.Addr()), tcpip.MaskFromBytes(net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())))
		if err != nil {
			p.Fatal(err)
		}
		return sub
	}
	c := &p.network.opt.Config
	table := []tcpip.Route{
		{Destination: route(c.Net4), NIC: 1},
		{Destination: header.IPv4EmptySubnet, Gateway: address(c.Gateway4()), NIC: 1},
	}
	if c.Net6.IsValid() {
		table = append(table, tcpip.Route{Destination: route(c.Net6), NIC: 1},
			tcpip.Route{Destination: header.IPv6EmptySubnet, Gateway: address(LinkLocal), NIC: 1})
	}
	s.SetRouteTable(table)
	return in
}

func full(to netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: address(to.Addr()), Port: to.Port()}
}

// dial connects from inside.
func (in *inside) dial(to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, in.stack, full(to), protocolOf(to.Addr()))
	if err != nil {
		return nil, err
	}
	return c, nil
}

// dialUDP makes a datagram socket inside.
func (in *inside) dialUDP(to netip.AddrPort) *gonet.UDPConn {
	in.Helper()
	remote := full(to)
	c, err := gonet.DialUDP(in.stack, nil, &remote, protocolOf(to.Addr()))
	if err != nil {
		in.Fatal(err)
	}
	in.Cleanup(func() { c.Close() })
	return c
}

// listen listens inside.
func (in *inside) listen(port uint16) net.Listener {
	in.Helper()
	l, err := gonet.ListenTCP(in.stack, full(netip.AddrPortFrom(in.addr, port)), protocolOf(in.addr))
	if err != nil {
		in.Fatal(err)
	}
	in.Cleanup(func() { l.Close() })
	return l
}

// hostTCP listens on the host's loopback address.
func hostTCP(t testing.TB) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener), l.Addr().(*net.TCPAddr).AddrPort()
}

// hostUDP is a datagram socket on the host's loopback address.
func hostUDP(t testing.TB) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: ", what)
		}
	}
}

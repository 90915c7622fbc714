package net

import (
	"bytes"
	"encoding/binary"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// inet is a socket of IPv4 or IPv6.
type inet struct {
	ep    tcpip.Endpoint
	queue *waiter.Queue
	fam   int // AF_INET or AF_INET6
	typ   int // SOCK_STREAM, SOCK_DGRAM or SOCK_RAW
	proto int
}

const maxBacklog = 4096

// newInet makes a socket as socket(2) does.
func newInet(fam, typ, proto int) (protocol, syscall.Errno) {
	network := ipv4.ProtocolNumber
	if fam == syscall.AF_INET6 {
		network = ipv6.ProtocolNumber
	}
	s := &inet{queue: new(waiter.Queue), fam: fam, typ: typ, proto: proto}
	var transport tcpip.TransportProtocolNumber
	switch typ {
	case syscall.SOCK_STREAM:
		if proto != 0 && proto != syscall.IPPROTO_TCP {
			return nil, syscall.EPROTONOSUPPORT
		}
		transport, s.proto = tcp.ProtocolNumber, syscall.IPPROTO_TCP
	case syscall.SOCK_DGRAM:
		switch {
		case proto == 0 || proto == syscall.IPPROTO_UDP:
			transport, s.proto = udp.ProtocolNumber, syscall.IPPROTO_UDP
		case fam == syscall.AF_INET && proto == syscall.IPPROTO_ICMP:
			transport = icmp.ProtocolNumber4
		case fam == syscall.AF_INET6 && proto == syscall.IPPROTO_ICMPV6:
			transport = icmp.ProtocolNumber6
		default:
			return nil, syscall.EPROTONOSUPPORT
		}
	case syscall.SOCK_RAW:
		if proto <= 0 || proto > 255 {
			return nil, syscall.EPROTONOSUPPORT
		}
		ep, err := theStack().NewRawEndpoint(tcpip.TransportProtocolNumber(proto), network, s.queue, true)
		s.ep = ep
		return s, errno(err)
	default:
		return nil, syscall.ESOCKTNOSUPPORT
	}
	ep, err := theStack().NewEndpoint(transport, network, s.queue)
	s.ep = ep
	return s, errno(err)
}

func (s *inet) bind(name []byte) syscall.Errno {
	a, e := decode(s.fam, name)
	if e != 0 {
		return e
	}
	if a.Addr.Len() > 0 && !ours(a.Addr) {
		awaitAddress()
	}
	return errno(s.ep.Bind(a))
}

// destination is where to send for a socket address: no address is this host.
func (s *inet) destination(name []byte) (tcpip.FullAddress, syscall.Errno) {
	a, e := decode(s.fam, name)
	if e == 0 && a.Addr.Len() == 0 {
		a.Addr = header.IPv6Loopback
		if s.fam == syscall.AF_INET {
			a.Addr = loopback4
		}
	}
	if e == 0 && !ours(a.Addr) {
		awaitAddress()
	}
	return a, e
}

func (s *inet) connect(name []byte) syscall.Errno {
	if family(name) == syscall.AF_UNSPEC {
		if s.typ == syscall.SOCK_STREAM {
			return syscall.EINVAL
		}
		return errno(s.ep.Disconnect())
	}
	a, e := s.destination(name)
	if e != 0 {
		return e
	}
	if s.typ == syscall.SOCK_STREAM && tcp.EndpointState(s.ep.State()) == tcp.StateListen {
		return syscall.EISCONN
	}
	return unreachable(s.ep.Connect(a))
}

// unreachable is errno for calls that look for a route: a missing route is
// reported immediately, a host that does not answer later.
func unreachable(err tcpip.Error) syscall.Errno {
	if _, ok := err.(*tcpip.ErrHostUnreachable); ok {
		return syscall.ENETUNREACH
	}
	return errno(err)
}

func (s *inet) listen(backlog int) syscall.Errno {
	if s.typ != syscall.SOCK_STREAM {
		return syscall.EOPNOTSUPP
	}
	if tcp.EndpointState(s.ep.State()) == tcp.StateInitial {
		if err := s.ep.Bind(tcpip.FullAddress{}); err != nil {
			return errno(err)
		}
	}
	if backlog < 0 || backlog > maxBacklog {
		backlog = maxBacklog
	}
	return errno(s.ep.Listen(max(backlog, 1)))
}

func (s *inet) accept() (protocol, syscall.Errno) {
	if s.typ != syscall.SOCK_STREAM {
		return nil, syscall.EOPNOTSUPP
	}
	ep, queue, err := s.ep.Accept(nil)
	if err != nil {
		return nil, errno(err)
	}
	return &inet{ep, queue, s.fam, s.typ, s.proto}, 0
}

func (s *inet) send(m *message) (int, syscall.Errno) {
	if m.flags&syscall.MSG_OOB != 0 {
		return 0, syscall.EOPNOTSUPP
	}
	options := tcpip.WriteOptions{
		More: m.flags&syscall.MSG_MORE != 0, EndOfRecord: m.flags&syscall.MSG_EOR != 0,
		Atomic: s.typ != syscall.SOCK_STREAM,
	}
	if len(m.name) > 0 && s.typ != syscall.SOCK_STREAM {
		to, e := s.destination(m.name)
		if e != 0 {
			return 0, e
		}
		options.To = &to
	}
	if e := sendControl(m.control, &options.ControlMessages); e != 0 {
		return 0, e
	}
	if s.typ == syscall.SOCK_STREAM && len(m.data) == 0 {
		return 0, 0
	}
	n, err := s.ep.Write(bytes.NewReader(m.data), options)
	if n > 0 && s.typ == syscall.SOCK_STREAM {
		return int(n), 0
	}
	if _, unbound := err.(*tcpip.ErrInvalidEndpointState); unbound && s.typ == syscall.SOCK_STREAM {
		return 0, syscall.EPIPE
	}
	return int(n), unreachable(err)
}

func (s *inet) receive(m *message) (int, syscall.Errno) {
	if m.flags&syscall.MSG_OOB != 0 {
		return 0, syscall.EINVAL
	}
	if s.typ == syscall.SOCK_STREAM && len(m.data) == 0 {
		return 0, 0
	}
	to := tcpip.SliceWriter(m.data)
	r, err := s.ep.Read(&to, tcpip.ReadOptions{Peek: m.flags&syscall.MSG_PEEK != 0, NeedRemoteAddr: m.wantName})
	m.control, m.name, m.result = nil, nil, 0
	if _, end := err.(*tcpip.ErrClosedForReceive); end {
		return 0, 0
	}
	if _, short := err.(*tcpip.ErrBadBuffer); err != nil && !(short && s.typ != syscall.SOCK_STREAM) {
		return 0, errno(err)
	}
	m.whole = r.Count
	if s.typ != syscall.SOCK_STREAM {
		m.whole = r.Total
		if m.wantName {
			m.name = encode(s.fam, r.RemoteAddr)
		}
		if r.Total > r.Count {
			m.result |= syscall.MSG_TRUNC
		}
		m.control = receiveControl(&r.ControlMessages)
	}
	return r.Count, 0
}

func (s *inet) shutdown(how int) syscall.Errno {
	flags, e := shutdownFlags(how)
	if e != 0 {
		return e
	}
	return errno(s.ep.Shutdown(flags))
}

func shutdownFlags(how int) (tcpip.ShutdownFlags, syscall.Errno) {
	switch how {
	case syscall.SHUT_RD:
		return tcpip.ShutdownRead, 0
	case syscall.SHUT_WR:
		return tcpip.ShutdownWrite, 0
	case syscall.SHUT_RDWR:
		return tcpip.ShutdownRead | tcpip.ShutdownWrite, 0
	}
	return 0, syscall.EINVAL
}

func (s *inet) local() ([]byte, syscall.Errno) {
	a, err := s.ep.GetLocalAddress()
	if err != nil {
		return nil, errno(err)
	}
	return encode(s.fam, a), 0
}

func (s *inet) remote() ([]byte, syscall.Errno) {
	a, err := s.ep.GetRemoteAddress()
	if err != nil {
		return nil, errno(err)
	}
	return encode(s.fam, a), 0
}

func (s *inet) ready(mask waiter.EventMask) waiter.EventMask { return s.ep.Readiness(mask) }
func (s *inet) events() *waiter.Queue                        { return s.queue }
func (s *inet) close()                                       { s.ep.Close() }
func (s *inet) domain() int                                  { return s.fam }
func (s *inet) kind() int                                    { return s.typ }
func (s *inet) number() int                                  { return s.proto }

// Control messages: struct cmsghdr, then data, each at a multiple of 8.
const controlHeader = 16

func appendControl(b []byte, level, typ int, data []byte) []byte {
	b = binary.NativeEndian.AppendUint64(b, uint64(controlHeader+len(data)))
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(typ))
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&7)...)
}

// eachControl calls f with each control message in b.
func eachControl(b []byte, f func(level, typ int, data []byte) syscall.Errno) syscall.Errno {
	for len(b) >= controlHeader {
		n := binary.NativeEndian.Uint64(b)
		if n < controlHeader || n > uint64(len(b)) {
			return syscall.EINVAL
		}
		level, typ := int(int32(binary.NativeEndian.Uint32(b[8:]))), int(int32(binary.NativeEndian.Uint32(b[12:])))
		if e := f(level, typ, b[controlHeader:n]); e != 0 {
			return e
		}
		b = b[min((n+7)&^7, uint64(len(b))):]
	}
	return 0
}

// sendControl reads control messages of IP. Those that choose an IPv4 source are
// taken and do nothing: a host with one address has no choice.
func sendControl(b []byte, c *tcpip.SendableControlMessages) syscall.Errno {
	return eachControl(b, func(level, typ int, data []byte) syscall.Errno {
		value := func() int32 {
			if len(data) < 4 {
				return -1
			}
			return int32(binary.NativeEndian.Uint32(data))
		}
		switch {
		case level == syscall.IPPROTO_IP && typ == syscall.IP_TTL:
			c.HasTTL, c.TTL = true, uint8(value())
		case level == syscall.IPPROTO_IPV6 && typ == syscall.IPV6_HOPLIMIT:
			c.HasHopLimit, c.HopLimit = true, uint8(value())
		case level == syscall.IPPROTO_IPV6 && typ == syscall.IPV6_PKTINFO:
			if len(data) < 20 {
				return syscall.EINVAL
			}
			if addr := [16]byte(data); addr != [16]byte{} {
				c.HasIPv6PacketInfo = true
				c.IPv6PacketInfo = tcpip.IPv6PacketInfo{Addr: tcpip.AddrFrom16(addr), NIC: tcpip.NICID(binary.NativeEndian.Uint32(data[16:]))}
			}
		case level == syscall.IPPROTO_IP, level == syscall.IPPROTO_IPV6, level == syscall.SOL_SOCKET:
		default:
			return syscall.EINVAL
		}
		return 0
	})
}

func receiveControl(c *tcpip.ReceivableControlMessages) (b []byte) {
	number := func(v int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(v)) }
	if c.HasTTL {
		b = appendControl(b, syscall.IPPROTO_IP, syscall.IP_TTL, number(int(c.TTL)))
	}
	if c.HasTOS {
		b = appendControl(b, syscall.IPPROTO_IP, syscall.IP_TOS, []byte{c.TOS})
	}
	if c.HasHopLimit {
		b = appendControl(b, syscall.IPPROTO_IPV6, syscall.IPV6_HOPLIMIT, number(int(c.HopLimit)))
	}
	if c.HasTClass {
		b = appendControl(b, syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, number(int(c.TClass)))
	}
	if c.HasIPPacketInfo {
		info := binary.NativeEndian.AppendUint32(nil, uint32(c.PacketInfo.NIC))
		info = append(append(info, c.PacketInfo.LocalAddr.AsSlice()...), c.PacketInfo.DestinationAddr.AsSlice()...)
		b = appendControl(b, syscall.IPPROTO_IP, syscall.IP_PKTINFO, info)
	}
	if c.HasIPv6PacketInfo {
		info := c.IPv6PacketInfo.Addr.As16()
		b = appendControl(b, syscall.IPPROTO_IPV6, syscall.IPV6_PKTINFO,
			binary.NativeEndian.AppendUint32(info[:], uint32(c.IPv6PacketInfo.NIC)))
	}
	return b
}

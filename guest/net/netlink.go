package net

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// netlink is a socket of NETLINK_ROUTE, which lists interfaces and addresses to
// whoever asks, and knows nothing else.
type netlink struct {
	typ   int
	queue waiter.Queue
	mu    sync.Mutex
	in    [][]byte
}

func newNetlink(typ, proto int) (protocol, syscall.Errno) {
	if typ != syscall.SOCK_RAW && typ != syscall.SOCK_DGRAM {
		return nil, syscall.ESOCKTNOSUPPORT
	}
	if proto != syscall.NETLINK_ROUTE {
		return nil, syscall.EPROTONOSUPPORT
	}
	return &netlink{typ: typ}, 0
}

// netlinkName is struct sockaddr_nl of a port.
func netlinkName(port uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, syscall.AF_NETLINK)
	b = binary.NativeEndian.AppendUint32(b, port)
	return binary.NativeEndian.AppendUint32(b, 0)
}

const netlinkPort = 1

func (s *netlink) send(m *message) (int, syscall.Errno) {
	if len(m.data) < syscall.NLMSG_HDRLEN {
		return 0, syscall.EINVAL
	}
	typ, sequence := binary.NativeEndian.Uint16(m.data[4:]), binary.NativeEndian.Uint32(m.data[8:])
	var answers [][]byte
	switch typ {
	case syscall.RTM_GETLINK:
		answers = links(sequence)
	case syscall.RTM_GETADDR:
		answers = addresses(sequence)
	case syscall.RTM_GETROUTE:
	default:
		failure := binary.NativeEndian.AppendUint32(nil, ^uint32(syscall.EOPNOTSUPP)+1)
		answers = [][]byte{netlinkMessage(syscall.NLMSG_ERROR, 0, sequence, append(failure, m.data[:syscall.NLMSG_HDRLEN]...))}
	}
	answers = append(answers, netlinkMessage(syscall.NLMSG_DONE, syscall.NLM_F_MULTI, sequence, make([]byte, 4)))
	s.mu.Lock()
	s.in = append(s.in, answers...)
	s.mu.Unlock()
	s.queue.Notify(waiter.EventIn)
	return len(m.data), 0
}

func netlinkMessage(typ, flags int, sequence uint32, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(syscall.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, uint16(typ))
	b = binary.NativeEndian.AppendUint16(b, uint16(flags))
	b = binary.NativeEndian.AppendUint32(b, sequence)
	b = binary.NativeEndian.AppendUint32(b, netlinkPort)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...)
}

func attribute(b []byte, typ int, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(syscall.SizeofRtAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, uint16(typ))
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

// nics are the stack's interfaces in the order of their numbers.
func nics() (ids []tcpip.NICID) {
	for id := range theStack().NICInfo() {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b tcpip.NICID) int { return cmp.Compare(a, b) })
	return ids
}

// links lists interfaces: struct ifinfomsg and attributes.
func links(sequence uint32) (all [][]byte) {
	info := theStack().NICInfo()
	for _, id := range nics() {
		nic := info[id]
		flags := uint32(syscall.IFF_UP | syscall.IFF_RUNNING | syscall.IFF_BROADCAST | syscall.IFF_MULTICAST)
		typ := uint16(syscall.ARPHRD_ETHER)
		hardware := []byte(nic.LinkAddress)
		if nic.Flags.Loopback {
			flags, typ, hardware = syscall.IFF_UP|syscall.IFF_RUNNING|syscall.IFF_LOOPBACK, syscall.ARPHRD_LOOPBACK, make([]byte, 6)
		}
		b := binary.NativeEndian.AppendUint16([]byte{syscall.AF_UNSPEC, 0}, typ)
		b = binary.NativeEndian.AppendUint32(b, uint32(id))
		b = binary.NativeEndian.AppendUint32(b, flags)
		b = binary.NativeEndian.AppendUint32(b, ^uint32(0))
		b = attribute(b, syscall.IFLA_IFNAME, append([]byte(nic.Name), 0))
		b = attribute(b, syscall.IFLA_MTU, number(int(nic.MTU)))
		b = attribute(b, syscall.IFLA_ADDRESS, hardware)
		all = append(all, netlinkMessage(syscall.RTM_NEWLINK, syscall.NLM_F_MULTI, sequence, b))
	}
	return all
}

// addresses lists them: struct ifaddrmsg and attributes.
func addresses(sequence uint32) (all [][]byte) {
	info := theStack().NICInfo()
	for _, id := range nics() {
		for _, a := range info[id].ProtocolAddresses {
			ip := a.AddressWithPrefix.Address
			fam := byte(syscall.AF_INET)
			if ip.Len() == 16 {
				fam = syscall.AF_INET6
			}
			scope := byte(syscall.RT_SCOPE_UNIVERSE)
			if info[id].Flags.Loopback {
				scope = syscall.RT_SCOPE_HOST
			} else if b := ip.AsSlice(); len(b) == 16 && b[0] == 0xfe && b[1]&0xc0 == 0x80 {
				scope = syscall.RT_SCOPE_LINK
			}
			const permanent = 0x80
			b := binary.NativeEndian.AppendUint32([]byte{fam, byte(a.AddressWithPrefix.PrefixLen), permanent, scope}, uint32(id))
			b = attribute(b, syscall.IFA_ADDRESS, ip.AsSlice())
			if fam == syscall.AF_INET {
				b = attribute(b, syscall.IFA_LOCAL, ip.AsSlice())
				b = attribute(b, syscall.IFA_LABEL, append([]byte(info[id].Name), 0))
			}
			all = append(all, netlinkMessage(syscall.RTM_NEWADDR, syscall.NLM_F_MULTI, sequence, b))
		}
	}
	return all
}

func (s *netlink) receive(m *message) (int, syscall.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.control, m.name, m.result = nil, nil, 0
	if len(s.in) == 0 {
		return 0, syscall.EAGAIN
	}
	first := s.in[0]
	n := copy(m.data, first)
	m.whole, m.name = len(first), netlinkName(0)
	if n < len(first) {
		m.result = syscall.MSG_TRUNC
	}
	if m.flags&syscall.MSG_PEEK == 0 {
		s.in = s.in[1:]
	}
	return n, 0
}

func (s *netlink) ready(mask waiter.EventMask) waiter.EventMask {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.in) > 0 {
		return (waiter.EventIn | waiter.EventOut) & mask
	}
	return waiter.EventOut & mask
}

func (s *netlink) bind([]byte) syscall.Errno                { return 0 }
func (s *netlink) connect([]byte) syscall.Errno             { return 0 }
func (s *netlink) listen(int) syscall.Errno                 { return syscall.EOPNOTSUPP }
func (s *netlink) accept() (protocol, syscall.Errno)        { return nil, syscall.EOPNOTSUPP }
func (s *netlink) shutdown(int) syscall.Errno               { return syscall.EOPNOTSUPP }
func (s *netlink) local() ([]byte, syscall.Errno)           { return netlinkName(netlinkPort), 0 }
func (s *netlink) remote() ([]byte, syscall.Errno)          { return netlinkName(0), 0 }
func (s *netlink) setOption(int, int, []byte) syscall.Errno { return 0 }
func (s *netlink) option(level, name, _ int) ([]byte, syscall.Errno) {
	if level == syscall.SOL_SOCKET && name == syscall.SO_ERROR {
		return number(0), 0
	}
	return nil, syscall.ENOPROTOOPT
}
func (s *netlink) events() *waiter.Queue { return &s.queue }
func (s *netlink) close()                {}
func (s *netlink) domain() int           { return syscall.AF_NETLINK }
func (s *netlink) kind() int             { return s.typ }
func (s *netlink) number() int           { return syscall.NETLINK_ROUTE }

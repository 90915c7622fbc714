package net

import (
	"encoding/binary"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// setMulticast joins and leaves groups, and sets the interface for sending to
// them.
func (s *inet) setMulticast(key optionName, v []byte) syscall.Errno {
	nic, local, group, e := multicastRequest(key, v)
	if e != 0 {
		return e
	}
	switch key.name {
	case syscall.IP_MULTICAST_IF, syscall.IPV6_MULTICAST_IF:
		return errno(s.ep.SetSockOpt(&tcpip.MulticastInterfaceOption{NIC: nic, InterfaceAddr: local}))
	case syscall.IP_ADD_MEMBERSHIP, syscall.IPV6_JOIN_GROUP:
		if nic == 0 && local.Len() == 0 {
			nic = defaultNIC()
		}
		o := tcpip.AddMembershipOption{NIC: nic, InterfaceAddr: local, MulticastAddr: group}
		return errno(s.ep.SetSockOpt(&o))
	}
	if nic == 0 && local.Len() == 0 {
		nic = defaultNIC()
	}
	o := tcpip.RemoveMembershipOption{NIC: nic, InterfaceAddr: local, MulticastAddr: group}
	return errno(s.ep.SetSockOpt(&o))
}

// multicastRequest reads struct ip_mreq, ip_mreqn or ipv6_mreq, or an interface
// alone.
func multicastRequest(key optionName, v []byte) (nic tcpip.NICID, local, group tcpip.Address, e syscall.Errno) {
	index := func(at int) tcpip.NICID { return tcpip.NICID(binary.NativeEndian.Uint32(v[at:])) }
	address := func(at int) (a tcpip.Address) {
		if ip := [4]byte(v[at : at+4]); ip != [4]byte{} {
			a = tcpip.AddrFrom4(ip)
		}
		return a
	}
	alone := key.name == syscall.IP_MULTICAST_IF && key.level == syscall.IPPROTO_IP
	switch {
	case key.level == syscall.IPPROTO_IPV6 && key.name == syscall.IPV6_MULTICAST_IF && len(v) >= 4:
		return index(0), local, group, 0
	case key.level == syscall.IPPROTO_IPV6 && key.name != syscall.IPV6_MULTICAST_IF && len(v) >= 20:
		return index(16), local, tcpip.AddrFrom16([16]byte(v)), 0
	case key.level == syscall.IPPROTO_IP && len(v) >= 12:
		return index(8), address(4), address(0), 0
	case key.level == syscall.IPPROTO_IP && len(v) >= 8:
		return 0, address(4), address(0), 0
	case alone && len(v) >= 4:
		return 0, address(0), group, 0
	}
	return 0, local, group, syscall.EINVAL
}

// bindToDevice is SO_BINDTODEVICE: the name of an interface, or none.
func (s *inet) bindToDevice(v []byte) syscall.Errno {
	name := cString(v)
	if name == "" {
		return errno(s.ep.SocketOptions().SetBindToDevice(0))
	}
	for id, info := range theStack().NICInfo() {
		if info.Name == name {
			return errno(s.ep.SocketOptions().SetBindToDevice(int32(id)))
		}
	}
	return syscall.ENODEV
}

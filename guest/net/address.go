package net

import (
	"encoding/binary"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// Sizes of struct sockaddr_in, sockaddr_in6 and sockaddr_un in bytes.
const (
	sizeInet4 = 16
	sizeInet6 = 28
	sizeUnix  = 110
	maxName   = 128 // struct sockaddr_storage
)

func family(name []byte) int {
	if len(name) < 2 {
		return -1
	}
	return int(binary.NativeEndian.Uint16(name))
}

// decode reads a socket address for a socket of a family, AF_INET or AF_INET6.
// The address of no host is the empty one.
func decode(fam int, name []byte) (a tcpip.FullAddress, e syscall.Errno) {
	if len(name) < 2 {
		return a, syscall.EINVAL
	}
	if family(name) != fam {
		return a, syscall.EAFNOSUPPORT
	}
	if fam == syscall.AF_INET {
		if len(name) < sizeInet4 {
			return a, syscall.EINVAL
		}
		a.Port = binary.BigEndian.Uint16(name[2:])
		if ip := [4]byte(name[4:8]); ip != [4]byte{} {
			a.Addr = tcpip.AddrFrom4(ip)
		}
		return a, 0
	}
	const withoutScope = 24
	if len(name) < withoutScope {
		return a, syscall.EINVAL
	}
	a.Port = binary.BigEndian.Uint16(name[2:])
	ip := [16]byte(name[8:24])
	if ip != [16]byte{} {
		a.Addr = tcpip.AddrFrom16(ip)
	}
	if linkLocal := ip[0] == 0xfe && ip[1]&0xc0 == 0x80 || ip[0] == 0xff && ip[1]&0xf == 2; linkLocal && len(name) >= sizeInet6 {
		a.NIC = tcpip.NICID(binary.NativeEndian.Uint32(name[24:]))
	}
	return a, 0
}

// encode writes the socket address of a socket of a family. For an IPv6 socket an
// IPv4 address is mapped.
func encode(fam int, a tcpip.FullAddress) []byte {
	if fam == syscall.AF_INET {
		b := make([]byte, sizeInet4)
		binary.NativeEndian.PutUint16(b, syscall.AF_INET)
		binary.BigEndian.PutUint16(b[2:], a.Port)
		if a.Addr.Len() == 4 {
			copy(b[4:], a.Addr.AsSlice())
		}
		return b
	}
	b := make([]byte, sizeInet6)
	binary.NativeEndian.PutUint16(b, syscall.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], a.Port)
	switch a.Addr.Len() {
	case 4:
		b[18], b[19] = 0xff, 0xff
		copy(b[20:], a.Addr.AsSlice())
	case 16:
		ip := a.Addr.As16()
		copy(b[8:], ip[:])
		if ip[0] == 0xfe && ip[1]&0xc0 == 0x80 {
			binary.NativeEndian.PutUint32(b[24:], uint32(a.NIC))
		}
	}
	return b
}

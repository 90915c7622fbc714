package helper

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/usernet"
)

// passed returns the sockets that a service manager has passed to the guest's process,
// which is this one's parent, by the published port that each becomes. It names
// descriptors as that process had them.
func passed(r *usernet.Request, publish []usernet.Publish) (map[int]int, error) {
	n, err := usernet.Passed(os.Getenv, os.Getppid(), len(publish)+len(r.Taken))
	if err != nil {
		return nil, err
	}
	var sockets []socket
	for i := range n {
		number := device.FirstPassed + i
		if slices.Contains(r.Taken, number) {
			continue
		}
		s, err := look(device.UserPassed + i)
		if err != nil {
			return nil, fmt.Errorf("descriptor %d, which LISTEN_FDS passes, %w", number, err)
		}
		s.number = number
		sockets = append(sockets, s)
	}
	return match(sockets, publish)
}

// socket is one that was passed.
type socket struct {
	number int // where the guest's process had it
	fd     int
	udp    bool
	bound  netip.AddrPort
}

// look says what a descriptor is, or what is wrong with it.
func look(fd int) (s socket, err error) {
	get := func(option int) int {
		v, e := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		if e != nil {
			err = e
		}
		return v
	}
	domain, kind, listens := get(unix.SO_DOMAIN), get(unix.SO_TYPE), get(unix.SO_ACCEPTCONN)
	switch err {
	case nil:
	case unix.EBADF:
		return s, fmt.Errorf("is not open")
	default:
		return s, fmt.Errorf("is not a socket")
	}
	s.fd, s.udp = fd, kind == unix.SOCK_DGRAM
	if domain != unix.AF_INET && domain != unix.AF_INET6 || !s.udp && kind != unix.SOCK_STREAM {
		return s, fmt.Errorf("is a socket of neither TCP nor UDP")
	}
	if !s.udp && listens == 0 {
		return s, fmt.Errorf("does not listen: a guest takes listening sockets (Accept=no)")
	}
	name, err := unix.Getsockname(fd)
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		s.bound = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		s.bound = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	if err == nil && s.bound.Port() == 0 {
		err = fmt.Errorf("has no port")
	}
	return s, err
}

// match finds a published port for each socket: the one of the same number, or else, in
// their order, one that no socket has the number of.
func match(sockets []socket, publish []usernet.Publish) (map[int]int, error) {
	ports := map[int]int{}
	var rest []socket
	find := func(s socket, number bool) bool {
		for i, p := range publish {
			if _, has := ports[i]; !has && p.UDP == s.udp && (!number || p.Host.Port() == s.bound.Port()) {
				ports[i] = s.fd
				return true
			}
		}
		return false
	}
	for _, s := range sockets {
		if !find(s, true) {
			rest = append(rest, s)
		}
	}
	for _, s := range rest {
		if !find(s, false) {
			protocol := usernet.Publish{UDP: s.udp}.Protocol()
			return nil, fmt.Errorf("descriptor %d, which LISTEN_FDS passes, is bound to %v (%s), and no port of the guest is left for it: pass one socket for each --publish", s.number, s.bound, protocol)
		}
	}
	return ports, nil
}

package net

import (
	"syscall"
	"time"
	"unsafe"
)

// Calls that package syscall has no number for, or which are for all (Linux
// asm/unistd_64.h).
const (
	sysRecvMMsg = 299
	sysSendMMsg = 307
)

// Call answers a system call: a result as Linux gives it, negative for an error
// number. p has those of the arguments that are addresses. It may be on the
// caller's stack what they point to, which moves when the stack grows: so they
// are kept in variables that the runtime knows to be pointers, and never stored.
// See view.
//
// Where done is false the call is another's to answer.
func Call(trap uintptr, a [6]uintptr, p [6]unsafe.Pointer) (r int64, done bool) {
	switch trap {
	case syscall.SYS_SOCKET:
		return newSocket(int(int32(a[0])), int(a[1]), int(int32(a[2]))), true
	case syscall.SYS_SOCKETPAIR:
		return socketPair(int(int32(a[0])), int(a[1]), int(int32(a[2])), p[3]), true
	case syscall.SYS_POLL, syscall.SYS_PPOLL:
		timeout := time.Duration(int32(a[2])) * time.Millisecond
		if trap == syscall.SYS_PPOLL {
			timeout = timeoutAt(p[2], time.Nanosecond)
		}
		return pollAt(p[0], a[1], timeout)
	case syscall.SYS_SELECT, syscall.SYS_PSELECT6:
		unit := time.Microsecond
		if trap == syscall.SYS_PSELECT6 {
			unit = time.Nanosecond
		}
		return selectAt(a[0], [3]unsafe.Pointer{p[1], p[2], p[3]}, timeoutAt(p[4], unit))
	case syscall.SYS_DUP2, syscall.SYS_DUP3:
		return duplicateTo(a[0], a[1], trap == syscall.SYS_DUP2), true
	case syscall.SYS_SENDFILE, syscall.SYS_SPLICE:
		return -int64(syscall.EINVAL), true // callers copy instead
	case syscall.SYS_OPENAT:
		return openText(pathAt(p[1]))
	case syscall.SYS_UNLINK:
		return 0, unlink(pathAt(p[0]))
	case syscall.SYS_UNLINKAT:
		return 0, unlink(pathAt(p[1]))
	}
	s, e := lookup(a[0])
	if e != 0 {
		return -int64(e), true
	}
	switch trap {
	case syscall.SYS_READ:
		return s.receiveAt(p[1], a[2], 0, nil, nil), true
	case syscall.SYS_WRITE:
		return s.sendAt(p[1], a[2], 0, nil, 0), true
	case syscall.SYS_RECVFROM:
		return s.receiveAt(p[1], a[2], int(a[3]), p[4], p[5]), true
	case syscall.SYS_SENDTO:
		return s.sendAt(p[1], a[2], int(a[3]), p[4], a[5]), true
	case syscall.SYS_READV, syscall.SYS_WRITEV:
		m := syscall.Msghdr{Iov: (*syscall.Iovec)(p[1]), Iovlen: uint64(a[2])}
		if trap == syscall.SYS_READV {
			return s.receiveHeader(&m, 0), true
		}
		return s.sendHeader(&m, 0), true
	case syscall.SYS_SENDMSG, syscall.SYS_RECVMSG:
		if p[1] == nil {
			return -int64(syscall.EFAULT), true
		}
		if trap == syscall.SYS_RECVMSG {
			return s.receiveHeader((*syscall.Msghdr)(p[1]), int(a[2])), true
		}
		return s.sendHeader((*syscall.Msghdr)(p[1]), int(a[2])), true
	case sysSendMMsg, sysRecvMMsg:
		return s.many(trap == sysRecvMMsg, p[1], a[2], int(a[3])), true
	case syscall.SYS_CLOSE:
		return -int64(closeSocket(a[0])), true
	}
	return s.control(trap, a, p), true
}

// control answers the calls that transfer nothing.
func (s *socket) control(trap uintptr, a [6]uintptr, p [6]unsafe.Pointer) int64 {
	switch trap {
	case syscall.SYS_BIND, syscall.SYS_CONNECT:
		name, e := nameAt(p[1], a[2])
		if e == 0 && trap == syscall.SYS_BIND {
			e = s.bind(name)
		} else if e == 0 {
			e = s.connectSocket(name)
		}
		return -int64(e)
	case syscall.SYS_LISTEN:
		return -int64(s.listen(int(int32(a[1]))))
	case syscall.SYS_ACCEPT, syscall.SYS_ACCEPT4:
		flags := uintptr(0)
		if trap == syscall.SYS_ACCEPT4 {
			flags = a[3]
		}
		return s.acceptAt(p[1], p[2], flags)
	case syscall.SYS_GETSOCKNAME, syscall.SYS_GETPEERNAME:
		name, e := s.local()
		if trap == syscall.SYS_GETPEERNAME {
			name, e = s.remote()
		}
		if e == 0 {
			e = putName(name, p[1], p[2])
		}
		return -int64(e)
	case syscall.SYS_SHUTDOWN:
		return -int64(s.shutdown(int(int32(a[1]))))
	case syscall.SYS_SETSOCKOPT:
		if a[4] > 1<<16 {
			return -int64(syscall.EINVAL)
		}
		v, e := copyIn(p[3], a[4])
		if e == 0 {
			e = s.setSocketOption(int(int32(a[1])), int(int32(a[2])), v)
		}
		return -int64(e)
	case syscall.SYS_GETSOCKOPT:
		return -int64(s.optionAt(int(int32(a[1])), int(int32(a[2])), p[3], p[4]))
	case syscall.SYS_FCNTL:
		return s.fcntl(a[1], a[2])
	case syscall.SYS_DUP:
		return result(s.open(0, false))
	case syscall.SYS_IOCTL:
		return s.ioctl(a[1], p[2])
	case syscall.SYS_FSTAT:
		if p[1] == nil {
			return -int64(syscall.EFAULT)
		}
		*(*syscall.Stat_t)(p[1]) = syscall.Stat_t{Mode: syscall.S_IFSOCK | 0o777, Blksize: 4096, Nlink: 1, Ino: uint64(a[0]) + 1}
		return 0
	case syscall.SYS_LSEEK, syscall.SYS_PREAD64, syscall.SYS_PWRITE64:
		return -int64(syscall.ESPIPE)
	}
	return -int64(syscall.ENOSYS)
}

func result(n int, e syscall.Errno) int64 {
	if e != 0 {
		return -int64(e)
	}
	return int64(n)
}

func newSocket(domain, typ, proto int) int64 {
	p, e := newProtocol(domain, typ&^(syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC), proto)
	if e != 0 {
		return -int64(e)
	}
	return result(open(p, typ&syscall.SOCK_NONBLOCK != 0))
}

func newProtocol(domain, typ, proto int) (protocol, syscall.Errno) {
	const mostType = 10 // SOCK_PACKET
	if typ < 0 || typ > mostType {
		return nil, syscall.EINVAL
	}
	switch domain {
	case syscall.AF_INET, syscall.AF_INET6:
		return newInet(domain, typ, proto)
	case syscall.AF_UNIX:
		return newUnix(typ, proto)
	case syscall.AF_NETLINK:
		return newNetlink(typ, proto)
	}
	return nil, syscall.EAFNOSUPPORT
}

func socketPair(domain, typ, proto int, to unsafe.Pointer) int64 {
	if domain != syscall.AF_UNIX {
		return -int64(syscall.EOPNOTSUPP)
	}
	if to == nil {
		return -int64(syscall.EFAULT)
	}
	nonblock := typ&syscall.SOCK_NONBLOCK != 0
	a, b, e := unixPair(typ&^(syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC), proto)
	if e != 0 {
		return -int64(e)
	}
	first, e := open(a, nonblock)
	if e != 0 {
		b.close()
		return -int64(e)
	}
	second, e := open(b, nonblock)
	if e != 0 {
		closeSocket(uintptr(first))
		return -int64(e)
	}
	*(*[2]int32)(to) = [2]int32{int32(first), int32(second)}
	return 0
}

func (s *socket) acceptAt(name, length unsafe.Pointer, flags uintptr) int64 {
	if flags&^(syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC) != 0 {
		return -int64(syscall.EINVAL)
	}
	p, e := s.acceptSocket()
	if e != 0 {
		return -int64(e)
	}
	if name != nil {
		from, e := p.remote()
		if e != 0 { // it is gone already
			from = nil
		}
		if e := putName(from, name, length); e != 0 {
			p.close()
			return -int64(e)
		}
	}
	return result(open(p, flags&syscall.SOCK_NONBLOCK != 0))
}

func (s *socket) optionAt(level, name int, p, length unsafe.Pointer) syscall.Errno {
	if length == nil {
		return syscall.EFAULT
	}
	room := *(*int32)(length)
	if room < 0 {
		return syscall.EINVAL
	}
	v, e := s.socketOption(level, name, int(room))
	if e != 0 {
		return e
	}
	v = v[:min(len(v), int(room))]
	if len(v) > 0 && p == nil {
		return syscall.EFAULT
	}
	copyOut(p, v)
	*(*int32)(length) = int32(len(v))
	return 0
}

package net

import (
	"syscall"
	"unsafe"

	"gvisor.dev/gvisor/pkg/waiter"
)

// Operations of fcntl and ioctl (Linux asm-generic/fcntl.h, ioctls.h).
const (
	duplicateCloexec = 1030
	bytesToRead      = 0x541b
	setNonblock      = 0x5421
)

func (s *socket) fcntl(op, arg uintptr) int64 {
	switch op {
	case syscall.F_GETFD:
		return syscall.FD_CLOEXEC
	case syscall.F_SETFD:
		return 0
	case syscall.F_GETFL:
		if s.nonblock.Load() {
			return syscall.O_RDWR | syscall.O_NONBLOCK
		}
		return syscall.O_RDWR
	case syscall.F_SETFL:
		s.nonblock.Store(arg&syscall.O_NONBLOCK != 0)
		return 0
	case syscall.F_DUPFD, duplicateCloexec:
		if arg >= maxDescriptors {
			return -int64(syscall.EINVAL)
		}
		return result(s.open(int(arg), false))
	}
	return -int64(syscall.EINVAL)
}

// duplicateTo is dup2 and dup3, where one of the descriptors is a socket's.
func duplicateTo(from, to uintptr, same bool) int64 {
	s, e := lookup(from)
	switch {
	case e == syscall.EBADF || to >= maxDescriptors:
		return -int64(syscall.EBADF)
	case from == to && same:
		return int64(to)
	case from == to:
		return -int64(syscall.EINVAL)
	}
	closeSocket(to) // if it is one
	if s != nil {
		return result(s.open(int(to), true))
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_DUP3, from, to, 0)
	return result(int(n), e)
}

func (s *socket) ioctl(request uintptr, p unsafe.Pointer) int64 {
	if p == nil {
		return -int64(syscall.EFAULT)
	}
	switch request {
	case setNonblock:
		s.nonblock.Store(*(*int32)(p) != 0)
		return 0
	case bytesToRead:
		n := s.unread()
		*(*int32)(p) = int32(n)
		return 0
	}
	return -int64(syscall.ENOTTY)
}

// unread is how many bytes can be read without waiting.
func (s *socket) unread() int {
	switch p := s.protocol.(type) {
	case *inet:
		n, _ := p.ep.GetSockOptInt(receiveQueueSize)
		return n
	case *unixSocket:
		return p.unread()
	}
	if s.ready(waiter.EventIn) != 0 {
		return 1
	}
	return 0
}

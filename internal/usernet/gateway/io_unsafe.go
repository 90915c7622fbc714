package gateway

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls here do not block, whatever others who have the socket have set, so the Go
// scheduler need not know of them. That it prepares for a call that blocks, and moves
// others to another thread when one takes some ten microseconds, took a third of the
// processor time of a fast connection.

// readNow reads what there is from a socket, with EAGAIN if there is nothing.
func readNow(fd uintptr, b []byte) (int, error) {
	return now(syscall.SYS_RECVFROM, fd, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)), unix.MSG_DONTWAIT)
}

// writevNow writes a packet that is in pieces.
func writevNow(fd uintptr, pieces [][]byte) (int, error) {
	var room [8]unix.Iovec
	v := room[:0]
	for _, b := range pieces {
		if len(b) > 0 {
			v = append(v, unix.Iovec{Base: &b[0], Len: uint64(len(b))})
		}
	}
	m := unix.Msghdr{Iov: unsafe.SliceData(v), Iovlen: uint64(len(v))}
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	return now(syscall.SYS_SENDMSG, fd, unsafe.Pointer(&m), flags, 0)
}

func now(nr, fd uintptr, p unsafe.Pointer, a, b uintptr) (int, error) {
	for {
		r, _, errno := syscall.RawSyscall6(nr, fd, uintptr(p), a, b, 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

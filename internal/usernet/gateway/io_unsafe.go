package gateway

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls here are made on descriptors that do not block, so the Go scheduler
// need not know of them. That it prepares for a call that blocks, and moves others
// to another thread when one takes some ten microseconds, took a third of the
// processor time of a fast connection.

// readNow reads what there is, with EAGAIN if there is nothing.
func readNow(fd uintptr, b []byte) (int, error) {
	return now(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), len(b), b)
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
	return now(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(v))), len(v), v)
}

func now(nr, fd, p uintptr, n int, keep any) (int, error) {
	for {
		r, _, errno := syscall.RawSyscall(nr, fd, p, uintptr(n))
		runtime.KeepAlive(keep)
		switch errno {
		case 0:
			return int(r), nil
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

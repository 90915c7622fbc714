package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// epollPwait waits for events, forever when ms is negative, with the signal
// mask left alone.
func epollPwait(epoll int, events []unix.EpollEvent, ms int) (int, unix.Errno) {
	n, errno := raw.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(ms), 0, 0)
	return int(n), errno
}

// pollOut waits until fd can be written to or fails. A stop does not make the
// kernel resume ppoll(2) by a call of another number, as it does poll(2).
func pollOut(fd int) unix.Errno {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	_, errno := raw.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, 0, 0, 0, 0)
	return errno
}

func timerfdSettime(fd int, spec *unix.ItimerSpec) unix.Errno {
	_, errno := raw.Syscall6(unix.SYS_TIMERFD_SETTIME, uintptr(fd), 0, uintptr(unsafe.Pointer(spec)), 0, 0, 0)
	return errno
}

// transferAt is pread64(2) or pwrite64(2), by number.
func transferAt(nr uintptr, fd int, b []byte, offset uint64) (int, unix.Errno) {
	n, errno := raw.Syscall6(nr, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(offset), 0, 0)
	return int(n), errno
}

func writeOnce(fd int, b []byte) (int, unix.Errno) {
	n, errno := raw.Syscall6(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	return int(n), errno
}

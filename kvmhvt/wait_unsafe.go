package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollPwait waits for events, forever when ms is negative, with the signal
// mask left alone. It makes the system call that the policy allows, which
// unix.EpollWait does not.
func epollPwait(epoll int, events []unix.EpollEvent, ms int) (int, unix.Errno) {
	call := unix.Syscall6
	if ms == 0 {
		call = unix.RawSyscall6 // it does not wait
	}
	n, _, errno := call(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(ms), 0, 0)
	return int(n), errno
}

// pollOut waits until fd can be written to or fails.
func pollOut(fd int) unix.Errno {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	_, _, errno := unix.Syscall(unix.SYS_POLL, uintptr(unsafe.Pointer(&p)), 1, ^uintptr(0))
	return errno
}

package kvmhvt

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// sigevent is struct sigevent (Linux asm-generic/siginfo.h).
type sigevent struct {
	value  uint64
	signal int32
	notify int32
	thread int32
	_      [44]byte
}

// startTimer sends the calling thread SIGURG whenever it has used that much
// processor time, until the process ends.
func startTimer(period time.Duration) unix.Errno {
	const threadID = 4 // SIGEV_THREAD_ID
	tid, _ := raw.Call(unix.SYS_GETTID)
	event := sigevent{signal: int32(unix.SIGURG), notify: threadID, thread: int32(tid)}
	var id int32
	_, errno := raw.Syscall6(unix.SYS_TIMER_CREATE, unix.CLOCK_THREAD_CPUTIME_ID,
		uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&id)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	every := unix.Timespec{Nsec: int64(period)}
	spec := unix.ItimerSpec{Interval: every, Value: every}
	_, errno = raw.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	return errno
}

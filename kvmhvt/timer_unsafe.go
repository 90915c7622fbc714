package kvmhvt

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
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
// processor time, until the process ends. The Go runtime uses the signal itself
// and is not troubled by it.
func startTimer(period time.Duration) error {
	const threadID = 4 // SIGEV_THREAD_ID
	event := sigevent{signal: int32(unix.SIGURG), notify: threadID, thread: int32(unix.Gettid())}
	var id int32
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_THREAD_CPUTIME_ID,
		uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return errno
	}
	every := unix.NsecToTimespec(int64(period))
	spec := unix.ItimerSpec{Interval: every, Value: every}
	if _, _, errno = unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

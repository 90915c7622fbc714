package early

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// action is struct kernel_sigaction (asm/signal.h).
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// faults are the signals of faults, which the handler takes.
var faults = [...]unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGTRAP}

// What the process came with.
var (
	inherited     [len(faults)]action
	inheritedMask uint64
	caught        int // of faults
)

// unblocked is what the Go runtime takes out of the signal mask when it starts:
// SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSTKFLT, SIGCHLD, SIGPROF and 32
// to 34. A guest is to find the same, however it was started; and a fault whose
// signal is blocked would kill.
const unblocked = 1<<3 | 1<<4 | 1<<6 | 1<<7 | 1<<10 | 1<<15 | 1<<16 | 1<<26 | 1<<31 | 1<<32 | 1<<33

const (
	saRestorer = 0x04000000 // the kernel delivers no signal without
	sigsetSize = 8
)

// catch makes abandon the handler of faults, and reports whether it is.
func catch() bool {
	set := uint64(unblocked)
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK,
		uintptr(unsafe.Pointer(&set)), uintptr(unsafe.Pointer(&inheritedMask)), sigsetSize, 0, 0); errno != 0 {
		return false
	}
	a := action{handler: abandonPC(), flags: saRestorer, restorer: abandonPC()}
	for i, sig := range faults {
		if !sigaction(sig, &a, &inherited[i]) {
			return false
		}
		caught++
	}
	return true
}

// release gives back what catch took.
func release() {
	for i := range caught {
		sigaction(faults[i], &inherited[i], nil)
	}
	caught = 0
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&inheritedMask)), 0, sigsetSize, 0, 0)
}

func sigaction(sig unix.Signal, set, old *action) bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), sigsetSize, 0, 0)
	return errno == 0
}

package raw

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A guest must find the signals as it does after the Go runtime's start, which
// takes some out of the mask and handles all but a few: exec makes those that
// were ignored default again. Real-time signals, which nobody ignores, are left.
const (
	// unblocked: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSTKFLT, SIGCHLD,
	// SIGPROF and 32 to 34. A fault whose signal is blocked would kill.
	unblocked = 1<<3 | 1<<4 | 1<<6 | 1<<7 | 1<<10 | 1<<15 | 1<<16 | 1<<26 | 1<<31 | 1<<32 | 1<<33
	// unhandled: SIGHUP and SIGINT, if they were ignored; SIGKILL, SIGCONT,
	// SIGSTOP, SIGTSTP, SIGTTIN and SIGTTOU.
	unhandled = 1<<0 | 1<<1 | 1<<8 | 0xf<<17 | 1<<21
)

// action is struct kernel_sigaction (asm/signal.h).
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// stack is what abandon begins on: the process's own may be what is at an end.
// It holds a signal frame with any extended state (AMX: 11 KiB).
var stack [32 << 10]byte

// stackT is stack_t (asm/signal.h).
type stackT struct {
	base  uintptr
	flags uint64
	size  uint64
}

const (
	sigIgn     = 1
	ssDisable  = 2
	saSiginfo  = 0x4
	saOnStack  = 0x08000000
	saRestorer = 0x04000000 // the kernel delivers no signal without
)

// faults are the signals that abandon takes: those of faults, and that of a file that
// may not become as large, which the Go runtime makes an error.
var faults = [...]unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGTRAP, unix.SIGXFSZ}

// trappedPC returns the address of trapped, the handler of SIGSYS.
func trappedPC() uintptr

// What the process came with.
var (
	mask    uint64 // of blocked signals
	masked  bool   // mask is known
	ignored uint64 // signals that catch made default
)

// catch makes abandon the handler of faults, and reports whether it is. Like
// undo and what both call, it does without a check of the stack: where g is not
// as this package has it, that check is the first to fault.
//
//lint:ignore U1000 Try calls it
//go:nosplit
func catch() bool {
	var was action
	if !sigaction(unix.SIGSYS, &action{handler: trappedPC(), flags: saSiginfo | saRestorer, restorer: trappedPC()}, &was) {
		return false
	}
	if was.handler == sigIgn {
		ignored |= 1 << (unix.SIGSYS - 1)
	}
	set := uint64(unblocked)
	if !sigprocmask(unix.SIG_UNBLOCK, &set, &mask) {
		return false
	}
	masked = true
	for sig := unix.Signal(1); sig <= unix.SIGSYS; sig++ {
		var old action
		if unhandled>>(sig-1)&1 == 0 && sigaction(sig, nil, &old) && old.handler == sigIgn {
			ignored |= 1 << (sig - 1)
			sigaction(sig, &action{}, nil)
			stopTimer(sig)
		}
	}
	if !sigaltstack(&stackT{base: uintptr(unsafe.Pointer(&stack)), size: uint64(len(stack))}) {
		return false
	}
	for _, sig := range faults {
		if !sigaction(sig, &action{handler: abandonPC(), flags: saRestorer | saOnStack, restorer: abandonPC()}, nil) {
			return false
		}
	}
	return true
}

// release gives back what catch took. A program starts with no signal handled,
// so what is not ignored is default.
//
//go:nosplit
func release() {
	for _, sig := range faults {
		sigaction(sig, &action{}, nil)
	}
	sigaction(unix.SIGSYS, &action{}, nil)
	sigaltstack(&stackT{flags: ssDisable})
	for sig := unix.Signal(1); sig <= unix.SIGSYS; sig++ {
		if ignored>>(sig-1)&1 != 0 {
			sigaction(sig, &action{handler: sigIgn}, nil)
		}
	}
	if masked {
		sigprocmask(unix.SIG_SETMASK, &mask, nil)
	}
}

// stopTimer disarms the interval timer whose signal was ignored: it would end the
// guest, for which the signal is default. One whose signal was not is the
// caller's way to end it.
//
//go:nosplit
func stopTimer(sig unix.Signal) {
	var which uintptr // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF
	switch sig {
	case unix.SIGALRM:
	case unix.SIGVTALRM:
		which = 1
	case unix.SIGPROF:
		which = 2
	default:
		return
	}
	var none [4]uint64 // struct itimerval
	Syscall6(unix.SYS_SETITIMER, which, uintptr(unsafe.Pointer(&none)), 0, 0, 0, 0)
}

const sigsetSize = 8

//go:nosplit
func sigaction(sig unix.Signal, set, old *action) bool {
	_, errno := Syscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), sigsetSize, 0, 0)
	return errno == 0
}

//go:nosplit
func sigaltstack(s *stackT) bool {
	_, errno := Syscall6(unix.SYS_SIGALTSTACK, uintptr(unsafe.Pointer(s)), 0, 0, 0, 0, 0)
	return errno == 0
}

//go:nosplit
func sigprocmask(how int, set, old *uint64) bool {
	_, errno := Syscall6(unix.SYS_RT_SIGPROCMASK, uintptr(how),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), sigsetSize, 0, 0)
	return errno == 0
}

package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// sigactionT is struct kernel_sigaction (asm/signal.h).
type sigactionT struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	sigDfl     = 0
	sigIgn     = 1
	saSiginfo  = 0x4
	saOnStack  = 0x08000000
	saRestorer = 0x04000000 // the kernel delivers no signal without
	sigsetSize = 8
)

// siginfo is siginfo_t, of which a fault's address and a trapped call lie at the
// same place.
type siginfo struct {
	_, _, code, _ int32
	addr          uint64 // of SIGSYS: the address of the call
	call          int32  // of SIGSYS
}

// ucontext is struct ucontext up to the instruction pointer (asm/ucontext.h).
type ucontext struct {
	_   [40]byte
	_   [13]uint64
	rax uint64
	_   [2]uint64
	rip uint64
}

// handlerPC returns the address of handler, and tickPC that of tick.
func handlerPC() uintptr
func tickPC() uintptr
func restorerPC() uintptr

// handle sets what is done about a signal. The handler runs on the stack that
// package raw gave the process for signals, with all signals blocked: a fault in
// it kills.
func handle(sig unix.Signal, what uintptr) {
	a := sigactionT{handler: what, flags: saSiginfo | saOnStack | saRestorer, restorer: restorerPC(), mask: ^uint64(0)}
	raw.Syscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&a)), 0, sigsetSize, 0, 0)
}

// unblock lets signals through.
func unblock(set uint64) {
	if set != 0 {
		raw.Syscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, uintptr(unsafe.Pointer(&set)), 0, sigsetSize, 0, 0)
	}
}

// ignored reports whether a signal is ignored.
func ignored(sig unix.Signal) bool {
	var a sigactionT
	_, errno := raw.Syscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&a)), sigsetSize, 0, 0)
	return errno == 0 && a.handler == sigIgn
}

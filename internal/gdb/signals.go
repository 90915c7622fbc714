package gdb

import "golang.org/x/sys/unix"

// The protocol numbers signals in a way of its own (GDB, include/gdb/signals.def).
var toGDB = map[unix.Signal]byte{
	unix.SIGHUP: 1, unix.SIGINT: 2, unix.SIGQUIT: 3, unix.SIGILL: 4, unix.SIGTRAP: 5, unix.SIGABRT: 6, unix.SIGFPE: 8,
	unix.SIGKILL: 9, unix.SIGBUS: 10, unix.SIGSEGV: 11, unix.SIGSYS: 12, unix.SIGPIPE: 13, unix.SIGALRM: 14, unix.SIGTERM: 15,
	unix.SIGURG: 16, unix.SIGSTOP: 17, unix.SIGTSTP: 18, unix.SIGCONT: 19, unix.SIGCHLD: 20, unix.SIGTTIN: 21, unix.SIGTTOU: 22,
	unix.SIGIO: 23, unix.SIGXCPU: 24, unix.SIGXFSZ: 25, unix.SIGVTALRM: 26, unix.SIGPROF: 27, unix.SIGWINCH: 28,
	unix.SIGUSR1: 30, unix.SIGUSR2: 31, unix.SIGPWR: 32,
}

// unknownSignal is GDB_SIGNAL_UNKNOWN.
const unknownSignal = 143

// Real-time signals: 33 to 63 are 45 to 75, 32 is 77, 64 is 78.
func gdbSignal(n int) byte {
	if s, ok := toGDB[unix.Signal(n)]; ok {
		return s
	}
	switch {
	case n >= 33 && n <= 63:
		return byte(n + 12)
	case n == 32:
		return 77
	case n == 64:
		return 78
	}
	return unknownSignal
}

// linuxSignal is the inverse; ok is false of a signal that Linux does not have.
func linuxSignal(n byte) (signal int, ok bool) {
	if n == 0 {
		return 0, true
	}
	for s := 1; s <= 64; s++ {
		if gdbSignal(s) == n && n != unknownSignal {
			return s, true
		}
	}
	return 0, false
}

package raw

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What follows the name of a system call that a filter refuses, as those of containers
// do, and what is said where descriptors can be closed in no way.
const (
	MayRefuse    = ", which a seccomp filter around gocat may refuse"
	NoCloseRange = "there is no close_range" + MayRefuse + ", and ulimit -Hn allows more than can be closed one by one"
)

// refused is the last call of Syscall6 that failed as one that a seccomp filter
// refuses does, with EPERM or ENOSYS: its number, and the error 32 bits above.
var refused uint64

// Refused returns the number of the system call that failed with err, if filters
// refuse calls with it, as those of containers do, and there is one around the
// program.
func Refused(err error) (nr uint32, ok bool) {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return 0, false
	}
	return RefusedWith(errno)
}

// RefusedWith is Refused of an error number.
func RefusedWith(errno unix.Errno) (nr uint32, ok bool) {
	last := refused
	return uint32(last), last != 0 && unix.Errno(last>>32) == errno && Filtered()
}

// Filtered reports whether there is a filter around the program, or one that does
// not let it ask.
func Filtered() bool {
	mode, errno := Syscall6(unix.SYS_PRCTL, unix.PR_GET_SECCOMP, 0, 0, 0, 0, 0)
	return errno != 0 || mode != 0
}

// halt faults.
func halt()

// needs are system calls without which the Go runtime does not start, but prints
// its stacks, with arguments with which they do nothing.
var needs = [...]struct {
	nr   uintptr
	args [4]uintptr
	name string
	trap bool // the runtime does without it, but not if a filter traps it
}{
	{unix.SYS_RT_SIGPROCMASK, [4]uintptr{0, 0, 0, sigsetSize}, "rt_sigprocmask", false},
	{unix.SYS_SIGALTSTACK, [4]uintptr{}, "sigaltstack", false},
	{unix.SYS_RT_SIGACTION, [4]uintptr{uintptr(unix.SIGSYS), 0, 0, sigsetSize}, "rt_sigaction", false},
	{unix.SYS_FCNTL, [4]uintptr{0, unix.F_GETFD}, "fcntl", false},
	{unix.SYS_MMAP, [4]uintptr{}, "mmap", false},                    // of no bytes
	{unix.SYS_CLONE, [4]uintptr{unix.CLONE_THREAD}, "clone", false}, // which takes CLONE_SIGHAND
	{unix.SYS_FUTEX, [4]uintptr{0, 1}, "futex", false},              // FUTEX_WAKE of address 0
	{unix.SYS_PRLIMIT64, [4]uintptr{0, unix.RLIMIT_NOFILE}, "prlimit64", true},
	{unix.SYS_SCHED_GETAFFINITY, [4]uintptr{}, "sched_getaffinity", true},
	{unix.SYS_MADVISE, [4]uintptr{}, "madvise", true},
	{unix.SYS_OPENAT, [4]uintptr{}, "openat", true}, // of no path
	{unix.SYS_PRCTL, [4]uintptr{unix.PR_GET_SECCOMP}, "prctl", true},
}

// checkRuntime ends a process in which the Go runtime would not start, with a line
// that says which call is refused. As with undo, there is no check of the stack.
//
//go:nosplit
func checkRuntime() {
	for i := range needs {
		n := &needs[i]
		before := traps
		_, errno := Syscall6(n.nr, n.args[0], n.args[1], n.args[2], n.args[3], 0, 0)
		if errno != unix.EPERM && errno != unix.ENOSYS || n.trap && traps == before {
			continue
		}
		say("gocat: could not start: ")
		say(n.name)
		say(" fails")
		say(MayRefuse)
		say("\n")
		status := noRoom.status
		if status == 0 {
			status = notStarted
		}
		Syscall6(unix.SYS_EXIT_GROUP, uintptr(status), 0, 0, 0, 0, 0)
	}
}

// traps counts the calls that a filter trapped. The handler of SIGSYS does.
var traps uint32

// notStarted is the exit status of gocat run where no guest was started.
const notStarted = 125

//go:nosplit
func say(s string) {
	Syscall6(unix.SYS_WRITE, 2, uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(len(s)), 0, 0, 0)
}

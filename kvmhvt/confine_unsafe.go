package kvmhvt

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
)

// allThreads makes a system call in every thread of the process.
func allThreads(nr, a1, a2, a3 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(nr, a1, a2, a3)
	if errno == syscall.ENOTSUP {
		return errors.New("built with cgo, which cannot reach all threads: build with CGO_ENABLED=0")
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// reachThreads refuses to start where allThreads would try for ever: the Go
// runtime queues a signal for each thread.
func reachThreads() error {
	var pending unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_SIGPENDING, nil, &pending); err == nil && pending.Cur == 0 {
		return errors.New("the limit on pending signals (ulimit -i) is 0, and confining a program with threads takes some")
	}
	return nil
}

// noNewPrivs keeps execve from ever granting privileges.
func noNewPrivs() error {
	return allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
}

// capabilities are the arguments of capset. They are static because the threads
// read them where they are.
var capabilities struct {
	header unix.CapUserHeader
	data   [2]unix.CapUserData // none
}

// dropCapabilities gives up all capabilities, and with them the ambient ones.
func dropCapabilities() error {
	capabilities.header.Version = unix.LINUX_CAPABILITY_VERSION_3
	return allThreads(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&capabilities.header)), uintptr(unsafe.Pointer(&capabilities.data)), 0)
}

// here is the working directory, as chroot takes it.
var here = [2]byte{'.'}

// chrootHere makes each thread's working directory its root.
func chrootHere() error {
	return allThreads(unix.SYS_CHROOT, uintptr(unsafe.Pointer(&here)), 0, 0)
}

// errNoLandlock means that the kernel has no Landlock.
var errNoLandlock = errors.New("not in this kernel")

// landlock forbids to open anything by path, to connect and to listen. What is
// open stays usable.
func landlock() error {
	version, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return errNoLandlock
	}
	if errno != 0 {
		return errno
	}
	// Not signals: each thread gets a domain of its own and the Go runtime signals
	// across them.
	rules := isolate.LandlockRules(int(version), false)
	fd, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules[0])), uintptr(len(rules)), 0)
	if errno != 0 {
		return fmt.Errorf("create ruleset: %w", errno)
	}
	defer unix.Close(int(fd))
	return allThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
}

// installFilter installs a seccomp filter for all threads.
func installFilter(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno == unix.EINVAL || errno == unix.ENOSYS {
		return fmt.Errorf("%w: this kernel or container does not let a program filter its system calls", errno)
	}
	if errno != 0 {
		return errno
	}
	if r != 0 {
		return fmt.Errorf("thread %d already has a filter of its own", r)
	}
	return nil
}

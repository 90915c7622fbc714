package confine

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrCgo means that there are threads of C's, out of the Go runtime's reach.
var ErrCgo = errors.New("the program was built with cgo: build it with CGO_ENABLED=0, as make build does")

// Possible says whether this program can confine all its threads: nil or ErrCgo.
func Possible() error { return everywhere(unix.SYS_GETPID, 0, 0) }

// everywhere makes a system call in every thread.
func everywhere(nr, a, b uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(nr, a, b, 0, 0, 0, 0)
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return ErrCgo
	}
	return errno
}

// NoNewPrivs keeps execve from granting privileges.
func NoNewPrivs() error { return everywhere(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1) }

// Capabilities gives up all capabilities.
func Capabilities() error {
	// A kernel without ambient capabilities has none to clear.
	everywhere(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
	head := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{}
	defer runtime.KeepAlive(head)
	defer runtime.KeepAlive(data)
	return everywhere(unix.SYS_CAPSET, uintptr(unsafe.Pointer(head)), uintptr(unsafe.Pointer(data)))
}

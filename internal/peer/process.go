package peer

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Self returns a path of the program that is running, for a child to execute.
func Self() (string, error) {
	const self = "/proc/self/exe" // also when the file was replaced or removed
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

// Attr returns attributes for a child that cannot be left behind: the kernel
// kills it when the thread that started it ends, however that happens. The
// caller therefore has to stay on its thread (runtime.LockOSThread) until the
// child has ended. The child leads a process group of its own, so ^C on the
// terminal reaches this process alone, which can then end the child and tidy up.
//
// The kernel forgets the wish when a child gains privileges. Neither backend of
// gocat does: the guest that gocat becomes (spt) keeps it, and so does a tender
// that drops its capabilities (hvt).
func Attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Start starts a tender with the given arguments, as Args returns, and
// descriptors 0, 1 and so on. The caller stays on its thread: see Attr.
func (t *Tender) Start(argv []string, files []*os.File) (*os.Process, error) {
	return os.StartProcess(t.Path, argv, &os.ProcAttr{Files: files, Sys: Attr()})
}

// Ended waits until a child that Attr is for has ended, and kills what it has
// started and left, as a script may. The caller reaps the child afterwards: until
// then its number, which is that of its group, is its own.
func Ended(pid int) error {
	for {
		switch err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err {
		case unix.EINTR:
		case nil:
			unix.Kill(-pid, unix.SIGKILL)
			return nil
		default:
			return os.NewSyscallError("waitid", err)
		}
	}
}

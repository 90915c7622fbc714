package doctor

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/seccomp"
)

// call is a system call that gocat run or its guests make, with arguments that
// do nothing: an unfiltered kernel refuses most of them as senseless.
type call struct {
	nr   uintptr
	args [6]uintptr
}

const none = ^uintptr(0) // as descriptor, flags or size: never a valid one

// needed lists the calls that somebody else's filter may well forbid. What the
// Go runtime itself calls is not among them: the probe would not have started. Nor
// is close_range, without which descriptors are closed one by one.
func needed() []call {
	return []call{
		{unix.SYS_MEMFD_CREATE, [6]uintptr{0, none}},
		{unix.SYS_EXECVEAT, [6]uintptr{none, 0, 0, 0, 0}},
		{unix.SYS_DUP3, [6]uintptr{none, none, 0}},
		{unix.SYS_LSEEK, [6]uintptr{none, 0, 0}},
		{unix.SYS_IOCTL, [6]uintptr{none, unix.TCGETS, 0}},
		{unix.SYS_EPOLL_CREATE1, [6]uintptr{none}},
		{unix.SYS_EPOLL_CTL, [6]uintptr{none, unix.EPOLL_CTL_DEL, none, 0}},
		{unix.SYS_EPOLL_PWAIT, [6]uintptr{none, 0, 1, 0, 0, 0}},
		{unix.SYS_TIMERFD_CREATE, [6]uintptr{none, none}},
		{unix.SYS_TIMERFD_SETTIME, [6]uintptr{none, 0, 0, 0}},
		{unix.SYS_EVENTFD2, [6]uintptr{0, none}},
		{unix.SYS_RT_SIGACTION, [6]uintptr{0, 0, 0, 8}},
		{unix.SYS_SIGALTSTACK, [6]uintptr{0, 0}},
		{unix.SYS_PRCTL, [6]uintptr{unix.PR_GET_NO_NEW_PRIVS}},
		{unix.SYS_SECCOMP, [6]uintptr{none, 0, 0}},
		{unix.SYS_PREAD64, [6]uintptr{none, 0, 0, 0}},
		{unix.SYS_PWRITE64, [6]uintptr{none, 0, 0, 0}},
	}
}

// ProbeCalls makes each call that gocat run needs, harmlessly, and writes a line
// for it: the name before the call, the verdict after it. A filter may kill the
// process instead of returning an error, so this is for a child.
func ProbeCalls(w io.Writer) error {
	for _, c := range needed() {
		if _, err := fmt.Fprint(w, seccomp.SyscallName(uint32(c.nr))); err != nil {
			return err
		}
		_, _, errno := unix.Syscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		verdict := fmt.Sprintf(" forbidden (%v)\n", errno)
		switch errno {
		case 0, unix.EINVAL, unix.EBADF, unix.EFAULT: // the kernel's own answers
			verdict = " allowed\n"
		}
		if _, err := fmt.Fprint(w, verdict); err != nil {
			return err
		}
	}
	return nil
}

// forbiddenCalls reads what ProbeCalls wrote. The call at which it was killed is
// last, "" if it came to its end.
func forbiddenCalls(report string) (forbidden []string, last string) {
	for line := range strings.Lines(report) {
		if !strings.HasSuffix(line, "\n") {
			return forbidden, line
		}
		if name, ok := strings.CutSuffix(strings.TrimSuffix(line, "\n"), " allowed"); !ok {
			forbidden = append(forbidden, strings.Replace(name, " forbidden", "", 1))
		}
	}
	return forbidden, ""
}

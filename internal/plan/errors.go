package plan

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// failures are the errors that the calls of plans are known to fail with, and their
// texts, which are those of package unix. That has them in a variable that early
// code cannot use.
var failures = [...]struct {
	number unix.Errno
	text   string
}{
	{unix.EPERM, "operation not permitted"},
	{unix.ENOENT, "no such file or directory"},
	{unix.EIO, "input/output error"},
	{unix.ENXIO, "no such device or address"},
	{unix.E2BIG, "argument list too long"},
	{unix.EBADF, "bad file descriptor"},
	{unix.EAGAIN, "resource temporarily unavailable"},
	{unix.ENOMEM, "cannot allocate memory"},
	{unix.EACCES, "permission denied"},
	{unix.EFAULT, "bad address"},
	{unix.EBUSY, "device or resource busy"},
	{unix.EEXIST, "file exists"},
	{unix.ENODEV, "no such device"},
	{unix.ENOTDIR, "not a directory"},
	{unix.EISDIR, "is a directory"},
	{unix.EINVAL, "invalid argument"},
	{unix.ENFILE, "too many open files in system"},
	{unix.EMFILE, "too many open files"},
	{unix.ENOTTY, "inappropriate ioctl for device"},
	{unix.ETXTBSY, "text file busy"},
	{unix.ENOSPC, "no space left on device"},
	{unix.ESPIPE, "illegal seek"},
	{unix.EROFS, "read-only file system"},
	{unix.ENAMETOOLONG, "file name too long"},
	{unix.ENOSYS, "function not implemented"},
	{unix.ELOOP, "too many levels of symbolic links"},
	{unix.EOVERFLOW, "value too large for defined data type"},
	{unix.EUSERS, "too many users"},
	{unix.EOPNOTSUPP, "operation not supported"},
	{unix.ENOMEDIUM, "no medium found"},
}

// errors stores the list of errors that the stub looks in, and returns its offset.
func (p *Plan) errors() uint64 {
	at := p.store(nil)
	add := func(number unix.Errno, text string) {
		p.data = binary.LittleEndian.AppendUint16(p.data, uint16(number))
		p.data = binary.LittleEndian.AppendUint16(p.data, uint16(len(": ")+len(text)))
		p.text(": ", text)
	}
	for i := range failures {
		add(failures[i].number, failures[i].text)
	}
	add(0, "error 0000")
	return at
}

// Hint returns message with what follows the error's text: what to do about it.
func Hint(message, hint string) string { return raw.Concat(message, "\n; ", hint) }

// suspect adds what follows the text of an error with which filters refuse calls,
// after its length: which call record n makes, and who may refuse it.
func (p *Plan) suspect(n int) {
	for p.records[n].nr == Last {
		n--
	}
	name := callName(p.records[n].nr)
	if name == "" {
		p.text("\x00")
		return
	}
	const before = ": "
	p.data = raw.Append(p.data, byte(len(before)+len(name)+len(raw.MayRefuse)))
	p.text(before, name, raw.MayRefuse)
}

// callName is the name of a system call that plans end with a message about. Package
// seccomp has the names of all, which take longer to find.
func callName(nr uint64) string {
	switch nr {
	case unix.SYS_CLOCK_GETTIME:
		return "clock_gettime"
	case unix.SYS_GETRANDOM:
		return "getrandom"
	case unix.SYS_LSEEK:
		return "lseek"
	case unix.SYS_READLINK:
		return "readlink"
	case unix.SYS_TIMERFD_SETTIME:
		return "timerfd_settime"
	case unix.SYS_UNLINK:
		return "unlink"
	case unix.SYS_ARCH_PRCTL:
		return "arch_prctl"
	case unix.SYS_CLONE:
		return "clone"
	case unix.SYS_CLOSE:
		return "close"
	case unix.SYS_DUP3:
		return "dup3"
	case unix.SYS_EPOLL_CREATE1:
		return "epoll_create1"
	case unix.SYS_EPOLL_CTL:
		return "epoll_ctl"
	case unix.SYS_EVENTFD2:
		return "eventfd2"
	case unix.SYS_EXECVE, execute:
		return "execve"
	case unix.SYS_EXECVEAT:
		return "execveat"
	case unix.SYS_FCNTL:
		return "fcntl"
	case unix.SYS_FSTATFS:
		return "fstatfs"
	case unix.SYS_GETPID:
		return "getpid"
	case unix.SYS_IOCTL:
		return "ioctl"
	case unix.SYS_MMAP:
		return "mmap"
	case unix.SYS_MPROTECT:
		return "mprotect"
	case unix.SYS_MUNMAP:
		return "munmap"
	case unix.SYS_OPENAT:
		return "openat"
	case unix.SYS_PIPE2:
		return "pipe2"
	case unix.SYS_PRCTL:
		return "prctl"
	case unix.SYS_PREAD64, Fill:
		return "pread64"
	case unix.SYS_PRLIMIT64:
		return "prlimit64"
	case unix.SYS_RT_SIGACTION:
		return "rt_sigaction"
	case unix.SYS_RT_SIGPROCMASK:
		return "rt_sigprocmask"
	case unix.SYS_SECCOMP:
		return "seccomp"
	case unix.SYS_SETITIMER:
		return "setitimer"
	case unix.SYS_SIGALTSTACK:
		return "sigaltstack"
	case unix.SYS_SOCKET:
		return "socket"
	case unix.SYS_SOCKETPAIR:
		return "socketpair"
	case unix.SYS_TIMERFD_CREATE:
		return "timerfd_create"
	}
	return ""
}

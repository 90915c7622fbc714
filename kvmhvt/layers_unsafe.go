package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// path makes a call that takes nothing but a path.
func path(nr uintptr, path string) unix.Errno {
	p := raw.CString(path)
	_, errno := raw.Syscall6(nr, uintptr(unsafe.Pointer(unsafe.SliceData(p))), 0, 0, 0, 0, 0)
	return errno
}

// capset makes the capabilities of the numbers below 32 effective and permitted
// that are in set, and no others.
func capset(set uint32) unix.Errno {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: set, Permitted: set}}
	_, errno := raw.Syscall6(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0, 0, 0, 0)
	return errno
}

// capget returns the capabilities of all numbers, as a mask that is not 0 where
// there are any.
func capget() (effective, permitted uint32, errno unix.Errno) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: 1}} // a filter that only says that it was written leaves it
	_, errno = raw.Syscall6(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0, 0, 0, 0)
	return data[0].Effective | data[1].Effective, data[0].Permitted | data[1].Permitted, errno
}

func setLimit(resource int, now, most uint64) unix.Errno {
	l := unix.Rlimit{Cur: now, Max: most}
	_, errno := raw.Syscall6(unix.SYS_PRLIMIT64, 0, uintptr(resource), uintptr(unsafe.Pointer(&l)), 0, 0, 0)
	return errno
}

func getLimit(resource int) (now, most uint64) {
	var l unix.Rlimit
	raw.Syscall6(unix.SYS_PRLIMIT64, 0, uintptr(resource), 0, uintptr(unsafe.Pointer(&l)), 0, 0)
	return l.Cur, l.Max
}

// growStack makes the process's stack as large as the tender needs it, 64 KiB
// below where it is: once the address space is limited, it does not grow.
func growStack()

// filterQuestion is a system call that nothing makes, and filterAnswer what the
// filter of this package answers to it in the kernel's place.
const (
	filterQuestion = unix.SYS_GETPPID
	filterMagic    = 0x676f6361
	filterAnswer   = unix.ENOANO
)

// question is a program in front of the tender's filter, by whose answer it knows
// that the filter is there.
var question = [...]unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: filterQuestion, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // the first argument
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: filterMagic, Jf: 1},
	{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(filterAnswer)},
}

// prepareFilter assembles the filter of filter. What can fail in it fails before
// the process has changed.
func (t *tender) prepareFilter() {
	code, err := t.policy().Assemble()
	if err != nil {
		t.refuse("assemble the seccomp filter: ", failure{text: "the policy is too large: attach fewer devices"})
	}
	t.program = raw.Append(raw.Append(raw.Slice[unix.SockFilter](0, len(question)+len(code)), question[:]...), code...)
}

// filter installs the seccomp filter.
func (t *tender) filter() failure {
	if t.config.Trace != NoFD {
		// The supervisor, gocat trace, takes the tender with it when it dies.
		// Entering a user namespace and changing the user undo that it said so.
		if _, errno := prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)); errno != 0 {
			return failure{errno: errno}
		}
	}
	raw.Unload()
	prog := unix.SockFprog{Len: uint16(len(t.program)), Filter: unsafe.SliceData(t.program)}
	_, errno := raw.Syscall6(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)), 0, 0, 0)
	switch {
	case errno == unix.EINVAL:
		return failure{"this kernel or container does not let a program filter its system calls", errno}
	case errno != 0:
		return failure{errno: errno}
	}
	if _, errno := raw.Call(filterQuestion, filterMagic); errno != filterAnswer {
		return untrue
	}
	return failure{}
}

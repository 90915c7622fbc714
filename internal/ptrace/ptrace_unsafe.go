// Package ptrace looks into and controls a process that the calling thread traces
// (ptrace(2)). All functions are for that thread, which has to be locked.
package ptrace

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SyscallInfo is struct ptrace_syscall_info (linux/ptrace.h).
type SyscallInfo struct {
	Op     uint8
	_      [3]uint8
	Arch   uint32 // AUDIT_ARCH_*
	IP, SP uint64
	// At the entry: number, six arguments. At the exit: result, and a byte that
	// says whether it is an error.
	Words [8]uint64
}

// Values of SyscallInfo.Op (PTRACE_SYSCALL_INFO_*).
const (
	Entry = 1
	Exit  = 2
)

// CallInfo says what a process that ptrace stopped at a system call calls, or
// has called.
func CallInfo(pid int) (i SyscallInfo, err error) {
	_, err = ptrace(unix.PTRACE_GET_SYSCALL_INFO, pid, unsafe.Sizeof(i), unsafe.Pointer(&i))
	return i, err
}

// SignalInfo is siginfo_t (asm-generic/siginfo.h).
type SignalInfo [128]byte

// Code is si_code, which says where a signal comes from.
func (s *SignalInfo) Code() int32 { return int32(binary.LittleEndian.Uint32(s[8:])) }

// Sender is the process that sent the signal, if one did.
func (s *SignalInfo) Sender() int32 { return int32(binary.LittleEndian.Uint32(s[16:])) }

// Address is that of a fault.
func (s *SignalInfo) Address() uint64 { return binary.LittleEndian.Uint64(s[16:]) }

// Signal tells of the signal for which the process is stopped. The error is
// EINVAL when it is stopped for good, by SIGSTOP or the like.
func Signal(pid int) (s SignalInfo, err error) {
	_, err = ptrace(unix.PTRACE_GETSIGINFO, pid, 0, unsafe.Pointer(&s))
	return s, err
}

// PendingSignal returns the first signal that waits for the process's thread
// itself, as those of faults and of seccomp do; 0 if none does.
func PendingSignal(pid int) unix.Signal {
	var s SignalInfo
	args := struct { // struct ptrace_peeksiginfo_args
		offset uint64
		flags  uint32
		count  int32
	}{count: 1}
	n, err := ptrace(unix.PTRACE_PEEKSIGINFO, pid, uintptr(unsafe.Pointer(&args)), unsafe.Pointer(&s))
	if err != nil || n != 1 {
		return 0
	}
	return unix.Signal(binary.LittleEndian.Uint32(s[:]))
}

func ptrace(request, pid int, addr uintptr, data unsafe.Pointer) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, uintptr(data), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Read reads n bytes at addr of a process; what cannot be read is nil.
func Read(pid int, addr uint64, n int) []byte {
	b := make([]byte, n)
	local := []unix.Iovec{{Base: &b[0], Len: uint64(n)}}
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: n}}
	if got, err := unix.ProcessVMReadv(pid, local, remote, 0); err != nil || got != n {
		return nil
	}
	return b
}

package plan

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Become replaces the process by the executable at descriptor fd, with name as
// its only argument and no environment. It returns only on error. The strings
// and arrays live on this frame until the kernel has copied them.
func Become(fd int, name string) error {
	empty := [1]byte{}
	arg := raw.CString(name)
	argv := [2]*byte{&arg[0]}
	envp := [1]*byte{}
	_, errno := raw.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(&argv)), uintptr(unsafe.Pointer(&envp)), unix.AT_EMPTY_PATH, 0)
	return errno
}

// BecomeWith is Become with more arguments, the first being the name, for callers
// that have a heap.
func BecomeWith(fd int, args []string) error {
	empty := [1]byte{}
	argv := make([]*byte, len(args)+1)
	for i, a := range args {
		argv[i] = unsafe.SliceData(raw.CString(a))
	}
	envp := [1]*byte{}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp)), unix.AT_EMPTY_PATH, 0)
	return errno
}

package spt

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// execveat replaces the process by the executable behind fd, with name as its
// only argument and no environment. It returns only on error. The strings and
// arrays live on this frame until the kernel has copied them.
func execveat(fd int, name string) error {
	empty := [1]byte{}
	arg := raw.CString(name)
	argv := [2]*byte{&arg[0]}
	envp := [1]*byte{}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(&argv)), uintptr(unsafe.Pointer(&envp)), unix.AT_EMPTY_PATH, 0)
	return errno
}

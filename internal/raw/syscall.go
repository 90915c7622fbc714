package raw

import "golang.org/x/sys/unix"

// Syscall6 makes system call nr, as unix.RawSyscall6 does, from an instruction of
// this package: so what serves a guest lies together in memory. The result is -1
// where the call failed.
func Syscall6(nr, a1, a2, a3, a4, a5, a6 uintptr) (r uintptr, errno unix.Errno)

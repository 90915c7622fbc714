package container

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setgroups sets the supplementary groups of the calling thread alone; unix.Setgroups
// would have all threads do it.
func setgroups(n int, groups *uint32) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(n), uintptr(unsafe.Pointer(groups)), 0); errno != 0 {
		return errno
	}
	return nil
}

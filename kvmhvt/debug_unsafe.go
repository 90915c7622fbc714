package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// debugPC returns the address of the handler of DebugSignal.
func debugPC() uintptr

// Sizes that the requests encode and the supervisor relies on.
const (
	_ = -(unsafe.Sizeof(regs{}) ^ regsSize)
	_ = -(unsafe.Sizeof(sregs{}) ^ sregsSize)
	_ = -(unsafe.Sizeof(guestDebug{}) ^ 0x48)
)

// regsBytes returns registers as they lie in memory.
func regsBytes(r *regs) []byte { return (*[regsSize]byte)(unsafe.Pointer(r))[:] }

func sregsBytes(s *sregs) []byte { return (*[sregsSize]byte)(unsafe.Pointer(s))[:] }

// receivePacket receives a packet, waiting for it.
func receivePacket(fd int, b []byte) (int, unix.Errno) {
	n, errno := raw.Syscall6(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	return int(n), errno
}

// sendPacket sends a packet whole.
func sendPacket(fd int, b []byte) unix.Errno {
	for {
		_, errno := writeOnce(fd, b)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// protect changes the protection of whole pages.
func protect(b []byte, prot int) unix.Errno {
	_, errno := raw.Syscall6(unix.SYS_MPROTECT, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(prot), 0, 0, 0)
	return errno
}

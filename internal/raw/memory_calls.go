package raw

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mmap is mmap(2) of size bytes of fd, or of no file where fd is -1, to read and
// write, wherever there is room.
func Mmap(fd, size, flags int) ([]byte, error) {
	return mmap(fd, size, unix.PROT_READ|unix.PROT_WRITE, flags)
}

// MmapFile is mmap(2) of the first size bytes of fd, to read.
func MmapFile(fd, size int) ([]byte, error) { return mmap(fd, size, unix.PROT_READ, unix.MAP_PRIVATE) }

func mmap(fd, size, prot, flags int) ([]byte, error) {
	addr, errno := Syscall6(unix.SYS_MMAP, 0, uintptr(size), uintptr(prot), uintptr(flags), uintptr(fd), 0)
	if errno != 0 {
		return nil, errno
	}
	return At(addr, size), nil
}

// At returns the size bytes of memory at addr, which is none of the Go runtime's.
func At(addr uintptr, size int) []byte {
	var p unsafe.Pointer
	*(*uintptr)(unsafe.Pointer(&p)) = addr
	return unsafe.Slice((*byte)(p), size)
}

// Munmap is munmap(2).
func Munmap(b []byte) error {
	_, errno := Syscall6(unix.SYS_MUNMAP, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0, 0)
	return failure(errno)
}

// Mprotect is mprotect(2).
func Mprotect(b []byte, prot int) error {
	_, errno := Syscall6(unix.SYS_MPROTECT, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(prot), 0, 0, 0)
	return failure(errno)
}

// Madvise is madvise(2).
func Madvise(b []byte, advice int) error {
	_, errno := Syscall6(unix.SYS_MADVISE, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(advice), 0, 0, 0)
	return failure(errno)
}

package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// ioctl makes a request whose argument is an integer and returns its result. A
// signal interrupts the creation of a virtual machine; then it tries again.
func ioctl(fd int, request, arg uintptr) (int, error) {
	for {
		r, errno := raw.Syscall6(unix.SYS_IOCTL, uintptr(fd), request, arg, 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return -1, errno
		}
		return int(r), nil
	}
}

// ioctlPtr makes a request whose argument is a structure. T must have the
// layout that request encodes the size of; the kernel keeps no pointer to it.
func ioctlPtr[T any](fd int, request uintptr, arg *T) unix.Errno {
	for {
		_, errno := raw.Syscall6(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)), 0, 0, 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// The sizes that the requests encode.
const (
	_ = -(unsafe.Sizeof(regs{}) ^ 0x90)
	_ = -(unsafe.Sizeof(sregs{}) ^ 0x138)
	_ = -(unsafe.Sizeof(vcpuEvents{}) ^ 0x40)
	_ = -(unsafe.Sizeof(memoryRegion{}) ^ 0x20)
	_ = -(unsafe.Sizeof(enableCap{}) ^ 0x68)
)

// enter enters the guest until it exits.
func (m *machine) enter() unix.Errno {
	_, errno := raw.Syscall6(unix.SYS_IOCTL, uintptr(m.vcpu), kvmRun, 0, 0, 0, 0)
	return errno
}

// addMemory makes b the machine's physical memory. It must stay mapped as long as the
// virtual machine lives; the guest changes it at any time.
func (m *machine) addMemory(b []byte) error {
	r := memoryRegion{slot: 0, guestPhys: 0, size: uint64(len(b)), userspace: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))}
	if errno := ioctlPtr(m.vm, kvmSetUserMemoryRegion, &r); errno != 0 {
		return &Error{"add guest memory", errno, createAdvice(errno)}
	}
	return nil
}

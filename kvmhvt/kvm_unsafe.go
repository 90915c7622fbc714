package kvmhvt

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl makes a request whose argument is an integer and returns its result. A
// signal of the Go runtime's interrupts the creation of a virtual machine; then
// it tries again.
func ioctl(fd int, request, arg uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
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
// It does not tell Go's scheduler: none of the requests it is used for sleeps.
func ioctlPtr[T any](fd int, request uintptr, arg *T) error {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		return nil
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

// enter enters the guest until it exits. It holds the calling thread and its
// place in Go's scheduler meanwhile, which saves the hand-over on every exit;
// nothing else of the process may wait for this thread to reach a safe point.
func (m *machine) enter() unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(m.vcpu), kvmRun, 0)
	return errno
}

// mapAnonymous returns size bytes of zeroed private memory that is not
// reserved in advance. It stays until unix.Munmap.
func mapAnonymous(size uint64) ([]byte, error) {
	return unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
}

// addMemory makes b the guest's physical memory at phys. b must stay mapped as
// long as the virtual machine lives; the guest changes it at any time.
func (m *machine) addMemory(slot uint32, phys uint64, b []byte) error {
	r := memoryRegion{slot: slot, guestPhys: phys, size: uint64(len(b)), userspace: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))}
	if err := ioctlPtr(m.vm, kvmSetUserMemory, &r); err != nil {
		return &Error{"add guest memory", err, createAdvice(err)}
	}
	return nil
}

// requestExit makes the next or current entry into the guest return at once;
// the current one only with a signal to its thread as well. Any thread may call
// it while the machine lives.
func (m *machine) requestExit() {
	// The byte immediate_exit is one of the first four of struct kvm_run, of
	// which the tender uses no other.
	var b [4]byte
	b[runImmediateExit] = 1
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&m.run[0])), binary.LittleEndian.Uint32(b[:]))
}

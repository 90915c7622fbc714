package kvmhvt

import (
	"sync/atomic"
	"unsafe"
)

// field returns an index of the ring, which the guest reads or writes at the
// same time. offset is one of the ring's constants: aligned to 4 and inside b,
// which itself begins on a page.
func (r *netRing) field(offset int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&r.b[offset]))
}

// ioEventFD is struct kvm_ioeventfd.
type ioEventFD struct {
	_, addr uint64
	length  uint32
	fd      int32
	flags   uint32
	_       [36]byte
}

const _ = -(unsafe.Sizeof(ioEventFD{}) ^ 0x40)

// ioEventFDPIO is KVM_IOEVENTFD_FLAG_PIO.
const ioEventFDPIO = 1 << 1

// kickOn makes KVM signal an eventfd for every 32-bit write to portKick, in
// place of an exit.
func (m *machine) kickOn(fd int) error {
	if err := requireCapability(m.kvm, kvmCapIOEventFD, "ioeventfd"); err != nil {
		return err
	}
	e := ioEventFD{addr: portKick, length: 4, fd: int32(fd), flags: ioEventFDPIO}
	if err := ioctlPtr(m.vm, kvmIOEventFD, &e); err != nil {
		return &Error{"watch the network ring's port", err, ""}
	}
	return nil
}

// pause tells the processor that the caller spins (pause_amd64.s).
//
//go:noescape
func pause()

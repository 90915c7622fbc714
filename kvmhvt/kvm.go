package kvmhvt

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/raw"
)

// KVM's interface (linux/kvm.h): requests of ioctl.
const (
	kvmGetAPIVersion       = abi.KVMGetAPIVersion
	kvmCreateVM            = 0xae01
	kvmCheckExtension      = 0xae03
	kvmGetVCPUMmapSize     = 0xae04
	kvmGetSupportedCPUID   = 0xc008ae05
	kvmCreateVCPU          = 0xae41
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmRun                 = 0xae80
	kvmGetRegs             = 0x8090ae81
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84
	kvmSetMSRs             = 0x4008ae89
	kvmSetCPUID2           = 0x4008ae90
	kvmSetGuestDebug       = 0x4048ae9b
	kvmGetVCPUEvents       = 0x8040ae9f
	kvmGetTSCKHz           = 0xaea3
	kvmEnableCap           = 0x4068aea3
	kvmGetXsave            = 0x9000aea4
	kvmSetXsave            = 0x5000aea5
	kvmAPIVersion          = abi.KVMVersion
	kvmCapUserMemory       = 3
	kvmCapGetTSCKHz        = 61
	kvmCapEnforcePV        = 190 // since Linux 5.10
)

// Exit reasons of struct kvm_run.
const (
	exitIO            = 2
	exitDebug         = 4
	exitHLT           = 5
	exitMMIO          = 6
	exitShutdown      = 8
	exitFailEntry     = 9
	exitIntr          = 10
	exitInternalError = 17
)

// Offsets in struct kvm_run.
const (
	runImmediateExit  = 1
	runExitReason     = 8
	runIODirection    = 32 // u8: 1 is out
	runIOSize         = 33 // u8
	runIOPort         = 34 // u16
	runIOCount        = 36 // u32
	runIODataOffset   = 40 // u64
	runSubError       = 32 // u32 of an internal error
	runSubNData       = 36 // u32
	runSubData        = 40 // u64[16]
	runDebugException = 32 // u32
	runDebugDR6       = 48 // u64
	runFailReason     = 32 // u64
	runMMIOAddr       = 32 // u64
	runMMIOIsWrite    = 52 // u8
	runMinSize        = 2352
)

// regs is struct kvm_regs.
type regs struct {
	rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp uint64
	r8, r9, r10, r11, r12, r13, r14, r15   uint64
	rip, rflags                            uint64
}

// segment is struct kvm_segment.
type segment struct {
	base                              uint64
	limit                             uint32
	selector                          uint16
	typ, present, dpl, db, s, l, g, _ uint8
	unusable, _                       uint8
}

// dtable is struct kvm_dtable.
type dtable struct {
	base  uint64
	limit uint16
	_     [3]uint16
}

// sregs is struct kvm_sregs.
type sregs struct {
	cs, ds, es, fs, gs, ss, tr, ldt segment
	gdt, idt                        dtable
	cr0, cr2, cr3, cr4, _, efer, _  uint64 // cr8 and the APIC's base stay KVM's
	_                               [4]uint64
}

// vcpuEvents is struct kvm_vcpu_events. An exception is pending before it is
// delivered, and injected while that is under way.
type vcpuEvents struct {
	injected, _, _, pending uint8
	_                       [60]byte
}

// guestDebug is struct kvm_guest_debug.
type guestDebug struct {
	control, _ uint32
	registers  [8]uint64
}

// What guestDebug.control asks for.
const (
	guestDebugEnable   = 1 << 0
	guestDebugStep     = 1 << 1
	guestDebugSoftware = 1 << 16
	guestDebugHardware = 1 << 17
)

// memoryRegion is struct kvm_userspace_memory_region.
type memoryRegion struct {
	slot, _                    uint32
	guestPhys, size, userspace uint64
}

// enableCap is struct kvm_enable_cap.
type enableCap struct {
	capability, _ uint32
	args          [4]uint64
	_             [64]byte
}

// Error is a failure of KVM or of this machine's KVM to do what a guest needs.
type Error struct {
	Op     string // what was tried
	Err    error  // why it failed; often a unix.Errno
	Advice string // what to do about it; may be empty
}

func (e *Error) Error() string {
	s := "KVM: " + e.Op + ": " + e.Err.Error()
	if e.Advice != "" {
		s += ": " + e.Advice
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// ErrCapability means that the host's KVM lacks something required.
var ErrCapability = errors.New("not supported by this host's KVM")

// openKVM opens /dev/kvm, or copies the descriptor given, and checks that it is
// usable. The caller owns the new descriptor.
func openKVM(given int) (fd int, err error) {
	if given == NoFD {
		fd, err = raw.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC)
	} else {
		fd, err = raw.Fcntl(given, unix.F_DUPFD_CLOEXEC, 3)
	}
	if err != nil {
		return -1, &Error{"open /dev/kvm", err, openAdvice(err)}
	}
	v, err := ioctl(fd, kvmGetAPIVersion, 0)
	switch {
	case err != nil:
		err = &Error{"get API version", err, "/dev/kvm is not KVM's device"}
	case v != kvmAPIVersion:
		err = &Error{"get API version", fmt.Errorf("version %d, expected %d", v, kvmAPIVersion), ""}
	default:
		err = requireCapability(fd, kvmCapUserMemory, "user memory")
	}
	if err != nil {
		raw.Close(fd)
		return -1, err
	}
	return fd, nil
}

func openAdvice(err error) string {
	switch err {
	case unix.ENOENT:
		return "load the module kvm_intel or kvm_amd, enable virtualisation in the firmware, or give the container the device"
	case unix.EACCES, unix.EPERM:
		return "join the group that owns /dev/kvm, usually kvm"
	case unix.ENXIO, unix.ENODEV:
		return "the module kvm_intel or kvm_amd is not loaded"
	}
	return ""
}

func createAdvice(err error) string {
	switch err {
	case unix.EBUSY:
		return "another hypervisor holds the processor's virtualisation; stop it"
	case unix.ENOMEM, unix.EMFILE, unix.ENFILE:
		return "the host is out of memory or descriptors"
	}
	return ""
}

func capability(fd int, number uintptr) bool {
	v, err := ioctl(fd, kvmCheckExtension, number)
	return err == nil && v > 0
}

func requireCapability(fd int, number uintptr, name string) error {
	if !capability(fd, number) {
		return &Error{"check capability " + name, ErrCapability, "use a newer kernel"}
	}
	return nil
}

// Available says whether guests can run here: nil, or an *Error that says what
// is missing.
func Available() error {
	fd, err := openKVM(NoFD)
	if err != nil {
		return err
	}
	defer raw.Close(fd)
	vm, err := ioctl(fd, kvmCreateVM, 0)
	if err != nil {
		return &Error{"create virtual machine", err, createAdvice(err)}
	}
	return raw.Close(vm)
}

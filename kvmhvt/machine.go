package kvmhvt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/internal/x86"
)

// machine is a virtual machine with one processor.
type machine struct {
	kvm, vm, vcpu int
	run           []byte // struct kvm_run, shared with the kernel
	memory        []byte // all that is the machine's: mem, sys, and up to 2 MiB that nobody has
	mem           []byte // guest memory, physical address 0
	sys           []byte // what the processor needs and the guest must not see, immediately after it
	regs          regs
	sregs         sregs
	events        vcpuEvents
	offered       [len(x86.Groups)]uint64 // features that KVM tells the guest of
}

// MemoryError says that the host does not give the guest's memory.
type MemoryError struct {
	Memory uint64 // bytes
	Err    error
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("guest memory of %d MB: %v", e.Memory>>20, e.Err)
}

func (e *MemoryError) Unwrap() error { return e.Err }

// newMachine creates a machine with memory for layout, of the descriptor kvm of
// /dev/kvm, or with NoFD of one of its own. Nothing is loaded and no register set.
// Close releases it.
func newMachine(l *layout, kvm int) (*machine, error) {
	m := raw.New[machine]()
	*m = machine{kvm: -1, vm: -1, vcpu: -1}
	if err := m.create(l, kvm); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *machine) create(l *layout, kvm int) (err error) {
	if m.kvm, err = openKVM(kvm); err != nil {
		return err
	}
	if err = m.createVM(l); err != nil {
		return err
	}
	c, err := supportedCPUID(m.kvm)
	if err != nil {
		return err
	}
	m.offered = c.features()
	return m.setCPUID(c)
}

// settle has KVM do what it leaves to the first time that a processor runs: some
// kernels start a thread of their own then, which the tender's limits forbid. No
// instruction is executed. If it fails, so does entering the guest.
func (m *machine) settle() {
	m.run[runImmediateExit] = 1
	m.enter()
	m.run[runImmediateExit] = 0
}

// createVM makes everything but the processor's features.
func (m *machine) createVM(l *layout) (err error) {
	if m.vm, err = ioctl(m.kvm, kvmCreateVM, 0); err != nil {
		return &Error{"create virtual machine", err, createAdvice(err)}
	}
	size, err := ioctl(m.kvm, kvmGetVCPUMmapSize, 0)
	if err != nil || size < runMinSize {
		return &Error{"get size of kvm_run", errors.Join(err, fmt.Errorf("%d bytes, expected at least %d", size, runMinSize)), ""}
	}
	if m.vcpu, err = ioctl(m.vm, kvmCreateVCPU, 0); err != nil {
		return &Error{"create processor", err, createAdvice(err)}
	}
	if err := m.enforceParavirtual(); err != nil {
		return err
	}
	if m.run, err = raw.Mmap(m.vcpu, size, unix.MAP_SHARED); err != nil {
		return &Error{"map kvm_run", err, ""}
	}
	// One piece, because KVM waits for other processors after each. The kernel begins
	// multiples of 2 MiB where a huge page can.
	all := l.total + l.systemSize()
	if m.memory, err = mapAnonymous((all + blockSize - 1) &^ (blockSize - 1)); err != nil {
		return &MemoryError{l.total, err}
	}
	m.mem, m.sys = m.memory[:l.total:l.total], m.memory[l.total:all]
	return m.addMemory(m.memory[:all])
}

// system is the physical address of the system area.
func (m *machine) system() uint64 { return uint64(len(m.mem)) }

// choosePages asks for huge pages of 2 MiB, since the guest leaves the processor at the
// first use of each page; but not for the little memory that small guests use: after
// their image, unless the image itself fills them, and at the top.
func (m *machine) choosePages(img *image.Image) {
	size := uint64(len(m.mem))
	bottom := min((img.End+2*blockSize-1)&^(blockSize-1), size)
	top := max(bottom, size-blockSize)
	raw.Madvise(m.mem[:bottom], unix.MADV_NOHUGEPAGE)
	raw.Madvise(m.mem[bottom:top], unix.MADV_HUGEPAGE)
	raw.Madvise(m.mem[top:], unix.MADV_NOHUGEPAGE)
	for start, end := img.Filled(0); start < end; start, end = img.Filled(end) {
		raw.Madvise(m.mem[start:min(end, bottom)], unix.MADV_HUGEPAGE)
	}
}

// close releases what the machine holds. No thread may be in the guest.
func (m *machine) close() {
	for _, b := range [...][]byte{m.run, m.memory} {
		if b != nil {
			raw.Munmap(b)
		}
	}
	for _, fd := range [...]int{m.vcpu, m.vm, m.kvm} {
		if fd >= 0 {
			raw.Close(fd)
		}
	}
	*m = machine{kvm: -1, vm: -1, vcpu: -1}
}

// failed is the end of a guest because a request of its processor's failed.
func failed(what string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return because("KVM: ").text(what).text(": ").errno(errno).err()
}

func (m *machine) getRegs() error {
	return failed("get registers", ioctlPtr(m.vcpu, kvmGetRegs, &m.regs))
}

func (m *machine) setRegs() error {
	return failed("set registers", ioctlPtr(m.vcpu, kvmSetRegs, &m.regs))
}

func (m *machine) getSregs() error {
	return failed("get system registers", ioctlPtr(m.vcpu, kvmGetSregs, &m.sregs))
}

func (m *machine) setSregs() error {
	return failed("set system registers", ioctlPtr(m.vcpu, kvmSetSregs, &m.sregs))
}

// excepted says whether an exception is on its way into the guest: KVM would
// deliver it wherever the registers point when the guest goes on.
func (m *machine) excepted() (bool, error) {
	m.events = vcpuEvents{}
	if err := failed("get events", ioctlPtr(m.vcpu, kvmGetVCPUEvents, &m.events)); err != nil {
		return false, err
	}
	return m.events.injected|m.events.pending != 0, nil
}

// tscHz returns the frequency of the guest's time stamp counter.
func (m *machine) tscHz() (uint64, error) {
	if err := requireCapability(m.kvm, kvmCapGetTSCKHz, "TSC frequency"); err != nil {
		return 0, err
	}
	khz, err := ioctl(m.vcpu, kvmGetTSCKHz, 0)
	if err == unix.EIO {
		return 0, &Error{"get TSC frequency", err, "the host's time stamp counter is unstable and guests keep time by it"}
	}
	if err != nil || khz <= 0 {
		return 0, &Error{"get TSC frequency", errors.Join(err, fmt.Errorf("%d kHz", khz)), ""}
	}
	return uint64(khz) * 1000, nil
}

// Fields of struct kvm_run. The kernel writes them only while the processor
// runs.

func (m *machine) run32(offset int) uint32 { return binary.LittleEndian.Uint32(m.run[offset:]) }
func (m *machine) run64(offset int) uint64 { return binary.LittleEndian.Uint64(m.run[offset:]) }

// portAccess is an exit because of a port instruction.
type portAccess struct {
	out   bool
	size  uint8 // bytes
	port  uint16
	count uint32
	data  uint32 // first four bytes written
}

func (m *machine) portAccess() portAccess {
	a := portAccess{
		out:   m.run[runIODirection] == 1,
		size:  m.run[runIOSize],
		port:  binary.LittleEndian.Uint16(m.run[runIOPort:]),
		count: m.run32(runIOCount),
	}
	if off := m.run64(runIODataOffset); off <= uint64(len(m.run)-4) {
		a.data = m.run32(int(off))
	}
	return a
}

// mapAnonymous returns size bytes of zeroed private memory that is not
// reserved in advance. It stays until raw.Munmap.
func mapAnonymous(size uint64) ([]byte, error) {
	return raw.Mmap(-1, int(size), unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
}

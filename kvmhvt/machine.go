package kvmhvt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// machine is a virtual machine with one processor.
type machine struct {
	kvm, vm, vcpu int
	run           []byte // struct kvm_run, shared with the kernel
	mem           []byte // guest memory, physical address 0
	sys           []byte // what the processor needs and the guest must not see, at systemPhys
	regs          regs
	sregs         sregs
	events        vcpuEvents
}

// newMachine creates a machine with memory for layout. Nothing is loaded and
// no register set. Close releases it.
func newMachine(l *layout) (*machine, error) {
	m := &machine{kvm: -1, vm: -1, vcpu: -1}
	if err := m.create(l); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *machine) create(l *layout) (err error) {
	if m.kvm, err = openKVM(); err != nil {
		return err
	}
	// Half a millisecond on some hosts, and what follows does not depend on it.
	features := make(chan error, 1)
	var c *cpuid
	go func() {
		var err error
		c, err = supportedCPUID(m.kvm)
		features <- err
	}()
	if err = m.createVM(l); err != nil {
		<-features // it uses m.kvm
		return err
	}
	if err := <-features; err != nil {
		return err
	}
	return m.setCPUID(c)
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
	m.run, err = unix.Mmap(m.vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return &Error{"map kvm_run", err, ""}
	}
	if m.mem, err = mapAnonymous(l.total); err != nil {
		return fmt.Errorf("guest memory of %d MB: %w: give less with --mem", l.total>>20, err)
	}
	if m.sys, err = mapAnonymous(l.systemSize()); err != nil {
		return fmt.Errorf("page tables of %d bytes: %w", l.systemSize(), err)
	}
	if err := m.addMemory(0, 0, m.mem); err != nil {
		return err
	}
	return m.addMemory(1, systemPhys, m.sys)
}

// keepSmall keeps the kernel from backing the little memory that small guests
// touch, behind their image and at the top, with huge pages of 2 MiB. Larger
// ones still get them for the rest.
func (m *machine) keepSmall(imageEnd uint64) {
	bottom := min((imageEnd+2*blockSize-1)&^(blockSize-1), uint64(len(m.mem)))
	unix.Madvise(m.mem[:bottom], unix.MADV_NOHUGEPAGE)
	unix.Madvise(m.mem[len(m.mem)-blockSize:], unix.MADV_NOHUGEPAGE)
}

// close releases what the machine holds. No thread may be in the guest.
func (m *machine) close() {
	for _, b := range [][]byte{m.run, m.mem, m.sys} {
		if b != nil {
			unix.Munmap(b)
		}
	}
	for _, fd := range []int{m.vcpu, m.vm, m.kvm} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	*m = machine{kvm: -1, vm: -1, vcpu: -1}
}

func (m *machine) getRegs() error {
	if err := ioctlPtr(m.vcpu, kvmGetRegs, &m.regs); err != nil {
		return &Error{"get registers", err, ""}
	}
	return nil
}

func (m *machine) setRegs() error {
	if err := ioctlPtr(m.vcpu, kvmSetRegs, &m.regs); err != nil {
		return &Error{"set registers", err, ""}
	}
	return nil
}

func (m *machine) getSregs() error {
	if err := ioctlPtr(m.vcpu, kvmGetSregs, &m.sregs); err != nil {
		return &Error{"get system registers", err, ""}
	}
	return nil
}

func (m *machine) setSregs() error {
	if err := ioctlPtr(m.vcpu, kvmSetSregs, &m.sregs); err != nil {
		return &Error{"set system registers", err, ""}
	}
	return nil
}

// excepted says whether an exception is on its way into the guest: KVM would
// deliver it wherever the registers point when the guest goes on.
func (m *machine) excepted() (bool, error) {
	m.events = vcpuEvents{}
	if err := ioctlPtr(m.vcpu, kvmGetVCPUEvents, &m.events); err != nil {
		return false, &Error{"get events", err, ""}
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

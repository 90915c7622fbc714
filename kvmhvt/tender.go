package kvmhvt

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
)

// tender is a guest with everything that it takes to run it.
type tender struct {
	config   *Config
	layout   *layout
	machine  *machine
	services services
	cpu      cpu
	timer    Timer
	ring     *netRing      // nil without
	enter    chan struct{} // closed when the guest's thread is not to enter it
	ended    chan Exit
	ending   atomic.Bool
	thread   atomic.Int32 // the guest's thread, once it runs
	confined bool
	size     uint64 // bytes of address space mapped before the confinement, or 0
	signals  chan os.Signal
}

// newTender builds a virtual machine with the guest loaded and its devices
// connected. Close releases it.
func newTender(c *Config) (*tender, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &tender{config: c}
	t.services.waits = waitSet{epoll: -1, timer: -1}
	if err := t.build(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tender) build() (err error) {
	c := t.config
	extra := uint64(0)
	if c.NetRing && hasNet(c.Devices) {
		extra = ringReserve
	}
	if t.layout, err = newLayout(c.Image, c.Memory, extra); err != nil {
		return err
	}
	if t.machine, err = newMachine(t.layout); err != nil {
		return err
	}
	m := t.machine
	m.keepSmall(c.Image.End)
	t.services.mem = guestMemory{m.mem, t.layout}
	t.cpu = cpu{regs: &m.regs, mem: t.services.mem}
	if err := t.attachTimer(); err != nil {
		return err
	}
	if err := load(m.mem, c.Image, c.File); err != nil {
		return err
	}
	if err := t.attach(); err != nil {
		return err
	}
	if extra != 0 {
		if t.ring, err = newNetRing(t); err != nil {
			return err
		}
	}
	return t.start()
}

// start sets the processor up for the guest's first instruction.
func (t *tender) start() error {
	c, m := t.config, t.machine
	hz, err := m.tscHz()
	if err != nil {
		return err
	}
	info := bootInfo{
		memSize: t.layout.size, kernelEnd: c.Image.End, tscHz: hz,
		manifest: c.Manifest, args: c.Args,
	}
	if t.ring != nil {
		info.ring = t.ring.addr
	}
	if err := info.write(m.mem); err != nil {
		return err
	}
	t.layout.pageTables(m.sys, c.CPL)
	systemTables(m.sys, c.CPL)
	if c.CPL == 0 {
		if err := m.protect(t.layout); err != nil {
			return err
		}
	}
	if err := m.getSregs(); err != nil {
		return err
	}
	m.sregs.setCPU(c.CPL)
	if err := m.setSregs(); err != nil {
		return err
	}
	m.regs = startRegs(c.Image.Entry, t.layout.size, c.CPL)
	return m.setRegs()
}

// protect makes the memory that the guest may not write read-only to KVM, as
// Solo5's tender does: at privilege level 0 the page tables do not say so.
func (m *machine) protect(l *layout) error {
	for _, r := range l.regions {
		if r.start < minBase || r.prot&image.W != 0 {
			continue
		}
		if err := unix.Mprotect(m.mem[r.start:r.end], unix.PROT_READ); err != nil {
			return fmt.Errorf("protect guest memory at %#x: %w", r.start, err)
		}
	}
	return nil
}

// attach connects the guest's devices to the hypercalls.
func (t *tender) attach() error {
	s := &t.services
	s.console = console{fd: t.config.console(), waits: &s.waits}
	device.Widen(s.console.fd) // one write takes as much as one read gave
	if err := s.waits.open(&t.ending); err != nil {
		return err
	}
	s.waits.idle = dropText
	for i := range t.config.Devices {
		d := &t.config.Devices[i]
		if d.Handle < 1 || d.Handle >= image.MaxEntries {
			return fmt.Errorf("device '%s' has handle %d", d.Name, d.Handle)
		}
		switch d.Type {
		case image.Block:
			s.blocks[d.Handle] = &blockDevice{name: d.Name, fd: d.FD, capacity: d.Capacity}
		case image.Net:
			if err := t.attachNet(d); err != nil {
				return fmt.Errorf("device '%s': %w", d.Name, err)
			}
		}
	}
	return nil
}

func (t *tender) attachNet(d *device.Device) error {
	s := &t.services
	port, err := d.Private()
	if err != nil {
		return err
	}
	if d.Kind == device.Pipe {
		device.Widen(d.FD)
	}
	s.nets[d.Handle] = &netDevice{name: d.Name, port: port, endsStream: d.EndsStream(t.config.EOF), terminal: d.Kind == device.TTY}
	if device.AlwaysReady(d.Kind) {
		s.waits.always |= 1 << d.Handle
		return nil
	}
	return s.waits.watch(d.FD, 1<<d.Handle)
}

func hasNet(devices []device.Device) bool {
	for i := range devices {
		if devices[i].Type == image.Net {
			return true
		}
	}
	return false
}

// close releases everything. No thread may be in the guest. A confined process
// leaves that to its exit.
func (t *tender) close() {
	if t.confined {
		return
	}
	if t.ring != nil {
		t.ring.close()
	}
	for _, n := range t.services.nets {
		if n != nil {
			n.port.Close()
		}
	}
	t.services.waits.close()
	if t.machine != nil {
		t.machine.close()
	}
}

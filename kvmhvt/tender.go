package kvmhvt

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/raw"
)

// tender is a guest with everything that it takes to run it.
type tender struct {
	config   *Config
	layout   *layout
	machine  *machine
	services services
	cpu      cpu
	timer    Timer
	ring     *netRing   // nil without
	debug    *debugPort // nil without
	layers   []outcome
	program  []unix.SockFilter
	hz       uint64 // frequency of the guest's time stamp counter
	say      line   // what is being printed
	openable uint64 // descriptors that the limit allowed
	confined bool   // what a filter traps is no call of the confinement's any more
	told     uint32 // set of signals of which the guest has been told
}

// newTender builds a virtual machine with the guest loaded and its devices
// connected. Close releases it.
func newTender(c *Config) (*tender, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	t := raw.New[tender]()
	t.config = c
	t.services.waits.epoll, t.services.waits.timer = -1, -1
	if err := t.build(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tender) build() (err error) {
	c := t.config
	extra := uint64(0)
	if (c.NetRing || c.Image.Ring != 0) && hasNet(c.Devices) {
		extra = ringReserve
	}
	if t.layout, err = newLayout(c.Image, c.Memory, extra); err != nil {
		return err
	}
	if t.machine, err = newMachine(t.layout, c.KVM); err != nil {
		return err
	}
	m := t.machine
	m.choosePages(c.Image)
	t.services.mem = guestMemory{m.mem, t.layout}
	t.cpu = cpu{regs: &m.regs, mem: t.services.mem}
	if err := t.attachTimer(); err != nil {
		return err
	}
	if c.Warm == nil {
		if err := load(m.mem, c.Image, c.File); err != nil {
			return err
		}
	}
	if err := t.attach(); err != nil {
		return err
	}
	if extra != 0 {
		t.ring = newNetRing(t)
	}
	return t.start()
}

// start sets the processor up for the guest's first instruction.
func (t *tender) start() error {
	c, m := t.config, t.machine
	var err error
	if t.hz, err = m.tscHz(); err != nil {
		return err
	}
	info := bootInfo{
		memSize: t.layout.size, kernelEnd: c.Image.End, tscHz: t.hz,
		manifest: c.Image.Manifest, args: c.Args,
	}
	if t.ring != nil && c.NetRing {
		info.ring = t.ring.addr
	}
	if t.ring != nil && c.Image.Ring != 0 && c.Warm == nil {
		b, err := t.services.mem.writable("ring", c.Image.Ring, image.RingWordSize)
		if err != nil {
			return err
		}
		store64(b, 0, t.ring.addr)
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
	m.sregs.setCPU(c.CPL, m.system())
	if err := m.setSregs(); err != nil {
		return err
	}
	if c.Warm != nil {
		return t.restore()
	}
	m.regs = startRegs(c.Image.Entry, t.layout.size, c.CPL)
	return m.setRegs()
}

// protect makes the memory that the guest may not write read-only to KVM, as
// Solo5's tender does: at privilege level 0 the page tables do not say so.
func (m *machine) protect(l *layout) error {
	for _, r := range l.regions {
		if !r.kept() {
			continue
		}
		if err := raw.Mprotect(m.mem[r.start:r.end], unix.PROT_READ); err != nil {
			return fmt.Errorf("protect guest memory at %#x: %w", r.start, err)
		}
	}
	return nil
}

// attach connects the guest's devices to the hypercalls.
func (t *tender) attach() error {
	s := &t.services
	s.console = console{fd: t.config.Console, waits: &s.waits}
	device.Widen(s.console.fd) // one write takes as much as one read gave
	if err := s.waits.open(); err != nil {
		return err
	}
	for i := range t.config.Devices {
		d := &t.config.Devices[i]
		switch d.Type {
		case image.Block:
			b := raw.New[blockDevice]()
			*b = blockDevice{name: d.Name, fd: d.FD, capacity: d.Capacity}
			s.blocks[d.Handle] = b
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
	n := raw.New[netDevice]()
	*n = netDevice{name: d.Name, port: port, endsStream: d.EndsStream(t.config.EOF), terminal: d.Kind == device.TTY, other: d.Kind == device.Other}
	s.nets[d.Handle] = n
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

// close releases everything, where the guest is not started.
func (t *tender) close() {
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

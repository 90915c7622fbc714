package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/image"
	"gocat/internal/raw"
)

// The supervisor of a guest that is to be started warm talks to its tender as a debugger's
// does (debug.go). After DebugWaits the guest stops where it waits, and nowhere else;
// DebugSnapshot answers with its State. The supervisor reads memory as debuggers do.

// atWait stops the guest at a poll that waits, or asks for a snapshot, with arguments at
// addr, before it is served. The stop's numbers are whether it asks and the handles that
// have input.
func (t *tender) atWait(addr uint64) error {
	arg, err := t.services.mem.readable("poll", addr, pollSize)
	if err != nil {
		return nil // the poll says so
	}
	asks, waits := uint64(0), load64(arg, 0) != 0 && t.services.waits.always == 0
	if g := t.config.Image.Generation; g != 0 && addr == g+abi.GenerationRequest {
		asks = 1
	}
	if asks == 0 && !waits {
		return nil
	}
	ready, _, err := t.services.waits.wait(0)
	if err != nil {
		return err
	}
	t.debug.poll = addr
	_, err = t.stopped(DebugWaiting, asks, ready)
	return err
}

// snapshot stores the guest's state, of which the supervisor adds what takes a file to
// know. The guest does not go on from here.
func (t *tender) snapshot(s *State) unix.Errno {
	m, c := t.machine, &t.cpu
	arg, err := t.services.mem.readable("poll", t.debug.poll, pollSize)
	if err != nil {
		return unix.EINVAL
	}
	m.settle() // the OUT is complete after this
	if ioctlPtr(m.vcpu, kvmGetRegs, &m.regs) != 0 || ioctlPtr(m.vcpu, kvmGetSregs, &m.sregs) != 0 {
		return unix.EIO
	}
	if errno := ioctlPtr(m.vcpu, kvmGetXsave, &s.Extended); errno != 0 {
		return errno
	}
	*generalOf(s) = m.regs
	generalOf(s).rflags = userFlags(m.regs.rflags)
	s.FSBase, s.GSBase, s.KernelGSBase, s.CR2 = m.sregs.fs.base, m.sregs.gs.base, c.kernelGSBase, c.cr2
	s.GDTBase, s.GDTLimit, s.IDTBase, s.IDTEnd = c.gdt.base, uint64(c.gdt.limit), c.idt.base, uint64(c.idt.limit)
	s.TR = uint64(c.tr)
	if t.ring != nil {
		s.RingHead, s.RingTail = uint64(t.ring.entHead), uint64(t.ring.comTail)
	}
	s.Poll, s.Timeout, s.Hz, s.Offered = t.debug.poll, load64(arg, 0), t.hz, m.offered
	for i := range t.config.Image.Manifest {
		s.Devices[i] = described(&t.config.Image.Manifest[i])
	}
	if s.Counter, err = t.counter(); err != nil {
		return unix.EIO
	}
	s.Wall = uint64(raw.Clock(unix.CLOCK_REALTIME))
	return 0
}

// A State is one answer of the tender's, and there is room for the table's entries.
const (
	_ = uint(DebugData - stateSize)
	_ = uint(len(State{}.Devices) - image.MaxEntries)
)

// DecodeState reads the answer to DebugSnapshot.
func DecodeState(b []byte) (s *State, ok bool) {
	s = new(State)
	return s, copy(stateBytes(s), b) == stateSize && len(b) == stateSize
}

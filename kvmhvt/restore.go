package kvmhvt

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/raw"
	"gocat/internal/x86"
)

// This file starts a guest as what it was (Config.Warm). Page tables, descriptor
// tables, control registers and segments are the tender's, as of every guest; from the
// file come general registers, the bases of FS and GS, floating point, and memory.

// restore makes the processor what it was. What is wrong with the file, or with the host
// for this guest, is found here.
func (t *tender) restore() error {
	w, m := t.config.Warm, t.machine
	s := w.State
	if err := w.check(t.config, t.layout); err != nil {
		return err
	}
	if err := w.checkDevices(t.config.Image.Manifest); err != nil {
		return err
	}
	if err := t.checkHost(s); err != nil {
		return err
	}
	if err := t.resumeClock(s); err != nil {
		return err
	}
	if errno := ioctlPtr(m.vcpu, kvmSetXsave, &s.Extended); errno != 0 {
		return &Error{"set floating point registers", errno, "the processor is not like that on which the guest was stopped"}
	}
	c := &t.cpu
	c.fsBase, c.gsBase, c.kernelGSBase, c.cr2 = s.FSBase, s.GSBase, s.KernelGSBase, s.CR2
	c.gdt, c.idt = dtable{base: s.GDTBase, limit: uint16(s.GDTLimit)}, dtable{base: s.IDTBase, limit: uint16(s.IDTEnd)}
	c.tr = uint16(s.TR)
	if t.ring != nil {
		t.ring.entHead, t.ring.comTail = uint32(s.RingHead), uint32(s.RingTail)
	}
	return t.setProcessor()
}

// checkHost says what the guest has found on the processor that it was stopped on and
// this one lacks. CPUID takes long in a virtual machine, so it is skipped on a host
// that has not been rebooted since: its processor is the same.
func (t *tender) checkHost(s *State) error {
	if id := bootID(); id == s.Boot && id != [2]uint64{} {
		return nil
	}
	here := x86.ThisProcessor()
	for i := range x86.Groups {
		missing := s.Features[i]&^here.Features[i] | s.Offered[i]&^t.machine.offered[i]
		for bit, name := range &x86.Groups[i].Names {
			if missing>>bit&1 != 0 && name != "" {
				return fmt.Errorf("this processor lacks %s, which the guest has found on another", name)
			}
		}
	}
	if s.States&^here.States != 0 {
		return errors.New("this processor has fewer registers of floating point enabled than the guest has found on another")
	}
	if s.Last != 0 && s.Last != uint64(here.Last) {
		return errors.New("this processor stores its registers (XSAVE) otherwise than the one that the guest has run on")
	}
	return nil
}

// bootID returns the first 16 bytes of the host's boot ID, 0 if it is not known.
func bootID() (id [2]uint64) {
	fd, err := raw.Open(raw.BootID, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return id
	}
	var b [16]byte
	if n, err := raw.Read(fd, b[:]); n == len(b) && err == nil {
		id = [2]uint64{load64(b[:], 0), load64(b[:], 8)}
	}
	raw.Close(fd)
	return id
}

// elapsed is the time since the guest was stopped, in ns: none where the wall clock
// has gone back.
func (s *State) elapsed() uint64 {
	now := uint64(max(raw.Clock(unix.CLOCK_REALTIME), 0))
	return now - min(s.Wall, now)
}

// scale returns n*mul/div, or the most there can be. div is not 0.
func scale(n, mul, div uint64) uint64 {
	hi, lo := bits.Mul64(n, mul)
	if hi >= div {
		return 1<<64 - 1
	}
	q, _ := bits.Div64(hi, lo, div)
	return q
}

// counterNow is what the guest's time stamp counter shows if it has run on as if the
// guest had waited all the time, which has been passed ns.
func (s *State) counterNow(passed uint64) uint64 {
	return s.Counter + min(scale(passed, s.Hz, second), 1<<62)
}

const second = 1e9 // ns

// resumeClock has the guest's time stamp counter go on. Some hosts' KVM cannot set it,
// and gives guests the host's own. A guest that knows of its clones corrects for that,
// and for another frequency.
func (t *tender) resumeClock(s *State) error {
	t.machine.setCounter(s.counterNow(s.elapsed()))
	if off := max(t.hz, s.Hz) - min(t.hz, s.Hz); off > s.Hz/1000 && t.config.Image.Generation == 0 {
		return fmt.Errorf("this host's time stamp counter runs at %d Hz, and the guest has found %d: its clocks would be wrong", t.hz, s.Hz)
	}
	return nil
}

// checkClock refuses where the clocks of a guest that does not know of its
// clones would go back or be wrong. It runs instructions of the guest's processor, for
// which some kernels start a thread: then the process can enter no namespaces any more.
func (t *tender) checkClock() error {
	w := t.config.Warm
	if w == nil || t.config.Image.Generation != 0 {
		return nil
	}
	s, why := w.State, ""
	now, err := t.counter()
	passed := s.elapsed()
	// The wall clock may be adjusted by as much, and a host may be slow.
	want, tolerance := s.counterNow(passed), scale(passed, s.Hz, 1000*second)+2*s.Hz
	switch {
	case err != nil:
		why = "KVM: the guest's time stamp counter cannot be read"
	case now < s.Counter:
		why = "this host's time stamp counter is behind that which the guest has seen, and its KVM cannot set it: the guest's clocks would go back; the host was started anew, or is another one"
	case max(now, want)-min(now, want) > tolerance:
		why = "this host's time stamp counter has not run on as its wall clock has since the guest was stopped, and its KVM cannot set it: the guest's clocks would be wrong; the host was started anew, or is another one"
	default:
		return t.setProcessor()
	}
	because(why).err()
	lastStop.status = int(t.config.Failure)
	return &lastStop
}

// setProcessor sets the registers that the guest goes on with.
func (t *tender) setProcessor() error {
	s, m := t.config.Warm.State, t.machine
	m.sregs.setCPU(3, m.system())
	m.sregs.fs.base, m.sregs.gs.base = s.FSBase, s.GSBase
	if err := m.setSregs(); err != nil {
		return err
	}
	m.regs = *generalOf(s)
	return m.setRegs()
}

// setCounter sets the guest's time stamp counter, where KVM has one for it. KVM takes
// a value near the present one for that, so a distant one is set before.
func (m *machine) setCounter(v uint64) {
	var r msrs
	r.n = 2
	for i, v := range [...]uint64{v + 1<<42, v} {
		r.entries[i].index, r.entries[i].value = msrTSC, v
	}
	ioctlPtr(m.vcpu, kvmSetMSRs, &r)
}

// counter returns what the guest would read from its time stamp counter: two
// instructions in the place of its first ones read it. The processor's registers must
// be set afterwards.
func (t *tender) counter() (uint64, error) {
	code := [...]byte{0x0f, 0x31, hlt} // RDTSC, HLT
	at, m := t.config.Image.Entry, t.machine
	if at > t.layout.size-uint64(len(code)) {
		return 0, errCounter
	}
	b, saved := m.mem[at:][:len(code)], code
	copy(saved[:], b)
	copy(b, code[:])
	v, err := m.runCounter(startRegs(at, t.layout.size, 3))
	copy(b, saved[:])
	return v, err
}

// runCounter runs such instructions from r.
func (m *machine) runCounter(r regs) (uint64, error) {
	m.sregs.setCPU(3, m.system())
	if err := m.setSregs(); err != nil {
		return 0, err
	}
	m.regs = r
	if err := m.setRegs(); err != nil {
		return 0, err
	}
	errno := m.enter()
	for ; errno == unix.EINTR; errno = m.enter() {
		m.run[runImmediateExit] = 0
	}
	if errno != 0 || m.run32(runExitReason) != exitHLT {
		return 0, errCounter
	}
	err := m.getRegs()
	return m.regs.rdx<<32 | m.regs.rax&0xffffffff, err
}

// errCounter is told of in the words of who reads the counter.
var errCounter = errors.New("no time stamp counter")

// mapWarm puts the guest's pages in their places. There is no way back from here: a
// second start would not find them.
func (t *tender) mapWarm() {
	w := t.config.Warm
	if w == nil {
		return
	}
	if w.State.Once != 0 {
		if errno := removeSelf(); errno != 0 {
			t.refuse("this guest starts a single time, and has (gocat seal --once): ", failure{errno: errno})
		}
	}
	err := raw.Mprotect(w.Contents, unix.PROT_READ|unix.PROT_WRITE)
	from := w.Contents
	for i := range w.Memory {
		r := &w.Memory[i]
		if err != nil {
			break
		}
		if errno := move(t.machine.mem[r.Addr:][:r.Size], from[:r.Size]); errno != 0 {
			err = errno
		}
		from = from[r.Size:]
	}
	if err != nil {
		t.refuse("could not map the guest's memory: ", errnoOf(err))
	}
	if at := t.config.Image.Generation; at != 0 {
		b, err := t.services.mem.writable("generation", at, abi.GenerationSize)
		if err == nil {
			_, err = raw.Getrandom(b[abi.GenerationID:][:abi.GenerationIDSize])
		}
		if err != nil {
			t.refuse("could not give the guest a generation of its own: ", errnoOf(err))
		}
	}
}

// resume goes on with the wait in which the guest was stopped. One that knows of its
// clones has waited long enough: it must look.
func (t *tender) resume() error {
	w := t.config.Warm
	if w == nil {
		return nil
	}
	timeout := w.State.Timeout
	if t.config.Image.Generation != 0 {
		timeout = 0
	} else if timeout < maxTimeout {
		timeout -= min(w.State.elapsed(), timeout)
	}
	arg, err := t.services.mem.writable("poll", w.State.Poll, pollSize)
	if err != nil {
		return err
	}
	return t.services.pollFor(arg, timeout)
}

package debug

import (
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"gocat/internal/core"
	"gocat/internal/device"
	"gocat/internal/gdb"
	"gocat/internal/image"
	"gocat/internal/supervise"
	"gocat/internal/tended"
	"gocat/internal/tender"
	"gocat/internal/x86"
	"gocat/kvmhvt"
)

// hvtTarget is an hvt guest. Its tender runs in another process, as confined as
// without a debugger, and takes requests over a socket (kvmhvt/debug.go).
type hvtTarget struct {
	process *supervise.Process
	guest   *tended.Guest
	image   *image.Image
	memory  uint64 // where guest memory ends
	onEnd   func(status, signal int)
	quit    atomic.Bool // SIGQUIT came, for which the guest is stopped first
	// noPoints says that the processor's debug registers do not act in the guest:
	// kvm_pvm has none for code at privilege level 3.
	noPoints bool
	level0   bool                        // the guest runs at privilege level 0
	state    [kvmhvt.DebugStateSize]byte // as last read
}

// startHVT starts the guest's tender, which stops before the guest's first
// instruction. When the tender ends before, stop says how.
func startHVT(g *tender.Guest, p *supervise.Process) (t *hvtTarget, stop gdb.Stop, err error) {
	// Errors are found here, in the words of gocat run.
	set, err := device.Attach(g.Image.Manifest, &g.Devices)
	if err != nil {
		return nil, stop, err
	}
	_, err = g.HVT(set)
	set.Close()
	if err != nil {
		return nil, stop, err
	}
	t = &hvtTarget{process: p, image: g.Image, memory: kvmhvt.RoundMemory(g.Memory), level0: g.CPL == 0}
	if _, err := os.Stat("/sys/module/kvm_pvm"); err == nil {
		t.noPoints = true
	}
	if t.guest, err = tended.Start([]uintptr{0, 1, 2}, g.WatchedArgs); err != nil {
		return nil, stop, err
	}
	p.Adopt(t.guest.PID)
	stop, err = t.next()
	return t, stop, err
}

// next waits for the guest to stop, or the tender to end.
func (t *hvtTarget) next() (gdb.Stop, error) {
	s, gone, err := t.guest.Next()
	if err != nil {
		return gdb.Stop{}, err
	}
	if gone {
		return t.wait()
	}
	switch s.Reason {
	case kvmhvt.DebugStarted, kvmhvt.DebugStepped:
		return gdb.Stop{Reason: gdb.Stepped}, nil
	case kvmhvt.DebugInterrupted:
		if t.quit.Load() {
			return t.end(128+int(unix.SIGQUIT), int(unix.SIGQUIT))
		}
		return gdb.Stop{Reason: gdb.Interrupted}, nil
	case kvmhvt.DebugBreakpoint:
		return gdb.Stop{Reason: gdb.Trapped}, nil
	case kvmhvt.DebugMatched:
		return gdb.Stop{Reason: gdb.Debugged, Status: s.A}, nil
	case kvmhvt.DebugFault:
		return gdb.Stop{Reason: gdb.Signaled, Signal: int(byte(s.A))}, nil
	case kvmhvt.DebugEnding:
		return t.end(int(byte(s.A)), int(byte(s.B)))
	}
	return gdb.Stop{}, tended.ErrAnswer
}

// end is called when the guest has ended and its tender waits, or when SIGQUIT
// must end both.
func (t *hvtTarget) end(status, signal int) (gdb.Stop, error) {
	if t.onEnd != nil {
		t.onEnd(status, signal)
	}
	if t.quit.Load() {
		t.process.Signal(unix.SIGQUIT)
		return t.wait()
	}
	if err := t.guest.Resume(false, 0); err != nil {
		return gdb.Stop{}, err
	}
	return t.wait()
}

// wait waits for the tender's end.
func (t *hvtTarget) wait() (gdb.Stop, error) {
	ws, err := t.guest.Wait()
	switch {
	case err != nil:
		return gdb.Stop{}, err
	case ws.Signaled():
		return gdb.Stop{Reason: gdb.Killed, Signal: int(ws.Signal())}, nil
	}
	return gdb.Stop{Reason: gdb.Exited, Code: ws.ExitStatus()}, nil
}

// Offsets in what DebugGet gives: struct kvm_regs, whose order of registers is not
// GDB's, struct kvm_sregs, whose segments have 24 bytes each, and the XSAVE area.
const (
	sregsOffset = 0x90
	xsaveOffset = sregsOffset + 0x138
	segmentSize = 24
)

// kvmOrder are the general registers as struct kvm_regs has them.
var kvmOrder = [16]int{x86.RAX, x86.RBX, x86.RCX, x86.RDX, x86.RSI, x86.RDI, x86.RSP, x86.RBP,
	x86.R8, x86.R9, x86.R10, x86.R11, x86.R12, x86.R13, x86.R14, x86.R15}

// Registers implements gdb.Target.
func (t *hvtTarget) Registers() (*x86.Registers, error) {
	_, b, err := t.guest.Ask(kvmhvt.DebugGet, 0, 0, nil)
	if err == nil && len(b) != len(t.state) {
		err = tended.ErrAnswer
	}
	if err != nil {
		return nil, err
	}
	copy(t.state[:], b)
	return decodeState(b), nil
}

// decodeState returns the registers that DebugGet gives.
func decodeState(b []byte) *x86.Registers {
	le := binary.LittleEndian
	r := &x86.Registers{RIP: le.Uint64(b[128:]), Flags: le.Uint64(b[136:])}
	for i, at := range kvmOrder {
		r.General[at] = le.Uint64(b[8*i:])
	}
	segment := func(n int) (base uint64, selector uint16) {
		s := b[sregsOffset+segmentSize*n:]
		return le.Uint64(s), le.Uint16(s[12:])
	}
	_, r.CS = segment(0)
	_, r.DS = segment(1)
	_, r.ES = segment(2)
	r.FSBase, r.FS = segment(3)
	r.GSBase, r.GS = segment(4)
	_, r.SS = segment(5)
	copy(r.Extended[:], b[xsaveOffset:])
	return r
}

// SetRegisters implements gdb.Target. Of the segments only the bases of FS and GS
// can change.
func (t *hvtTarget) SetRegisters(r *x86.Registers) error {
	le := binary.LittleEndian
	b := t.state
	for i, at := range kvmOrder {
		le.PutUint64(b[8*i:], r.General[at])
	}
	le.PutUint64(b[128:], r.RIP)
	le.PutUint64(b[136:], r.Flags)
	le.PutUint64(b[sregsOffset+3*segmentSize:], r.FSBase)
	le.PutUint64(b[sregsOffset+4*segmentSize:], r.GSBase)
	copy(b[xsaveOffset:], r.Extended[:])
	_, _, err := t.guest.Ask(kvmhvt.DebugSet, 0, 0, b[:])
	return err
}

// ReadMemory implements gdb.Target.
func (t *hvtTarget) ReadMemory(addr uint64, b []byte) int {
	done := 0
	for done < len(b) {
		_, data, err := t.guest.Ask(kvmhvt.DebugRead, addr+uint64(done), uint64(min(len(b)-done, kvmhvt.DebugData)), nil)
		if err != nil || len(data) == 0 {
			break
		}
		done += copy(b[done:], data)
	}
	return done
}

// WriteMemory implements gdb.Target.
func (t *hvtTarget) WriteMemory(addr uint64, b []byte) error {
	for len(b) > 0 {
		part := b[:min(len(b), kvmhvt.DebugData)]
		if _, _, err := t.guest.Ask(kvmhvt.DebugWrite, addr, 0, part); err != nil {
			return err
		}
		addr, b = addr+uint64(len(part)), b[len(part):]
	}
	return nil
}

// SetDebug implements gdb.Target.
func (t *hvtTarget) SetDebug(d gdb.DebugRegisters) error {
	if t.noPoints {
		return errors.ErrUnsupported
	}
	var b []byte
	for _, w := range append(d.Addr[:], d.Control) {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	_, _, err := t.guest.Ask(kvmhvt.DebugPoints, 0, 0, b)
	return err
}

// BreakpointsByStep implements gdb.StepTarget: where KVM emulates privilege level
// 0 it does not know the instruction.
func (t *hvtTarget) BreakpointsByStep() bool { return t.noPoints && t.level0 }

// Resume implements gdb.Target.
func (t *hvtTarget) Resume(step bool, signal int) (gdb.Stop, error) {
	if err := t.guest.Resume(step, signal); err != nil {
		return gdb.Stop{}, err
	}
	return t.next()
}

// Interrupt implements gdb.Target.
func (t *hvtTarget) Interrupt() { t.process.Signal(kvmhvt.DebugSignal) }

// Kill implements gdb.Target.
func (t *hvtTarget) Kill() {
	t.process.Kill()
	t.wait()
}

// AVX implements target: guests have SSE alone.
func (t *hvtTarget) AVX() bool { return false }

// PID implements target.
func (t *hvtTarget) PID() int { return t.guest.PID }

// OnEnd implements target. SIGQUIT would end the tender without a word to the
// debugger's side.
func (t *hvtTarget) OnEnd(end func(status, signal int)) {
	t.onEnd = end
	t.process.OnQuit(func() {
		t.quit.Store(true)
		t.Interrupt()
	})
}

// FaultRegisters implements target: the tender has kept them.
func (t *hvtTarget) FaultRegisters() (*x86.Registers, error) { return t.Registers() }

// pageMap says which pages have contents.
type pageMap map[uint64]bool

// Memory implements target: the segments as the image has them, and what lies
// between and after them.
func (t *hvtTarget) Memory() ([]core.Region, error) {
	pages := pageMap{}
	for addr := uint64(0); ; {
		next, _, err := t.guest.Ask(kvmhvt.DebugNext, addr, 0, nil)
		if err != nil {
			return nil, err
		}
		if next < addr || next >= t.memory {
			break
		}
		pages[next] = true
		addr = next + image.PageSize
	}
	touched := func(addr uint64) bool { return pages[addr] }
	var all []core.Region
	at := uint64(lowest)
	for _, s := range t.image.Segments {
		if at < s.Start {
			all = append(all, core.Region{Start: at, End: s.Start, Prot: image.R | image.W, Touched: touched})
		}
		all = append(all, core.Region{Start: s.Start, End: s.End, Prot: s.Prot, Touched: touched})
		at = s.End
	}
	if at < t.memory {
		all = append(all, core.Region{Start: at, End: t.memory, Prot: image.R | image.W, Touched: touched})
	}
	return all, nil
}

// lowest is the first address that an hvt guest may read: its boot info.
const lowest = 0x10000

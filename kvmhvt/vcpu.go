package kvmhvt

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// loop runs the guest on the calling thread until it ends.
func (t *tender) loop() Exit {
	t.thread.Store(int32(unix.Gettid()))
	err := t.serve()
	e := exitFor(err)
	e.Counters = t.services.stats
	var s *stop
	switch {
	case err == nil:
		e.Status = t.services.status
	case errors.As(err, &s) && s.rip != 0:
		if name := Symbol(t.config.ELF, s.rip); name != "" {
			e.Reason += " in " + name
		}
	}
	return e
}

// exitFor is the exit because of an error.
func exitFor(err error) (e Exit) {
	var s *stop
	switch {
	case err == nil:
	case errors.As(err, &s):
		e.Status, e.Signal, e.Reason = s.status, s.signal, s.reason
	default:
		e.Status, e.Reason = 1, err.Error()
	}
	return e
}

// serve enters the guest and serves its exits until it halts.
func (t *tender) serve() error {
	m := t.machine
	for {
		switch errno := m.enter(); errno {
		case 0:
		case unix.EINTR, unix.EAGAIN:
			if t.ending.Load() {
				return errEnding
			}
			if err := t.tick(); err != nil {
				return err
			}
			continue
		case unix.EFAULT:
			return t.translationFault("")
		default:
			return &Error{"run guest", errno, ""}
		}
		t.services.stats.Exits++
		halted, err := t.exit(m.run32(runExitReason))
		if halted || err != nil {
			return err
		}
	}
}

// exit serves one exit of the guest.
func (t *tender) exit(reason uint32) (halted bool, err error) {
	m := t.machine
	switch reason {
	case exitIO:
		a := m.portAccess()
		nr := int(a.port) - portHypercall
		if !a.out || a.size != 4 || a.count != 1 || nr < 0 || nr >= hcMax {
			return false, t.where(fmt.Sprintf("Invalid guest port access: port=0x%x", a.port))
		}
		if t.services.trace != nil {
			return t.traced(nr, uint64(a.data))
		}
		return t.services.hypercall(nr, uint64(a.data))
	case exitHLT:
		if t.config.CPL == 3 {
			return false, t.trap()
		}
		return false, t.where("the guest halted without an exit status")
	case exitMMIO:
		what := "read from"
		if m.run[runMMIOIsWrite] != 0 {
			what = "write to"
		}
		return false, t.translationFault(fmt.Sprintf("%s %#x, ", what, m.run64(runMMIOAddr)))
	case exitShutdown:
		return false, t.where("KVM: the guest faulted without a handler (triple fault)")
	case exitFailEntry:
		return false, t.where(fmt.Sprintf("KVM: entry failure: hw_entry_failure_reason=0x%x", m.run64(runFailReason)))
	case exitInternalError:
		return false, t.internalError()
	}
	return false, t.where(fmt.Sprintf("KVM: unhandled exit: exit_reason=0x%x", reason))
}

// where ends the guest with a message and the address it was at.
func (t *tender) where(msg string) error {
	if err := t.machine.getRegs(); err != nil {
		return stopf("%s: %v", msg, err)
	}
	return stopAt(t.machine.regs.rip, "%s: rip=%#x", msg, t.machine.regs.rip)
}

// translationFault is an access that memory's protection forbids.
func (t *tender) translationFault(what string) error {
	if err := t.machine.getRegs(); err != nil {
		return err
	}
	return stopAt(t.machine.regs.rip, "KVM: host/guest translation fault: %srip=%#x", what, t.machine.regs.rip)
}

// internalError explains that KVM cannot go on.
func (t *tender) internalError() error {
	m := t.machine
	if err := m.getRegs(); err != nil {
		return err
	}
	inst, raw := t.cpu.fetch()
	hint := ""
	if t.config.CPL == 0 {
		hint = ": this host's KVM emulates privilege level 0 and does not know the instruction; run without --cpl=0"
	}
	return stopAt(m.regs.rip, "KVM: internal error exit: suberror=0x%x: rip=%#x: %s%s",
		m.run32(runSubError), m.regs.rip, disassemble(inst, raw), hint)
}

// collectEvery is after how many traps the garbage that emulating instructions
// makes is collected. It is a few hundred bytes a trap at most.
const collectEvery = 1 << 14

// trap serves an exception of a guest at privilege level 3: the processor has
// entered the shim, pushed its frame on the shim's stack and executed the HLT
// that is the exception's gate.
func (t *tender) trap() error {
	m := t.machine
	if t.services.stats.Traps++; t.services.stats.Traps%collectEvery == 0 {
		runtime.GC()
	}
	if err := m.getRegs(); err != nil {
		return err
	}
	if err := m.getSregs(); err != nil {
		return err
	}
	const gates = systemLinear + tablesPage*image.PageSize + gateOffset
	vector := m.regs.rip - 1 - gates
	if vector >= vectors || m.sregs.cs.dpl != 0 {
		return stopf("KVM: exit by HLT at %#x, which is none of the tender's gates", m.regs.rip)
	}
	code, err := t.popFrame(int(vector))
	if err != nil {
		return err
	}
	s, c := &m.sregs, &t.cpu
	c.fsBase, c.gsBase = s.fs.base, s.gs.base
	if vector == vectorPF {
		c.cr2 = s.cr2
	}
	if err := c.exception(int(vector), code); err != nil {
		return err
	}
	s.cs, s.ss = codeSegment(selUserCode, 3), dataSegment(selUserData, 3)
	s.fs.base, s.gs.base = c.fsBase, c.gsBase
	if err := m.setSregs(); err != nil {
		return err
	}
	return m.setRegs()
}

// popFrame takes the exception's frame off the shim's stack: the registers are
// then those of the guest. It returns the error code.
func (t *tender) popFrame(vector int) (code uint64, err error) {
	m := t.machine
	const stack = systemLinear + stackPage*image.PageSize
	size := uint64(5 * 8)
	if hasErrorCode(vector) {
		size += 8
	}
	at := m.regs.rsp - stack
	if at > image.PageSize-size {
		return 0, stopf("KVM: exception frame at %#x, outside the tender's stack", m.regs.rsp)
	}
	b := m.sys[stackPage*image.PageSize+at:][:size]
	if hasErrorCode(vector) {
		code, b = load64(b, 0), b[8:]
	}
	if load64(b, 8)&3 != 3 {
		return 0, stopf("KVM: %s in the tender's shim at %#x", exceptionName(vector), load64(b, 0))
	}
	r := &m.regs
	r.rip, r.rflags, r.rsp = load64(b, 0), load64(b, 16)|flagIOPL3, load64(b, 24)
	return code, nil
}

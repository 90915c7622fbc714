package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// serve enters the guest and serves its exits until it halts.
func (t *tender) serve() error {
	m := t.machine
	for {
		if err := t.setPoints(); err != nil {
			return err
		}
		switch errno := m.enter(); errno {
		case 0:
		case unix.EINTR:
			if err := t.pause(); err != nil {
				return err
			}
			if err := t.tick(); err != nil {
				return err
			}
			continue
		case unix.EFAULT:
			return t.endOnTranslation("", 0)
		case unix.EAGAIN:
			return because("KVM: run guest: it starts a thread for each machine, and the limit on processes is reached (ulimit -u, pids.max)").err()
		default:
			return failed("run guest", errno)
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
		return t.port()
	case exitDebug:
		return false, t.debugExit()
	case exitHLT:
		if t.config.CPL == 3 {
			return false, t.trap()
		}
		return false, t.endHere(because("the guest halted without an exit status"))
	case exitMMIO:
		what := "read from "
		if m.run[runMMIOIsWrite] != 0 {
			what = "write to "
		}
		return false, t.endOnTranslation(what, m.run64(runMMIOAddr))
	case exitShutdown:
		return false, t.endHere(because("KVM: the guest faulted without a handler (triple fault)"))
	case exitFailEntry:
		return false, t.endHere(because("KVM: entry failure: hw_entry_failure_reason=").hex(m.run64(runFailReason)))
	case exitInternalError:
		return false, t.internalError()
	}
	return false, t.endHere(because("KVM: unhandled exit: exit_reason=").hex(uint64(reason)))
}

// port serves an access to a port: a hypercall, or a kick of the network ring.
func (t *tender) port() (halted bool, err error) {
	a := t.machine.portAccess()
	nr := int(a.port) - portHypercall
	switch {
	case !a.out || a.size != 4 || a.count != 1:
	case t.ring != nil && a.port == portKick:
		return false, t.ring.drain()
	case nr >= 0 && nr < hcMax:
		if t.ring != nil && (nr == hcPoll || nr == hcHalt) { // what the guest has given to it is sent
			if err := t.ring.drain(); err != nil {
				return false, err
			}
		}
		if nr == hcPoll && t.debug != nil && t.debug.waits {
			if err := t.atWait(uint64(a.data)); err != nil {
				return false, err
			}
		}
		if t.services.trace != nil {
			return t.tracedHypercall(nr, uint64(a.data))
		}
		return t.services.hypercall(nr, uint64(a.data))
	}
	return false, t.endHere(because("Invalid guest port access: port=").hex(uint64(a.port)))
}

// endHere ends the guest with a message and the address it was at.
func (t *tender) endHere(msg *line) error {
	r := &t.machine.regs
	if errno := ioctlPtr(t.machine.vcpu, kvmGetRegs, r); errno != 0 {
		return msg.text(": ").errno(errno).err()
	}
	return msg.text(": rip=").hex(r.rip).errAt(r.rip)
}

// endOnTranslation ends the guest for an access that memory's protection forbids:
// to addr, where what says how, if that is known.
func (t *tender) endOnTranslation(what string, addr uint64) error {
	if err := t.machine.getRegs(); err != nil {
		return err
	}
	l := because("KVM: host/guest translation fault: ").text(what)
	if what != "" {
		l.hex(addr).text(", ")
	}
	rip := t.machine.regs.rip
	return l.text("rip=").hex(rip).errAt(rip)
}

// internalError explains that KVM cannot go on.
func (t *tender) internalError() error {
	m := t.machine
	if err := m.getRegs(); err != nil {
		return err
	}
	in, code := t.cpu.fetch()
	l := because("KVM: internal error exit: suberror=").hex(uint64(m.run32(runSubError))).text(": rip=").hex(m.regs.rip).text(": ")
	l.instruction(&in, code)
	if t.config.CPL == 0 {
		l.text(": this host's KVM emulates privilege level 0 and does not know the instruction; at level 3 guests run natively")
	}
	return l.errAt(m.regs.rip)
}

// trap serves an exception of a guest at privilege level 3: the processor has
// entered the shim, pushed its frame on the shim's stack and executed the HLT
// that is the exception's gate.
func (t *tender) trap() error {
	m := t.machine
	t.services.stats.Traps++
	if err := m.getRegs(); err != nil {
		return err
	}
	if err := m.getSregs(); err != nil {
		return err
	}
	if m.sregs.cs.dpl == 3 && t.debug.served() {
		return nil
	}
	const gates = systemLinear + tablesPage*image.PageSize + gateOffset
	vector := m.regs.rip - 1 - gates
	if vector >= vectors || m.sregs.cs.dpl != 0 {
		return because("KVM: exit by HLT at ").hex(m.regs.rip).text(", which is none of the tender's gates").err()
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
	if err := t.deliver(int(vector), code); err != nil {
		return err
	}
	s.cs, s.ss = codeSegment(selUserCode, 3), dataSegment(selUserData, 3)
	s.fs.base, s.gs.base = c.fsBase, c.gsBase
	if err := m.setSregs(); err != nil {
		return err
	}
	return m.setRegs()
}

// deliver handles an exception, of which a debugger may hear first.
func (t *tender) deliver(vector int, code uint64) error {
	if d := t.debug; d != nil && !d.waits {
		if vector == vectorGP {
			if done, err := t.cpu.privileged(); done || err != nil {
				return t.afterEmulation(err)
			}
		}
		step := d.step
		if step { // KVM's, not the guest's
			t.cpu.rflags &^= flagTF
		}
		if on, err := t.faulted(vector); !on || err != nil {
			return err
		}
	}
	at := t.cpu.rip
	err := t.cpu.exception(vector, code)
	if err != nil || vector != vectorGP || t.debug != nil {
		return err
	}
	return t.cpu.following(at / image.PageSize)
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
		return 0, because("KVM: exception frame at ").hex(m.regs.rsp).text(", outside the tender's stack").err()
	}
	b := m.sys[stackPage*image.PageSize+at:][:size]
	if hasErrorCode(vector) {
		code, b = load64(b, 0), b[8:]
	}
	if load64(b, 8)&3 != 3 {
		return 0, because("KVM: ").text(exceptionName(vector)).text(" in the tender's shim at ").hex(load64(b, 0)).err()
	}
	r := &m.regs
	r.rip, r.rflags, r.rsp = load64(b, 0), load64(b, 16)|flagIOPL3, load64(b, 24)
	return code, nil
}

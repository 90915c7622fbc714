package kvmhvt

import (
	"math/bits"

	"gocat/internal/image"
)

// Vectors of exceptions that are told apart.
const (
	vectorDB = 1
	vectorBP = 3
	vectorUD = 6
	vectorGP = 13
	vectorPF = 14
	vectorAC = 17
)

// exception handles an exception that the guest caused: an instruction that is
// emulated, or a fault that its own handler sees. An error ends the guest.
func (c *cpu) exception(vector int, code uint64) error {
	switch vector {
	case vectorPF:
		if !c.mem.layout.mapped(c.cr2) {
			// Some hosts' processors tell of mappings of the host's own that
			// are in the way of nothing: not the guest's business.
			code &^= faultPresent
		}
		if code&faultPresent != 0 { // the page is there and forbids the access
			return because("KVM: host/guest translation fault: ").text(accessOf(code)).text(" ").hex(c.cr2).text(", rip=").hex(c.rip).errAt(c.rip)
		}
	case vectorAC: // level 0 has no alignment check, which a processor may have on for level 3
		if c.rflags&flagAC != 0 {
			c.rflags &^= flagAC
			return nil
		}
	case vectorGP:
		if done, err := c.privileged(); done || err != nil {
			return err
		}
	}
	return c.reflect(vector, code)
}

// Bits of a page fault's error code.
const (
	faultPresent = 1 << 0
	faultWrite   = 1 << 1
	faultExecute = 1 << 4
)

// accessOf says what a page fault's error code means.
func accessOf(code uint64) string {
	switch {
	case code&faultExecute != 0:
		return "execute"
	case code&faultWrite != 0:
		return "write to"
	}
	return "read from"
}

// reflect delivers an exception or an interrupt to the guest's own handler, as
// the processor would at level 0. Without one, it ends the guest.
func (c *cpu) reflect(vector int, code uint64) error {
	handler, stack, lack := c.gate(vector)
	if lack != "" {
		return c.unhandled(vector, code, lack)
	}
	// The error code is first, if there is one.
	frame := [6]uint64{code, c.rip, selKernelCode, c.rflags &^ flagIOPL3, c.rsp, 2 << 3}
	words := frame[:]
	if !hasErrorCode(vector) {
		words = frame[1:]
	}
	stack = stack&^15 - uint64(8*len(words))
	if !c.mem.layout.allows(stack, uint64(8*len(words)), image.W) {
		return c.unhandled(vector, code, "its handler's stack is not all writable guest memory")
	}
	b := c.mem.b[stack:][:8*len(words)]
	for i, v := range words {
		store64(b, 8*i, v)
	}
	if c.timer != nil { // as the processor's interrupt flag is cleared
		store32(c.timer, 0, 1)
	}
	c.rip, c.rsp = handler, stack
	c.rflags = userFlags(c.rflags &^ (flagTF | flagRF | flagAC))
	return nil
}

// gate returns the guest's handler for a vector and the stack it wants, or what
// it lacks to have one.
func (c *cpu) gate(vector int) (handler, stack uint64, lack string) {
	if uint64(vector)*16+15 > uint64(c.idt.limit) {
		return 0, 0, "the guest has no handler"
	}
	at := c.idt.base + uint64(vector)*16
	if !c.mem.layout.allows(at, 16, image.R) {
		return 0, 0, "its IDT is not in guest memory"
	}
	b := c.mem.b[at:][:16]
	lo, hi := load64(b, 0), load64(b, 8)
	handler = lo&0xffff | lo>>32&0xffff0000 | hi<<32
	if lo>>47&1 == 0 || lo>>40&0xe != 0xe || !canonical(handler) {
		return 0, 0, "the guest's gate for it is not valid"
	}
	if ist := int(lo >> 32 & 7); ist != 0 {
		stack, lack = c.interruptStack(ist)
		return handler, stack, lack
	}
	return handler, c.rsp, ""
}

// interruptStack returns an entry of the interrupt stack table in the guest's
// TSS, or what is wrong with it.
func (c *cpu) interruptStack(ist int) (stack uint64, lack string) {
	selector := uint64(c.tr &^ 7)
	if selector == 0 || selector+15 > uint64(c.gdt.limit) {
		return 0, "the guest has no task state for its handler's stack"
	}
	at := c.gdt.base + selector
	if !c.mem.layout.allows(at, 16, image.R) {
		return 0, "its GDT is not in guest memory"
	}
	d := c.mem.b[at:][:16]
	lo, hi := load64(d, 0), load64(d, 8)
	at = lo>>16&0xffffff | lo>>56<<24 | hi<<32
	at += 36 + 8*uint64(ist-1)
	if !c.mem.layout.allows(at, 8, image.R) {
		return 0, "its TSS is not in guest memory"
	}
	return load64(c.mem.b[at:][:8], 0), ""
}

// unhandled ends the guest with an exception that it cannot handle.
func (c *cpu) unhandled(vector int, code uint64, lack string) error {
	l := because("guest fault ").text(exceptionName(vector))
	if vector == vectorPF {
		l.text(" at ").hex(c.cr2)
	}
	return l.text(", error code ").hex(code).text(", and ").text(lack).text(": ").registers(c.regs).errAt(c.rip)
}

// hasErrorCode says whether the processor pushes an error code for a vector.
func hasErrorCode(vector int) bool {
	const with = 1<<8 | 1<<10 | 1<<11 | 1<<12 | 1<<13 | 1<<14 | 1<<17 | 1<<21 | 1<<29 | 1<<30
	return bits.RotateLeft32(with, -vector)&1 != 0
}

// exceptionName is a vector's mnemonic.
func exceptionName(vector int) string {
	if vector == vectorTimer {
		return "#timer"
	}
	const names = "#DE#DBNMI#BP#OF#BR#UD#NM#DF#09#TS#NP#SS#GP#PF#15#MF#AC#MC#XM#VE#CP"
	if 3*vector+3 > len(names) {
		return "#??"
	}
	return names[3*vector : 3*vector+3]
}

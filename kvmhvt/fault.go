package kvmhvt

import (
	"fmt"
	"math/bits"
)

// Vectors of exceptions that are told apart.
const (
	vectorUD = 6
	vectorGP = 13
	vectorPF = 14
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
			return stopAt(c.rip, "KVM: host/guest translation fault: %s %#x, rip=%#x", accessOf(code), c.cr2, c.rip)
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
	handler, stack, err := c.gate(vector)
	if err != nil {
		return c.unhandled(vector, code, err)
	}
	frame := []uint64{c.rip, selKernelCode, c.rflags &^ flagIOPL3, c.rsp, 2 << 3}
	if hasErrorCode(vector) {
		frame = append([]uint64{code}, frame...)
	}
	stack = stack&^15 - uint64(8*len(frame))
	b, err := c.mem.writable("exception frame", stack, uint64(8*len(frame)))
	if err != nil {
		return c.unhandled(vector, code, err)
	}
	for i, v := range frame {
		store64(b, 8*i, v)
	}
	if c.timer != nil { // as the processor's interrupt flag is cleared
		store32(c.timer, 0, 1)
	}
	c.rip, c.rsp = handler, stack
	c.rflags = userFlags(c.rflags &^ (flagTF | flagRF | flagAC))
	return nil
}

// gate returns the guest's handler for a vector and the stack it wants.
func (c *cpu) gate(vector int) (handler, stack uint64, err error) {
	if uint64(vector)*16+15 > uint64(c.idt.limit) {
		return 0, 0, fmt.Errorf("the guest has no handler")
	}
	b, err := c.mem.readable("IDT", c.idt.base+uint64(vector)*16, 16)
	if err != nil {
		return 0, 0, err
	}
	lo, hi := load64(b, 0), load64(b, 8)
	handler = lo&0xffff | lo>>32&0xffff0000 | hi<<32
	if lo>>47&1 == 0 || lo>>40&0xe != 0xe || !canonical(handler) {
		return 0, 0, fmt.Errorf("the guest's gate for it is not valid")
	}
	if ist := int(lo >> 32 & 7); ist != 0 {
		stack, err = c.interruptStack(ist)
		return handler, stack, err
	}
	return handler, c.rsp, nil
}

// interruptStack returns an entry of the interrupt stack table in the guest's TSS.
func (c *cpu) interruptStack(ist int) (uint64, error) {
	selector := uint64(c.tr &^ 7)
	if selector == 0 || selector+15 > uint64(c.gdt.limit) {
		return 0, fmt.Errorf("the guest has no task state for its handler's stack")
	}
	d, err := c.mem.readable("GDT", c.gdt.base+selector, 16)
	if err != nil {
		return 0, err
	}
	lo, hi := load64(d, 0), load64(d, 8)
	tss := lo>>16&0xffffff | lo>>56<<24 | hi<<32
	b, err := c.mem.readable("TSS", tss+36+8*uint64(ist-1), 8)
	if err != nil {
		return 0, err
	}
	return load64(b, 0), nil
}

// unhandled ends the guest with an exception that it cannot handle.
func (c *cpu) unhandled(vector int, code uint64, why error) error {
	at := ""
	if vector == vectorPF {
		at = fmt.Sprintf(" at %#x", c.cr2)
	}
	return stopAt(c.rip, "guest fault %s%s, error code %#x, and %v: %s", exceptionName(vector), at, code, why, c.regs)
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
		return fmt.Sprintf("#%d", vector)
	}
	return names[3*vector : 3*vector+3]
}

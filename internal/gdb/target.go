// Package gdb serves the GDB remote serial protocol for one guest: whoever
// connects can read and change the guest, and only the guest.
//
// A Target carries out what a debugger asks. Each backend has one.
package gdb

import (
	"errors"

	"gocat/internal/x86"
)

// Target is a guest that a debugger controls. It is stopped whenever a method
// other than Interrupt is called. Errors are for the debugger, which only learns
// that something failed.
type Target interface {
	// Registers returns the guest's registers.
	Registers() (*x86.Registers, error)
	// SetRegisters changes them. The target refuses what a guest may not have.
	SetRegisters(*x86.Registers) error
	// ReadMemory reads from guest address addr through the guest's own mappings
	// and returns how many bytes it could read before the first it could not.
	ReadMemory(addr uint64, b []byte) int
	// WriteMemory writes all of b or reports an error. It may write what the guest
	// itself may only read: that is how breakpoints get into code.
	WriteMemory(addr uint64, b []byte) error
	// SetDebug sets the hardware breakpoints and watchpoints. The error is
	// errors.ErrUnsupported where there are none: they are then found by steps.
	SetDebug(DebugRegisters) error
	// Resume lets the guest run, by one instruction if step, after giving it the
	// signal (Linux's number, 0 for none), until it stops.
	Resume(step bool, signal int) (Stop, error)
	// Interrupt makes a running guest stop soon. It may be called at any time, from
	// any goroutine.
	Interrupt()
	// Kill ends the guest.
	Kill()
}

// StepTarget is a Target whose breakpoint instruction may not stop the guest. Where
// BreakpointsByStep says so, breakpoints are found by steps.
type StepTarget interface {
	Target
	BreakpointsByStep() bool
}

// Reason says why a guest stopped.
type Reason uint8

// Reasons for a stop.
const (
	Signaled    Reason = iota // Stop.Signal came, and has not reached the guest yet
	Interrupted               // Target.Interrupt was called
	Stepped                   // one instruction is done
	Trapped                   // a breakpoint instruction at RIP, which has not been carried out
	Debugged                  // a debug register matched: see Stop.Status
	Exited                    // with Stop.Code
	Killed                    // by Stop.Signal
)

// Stop is how a guest's run ended.
type Stop struct {
	Reason Reason
	Signal int    // Linux's number
	Code   int    // exit status
	Status uint64 // DR6: which debug registers matched
}

// Gone says that there is no guest any more.
func (s Stop) Gone() bool { return s.Reason == Exited || s.Reason == Killed }

// DebugRegisters are the processor's: four addresses, and what to look for there.
type DebugRegisters struct {
	Addr    [4]uint64 // DR0 to DR3
	Control uint64    // DR7
}

// Conditions of a debug register (Intel SDM volume 3, 18.2.4).
const (
	onExecute = 0
	onWrite   = 1
	onAccess  = 3
)

var errNoRegister = errors.New("all four debug registers are in use")

// set uses a free register for size bytes at addr: 1, 2, 4 or 8, aligned.
func (d *DebugRegisters) set(condition, addr, size uint64) error {
	lengths := map[uint64]uint64{1: 0, 2: 1, 4: 3, 8: 2}
	length, ok := lengths[size]
	if !ok || addr%size != 0 {
		return errors.New("a debug register watches 1, 2, 4 or 8 aligned bytes")
	}
	for n := range d.Addr {
		if d.used(n) {
			continue
		}
		d.Addr[n] = addr
		d.Control |= 1<<(2*n) | (condition|length<<2)<<(16+4*n) | exactMatch
		return nil
	}
	return errNoRegister
}

// exactMatch are LE and the bit of DR7 that is always set.
const exactMatch = 1<<8 | 1<<10

func (d *DebugRegisters) used(n int) bool        { return d.Control>>(2*n)&3 != 0 }
func (d *DebugRegisters) condition(n int) uint64 { return d.Control >> (16 + 4*n) & 3 }
func (d *DebugRegisters) describes(n int) uint64 { return d.Control >> (16 + 4*n) & 15 }
func (d *DebugRegisters) clear(n int)            { d.Addr[n], d.Control = 0, d.Control&^(3<<(2*n)|15<<(16+4*n)) }

// unset frees the register that set used for the same.
func (d *DebugRegisters) unset(condition, addr, size uint64) {
	var want DebugRegisters
	if want.set(condition, addr, size) != nil {
		return
	}
	for n := range d.Addr {
		if d.used(n) && d.Addr[n] == addr && d.describes(n) == want.describes(0) {
			d.clear(n)
			return
		}
	}
}

// Package kernel is the library kernel of Go unikernels: it answers the Linux
// system calls that Go's runtime and standard library make, using Solo5's
// interface to its tenders (solo5.h).
//
// It is ordinary Go that is also tested on the host. In an image it is a package
// of the standard library that package runtime imports (gocat build sees to it),
// and must keep to these rules:
//
//   - It imports nothing that imports the runtime, and allocates nothing: all
//     state is in global variables without pointers, of fixed size.
//   - It runs on a stack of its own, with a g of its own, and never at the same
//     time twice: there is one processor, and nothing interrupts it.
//   - A thread runs until it makes a system call that waits, any system call
//     after its time slice, or is interrupted, where there is a timer.
package kernel

import (
	_ "unsafe" // for linkname, which lets the gate refer to a symbol

	"gocat/internal/abi"
)

// Current is the address of the running thread's registers: the gate saves the
// registers of its caller there, and returns to those that are there when Enter
// returns.
//
//go:linkname Current
var Current uintptr

// Target says which tender the image is for: 1 for hvt, 2 for spt. Builders
// patch it; the value here is what they look for.
var Target uint64 = targetUnset

const (
	targetHVT   = abi.TargetHVT
	targetSPT   = abi.TargetSPT
	targetUnset = 0x7465677261742121
)

// Error numbers, as results of system calls.
const (
	errPERM   = -1
	errNOENT  = -2
	errSRCH   = -3
	errINTR   = -4
	errIO     = -5
	errBADF   = -9
	errAGAIN  = -11
	errNOMEM  = -12
	errACCES  = -13
	errFAULT  = -14
	errBUSY   = -16
	errEXIST  = -17
	errNODEV  = -19
	errNOTDIR = -20
	errISDIR  = -21
	errINVAL  = -22
	errMFILE  = -24
	errNOTTY  = -25
	errFBIG   = -27
	errNOSPC  = -28
	errSPIPE  = -29
	errROFS   = -30
	errPIPE   = -32
	errRANGE  = -34
	errNOSYS  = -38
	errLOOP   = -40

	errNAMETOOLONG = -36
	errNOTEMPTY    = -39
	errOPNOTSUPP   = -95

	errTIMEOUT = -110
)

// block is the result of a handler that made the calling thread wait.
const block = -1 << 62

// restored is the result of a handler that replaced all registers.
const restored = block + 1

// slice is how long a thread may run before any of its system calls lets others
// run, in cycles of the time stamp counter: 3 to 10 ms.
const slice = 10_000_000

var lastSwitch uint64 // time stamp of the last look at the other threads

// Enter serves the system call of the current thread.
//
//go:linkname Enter
func Enter() {
	t := &threads[current]
	Whole = 0
	takeAsked()
	switch r := syscall(t); r {
	case block:
		schedule()
	case restored:
		return
	default:
		t.rax = uint64(r)
		sendQueued(false)
		now := rdtsc()
		if now-lastSwitch > slice {
			lastSwitch = now
			if runnable() {
				t.ready()
				schedule()
			}
		}
		if shared|threads[current].pending == 0 && threads[current].frame == 0 {
			return
		}
	}
	arrange()
}

// Start prepares the first thread: it runs rt0 with a stack that holds what
// Linux puts there. boot is the address of Solo5's boot information, stack the
// stack pointer that the tender set; the others are handlers of exceptions and of
// the timer.
//
//go:linkname Start
func Start(boot, stack, rt0, de, gp, pf, tick uintptr) {
	if Target == targetHVT {
		setTraps(de, gp, pf, tick)
	}
	findFloats()
	resetSignals()
	readBoot(boot, stack)
	resetThreads()
	resetFiles()
	resetNodes()
	t := &threads[0]
	t.rip = uint64(rt0)
	t.rsp = uint64(firstStack())
	lastSwitch = rdtsc()
}

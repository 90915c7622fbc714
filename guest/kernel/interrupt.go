package kernel

import _ "unsafe" // for linkname

// Under gocat's hvt tender a timer interrupts a program that runs on and on. The
// image's note TMR1 tells the tender of Timer; others pass over it, and then
// threads are cooperative.
//
// An interrupted thread is kept as Linux keeps one that has a signal handled: in
// a frame on its signal stack. Resuming it is rt_sigreturn; having it handle a
// signal is a jump to the handler. The one signal that there is, is the one with
// which Go's runtime preempts goroutines: the others end the program.

// Timer is what the tender and the kernel share: whether the timer may not
// interrupt now, and its period in microseconds, 0 without one. The gate sets
// the first and what leaves the kernel clears it; the tender sets it with every
// exception and interrupt, as a processor clears its interrupt flag.
//
//go:linkname Timer
var Timer = [2]uint32{1}

// Whole is not 0 when the current thread is to be resumed with all its registers,
// those of floating point among them: it did not come here by the gate.
//
//go:linkname Whole
var Whole uint32

// floats is where the assembler saves and loads the registers of floating point:
// with FXSAVE, or, where extended is not 0, with XSAVE. Most tenders have those
// of AVX disabled, but a host whose KVM runs privilege level 3 as it is does not.
//
//go:linkname floats
var floats uintptr

//lint:ignore U1000 the assembler's
//go:linkname extended
var extended uint32

var (
	floatsSpace [extendedSize + 64]byte
	floatsSize  uintptr
)

const (
	legacySize   = 512
	extendedSize = 2688 // up to the last register of AVX-512
)

// findFloats asks the processor which registers there are.
func findFloats() {
	const xsave = 1 << 27 // enabled
	floats = (addressOf(&floatsSpace[0]) + 63) &^ 63
	floatsSize, extended = legacySize, 0
	if _, _, c, _ := cpuid(1, 0); c&xsave != 0 {
		floatsSize, extended = extendedSize, 1
	}
}

// The handler of signalUrgent.
var (
	handler, restorer uint64
	handlerMask       uint64
)

// signals is what a thread has of them.
type signals struct {
	frame     uintptr // registers of an interrupted thread, 0 for one at the gate
	handled   uintptr // the frame that a signal handler was called with, or 0
	altBase   uintptr // signal stack
	altSize   uintptr // 0 without one
	blocked   uint64
	preempted bool // signalUrgent is pending
}

// A frame is struct rt_sigframe (Linux asm/sigframe.h), with struct ucontext and
// siginfo_t, and behind it the registers of floating point.
const (
	frameContext = 8
	frameFirst   = frameContext + 40 // r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags
	frameFloat   = frameFirst + 184  // address of the floats
	frameMask    = frameContext + 296
	frameInfo    = frameContext + 304
	frameFloats  = frameInfo + 128
	redZone      = 128
)

// inFrame lists t's registers in the order of a frame.
func (t *thread) inFrame() [18]*uint64 {
	return [...]*uint64{&t.r8, &t.r9, &t.r10, &t.r11, &t.r12, &t.r13, &t.r14, &t.r15, &t.rdi, &t.rsi, &t.rbp, &t.rbx,
		&t.rdx, &t.rax, &t.rcx, &t.rsp, &t.rip, &t.flags}
}

// Tick is called when the timer has interrupted the current thread, with all its
// registers saved.
//
//go:linkname Tick
func Tick() {
	Whole = 1
	t := &threads[current]
	others := runnable()
	if !others && !t.signalled() || !t.suspend() {
		return
	}
	if others {
		lastSwitch = rdtsc()
		t.ready()
		schedule()
	}
	arrange()
}

// suspend makes a frame of t, which was interrupted, if it has room for one.
func (t *thread) suspend() bool {
	sp := uintptr(t.rsp) - redZone
	if sp-t.altBase >= t.altSize {
		sp = t.altBase + t.altSize
	}
	at := (sp-frameFloats-floatsSize)&^15 - 8 // as after a call
	if t.altSize == 0 || at-t.altBase >= t.altSize {
		return false
	}
	zero(at, frameFloats)
	for i, r := range t.inFrame() {
		store64(at+frameFirst+8*uintptr(i), *r)
	}
	store64(at+frameFloat, uint64(at+frameFloats))
	store64(at+frameMask, t.blocked)
	move(at+frameFloats, floats, floatsSize)
	t.frame = at
	return true
}

// restore makes the registers in a frame those of t, which is the current thread.
func (t *thread) restore(at uintptr) {
	for i, r := range t.inFrame() {
		*r = load64(at + frameFirst + 8*uintptr(i))
	}
	t.blocked = load64(at + frameMask)
	move(floats, at+frameFloats, floatsSize)
	Whole = 1
}

// signalled says whether t has a signal to handle.
func (t *thread) signalled() bool {
	return t.preempted && t.blocked>>(signalUrgent-1)&1 == 0
}

// arrange prepares for the current thread to be resumed: where it was
// interrupted, or in its signal handler.
func arrange() {
	t := &threads[current]
	at := t.frame
	Whole, t.frame = 0, 0
	switch {
	case at == 0:
	case !t.signalled():
		t.restore(at)
	default:
		t.preempted = false
		t.blocked |= handlerMask | 1<<(signalUrgent-1)
		store64(at, restorer)
		store32(at+frameInfo, signalUrgent)
		store32(at+frameInfo+8, 1<<32-6) // SI_TKILL
		t.handled = at
		t.rsp, t.rip = uint64(at), handler
		t.rdi, t.rsi, t.rdx = signalUrgent, uint64(at+frameInfo), uint64(at+frameContext)
	}
}

// sigreturn ends t's signal handler. Where the stack pointer is by then depends on
// what the assembler made of the runtime's call.
func (t *thread) sigreturn() int64 {
	if t.handled == 0 {
		return errFAULT
	}
	t.restore(t.handled)
	t.handled = 0
	return restored
}

// sigaction sets the handler of signalUrgent; no other signal is ever handled.
func sigaction(signal uint64, action uintptr) int64 {
	const first = 2 // below are SIG_DFL and SIG_IGN
	if signal != signalUrgent || action == 0 {
		return 0
	}
	handler, restorer, handlerMask = load64(action), load64(action+16), load64(action+24)
	if handler < first {
		handler = 0
	}
	return 0
}

func (t *thread) sigaltstack(stack uintptr) int64 {
	const disable = 2
	if stack == 0 {
		return 0
	}
	t.altBase, t.altSize = uintptr(load64(stack)), uintptr(load64(stack+16))
	if load32(stack+8)&disable != 0 {
		t.altBase, t.altSize = 0, 0
	}
	return 0
}

func (t *thread) sigprocmask(how uint64, set, old uintptr) int64 {
	was := t.blocked
	if set != 0 {
		switch v := load64(set); how {
		case 0:
			t.blocked |= v
		case 1:
			t.blocked &^= v
		default:
			t.blocked = v
		}
	}
	if old != 0 {
		store64(old, was)
	}
	return 0
}

// preempt has a thread handle signalUrgent when the timer next interrupts it.
// At the gate it would be for nothing: the runtime preempts goroutines only
// where they are in Go code.
func preempt(id uint64) int64 {
	if id == 0 || id > uint64(top) || threads[id-1].state == unused {
		return errSRCH
	}
	threads[id-1].preempted = handler != 0
	return 0
}

package kernel

import _ "unsafe" // for linkname

// Under gocat's tenders a timer interrupts a program that runs on and on. The
// image's note TMR1 tells the tender of Timer; others ignore it, and then
// threads are cooperative.
//
// An interrupted thread is kept as Linux keeps one that has a signal handled: in
// a frame on its signal stack. Resuming it is rt_sigreturn; having it handle a
// signal is a jump to the handler.

// Timer is what the tender and the kernel share: whether the timer may not
// interrupt now, and its period in microseconds, 0 without one. The gate sets
// the first and what leaves the kernel clears it; the tender sets it with every
// exception and interrupt, as a processor clears its interrupt flag.
//
//go:linkname Timer
var Timer = [2]uint32{1}

// Whole is not 0 when the current thread must be resumed with all its registers,
// floating-point ones included, because it did not come here by the gate.
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

// signals is a thread's signal state. Sets have signal n at bit n-1.
type signals struct {
	frame   uintptr // registers of an interrupted thread, 0 for one at the gate
	handled uintptr // the frame that a signal handler was called with, or 0
	altBase uintptr // signal stack
	altSize uintptr // 0 without one
	blocked uint64
	pending uint64 // sent to this thread
}

// A frame is struct rt_sigframe (Linux asm/sigframe.h), with struct ucontext and
// siginfo_t, followed by the floating-point registers.
const (
	frameContext = 8
	frameLink    = frameContext + 8  // the frame of the handler that this one interrupted
	frameFirst   = frameContext + 40 // r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags
	frameFloat   = frameFirst + 184  // address of the floats, 0 of a thread at the gate
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
	sendQueued(true)
	takeAsked()
	if profiling {
		t.pending |= 1 << (signalProfile - 1)
	}
	others := runnable()
	if !others && t.due(true) == 0 || !t.suspend() {
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
	at := t.newFrame(floatsSize)
	if at == 0 {
		return false
	}
	store64(at+frameFloat, uint64(at+frameFloats))
	move(at+frameFloats, floats, floatsSize)
	t.frame = at
	return true
}

// newFrame stores t's registers in a new frame with extra bytes after it, and
// returns its address: 0 where there is no room on the signal stack.
func (t *thread) newFrame(extra uintptr) uintptr {
	sp := uintptr(t.rsp) - redZone
	if sp-t.altBase >= t.altSize {
		sp = t.altBase + t.altSize
	}
	at := (sp-frameFloats-extra)&^15 - 8 // as after a call
	if t.altSize == 0 || at-t.altBase >= t.altSize {
		return 0
	}
	zero(at, frameFloats)
	for i, r := range t.inFrame() {
		store64(at+frameFirst+8*uintptr(i), *r)
	}
	store64(at+frameMask, t.blocked)
	return at
}

// restore makes the registers in a frame those of t, which is the current thread.
func (t *thread) restore(at uintptr) {
	for i, r := range t.inFrame() {
		*r = load64(at + frameFirst + 8*uintptr(i))
	}
	t.blocked = load64(at + frameMask)
	Whole = 0
	if load64(at+frameFloat) != 0 {
		move(floats, at+frameFloats, floatsSize)
		Whole = 1
	}
}

// arrange prepares for the current thread to be resumed: where it was
// interrupted, at the gate, or in a signal handler.
func arrange() {
	t := &threads[current]
	at := t.frame
	whole := at != 0
	Whole, t.frame = 0, 0
	if s := t.due(whole); s != 0 {
		if !whole {
			at = t.newFrame(0)
		}
		if at != 0 {
			t.handle(s, at)
			return
		}
	}
	if whole {
		t.restore(at)
	}
}

func (t *thread) sigaltstack(stack, old uintptr) int64 {
	const disable = 2
	if old != 0 {
		store64(old, uint64(t.altBase))
		store64(old+8, 0)
		if t.altSize == 0 {
			store64(old+8, disable)
		}
		store64(old+16, uint64(t.altSize))
	}
	if stack == 0 {
		return 0
	}
	t.altBase, t.altSize = uintptr(load64(stack)), uintptr(load64(stack+16))
	if load32(stack+8)&disable != 0 {
		t.altBase, t.altSize = 0, 0
	}
	return 0
}

package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	testHandler  = 0x111000
	testRestorer = 0x112000
	testAlt      = 16 << 10 // bytes of signal stack
)

// preemptible boots a guest whose first thread has a signal stack, and that has a
// handler.
func preemptible(t *testing.T) (w *host, alt uint64) {
	t.Helper()
	w = boot(t, targetHVT, "")
	action := buffer(t, 32)
	store64(action, testHandler)
	store64(action+16, testRestorer)
	store64(action+24, 1<<4)
	if got := result(sysSigaction, signalUrgent, uint64(action), 0, 8); got != 0 {
		t.Fatal(got)
	}
	return w, newAlt(t)
}

// newAlt gives the current thread a signal stack.
func newAlt(t *testing.T) uint64 {
	t.Helper()
	stack := buffer(t, 24)
	alt := buffer(t, testAlt)
	store64(stack, uint64(alt))
	store64(stack+16, testAlt)
	if got := result(sysSigaltstack, uint64(stack), 0); got != 0 {
		t.Fatal(got)
	}
	return uint64(alt)
}

// context is all that a program has in the processor.
type context struct {
	r  registers
	fx [legacySize]byte
}

func newContext(rng *rand.Rand) (c context) {
	n := &thread{}
	for _, r := range n.inFrame() {
		*r = rng.Uint64()
	}
	c.r = n.registers
	for i := range c.fx {
		c.fx[i] = byte(rng.Uint32())
	}
	return c
}

// interrupt has the timer interrupt the current thread, which has c.
func interrupt(c context) {
	threads[current].registers = c.r
	move(floats, addressOf(&c.fx[0]), legacySize)
	Tick()
}

// check fails t unless the current thread is resumed with all of c.
func (c *context) check(t *testing.T) {
	t.Helper()
	if got := threads[current].registers; Whole != 1 || got != c.r {
		t.Fatalf("resumed, whole %d, with %+v, expected %+v", Whole, got, c.r)
	}
	if !slices.Equal(bytes(floats, floatsSize), c.fx[:]) {
		t.Fatal("registers of floating point changed")
	}
}

// TestTick interrupts a thread that is alone.
func TestTick(t *testing.T) {
	_, alt := preemptible(t)
	c := newContext(rand.New(rand.NewPCG(1, 2)))
	interrupt(c)
	c.check(t)
	for _, b := range bytes(uintptr(alt), testAlt) {
		if b != 0 {
			t.Fatal("the signal stack was written to for nothing")
		}
	}
}

// TestTickSwitches has threads take turns, at the gate and by interrupts, each
// with registers of its own.
func TestTickSwitches(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	preemptible(t)
	const n = 5
	for i := range n - 1 {
		result(sysClone, 0x10100, uint64(0x1000*(i+1)))
	}
	type state struct {
		alt   bool
		whole bool // was interrupted
		c     context
	}
	var all [n]state
	all[0].alt, threads[0].rax = true, 0
	switched := 0
	for range 5000 {
		s := &all[current]
		if s.whole {
			s.c.check(t)
		} else if Whole != 0 {
			t.Fatal("a thread at the gate is resumed as if it had been interrupted")
		} else if s.alt && threads[current].rax != 0 {
			t.Fatalf("yielding returned %#x", threads[current].rax)
		}
		if !s.alt {
			newAlt(t)
			s.alt = true
		}
		was := current
		if s.whole = rng.IntN(2) == 0; s.whole {
			s.c = newContext(rng)
			interrupt(s.c)
		} else {
			call(sysYield)
		}
		if current != was {
			switched++
		}
	}
	if switched < 4000 {
		t.Errorf("%d switches", switched)
	}
}

// TestPreempt has a thread handle the signal, as the runtime's handler does.
func TestPreempt(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	_, alt := preemptible(t)
	t0 := &threads[current]
	set := buffer(t, 16)
	for i := range 50 {
		if got := result(sysTgkill, 1, uint64(current+1), signalUrgent); got != 0 || Whole != 0 {
			t.Fatal("the signal came at the gate")
		}
		if i%2 == 1 { // blocked, it waits
			store64(set, 1<<(signalUrgent-1))
			result(sysSigprocmask, 0, uint64(set), uint64(set+8), 8)
			c := newContext(rng)
			interrupt(c)
			c.check(t)
			result(sysSigprocmask, 1, uint64(set), 0, 8)
		}
		c := newContext(rng)
		interrupt(c)
		sp, info, uc := t0.rsp, t0.rsi, t0.rdx
		switch {
		case Whole != 0 || t0.rip != testHandler || t0.rdi != signalUrgent:
			t.Fatalf("no call of the handler: %+v", t0.registers)
		case sp%16 != 8 || sp < alt || sp >= alt+testAlt || load64(uintptr(sp)) != testRestorer:
			t.Fatalf("stack at %#x, signal stack at %#x", sp, alt)
		case load32(uintptr(info)) != signalUrgent || load64(uintptr(uc)+160) != c.r.rsp || load64(uintptr(uc)+168) != c.r.rip:
			t.Fatal("siginfo or context are wrong")
		case t0.blocked != 1<<4|1<<(signalUrgent-1):
			t.Fatalf("blocked %#x", t0.blocked)
		}
		// The handler is interrupted, as anything is, and not called again.
		result(sysTgkill, 1, 1, signalUrgent)
		inside := newContext(rng)
		inside.r.rsp = sp - 200
		interrupt(inside)
		inside.check(t)
		t0.pending = 0
		// It has the thread go on elsewhere.
		c.r.rip, c.r.rsp = 0xabcdef, c.r.rsp-8
		store64(uintptr(uc)+168, c.r.rip)
		store64(uintptr(uc)+160, c.r.rsp)
		call(sysSigreturn)
		c.check(t)
		if t0.blocked != 0 {
			t.Fatalf("blocked %#x after the handler", t0.blocked)
		}
	}
	if got := result(sysSigreturn); got != errFAULT {
		t.Errorf("return from no handler: %d", got)
	}
	for _, id := range []uint64{0, 2, maxThreads + 1, 1 << 40} {
		if got := result(sysTgkill, 1, id, signalUrgent); got != errSRCH {
			t.Errorf("signal for thread %d: %d", id, got)
		}
	}
	action := buffer(t, 32)
	store64(action, 1) // SIG_IGN
	result(sysSigaction, signalUrgent, uint64(action), 0, 8)
	result(sysTgkill, 1, 1, signalUrgent)
	c := newContext(rng)
	interrupt(c)
	c.check(t)
}

// TestNoSignalStack interrupts threads that have no room for a frame: they go on,
// whoever else would run.
func TestNoSignalStack(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	_, alt := preemptible(t)
	result(sysClone, 0x10100, 0x1000)
	t0 := &threads[0]
	for _, tt := range []struct {
		size, sp uint64
		fits     bool
	}{
		{0, 0, false}, {512, 0, false}, {uint64(frameFloats) + legacySize + 24, 0, true}, {testAlt, alt + 600, false},
		{testAlt, alt + 2000, true}, {testAlt, alt + testAlt - 1, true},
	} {
		t0.altBase, t0.altSize = uintptr(alt), uintptr(tt.size)
		c := newContext(rng)
		if tt.sp != 0 {
			c.r.rsp = tt.sp
		}
		interrupt(c)
		if !tt.fits {
			c.check(t)
			continue
		}
		if current != 1 || t0.frame < uintptr(alt) || tt.sp != 0 && t0.frame+uintptr(frameFloats)+floatsSize > uintptr(tt.sp)-redZone {
			t.Fatalf("thread %d, frame at %#x for %+v", current, t0.frame, tt)
		}
		call(sysYield)
		c.check(t)
	}
	stack := buffer(t, 24)
	store32(stack+8, 2) // SS_DISABLE
	result(sysSigaltstack, uint64(stack), 0)
	if t0.altSize != 0 {
		t.Error("a signal stack that was given up")
	}
}

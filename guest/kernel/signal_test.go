package kernel

import "testing"

// handled sets the handler of a signal, gives the current thread a signal stack
// and returns a function that checks that the thread is called to handle the
// signal, at the gate, and ends the handler.
func handled(t *testing.T, s uint64) (check func(result int64)) {
	t.Helper()
	act := buffer(t, actionSize)
	store64(act, testHandler)
	store64(act+16, testRestorer)
	store64(act+24, ^uint64(0))
	if got := result(sysSigaction, s, uint64(act), 0, 8); got != 0 {
		t.Fatal(got)
	}
	newAlt(t)
	return func(want int64) {
		t.Helper()
		c := &threads[current]
		if c.rip != testHandler || c.rdi != s || Whole != 0 || c.blocked != ^uint64(0) {
			t.Fatalf("signal %d: not handled: %+v", s, c.registers)
		}
		if got := int64(load64(uintptr(c.rdx) - frameContext + frameFirst + 13*8)); got != want {
			t.Fatalf("the call that it interrupted returned %d, want %d", got, want)
		}
		call(sysSigreturn)
		if c.rip == testHandler || int64(c.rax) != want || Whole != 0 || c.blocked != 0 {
			t.Fatalf("after the handler: %+v", c.registers)
		}
	}
}

// TestAsked has signals come from outside: between two calls, and in a wait.
func TestAsked(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		const term = 15
		check := handled(t, term)
		Asked = 1 << (term - 1)
		call(sysGettid)
		check(1)
		if Asked != 0 || shared != 0 {
			t.Fatalf("still asked %#x, %#x", Asked, shared)
		}
		// A second time while it waits.
		askedOnce = 0
		w.asks = 1 << (term - 1)
		request := buffer(t, 16)
		store64(request, 3600)
		call(sysNanosleep, uint64(request))
		check(errINTR)
		if w.now > 1000*second {
			t.Error("it slept on")
		}
	})
}

// TestAskedBefore has a signal come before the first instruction: it stays.
func TestAskedBefore(t *testing.T) {
	boot(t, targetSPT, "")
	const term = 15
	Asked = 1 << (term - 1)
	resetSignals()
	if Asked != 1<<(term-1) {
		t.Errorf("asked %#x", Asked)
	}
}

// TestBlockedSignal has a signal wait until it is no longer blocked, and one that
// is ignored never come.
func TestBlockedSignal(t *testing.T) {
	boot(t, targetSPT, "")
	const usr1 = 10
	check := handled(t, usr1)
	set := buffer(t, 16)
	store64(set, 1<<(usr1-1))
	result(sysSigprocmask, 0, uint64(set), uint64(set)+8, 8)
	for range 3 {
		if got := result(sysKill, 1, usr1); got != 0 || threads[current].rip == testHandler {
			t.Fatal("a blocked signal came")
		}
	}
	store64(set, 0)
	call(sysSigprocmask, 2, uint64(set), 0, 8)
	check(0)
	act := buffer(t, actionSize)
	store64(act, actionIgnore)
	result(sysSigaction, usr1, uint64(act), uint64(set), 8)
	if got := result(sysKill, 1, usr1); got != 0 || threads[current].rip == testHandler || shared != 0 {
		t.Fatal("an ignored signal came")
	}
	for _, tt := range []struct{ pid, sig uint64 }{{2, usr1}, {1, 65}, {1 << 31, 0}} {
		if got := result(sysKill, tt.pid, tt.sig); got >= 0 {
			t.Errorf("kill %d %d: %d", tt.pid, tt.sig, got)
		}
	}
	for _, s := range []uint64{0, signalKill, signalStop, 65, 1 << 40} {
		if got := result(sysSigaction, s, uint64(act), 0, 8); got != errINVAL {
			t.Errorf("handler for %d: %d", s, got)
		}
	}
}

// TestSignalForAnother has a thread that waits told by another.
func TestSignalForAnother(t *testing.T) {
	boot(t, targetSPT, "")
	const usr1 = 10
	check := handled(t, usr1)
	result(sysClone, 0x10100, 0x1000)
	word := buffer(t, 8)
	call(sysFutex, uint64(word), futexWait, 0, 0) // thread 0 waits, 1 runs
	if current != 1 {
		t.Fatal("the other thread does not run")
	}
	result(sysTgkill, 1, 1, usr1)
	call(sysYield)
	if current != 0 {
		t.Fatal("the thread waits on")
	}
	check(errINTR)
}

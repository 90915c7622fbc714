package kernel

import _ "unsafe" // for linkname

// Signals that a program sends itself, those that the timer makes, and two that
// come from outside: SIGTERM and SIGINT, of which the tender tells an image that
// asks for them by its note SIG1.

// Signals that the kernel knows (signal(7)).
const (
	signalKill     = 9
	signalChild    = 17
	signalContinue = 18
	signalStop     = 19
	signalUrgent   = 23 // Go's runtime preempts with it
	signalProfile  = 27
	signalWindow   = 28
	signals64      = 64

	harmless = 1<<(signalChild-1) | 1<<(signalContinue-1) | 1<<(signalUrgent-1) | 1<<(signalWindow-1)
)

// Asked is the set of signals from outside that have come. The tender or the
// assembler's signal handler adds to it, and has a wait of the guest's end.
//
//go:linkname Asked
var Asked uint32

// askedOnce is what has come before: a second signal ends the program, unless the
// tender already does that.
var askedOnce uint32

// action is struct kernel_sigaction. Handlers 0 and 1 are SIG_DFL and SIG_IGN.
type action struct{ handler, flags, restorer, mask uint64 }

// Codes in siginfo_t (asm-generic/siginfo.h).
const (
	siKernel = 0x80
	siTkill  = 1<<32 - 6
)

const (
	actionIgnore  = 1
	actionSize    = 32
	actionNoDefer = 0x40000000
)

var (
	actions   [signals64 + 1]action // by signal
	shared    uint64                // set of signals that any thread may handle
	profiling bool                  // signalProfile comes with every tick
)

func resetSignals() {
	// Asked stays: what came before the first instruction must not be lost.
	actions, shared, askedOnce, profiling = [signals64 + 1]action{}, 0, 0, false
}

// takeAsked sends the program what has come from outside.
func takeAsked() {
	if Asked == 0 {
		return
	}
	set := exchange(&Asked, 0)
	sptAlarm = unknownAlarm
	for s := uint64(1); set != 0; s++ {
		if bit := uint32(1) << (s - 1); set&bit != 0 {
			set &^= bit
			if askedOnce&bit != 0 {
				exit(128 + s)
			}
			askedOnce |= bit
			send(s, &shared)
		}
	}
}

// send adds a signal to a set of pending ones, or takes the default action if
// there is no handler.
func send(s uint64, set *uint64) {
	switch h := actions[s].handler; {
	case h == actionIgnore || h == 0 && harmless>>(s-1)&1 != 0:
	case h == 0:
		exit(128 + s)
	default:
		*set |= 1 << (s - 1)
	}
}

// due returns a signal that t must handle when it is resumed, or 0. Go can
// preempt goroutines only in Go code, so at the gate its signal for that is
// useless.
func (t *thread) due(whole bool) uint64 {
	set := (t.pending | shared) &^ t.blocked
	if !whole {
		set &^= 1 << (signalUrgent - 1)
	}
	if set == 0 || t.altSize == 0 {
		return 0
	}
	s := uint64(1)
	for set>>(s-1)&1 == 0 {
		s++
	}
	return s
}

// handle has t, whose registers are in the frame at, handle a signal.
func (t *thread) handle(s uint64, at uintptr) {
	a := &actions[s]
	bit := uint64(1) << (s - 1)
	t.pending &^= bit
	shared &^= bit
	if a.handler <= actionIgnore { // it was given up meanwhile
		t.restore(at)
		return
	}
	t.blocked |= a.mask
	if a.flags&actionNoDefer == 0 {
		t.blocked |= bit
	}
	store64(at, a.restorer)
	store64(at+frameLink, uint64(t.handled))
	store32(at+frameInfo, uint32(s))
	code := uint32(siTkill)
	if s == signalProfile {
		code = siKernel // as of a timer of the process: the runtime looks
	}
	store32(at+frameInfo+8, code)
	t.handled = at
	t.rsp, t.rip = uint64(at), a.handler
	t.rdi, t.rsi, t.rdx = s, uint64(at+frameInfo), uint64(at+frameContext)
}

// sigreturn ends t's signal handler. Where the stack pointer is by then depends on
// what the assembler made of the runtime's call.
func (t *thread) sigreturn() int64 {
	at := t.handled
	if at == 0 {
		return errFAULT
	}
	t.handled = uintptr(load64(at + frameLink))
	t.restore(at)
	return restored
}

// interruptWait has a thread that waits go on with a signal, if all that could
// handle one wait.
func interruptWait() {
	for i := int32(0); i < top; i++ {
		if threads[i].interrupt() {
			return
		}
	}
}

// interrupt ends t's wait, if it waits and has a signal to handle.
func (t *thread) interrupt() bool {
	if t.state <= running || t.due(false) == 0 {
		return false
	}
	t.rax = minus(errINTR)
	t.wake()
	return true
}

func sigaction(s uint64, new, old uintptr) int64 {
	if s == 0 || s > signals64 || new != 0 && (s == signalKill || s == signalStop) {
		return errINVAL
	}
	a := &actions[s]
	if old != 0 {
		store64(old, a.handler)
		store64(old+8, a.flags)
		store64(old+16, a.restorer)
		store64(old+24, a.mask)
	}
	if new != 0 {
		*a = action{load64(new), load64(new + 8), load64(new + 16), load64(new + 24)}
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

// kill sends the program a signal: there is no other.
func kill(pid, s uint64) int64 {
	if p := int32(pid); p > 1 || p < -1 {
		return errSRCH
	}
	if s > signals64 {
		return errINVAL
	}
	if s != 0 {
		send(s, &shared)
	}
	return 0
}

// tgkill sends a thread a signal.
func tgkill(id, s uint64) int64 {
	if id == 0 || id > uint64(top) || threads[id-1].state == unused {
		return errSRCH
	}
	if s > signals64 {
		return errINVAL
	}
	if s != 0 {
		t := &threads[id-1]
		send(s, &t.pending)
		t.interrupt()
	}
	return 0
}

// setitimer supports only the profiling timer, which runs at the rate of the
// tender's timer.
func setitimer(which uint64, new, old uintptr) int64 {
	const profile = 2 // ITIMER_PROF
	if which != profile || Timer[1] == 0 {
		return errNOSYS
	}
	if old != 0 {
		zero(old, 32)
	}
	if new != 0 {
		profiling = load64(new+16)|load64(new+24) != 0
	}
	return 0
}

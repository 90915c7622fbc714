package kernel

import "math/bits"

const second = 1_000_000_000 // ns

// timespec reads a struct timespec, as ns.
func timespec(addr uintptr) int64 {
	sec, nsec := int64(load64(addr)), int64(load64(addr+8))
	if sec < 0 || nsec < 0 || nsec >= second {
		return 0
	}
	if sec >= never/second {
		return never
	}
	return sec*second + nsec
}

// after is the deadline of a wait of ns.
func after(ns int64) int64 {
	if now := monotonic(); ns < never-now {
		return now + ns
	}
	return never
}

// Clocks of clock_gettime.
const (
	clockRealtime        = 0
	clockMonotonic       = 1
	clockProcess         = 2
	clockThread          = 3
	clockMonotonicRaw    = 4
	clockRealtimeCoarse  = 5
	clockMonotonicCoarse = 6
	clockBoot            = 7
)

func clockGettime(id uint64, to uintptr) int64 {
	var ns int64
	switch id {
	case clockRealtime, clockRealtimeCoarse:
		ns = wall()
	case clockMonotonic, clockMonotonicRaw, clockMonotonicCoarse, clockBoot, clockProcess, clockThread:
		ns = monotonic()
	default:
		return errINVAL
	}
	store64(to, uint64(ns/second))
	store64(to+8, uint64(ns%second))
	return 0
}

// nanosleep sleeps at least until others that are ready have run.
func nanosleep(t *thread, request uintptr) int64 {
	ns := timespec(request)
	if ns == 0 {
		return yield(t)
	}
	return t.wait(asleep, after(ns))
}

func yield(t *thread) int64 {
	if !runnable() {
		return 0
	}
	t.rax = 0
	t.ready()
	return block
}

// scale is n*mul/div.
func scale(n, mul, div uint64) uint64 {
	hi, lo := bits.Mul64(n, mul)
	if hi >= div {
		return never
	}
	q, _ := bits.Div64(hi, lo, div)
	return q
}

package kernel

// Instructions of the processor that give random numbers.
var hasRDSEED, hasRDRAND bool

func findRandom() {
	const (
		leaf1ECX = 1 << 30 // RDRAND
		leaf7EBX = 1 << 18 // RDSEED
	)
	most, _, _, _ := cpuid(0, 0)
	_, _, c, _ := cpuid(1, 0)
	hasRDRAND = c&leaf1ECX != 0
	hasRDSEED = false
	if most >= 7 {
		_, b, _, _ := cpuid(7, 0)
		hasRDSEED = b&leaf7EBX != 0
	}
}

// random returns 64 random bits. Both instructions fail at times, and more often
// when they are asked for much.
func random() (v uint64, ok bool) {
	const tries = 128
	for i := 0; i < tries && !ok; i++ {
		switch {
		case hasRDRAND:
			v, ok = rdrand()
		case hasRDSEED:
			v, ok = rdseed()
		default:
			return 0, false
		}
	}
	return v, ok
}

// getrandom fails on a processor that has no random numbers, since any other
// source here could be guessed. Programs that need secrets then fail too.
func getrandom(to, n uintptr) int64 {
	n = min(n, maxTransfer)
	for done := uintptr(0); done < n; {
		v, ok := random()
		if !ok {
			return errNOSYS
		}
		for part := min(n-done, 8); part > 0; part-- {
			store8(to+done, uint8(v))
			v >>= 8
			done++
		}
	}
	return int64(n)
}

// seed writes the 16 bytes from which the runtime derives the seeds of its maps.
// Without random numbers it makes do with the clock.
func seed(to uintptr) {
	if getrandom(to, 16) < 0 {
		store64(to, rdtsc()*0x9e3779b97f4a7c15)
		store64(to+8, uint64(wall())*0xbf58476d1ce4e5b9)
	}
}

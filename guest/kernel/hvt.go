package kernel

import "gocat/internal/abi"

// hvtArgs are the arguments of a hypercall: words, as the structures have them.
var hvtArgs [5]uint64

func hypercall(nr uint32) { out(abi.HypercallPort+nr, uint32(address64(&hvtArgs[0]))) }

// hvtResult is solo5_result_t as the result of a system call.
func hvtResult(ret uint64) int64 {
	switch uint32(ret) {
	case abi.ResultOK:
		return 0
	case abi.ResultAgain:
		return errAGAIN
	case abi.ResultInvalid:
		return errINVAL
	}
	return errIO
}

func hvtConsole(from, n uintptr) int64 {
	hvtArgs[0], hvtArgs[1] = uint64(from), uint64(n)
	hypercall(abi.Puts)
	return int64(n)
}

func hvtNet(nr uint32, handle uint64, p, n uintptr) int64 {
	sendQueued(true)
	hvtArgs = [5]uint64{handle, uint64(p), uint64(n)}
	hypercall(nr)
	if r := hvtResult(hvtArgs[3]); r != 0 {
		return r
	}
	return int64(hvtArgs[2])
}

func hvtBlock(nr uint32, handle, offset uint64, p, n uintptr) int64 {
	hvtArgs = [5]uint64{handle, offset, uint64(p), uint64(n)}
	hypercall(nr)
	return hvtResult(hvtArgs[4])
}

func hvtPollUntil(deadline int64) uint64 {
	const most = 3600 * second // tenders compute with it
	timeout := int64(0)
	if deadline > 0 {
		timeout = min(max(deadline-hvtMonotonic(), 0), most)
	}
	hvtArgs = [5]uint64{uint64(timeout)}
	hypercall(abi.Poll)
	served() // gocat's tender serves the ring before it waits
	return hvtArgs[1]
}

func hvtExit(status uint64) {
	hvtArgs = [5]uint64{0, uint64(uint32(status))}
	hypercall(abi.Halt)
}

// The guest's clock is the time stamp counter. The tender is asked for the wall
// clock from time to time; in between the kernel counts on from its last
// answer.
var (
	cycleStart uint64
	cycleBase  int64 // monotonic time at cycleStart
	latest     int64 // that hvtMonotonic has returned
	wallAt     int64 // monotonic time when wallTime was so
	wallTime   int64
)

// wallPeriod is how long the kernel counts the wall clock without asking the
// tender, in ns.
const wallPeriod = second

func hvtStartClock() {
	cycleStart, cycleBase = rdtsc(), second // so that no deadline is 0
	latest, wallAt, wallTime = 0, 0, 0
}

func hvtMonotonic() int64 {
	latest = int64(scale(rdtsc()-cycleStart, second, max(cycleHz, 1))) + cycleBase
	return latest
}

// hvtResumeClock keeps the monotonic clock from going back, and has the wall clock asked
// for: the counter may be another host's.
func hvtResumeClock() {
	before, now := latest, rdtsc()
	if now >= cycleStart {
		before = max(before, hvtMonotonic())
	}
	cycleStart, cycleBase = now, before
	cycleHz, wallTime = load64(bootHz), 0
}

func hvtWall() int64 {
	now := hvtMonotonic()
	if wallTime == 0 || now-wallAt > wallPeriod {
		hypercall(abi.Walltime)
		wallTime, wallAt = int64(hvtArgs[0]), now
	}
	return wallTime + now - wallAt
}

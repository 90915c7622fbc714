package kernel

// Hypercalls: writing the address of the arguments to the port 0x500 plus the
// number (Solo5 hvt_abi.h). Addresses have 32 bits: guests have at most 4 GiB.
const (
	hvtPort       = 0x500
	hvtWalltime   = 1
	hvtPuts       = 2
	hvtPoll       = 3
	hvtBlockWrite = 4
	hvtBlockRead  = 5
	hvtNetWrite   = 6
	hvtNetRead    = 7
	hvtHalt       = 8
)

// hvtArgs are the arguments of a hypercall: words, as the structures have them.
var hvtArgs [5]uint64

func hypercall(nr uint32) { out(hvtPort+nr, uint32(address64(&hvtArgs[0]))) }

// hvtResult is solo5_result_t as the result of a system call.
func hvtResult(ret uint64) int64 {
	switch uint32(ret) {
	case 0:
		return 0
	case 1:
		return errAGAIN
	case 2:
		return errINVAL
	}
	return errIO
}

func hvtConsole(from, n uintptr) int64 {
	hvtArgs[0], hvtArgs[1] = uint64(from), uint64(n)
	hypercall(hvtPuts)
	return int64(n)
}

func hvtNet(nr uint32, handle uint64, p, n uintptr) int64 {
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
	hypercall(hvtPoll)
	return hvtArgs[1]
}

func hvtExit(status uint64) {
	hvtArgs = [5]uint64{0, uint64(uint32(status))}
	hypercall(hvtHalt)
}

// The guest's clock is the time stamp counter. The wall clock is asked of the
// tender at times, and counted on in between.
var (
	cycleStart uint64
	wallAt     int64 // monotonic time when wallTime was so
	wallTime   int64
)

// wallPeriod is how long the wall clock is counted on without asking, in ns.
const wallPeriod = second

func hvtStartClock() {
	cycleStart = rdtsc()
	wallAt, wallTime = 0, 0
}

// hvtMonotonic begins with 1 second, so that no deadline is 0.
func hvtMonotonic() int64 {
	return int64(scale(rdtsc()-cycleStart, second, max(cycleHz, 1))) + second
}

func hvtWall() int64 {
	now := hvtMonotonic()
	if wallTime == 0 || now-wallAt > wallPeriod {
		hypercall(hvtWalltime)
		wallTime, wallAt = int64(hvtArgs[0]), now
	}
	return wallTime + now - wallAt
}

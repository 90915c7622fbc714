package kernel

import "gocat/internal/abi"

// This file chooses between the two tenders. What each function does is the same
// under both: times are in ns, results are those of system calls.

// consoleWrite writes n bytes, or fewer, on the console.
func consoleWrite(from, n uintptr) int64 {
	if Target == targetHVT {
		return hvtConsole(from, n)
	}
	return again(sptCall(hostWrite, hostStdout, uint64(from), uint64(n), 0))
}

// netRead reads what a network device has, at most n bytes: 0 at its end.
func netRead(handle uint64, to, n uintptr) int64 {
	if Target == targetHVT {
		return hvtNet(abi.NetRead, handle, to, n)
	}
	return again(sptCall(hostRead, hostFD(handle), uint64(to), uint64(n), 0))
}

func netWrite(handle uint64, from, n uintptr) int64 {
	if Target == targetHVT {
		return hvtNet(abi.NetWrite, handle, from, n)
	}
	return again(sptCall(hostWrite, hostFD(handle), uint64(from), uint64(n), 0))
}

// again is the result of a call that a signal may have ended early: there was
// nothing yet.
func again(r int64) int64 {
	if r == errINTR {
		return errAGAIN
	}
	return r
}

// blockCall transfers one block, whose size n is, at a multiple of it, and returns
// 0 or an error.
func blockCall(handle, offset uint64, p, n uintptr, writing bool) int64 {
	r := int64(0)
	switch {
	case Target == targetHVT && writing:
		return hvtBlock(abi.BlockWrite, handle, offset, p, n)
	case Target == targetHVT:
		return hvtBlock(abi.BlockRead, handle, offset, p, n)
	case writing:
		r = sptCall(hostPwrite, hostFD(handle), uint64(p), uint64(n), offset)
	default:
		r = sptCall(hostPread, hostFD(handle), uint64(p), uint64(n), offset)
	}
	if r >= 0 && r != int64(n) {
		return errIO
	}
	return min(r, 0)
}

// pollHost waits until a network device has input or the monotonic clock shows
// deadline, and returns the set of devices with input. A deadline of 0 has gone.
func pollHost(deadline int64) uint64 {
	ready := uint64(0)
	if Target == targetHVT {
		ready = hvtPollUntil(deadline)
	} else {
		ready = sptPoll(deadline)
	}
	cloned()
	return ready
}

// pollSnapshot polls in the way that asks the tender for a snapshot, if it takes
// any.
func pollSnapshot() {
	request := &Generation[abi.GenerationRequest/8]
	if Target == targetHVT {
		*request = 0 // the timeout
		out(abi.HypercallPort+abi.Poll, uint32(address64(request)))
		served()
		return
	}
	sptCall(hostEpollPwait, epollFD, uint64(address64(request)), 1, 0)
}

// resumeClock keeps the monotonic clock of a clone, which may be on another
// host, from going back.
func resumeClock() {
	if Target == targetHVT {
		hvtResumeClock()
		return
	}
	sptResumeClock()
}

// monotonic is the time since some point before the start.
func monotonic() int64 {
	if Target == targetHVT {
		return hvtMonotonic()
	}
	return sptMonotonic()
}

// wall is the time since 1970.
func wall() int64 {
	if Target == targetHVT {
		return hvtWall()
	}
	return sptHost.wall()
}

func startClocks() {
	if Target == targetHVT {
		hvtStartClock()
		return
	}
	sptHost, sptAhead, sptLatest = hostClock{}, 0, 0
}

func setThreadPointer(base uintptr) int64 {
	if Target == targetHVT {
		const fsBase = 0xc0000100 // MSR_FS_BASE. WRFSBASE needs a bit that no tender sets.
		wrmsr(fsBase, uint64(base))
		return 0
	}
	return sptCall(hostArchPrctl, abi.ArchSetFS, uint64(base), 0, 0)
}

// exit ends the guest.
func exit(status uint64) {
	if Target == targetHVT {
		hvtExit(status)
	}
	sptCall(hostExitGroup, status&0xff, 0, 0, 0)
	//lint:ignore SA5002 no tender comes back from that
	for {
	}
}

package kernel

// System calls that the spt tender allows (Solo5 bindings/spt), with the
// arguments that it allows.
const (
	hostRead         = 0
	hostWrite        = 1
	hostPread        = 17
	hostPwrite       = 18
	hostArchPrctl    = 158
	hostClockGettime = 228
	hostExitGroup    = 231
	hostEpollPwait   = 281
	hostTimerSet     = 286

	hostStdout   = 1
	timerAbsolut = 1          // TFD_TIMER_ABSTIME
	timerHandle  = 0xfffffffe // SPT_INTERNAL_TIMERFD
)

func hostFD(handle uint64) uint64 { return uint64(load32(entry(handle) + entryHostFD)) }

func sptCall(nr, a, b, c, d uint64) int64 {
	return int64(syscall6(uintptr(nr), uintptr(a), uintptr(b), uintptr(c), uintptr(d), 0, 0))
}

// Arguments that the host reads or writes.
var (
	sptTime   [2]uint64                                        // struct timespec
	sptTimer  [4]uint64                                        // struct itimerspec
	sptEvents [(maxDevices*epollEvent + epollEvent) / 4]uint32 // struct epoll_event
	sptAlarm  int64                                            // what the timer is set to, 0: not
)

func sptClock(id uint64) int64 {
	sptCall(hostClockGettime, id, uint64(address64(&sptTime[0])), 0, 0)
	return int64(sptTime[0])*second + int64(sptTime[1])
}

// sptPoll waits with epoll_pwait, whose set the tender has made, and with the
// timer in it, because its own timeout is in ms.
func sptPoll(deadline int64) (ready uint64) {
	const maxEvents = maxDevices + 1
	timeout := uint64(0)
	if deadline > 0 {
		timeout = 1<<64 - 1
		alarm := deadline
		if deadline == never {
			alarm = 0 // disarms
		}
		if alarm != sptAlarm {
			sptTimer[2], sptTimer[3] = uint64(alarm/second), uint64(alarm%second)
			sptCall(hostTimerSet, timerFD, timerAbsolut, uint64(address64(&sptTimer[0])), 0)
			sptAlarm = alarm
		}
	}
	events := address32(&sptEvents[0])
	n := sptCall(hostEpollPwait, epollFD, uint64(events), maxEvents, timeout)
	for i := uintptr(0); i < uintptr(max(n, 0)); i++ {
		handle := load64(events + i*epollEvent + 4)
		if handle < maxDevices {
			ready |= 1 << handle
		}
	}
	return ready
}

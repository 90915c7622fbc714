package kernel

import (
	_ "unsafe" // for linkname

	"gocat/internal/abi"
)

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

	hostStdout    = 1
	timerAbsolute = 1 // TFD_TIMER_ABSTIME
)

func hostFD(handle uint64) uint64 { return uint64(load32(entry(handle) + abi.EntryHostFD)) }

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

// sptPast is a struct itimerspec that expires immediately. The signal handler
// sets the timer so.
//
//go:linkname sptPast
//lint:ignore U1000 runtime/gocat_amd64.s.txt uses it
var sptPast = [4]uint64{3: 1}

// unknownAlarm is no deadline: a signal has set the timer.
const unknownAlarm = -1

// SptReady is not 0 once the signal handler may set the timer.
//
//go:linkname SptReady
var SptReady uint32

// The monotonic clock is the host's plus sptAhead, which is more than 0 in a clone on
// a host whose clock shows less. sptLatest is the latest time that it has shown.
var sptAhead, sptLatest int64

func sptMonotonic() int64 {
	sptLatest = max(sptLatest, sptHost.monotonic()+sptAhead)
	return sptLatest
}

func sptResumeClock() {
	sptHost = hostClock{}
	sptAhead = max(sptAhead, sptLatest-sptClock(clockMonotonic))
	sptAlarm = unknownAlarm
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
			at := alarm
			if at != 0 {
				at = max(at-sptAhead, 1)
			}
			sptTimer[2], sptTimer[3] = uint64(at/second), uint64(at%second)
			sptCall(hostTimerSet, timerFD, timerAbsolute, uint64(address64(&sptTimer[0])), 0)
			sptAlarm = alarm
		}
		// A signal that comes from here on sets the timer, to the past.
		if Asked != 0 {
			return 0
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

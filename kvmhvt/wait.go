package kvmhvt

import (
	"math/bits"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// waitSet is what the guest's poll waits for.
type waitSet struct {
	epoll, timer int          // -1 when not open
	always       uint64       // handles that are always ready: epoll refuses files
	ending       *atomic.Bool // set, with a signal to the thread, to end a wait
	idle         func()       // called once, before the first wait that may take long; may be nil
	events       [image.MaxEntries + 1]unix.EpollEvent
}

// open makes an empty set. ending may be nil.
func (w *waitSet) open(ending *atomic.Bool) (err error) {
	*w = waitSet{epoll: -1, timer: -1, ending: ending}
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return &Error{"create wait set", err, ""}
	}
	if w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return &Error{"create timer", err, ""}
	}
	return w.watch(w.timer, 0)
}

// watch adds a descriptor that makes handles ready when it can be read.
func (w *waitSet) watch(fd int, handles uint64) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(uint32(handles)), Pad: int32(handles >> 32)}
	return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

func (w *waitSet) close() {
	for _, fd := range []int{w.epoll, w.timer} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// errEnding is the end of a wait because the tender ends.
var errEnding error = &stop{status: 1, reason: "the tender is ending"}

// maxTimeout is a century, in nanoseconds.
const maxTimeout = uint64(100 * 365 * 24 * time.Hour)

// wait returns the handles that can be read and their number, after at most
// timeout nanoseconds.
func (w *waitSet) wait(timeout uint64) (ready uint64, n int, err error) {
	ms := -1
	if timeout == 0 || w.always != 0 {
		ms = 0
	} else {
		timeout = min(timeout, maxTimeout)
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(timeout))}
		if w.idle != nil {
			w.idle()
			w.idle = nil
		}
		if err := unix.TimerfdSettime(w.timer, 0, &spec, nil); err != nil {
			return 0, 0, stopf("Could not set timer: %v", err)
		}
	}
	ready = w.always
	for {
		got, errno := epollPwait(w.epoll, w.events[:], ms)
		if errno == unix.EINTR {
			if w.ending != nil && w.ending.Load() {
				return 0, 0, errEnding
			}
			continue
		}
		if errno != 0 {
			return 0, 0, stopf("Could not wait for devices: %v", errno)
		}
		for _, ev := range w.events[:got] {
			ready |= uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32
		}
		return ready, bits.OnesCount64(ready), nil
	}
}

// writable waits until fd can be written to, or would fail.
func (w *waitSet) writable(fd int) error {
	for {
		errno := pollOut(fd)
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return stopf("Could not wait for descriptor %d: %v", fd, errno)
		}
		if w.ending != nil && w.ending.Load() {
			return errEnding
		}
	}
}

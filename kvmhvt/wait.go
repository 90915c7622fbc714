package kvmhvt

import (
	"math/bits"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// waitSet is what the guest's poll waits for.
type waitSet struct {
	epoll, timer int    // -1 when not open
	always       uint64 // handles that are always ready: epoll refuses files
	asked        []byte // the guest's word of signals, or nil
	events       [image.MaxEntries + 1]unix.EpollEvent
}

// open makes an empty set.
func (w *waitSet) open() (err error) {
	w.epoll, w.timer, w.always = -1, -1, 0
	if w.epoll, err = raw.EpollCreate(); err != nil {
		return &Error{"create wait set", err, ""}
	}
	if w.timer, err = raw.TimerfdCreate(); err != nil {
		return &Error{"create timer", err, ""}
	}
	return w.watch(w.timer, 0)
}

// watch adds a descriptor that makes handles ready when it can be read.
func (w *waitSet) watch(fd int, handles uint64) error {
	ev := raw.New[unix.EpollEvent]()
	ev.Events, ev.Fd, ev.Pad = unix.EPOLLIN, int32(uint32(handles)), int32(handles>>32)
	return raw.EpollAdd(w.epoll, fd, ev)
}

func (w *waitSet) close() {
	for _, fd := range [...]int{w.epoll, w.timer} {
		if fd >= 0 {
			raw.Close(fd)
		}
	}
}

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
		spec := unix.ItimerSpec{Value: unix.Timespec{Sec: int64(timeout / 1e9), Nsec: int64(timeout % 1e9)}}
		if errno := timerfdSettime(w.timer, &spec); errno != 0 {
			return 0, 0, because("Could not set timer: ").errno(errno).err()
		}
		// A signal that comes from here on sets the timer again.
		if w.asked != nil && load32(w.asked, 0) != 0 {
			return 0, 0, nil
		}
	}
	ready = w.always
	for {
		got, errno := epollPwait(w.epoll, w.events[:], ms)
		if errno == unix.EINTR {
			if err := current.pause(); err != nil {
				return 0, 0, err
			}
			continue
		}
		if errno != 0 {
			return 0, 0, because("Could not wait for devices: ").errno(errno).err()
		}
		for _, ev := range w.events[:min(max(got, 0), len(w.events))] {
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
			return because("Could not wait for descriptor ").decimal(uint64(fd)).text(": ").errno(errno).err()
		}
		if err := current.pause(); err != nil {
			return err
		}
	}
}

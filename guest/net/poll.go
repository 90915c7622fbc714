package net

import (
	"encoding/binary"
	"syscall"
	"time"
	"unsafe"

	"gvisor.dev/gvisor/pkg/waiter"
)

// pollFD is struct pollfd. Its events are those of epoll and of package waiter.
type pollFD struct {
	fd             int32
	events, result uint16
}

// timeoutAt reads struct timespec or timeval, whose second word has that unit:
// negative, for ever, where there is none.
func timeoutAt(p unsafe.Pointer, unit time.Duration) time.Duration {
	if p == nil {
		return -1
	}
	v := *(*[2]int64)(p)
	const most = 1 << 30 // seconds, which is as good as for ever
	if v[0] < 0 || v[1] < 0 || v[0] > most || v[1] > most {
		return most * time.Second
	}
	return time.Duration(v[0])*time.Second + time.Duration(v[1])*unit
}

// pollAt is poll where there are sockets in question.
func pollAt(p unsafe.Pointer, n uintptr, timeout time.Duration) (r int64, done bool) {
	if n == 0 || n > maxDescriptors {
		return 0, false
	}
	b, e := copyIn(p, n*unsafe.Sizeof(pollFD{}))
	if e != 0 {
		return -int64(e), true
	}
	fds := make([]pollFD, n)
	for i := range fds {
		at := b[i*int(unsafe.Sizeof(pollFD{})):]
		fds[i] = pollFD{fd: int32(binary.NativeEndian.Uint32(at)), events: binary.NativeEndian.Uint16(at[4:])}
	}
	if !anySocket(fds) {
		return 0, false
	}
	ready, e := poll(fds, timeout)
	if e != 0 {
		return -int64(e), true
	}
	for i, f := range fds {
		binary.NativeEndian.PutUint16(b[i*int(unsafe.Sizeof(f))+6:], f.result)
	}
	copyOut(p, b)
	return int64(ready), true
}

func anySocket(fds []pollFD) bool {
	for _, f := range fds {
		if f.fd >= 0 && f.fd < maxDescriptors && sockets[f.fd].Load() != nil {
			return true
		}
	}
	return false
}

// poll waits until a descriptor is ready, and returns how many are.
func poll(fds []pollFD, timeout time.Duration) (int, syscall.Errno) {
	end := time.Now().Add(timeout)
	for {
		was, ready := told(), 0
		for i := range fds {
			f := &fds[i]
			if f.fd < 0 || f.fd >= maxDescriptors {
				continue
			}
			if s := sockets[f.fd].Load(); s != nil {
				mask := waiter.EventMask(f.events) | waiter.EventErr | waiter.EventHUp
				f.result = uint16(s.ready(mask) & mask)
				if f.result != 0 {
					ready++
				}
			}
		}
		rest := timeout
		if timeout > 0 {
			rest = max(time.Until(end), 0)
		}
		if ready > 0 {
			rest = 0
		}
		others, e := pollOthers(fds, rest, was)
		switch {
		case e == syscall.EAGAIN: // a socket may be ready now
			continue
		case e != 0:
			return 0, e
		case ready+others > 0 || rest == 0:
			return ready + others, 0
		case timeout > 0 && !time.Now().Before(end):
			timeout = 0 // once more: a socket may have been ready at the last moment
		}
	}
}

// selectAt is select where there are sockets in question, by poll.
func selectAt(n uintptr, sets [3]unsafe.Pointer, timeout time.Duration) (r int64, done bool) {
	const most = 1024 // FD_SETSIZE
	if n > most {
		return 0, false
	}
	wants := [3]waiter.EventMask{waiter.EventIn, waiter.EventOut, waiter.EventPri}
	var fds []pollFD
	for fd := range n {
		f := pollFD{fd: int32(fd)}
		for i, set := range sets {
			if set != nil && *word(set, fd)>>(fd%64)&1 != 0 {
				f.events |= uint16(wants[i])
			}
		}
		if f.events != 0 {
			fds = append(fds, f)
		}
	}
	if !anySocket(fds) {
		return 0, false
	}
	for _, f := range fds {
		if sockets[f.fd].Load() == nil && !isOpen(uintptr(f.fd)) {
			return -int64(syscall.EBADF), true
		}
	}
	if _, e := poll(fds, timeout); e != 0 {
		return -int64(e), true
	}
	// An end and an error are told as what can be read, an error as room too.
	also := [3]waiter.EventMask{waiter.EventHUp | waiter.EventErr, waiter.EventErr, 0}
	for _, f := range fds {
		fd := uintptr(f.fd)
		for i, set := range sets {
			switch {
			case set == nil || *word(set, fd)>>(fd%64)&1 == 0:
			case f.result&uint16(wants[i]|also[i]) != 0:
				r++
			default:
				*word(set, fd) &^= 1 << (fd % 64)
			}
		}
	}
	return r, true
}

// word is where a set has the bit of a descriptor.
func word(set unsafe.Pointer, fd uintptr) *uint64 { return (*uint64)(unsafe.Add(set, fd/64*8)) }

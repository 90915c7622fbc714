package kernel

// poll, select and their like. Where sockets are asked for, package
// gocat/guest/net answers, and asks here for the rest.

const (
	pollInvalid = 0x20 // POLLNVAL
	pollSize    = 8    // struct pollfd: fd i32, events u16, what came of them u16
)

// told counts what the poller has been told of sockets. A caller that waits for
// sockets compares it with its earlier value, so that nothing that came before the
// wait is missed.
var (
	told      uint32
	toldCalls bool // there is somebody who asks
)

// noTold means that there is nothing to compare.
const noTold = 1 << 63

// pollable is what f is ready for, as poll has it: files always are.
func (f *file) pollable() uint32 {
	switch f.kind {
	case null, blockDevice, regular, directory, zeros, randoms:
		return epollIn | epollOut
	}
	return f.state()
}

// poll waits until one of n descriptors is ready: timeout is in ns, negative for
// ever. It passes over sockets and returns EAGAIN where was is not told.
func poll(t *thread, fds uintptr, n uint64, timeout int64, was uint64) int64 {
	if n > maxFiles {
		return errINVAL
	}
	if !t.again {
		deviceReady |= pollHost(0)
	}
	ready := int64(0)
	for p := fds; p < fds+uintptr(n)*pollSize; p += pollSize {
		fd, found := int32(load32(p)), uint32(0)
		if f := fileOf(uint64(uint32(fd))); fd < 0 {
			// is passed over
		} else if f == nil {
			found = pollInvalid
		} else if withSockets && f.kind == socketFile && was != noTold {
			continue
		} else {
			found = f.pollable() & (uint32(load16(p+4)) | epollErr | epollHup)
		}
		store16(p+6, uint16(found))
		if found != 0 {
			ready++
		}
	}
	if ready > 0 || timeout == 0 {
		return ready
	}
	if was != noTold && uint32(was) != told {
		return errAGAIN
	}
	return t.wait(inPoll, t.until(timeout))
}

// until is when a call ends that waits for timeout ns, for ever if that is negative.
func (t *thread) until(timeout int64) int64 {
	switch {
	case t.again:
		return t.deadline
	case timeout < 0:
		return never
	}
	return after(timeout)
}

// maxSelect is FD_SETSIZE.
const maxSelect = 1024

// sets are those of select, of descriptors that may be read, written, and have
// failed: addresses, or 0.
type sets [3]uintptr

// wants are the events that they are for.
var wants = [3]uint32{epollIn | epollHup | epollErr, epollOut | epollErr, 0}

// selectReady is select: timeout as poll has it.
func selectReady(t *thread, n uint64, s sets, timeout int64) int64 {
	if n > maxSelect {
		return errINVAL
	}
	if !t.again {
		deviceReady |= pollHost(0)
	}
	ended := timeout == 0 || t.again && t.deadline != never && monotonic() >= t.deadline
	ready, writing := int64(0), false
	for { // first whether there is any, as the sets are changed only at the end
		for fd := uint64(0); fd < n; fd++ {
			at, bit := uintptr(fd/64*8), uint64(1)<<(fd%64)
			for i, set := range s {
				if set == 0 || load64(set+at)&bit == 0 {
					continue
				}
				f := fileOf(fd)
				switch {
				case f == nil:
					return errBADF
				case f.pollable()&wants[i] != 0 && !writing:
					ready++
				case f.pollable()&wants[i] == 0 && writing:
					store64(set+at, load64(set+at)&^bit)
				}
			}
		}
		if writing {
			return ready
		}
		if ready == 0 && !ended {
			return t.wait(inRetry, t.until(timeout))
		}
		writing = true
	}
}

// selectCall answers the calls of this file.
func selectCall(t *thread) int64 {
	a, b, c := t.rdi, t.rsi, t.rdx
	switch t.rax {
	case sysPoll:
		ms := int64(int32(c))
		return poll(t, uintptr(a), b, ms*1_000_000, noTold)
	case sysPpoll:
		timeout := int64(-1)
		if c != 0 {
			timeout = timespec(uintptr(c))
		}
		return poll(t, uintptr(a), b, timeout, noTold)
	}
	timeout := int64(-1)
	if p := uintptr(t.r8); p != 0 && t.rax == sysPselect {
		timeout = timespec(p)
	} else if p != 0 {
		timeout = int64(load64(p))*second + int64(load64(p+8))*1000
	}
	return selectReady(t, a, sets{uintptr(b), uintptr(c), uintptr(t.r10)}, timeout)
}

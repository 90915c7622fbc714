package kernel

// deviceReady holds the network devices that are known to have input, by
// handle: a bit is set when the tender says so, and cleared when a read finds
// nothing.
var deviceReady uint64

// Events of epoll (Linux eventpoll.h).
const (
	epollIn    = 0x1
	epollOut   = 0x4
	epollErr   = 0x8 // the same as poll has them
	epollHup   = 0x10
	epollRdHup = 0x2000
	epollEdge  = 1 << 31

	epollAdd    = 1
	epollDelete = 2
	epollModify = 3

	epollEvent = 12 // size of struct epoll_event
)

// epollCreate makes a descriptor for the epoll set, of which there is one.
func epollCreate() int64 {
	for i := range topFile {
		if files[i].kind == epoll {
			return errMFILE
		}
	}
	return newFile(file{kind: epoll}, openFile{access: openReadWrt})
}

func epollControl(fd, op, target uint64, event uintptr) int64 {
	e, f := fileOf(fd), fileOf(target)
	if e == nil || f == nil {
		return errBADF
	}
	if e.kind != epoll || f == e {
		return errINVAL
	}
	switch f.kind {
	case null, blockDevice, regular, directory, zeros, randoms:
		return errPERM // as Linux says of what is always ready
	}
	switch op {
	case epollAdd:
		if f.polled {
			return errEXIST
		}
	case epollModify, epollDelete:
		if !f.polled {
			return errNOENT
		}
	default:
		return errINVAL
	}
	f.polled = op != epollDelete
	if f.polled {
		f.events, f.data = load32(event), load64(event+4)
		f.armedIn, f.armedOut = true, true
		changed = true
		if withSockets && f.kind == socketFile { // it may be ready: its owner tries and sees
			f.tells = epollIn | epollOut
		}
	}
	return 0
}

// state returns what f is ready for.
func (f *file) state() uint32 {
	if withSockets && f.kind == socketFile {
		return f.tells
	}
	switch f.kind {
	case console:
		return epollOut
	case netDevice:
		if deviceReady>>f.handle&1 != 0 {
			return epollIn | epollOut
		}
		return epollOut
	case eventFD:
		if f.shared().offset > 0 {
			return epollIn | epollOut
		}
		return epollOut
	case pipeReader:
		p := &pipes[f.handle]
		switch {
		case p.n > 0 && p.writers == 0:
			return epollIn | epollHup
		case p.n > 0:
			return epollIn
		case p.writers == 0:
			return epollHup
		}
	case pipeWriter:
		p := &pipes[f.handle]
		switch {
		case p.readers == 0:
			return epollOut | epollErr
		case p.n <= pipeSize-pageSize:
			return epollOut
		}
	}
	return 0
}

// collect writes the events that are due to [to, to+max*epollEvent) and returns
// how many those are. Edge triggered ones are due once after each call that
// found a descriptor not ready.
func collect(to uintptr, limit int64) (n int64) {
	for i := range topFile {
		f := &files[i]
		if n == limit {
			break
		}
		if !f.polled {
			continue
		}
		s := f.state() & (f.events | epollErr | epollHup)
		if f.events&epollEdge != 0 {
			if !f.armedIn {
				s &^= epollIn | epollHup | epollErr | epollRdHup
			}
			if !f.armedOut {
				s &^= epollOut
			}
			if s&(epollIn|epollHup|epollErr|epollRdHup) != 0 {
				f.armedIn = false
			}
			if s&epollOut != 0 {
				f.armedOut = false
			}
		}
		if s != 0 {
			if withSockets && f.kind == socketFile {
				f.tells &^= s
			}
			store32(to, s)
			store64(to+4, f.data)
			to += epollEvent
			n++
		}
	}
	return n
}

// wanted says whether a device that could tell of input is waited for and not
// known to have any.
func wanted() bool {
	for i := range topFile {
		f := &files[i]
		if f.kind == netDevice && f.polled && f.armedIn && deviceReady>>f.handle&1 == 0 {
			return true
		}
	}
	return false
}

// epollWait waits for events: timeout is in ms, negative for ever.
func epollWait(t *thread, fd uint64, to uintptr, limit, timeout int64) int64 {
	e := fileOf(fd)
	if e == nil {
		return errBADF
	}
	if e.kind != epoll || limit <= 0 {
		return errINVAL
	}
	if !t.again && timeout == 0 && wanted() {
		deviceReady |= pollHost(0)
	}
	n := collect(to, limit)
	if n > 0 || timeout == 0 {
		return n
	}
	deadline := int64(never)
	switch {
	case t.again:
		deadline = t.deadline
	case timeout > 0:
		deadline = after(timeout * 1_000_000)
	}
	return t.wait(inPoll, deadline)
}

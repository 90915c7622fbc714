package net

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/waiter"
)

// protocol is a socket of some family. Its methods do not wait: they fail with
// EAGAIN, and the queue tells when to try again.
type protocol interface {
	bind(name []byte) syscall.Errno
	connect(name []byte) syscall.Errno
	listen(backlog int) syscall.Errno
	// accept returns the next connection.
	accept() (protocol, syscall.Errno)
	// send takes as much of b as there is room for. It keeps nothing of m.
	send(m *message) (int, syscall.Errno)
	// receive fills m's data, name and control, which it replaces.
	receive(m *message) (int, syscall.Errno)
	shutdown(how int) syscall.Errno
	local() ([]byte, syscall.Errno)
	remote() ([]byte, syscall.Errno)
	setOption(level, name int, v []byte) syscall.Errno
	option(level, name int, size int) ([]byte, syscall.Errno)
	ready(waiter.EventMask) waiter.EventMask
	events() *waiter.Queue
	close()

	domain() int
	kind() int // SOCK_STREAM and so on
	number() int
}

// message is what a call sends or receives.
type message struct {
	data    []byte
	name    []byte // nil for none
	control []byte
	flags   int // MSG_PEEK and so on
	room    int // of a message received: for control, in bytes
	// Of a message received: whether its name is asked for, how long it was
	// before it was cut, and MSG_TRUNC, MSG_EOR and MSG_CTRUNC.
	wantName bool
	whole    int
	result   int
}

// socket is an open socket, to which one descriptor or several refer.
type socket struct {
	protocol
	nonblock atomic.Bool
	refs     atomic.Int32
	entry    waiter.Entry
	fds      atomic.Pointer[[]int32]

	// SO_RCVTIMEO and SO_SNDTIMEO, 0 for none.
	receiveTimeout, sendTimeout atomic.Int64
}

// sockets are the open ones by descriptor.
var (
	socketsMu sync.Mutex
	sockets   [maxDescriptors]atomic.Pointer[socket]
)

const allEvents = waiter.EventIn | waiter.EventPri | waiter.EventOut | waiter.EventErr | waiter.EventHUp | waiter.EventRdHUp

// open makes a descriptor for p.
func open(p protocol, nonblock bool) (int, syscall.Errno) {
	s := &socket{protocol: p}
	s.nonblock.Store(nonblock)
	fd, e := s.open(0, false)
	if e != 0 {
		p.close()
		return -1, e
	}
	s.entry = waiter.NewFunctionEntry(allEvents, s.notify)
	p.events().EventRegister(&s.entry)
	return fd, 0
}

// open makes one more descriptor for s, the lowest that is not below least. With
// replace that is closed before: it is no socket's.
func (s *socket) open(least int, replace bool) (int, syscall.Errno) {
	socketsMu.Lock()
	defer socketsMu.Unlock()
	fd, e := newDescriptor(least, replace)
	if e != 0 {
		return -1, e
	}
	s.setDescriptors(func(fds []int32) []int32 { return append(fds, int32(fd)) })
	s.refs.Add(1)
	sockets[fd].Store(s)
	setSocket(fd, true)
	return fd, 0
}

func (s *socket) setDescriptors(change func([]int32) []int32) {
	var fds []int32
	if old := s.fds.Load(); old != nil {
		fds = append(fds, *old...)
	}
	fds = change(fds)
	s.fds.Store(&fds)
}

// notify tells the kernel's poller. It is called with locks of the stack held.
func (s *socket) notify(m waiter.EventMask) {
	if fds := s.fds.Load(); fds != nil {
		for _, fd := range *fds {
			notifyDescriptor(int(fd), uint32(pollable(m)))
		}
	}
}

// pollable is m as epoll has it: an error wakes all, as on Linux, where it never
// comes alone.
func pollable(m waiter.EventMask) waiter.EventMask {
	if m&(waiter.EventErr|waiter.EventHUp) != 0 {
		m |= waiter.EventIn | waiter.EventOut
	}
	return m & allEvents
}

// lookup returns the socket of a descriptor, or the error of what it is not.
func lookup(fd uintptr) (*socket, syscall.Errno) {
	if fd < maxDescriptors {
		if s := sockets[fd].Load(); s != nil {
			return s, 0
		}
	}
	if isOpen(fd) {
		return nil, syscall.ENOTSOCK
	}
	return nil, syscall.EBADF
}

// closeSocket closes a descriptor, and with the last one the socket.
func closeSocket(fd uintptr) syscall.Errno {
	socketsMu.Lock()
	s := sockets[fd].Load()
	if s == nil {
		socketsMu.Unlock()
		return syscall.EBADF
	}
	sockets[fd].Store(nil)
	setSocket(int(fd), false)
	s.setDescriptors(func(fds []int32) []int32 {
		for i := range fds {
			if fds[i] == int32(fd) {
				return append(fds[:i], fds[i+1:]...)
			}
		}
		return fds
	})
	closeDescriptor(int(fd))
	socketsMu.Unlock()
	s.release()
	return 0
}

// release gives back a reference to s, which the last one closes.
func (s *socket) release() {
	if s.refs.Add(-1) == 0 {
		s.events().EventUnregister(&s.entry)
		s.close()
	}
}

// wait calls try until it does not fail with EAGAIN, if s may wait.
func (s *socket) wait(mask waiter.EventMask, dontWait bool, timeout int64, try func() (int, syscall.Errno)) (int, syscall.Errno) {
	n, e := try()
	if e != syscall.EAGAIN || dontWait || s.nonblock.Load() {
		return n, e
	}
	entry, ch := waiter.NewChannelEntry(mask | waiter.EventErr | waiter.EventHUp)
	s.events().EventRegister(&entry)
	defer s.events().EventUnregister(&entry)
	var end <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(time.Duration(timeout))
		defer t.Stop()
		end = t.C
	}
	for {
		if n, e = try(); e != syscall.EAGAIN {
			return n, e
		}
		select {
		case <-ch:
		case <-end:
			return n, e
		}
	}
}

func (s *socket) sendMessage(m *message) (int, syscall.Errno) {
	total := len(m.data)
	if s.kind() != syscall.SOCK_STREAM || total == 0 {
		return s.wait(waiter.EventOut, m.flags&syscall.MSG_DONTWAIT != 0, s.sendTimeout.Load(), func() (int, syscall.Errno) { return s.send(m) })
	}
	// A stream that may wait takes all.
	done := 0
	for {
		n, e := s.wait(waiter.EventOut, m.flags&syscall.MSG_DONTWAIT != 0, s.sendTimeout.Load(), func() (int, syscall.Errno) { return s.send(m) })
		if e != 0 {
			if done > 0 {
				return done, 0
			}
			return 0, e
		}
		done += n
		if done >= total || n == 0 || s.nonblock.Load() || m.flags&syscall.MSG_DONTWAIT != 0 {
			return done, 0
		}
		m.data = m.data[n:]
	}
}

func (s *socket) receiveMessage(m *message) (int, syscall.Errno) {
	dontWait := m.flags&syscall.MSG_DONTWAIT != 0
	done := 0
	for {
		n, e := s.wait(waiter.EventIn, dontWait, s.receiveTimeout.Load(), func() (int, syscall.Errno) { return s.receive(m) })
		if e != 0 && done > 0 {
			return done, 0
		}
		if e != 0 {
			return 0, e
		}
		done += n
		all := m.flags&syscall.MSG_WAITALL != 0 && m.flags&syscall.MSG_PEEK == 0 && s.kind() == syscall.SOCK_STREAM
		if !all || n == 0 || n == len(m.data) || m.control != nil {
			return done, 0
		}
		m.data = m.data[n:]
	}
}

func (s *socket) acceptSocket() (p protocol, e syscall.Errno) {
	_, e = s.wait(waiter.EventIn, false, s.receiveTimeout.Load(), func() (int, syscall.Errno) {
		p, e = s.accept()
		return 0, e
	})
	return p, e
}

// connectSocket connects and waits for that unless s must not.
func (s *socket) connectSocket(name []byte) syscall.Errno {
	e := s.connect(name)
	if e != syscall.EINPROGRESS || s.nonblock.Load() {
		return e
	}
	_, e = s.wait(waiter.EventOut, false, s.sendTimeout.Load(), func() (int, syscall.Errno) {
		if s.ready(waiter.EventOut|waiter.EventErr|waiter.EventHUp) == 0 {
			return 0, syscall.EAGAIN
		}
		v, e := s.option(syscall.SOL_SOCKET, syscall.SO_ERROR, 4)
		switch {
		case e != 0:
			return 0, e
		case len(v) > 0 && v[0] != 0:
			return 0, syscall.Errno(v[0])
		}
		s.connect(name) // the stack tells once that it is connected
		return 0, 0
	})
	if e == syscall.EAGAIN {
		return syscall.EINPROGRESS
	}
	return e
}

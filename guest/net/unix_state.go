package net

import (
	"encoding/binary"
	"syscall"

	"gvisor.dev/gvisor/pkg/waiter"
)

func (s *unixSocket) shutdown(how int) syscall.Errno {
	if _, e := shutdownFlags(how); e != 0 {
		return e
	}
	unixMu.Lock()
	defer unixMu.Unlock()
	if s.typ != syscall.SOCK_DGRAM && !s.connected && !s.listening {
		return syscall.ENOTCONN
	}
	s.noRead = s.noRead || how != syscall.SHUT_WR
	s.noWrite = s.noWrite || how != syscall.SHUT_RD
	s.queue.Notify(waiter.EventIn | waiter.EventOut | waiter.EventRdHUp)
	if s.peer != nil && s.typ != syscall.SOCK_DGRAM {
		s.peer.queue.Notify(waiter.EventIn | waiter.EventOut | waiter.EventRdHUp)
	}
	return 0
}

func (s *unixSocket) close() { drop(s.end()) }

// end closes s and returns the rights that nobody has received.
func (s *unixSocket) end() (left []right) {
	unixMu.Lock()
	defer unixMu.Unlock()
	s.closed = true
	for _, m := range s.in {
		left = append(left, m.rights...)
	}
	if s.name != "" && s.name[0] == 0 && unixNames[s.name] == s {
		delete(unixNames, s.name)
	}
	if p := s.peer; p != nil && s.typ != syscall.SOCK_DGRAM {
		if len(s.in) > 0 {
			p.failure = syscall.ECONNRESET
		}
		p.queue.Notify(waiter.EventIn | waiter.EventOut | waiter.EventHUp | waiter.EventRdHUp)
		p.peer = nil
	}
	for _, c := range s.pending {
		if c.peer != nil {
			c.peer.failure = syscall.ECONNRESET
			c.peer.queue.Notify(waiter.EventIn | waiter.EventOut | waiter.EventHUp | waiter.EventRdHUp)
			c.peer.peer = nil
		}
		for _, m := range c.in {
			left = append(left, m.rights...)
		}
	}
	s.in, s.pending, s.peer = nil, nil, nil
	return left
}

func (s *unixSocket) local() ([]byte, syscall.Errno) {
	unixMu.Lock()
	defer unixMu.Unlock()
	return encodeUnix(s.name), 0
}

func (s *unixSocket) remote() ([]byte, syscall.Errno) {
	unixMu.Lock()
	defer unixMu.Unlock()
	if s.peer == nil {
		if s.connected {
			return encodeUnix(""), 0
		}
		return nil, syscall.ENOTCONN
	}
	return encodeUnix(s.peer.name), 0
}

func (s *unixSocket) setOption(level, name int, v []byte) syscall.Errno {
	if level != syscall.SOL_SOCKET {
		return syscall.EOPNOTSUPP
	}
	switch name {
	case syscall.SO_PASSCRED, syscall.SO_REUSEADDR, soReusePort, syscall.SO_KEEPALIVE, syscall.SO_BROADCAST, syscall.SO_LINGER,
		syscall.SO_RCVBUF, syscall.SO_SNDBUF, syscall.SO_PRIORITY, syscall.SO_TIMESTAMP, syscall.SO_RCVLOWAT:
		if _, e := value(level, v); e != 0 {
			return e
		}
		return 0 // nothing of this makes a difference within one program
	}
	return syscall.ENOPROTOOPT
}

func (s *unixSocket) option(level, name, size int) ([]byte, syscall.Errno) {
	if level != syscall.SOL_SOCKET {
		return nil, syscall.EOPNOTSUPP
	}
	unixMu.Lock()
	defer unixMu.Unlock()
	switch name {
	case syscall.SO_ERROR:
		e := s.failure
		s.failure = 0
		return number(int(e)), 0
	case syscall.SO_ACCEPTCONN:
		return truth(s.listening), 0
	case syscall.SO_RCVBUF, syscall.SO_SNDBUF:
		return number(unixRoom), 0
	case syscall.SO_PEERCRED: // struct ucred: this program, which is root
		const pid = 1
		return binary.NativeEndian.AppendUint64(number(pid), 0), 0
	case syscall.SO_LINGER:
		return make([]byte, 8), 0
	case syscall.SO_PASSCRED, syscall.SO_REUSEADDR, soReusePort, syscall.SO_KEEPALIVE, syscall.SO_BROADCAST,
		syscall.SO_PRIORITY, syscall.SO_TIMESTAMP:
		return number(0), 0
	case syscall.SO_RCVLOWAT:
		return number(1), 0
	}
	return nil, syscall.ENOPROTOOPT
}

func (s *unixSocket) ready(mask waiter.EventMask) (m waiter.EventMask) {
	unixMu.Lock()
	defer unixMu.Unlock()
	stream := s.typ != syscall.SOCK_DGRAM
	if len(s.in) > 0 || len(s.pending) > 0 || s.failure != 0 || (s.connected || !stream) && s.atEnd() {
		m |= waiter.EventIn
	}
	switch {
	case stream && !s.connected:
		m |= waiter.EventOut | waiter.EventHUp
	case stream && (s.peer == nil || s.peer.closed):
		m |= waiter.EventOut | waiter.EventHUp | waiter.EventRdHUp
	case s.peer == nil || s.peer.size < unixRoom:
		m |= waiter.EventOut
	}
	if s.failure != 0 {
		m |= waiter.EventErr
	}
	return m & mask
}

func (s *unixSocket) unread() int {
	unixMu.Lock()
	defer unixMu.Unlock()
	if s.typ != syscall.SOCK_STREAM && len(s.in) > 0 {
		return len(s.in[0].data)
	}
	return s.size
}

func (s *unixSocket) events() *waiter.Queue { return &s.queue }
func (s *unixSocket) domain() int           { return syscall.AF_UNIX }
func (s *unixSocket) kind() int             { return s.typ }
func (s *unixSocket) number() int           { return 0 }

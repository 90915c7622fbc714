package net

import (
	"encoding/binary"
	"fmt"
	"path"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/waiter"
)

// unixSocket is a socket of AF_UNIX. Both ends are in this program.
type unixSocket struct {
	typ   int
	queue waiter.Queue

	// The rest is under unixMu.
	name      string // as in struct sockaddr_un, "" without one
	peer      *unixSocket
	listening bool
	backlog   int
	pending   []*unixSocket // connections to accept
	connected bool          // it has been; the peer may be gone
	in        []unixMessage
	size      int // bytes in in
	noRead    bool
	noWrite   bool
	closed    bool
	failure   syscall.Errno // to be told once
}

type unixMessage struct {
	data   []byte
	from   string
	rights []right // come with the first byte
}

// unixRoom bounds what waits to be read in bytes, as Linux does by default.
const unixRoom = 212992

var (
	unixMu sync.Mutex
	// unixNames has those that are bound. The name of a file stays when its
	// socket is closed, until it is unlinked.
	unixNames = make(map[string]*unixSocket)
	unixAuto  int
)

func newUnix(typ, proto int) (protocol, syscall.Errno) {
	if proto != 0 && proto != syscall.AF_UNIX {
		return nil, syscall.EPROTONOSUPPORT
	}
	switch typ {
	case syscall.SOCK_RAW: // as Linux has it
		typ = syscall.SOCK_DGRAM
	case syscall.SOCK_STREAM, syscall.SOCK_DGRAM, syscall.SOCK_SEQPACKET:
	default:
		return nil, syscall.ESOCKTNOSUPPORT
	}
	return &unixSocket{typ: typ}, 0
}

func unixPair(typ, proto int) (a, b *unixSocket, e syscall.Errno) {
	for _, p := range []**unixSocket{&a, &b} {
		s, e := newUnix(typ, proto)
		if e != 0 {
			return nil, nil, e
		}
		*p = s.(*unixSocket)
	}
	a.peer, b.peer, a.connected, b.connected = b, a, true, true
	return a, b, 0
}

// unixName reads struct sockaddr_un: the path of a file, absolute, or a name that
// begins with a NUL byte.
func unixName(b []byte) (string, syscall.Errno) {
	if family(b) != syscall.AF_UNIX || len(b) > sizeUnix {
		return "", syscall.EINVAL
	}
	b = b[2:]
	if len(b) > 0 && b[0] == 0 {
		return string(b), 0
	}
	return absolute(cString(b)), 0
}

func absolute(name string) string {
	if name == "" {
		return ""
	}
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	dir, err := syscall.Getwd()
	if err != nil {
		dir = "/"
	}
	return path.Join(dir, name)
}

func encodeUnix(name string) []byte {
	b := binary.NativeEndian.AppendUint16(nil, syscall.AF_UNIX)
	b = append(b, name...)
	if name != "" && name[0] != 0 {
		b = append(b, 0)
	}
	return b
}

// unlink removes the name of a socket and says whether there was one.
func unlink(name string) bool {
	unixMu.Lock()
	defer unixMu.Unlock()
	name = absolute(name)
	_, ok := unixNames[name]
	delete(unixNames, name)
	return ok
}

func (s *unixSocket) bind(b []byte) syscall.Errno {
	name, e := unixName(b)
	if e != 0 {
		return e
	}
	unixMu.Lock()
	defer unixMu.Unlock()
	if s.name != "" {
		return syscall.EINVAL
	}
	for name == "" { // five digits after a NUL, as Linux makes them
		unixAuto++
		if auto := fmt.Sprintf("\x00%05x", unixAuto); unixNames[auto] == nil {
			name = auto
		}
	}
	if unixNames[name] != nil {
		return syscall.EADDRINUSE
	}
	if name[0] != 0 {
		if e := creatable(name); e != 0 {
			return e
		}
	}
	s.name = name
	unixNames[name] = s
	return 0
}

// creatable says why no file of that name could be made.
func creatable(name string) syscall.Errno {
	var st syscall.Stat_t
	switch err := syscall.Stat(path.Dir(name), &st); {
	case err != nil:
		return err.(syscall.Errno)
	case st.Mode&syscall.S_IFMT != syscall.S_IFDIR:
		return syscall.ENOTDIR
	case syscall.Stat(name, &st) == nil:
		return syscall.EADDRINUSE
	}
	return 0
}

// find returns the socket that a name is bound to, for another of its type.
func (s *unixSocket) find(b []byte) (*unixSocket, syscall.Errno) {
	name, e := unixName(b)
	if e != 0 {
		return nil, e
	}
	to := unixNames[name]
	switch {
	case to == nil && name != "" && name[0] != 0:
		return nil, syscall.ENOENT
	case to == nil, to.closed:
		return nil, syscall.ECONNREFUSED
	case to.typ != s.typ && name[0] == 0: // which are looked for by type too
		return nil, syscall.ECONNREFUSED
	case to.typ != s.typ:
		return nil, syscall.EPROTOTYPE
	}
	return to, 0
}

func (s *unixSocket) connect(b []byte) syscall.Errno {
	unixMu.Lock()
	defer unixMu.Unlock()
	if s.typ == syscall.SOCK_DGRAM {
		if family(b) == syscall.AF_UNSPEC {
			s.peer = nil
			return 0
		}
		to, e := s.find(b)
		if e == 0 {
			s.peer = to
		}
		return e
	}
	if s.connected {
		return syscall.EISCONN
	}
	if s.listening {
		return syscall.EINVAL
	}
	to, e := s.find(b)
	if e != 0 {
		return e
	}
	if !to.listening {
		return syscall.ECONNREFUSED
	}
	if len(to.pending) > to.backlog {
		return syscall.EAGAIN
	}
	other := &unixSocket{typ: s.typ, name: to.name, peer: s, connected: true}
	s.peer, s.connected = other, true
	to.pending = append(to.pending, other)
	to.queue.Notify(waiter.EventIn)
	s.queue.Notify(waiter.EventOut)
	return 0
}

func (s *unixSocket) listen(backlog int) syscall.Errno {
	unixMu.Lock()
	defer unixMu.Unlock()
	if s.typ == syscall.SOCK_DGRAM {
		return syscall.EOPNOTSUPP
	}
	if s.name == "" || s.connected {
		return syscall.EINVAL
	}
	if backlog < 0 || backlog > maxBacklog {
		backlog = maxBacklog
	}
	s.listening, s.backlog = true, backlog
	return 0
}

func (s *unixSocket) accept() (protocol, syscall.Errno) {
	unixMu.Lock()
	defer unixMu.Unlock()
	if s.typ == syscall.SOCK_DGRAM {
		return nil, syscall.EOPNOTSUPP
	}
	if !s.listening || s.noRead {
		return nil, syscall.EINVAL
	}
	if len(s.pending) == 0 {
		return nil, syscall.EAGAIN
	}
	next := s.pending[0]
	s.pending = s.pending[1:]
	return next, 0
}

func (s *unixSocket) send(m *message) (int, syscall.Errno) {
	rights, e := rightsOf(m.control)
	if e != 0 {
		return 0, e
	}
	n, e := s.deposit(m, rights)
	if n > 0 || e == 0 && s.typ != syscall.SOCK_STREAM {
		m.control = nil // passed on; what follows of a stream has none
	} else {
		drop(rights)
	}
	return n, e
}

// deposit puts as much of m as there is room for where it is read.
func (s *unixSocket) deposit(m *message, rights []right) (int, syscall.Errno) {
	unixMu.Lock()
	defer unixMu.Unlock()
	if s.noWrite {
		return 0, syscall.EPIPE
	}
	if e := s.failure; e != 0 && s.typ == syscall.SOCK_SEQPACKET {
		s.failure = 0
		return 0, e
	}
	to := s.peer
	if s.typ == syscall.SOCK_DGRAM && m.name != nil {
		var e syscall.Errno
		if to, e = s.find(m.name); e != 0 {
			return 0, e
		}
	}
	n := len(m.data)
	switch {
	case s.typ == syscall.SOCK_DGRAM && to == nil:
		return 0, syscall.ENOTCONN
	case s.typ == syscall.SOCK_DGRAM && to.closed:
		return 0, syscall.ECONNREFUSED
	case !s.connected && s.typ != syscall.SOCK_DGRAM:
		return 0, syscall.ENOTCONN
	case to == nil || to.noRead || to.closed:
		return 0, syscall.EPIPE
	case s.typ != syscall.SOCK_STREAM && n > unixRoom:
		return 0, syscall.EMSGSIZE
	case s.typ != syscall.SOCK_STREAM && to.size > 0 && to.size+n > unixRoom || to.size >= unixRoom:
		return 0, syscall.EAGAIN
	case s.typ == syscall.SOCK_STREAM:
		n = min(n, unixRoom-to.size)
		if n == 0 {
			return 0, 0
		}
	}
	to.in = append(to.in, unixMessage{append([]byte(nil), m.data[:n]...), s.name, rights})
	to.size += max(n, 1)
	to.queue.Notify(waiter.EventIn)
	return n, 0
}

func (s *unixSocket) receive(m *message) (int, syscall.Errno) {
	m.control, m.name, m.result, m.whole = nil, nil, 0, 0
	n, rights, e := s.collect(m)
	m.deliver(rights)
	return n, e
}

// collect takes what was sent, and the rights that came with it.
func (s *unixSocket) collect(m *message) (n int, rights []right, e syscall.Errno) {
	unixMu.Lock()
	defer unixMu.Unlock()
	switch {
	case s.connected:
	case s.typ == syscall.SOCK_STREAM:
		return 0, nil, syscall.EINVAL
	case s.typ == syscall.SOCK_SEQPACKET:
		return 0, nil, syscall.ENOTCONN
	}
	if len(s.in) == 0 {
		if e := s.failure; e != 0 {
			s.failure = 0
			return 0, nil, e
		}
		if s.atEnd() {
			return 0, nil, 0
		}
		return 0, nil, syscall.EAGAIN
	}
	if s.typ == syscall.SOCK_STREAM && len(m.data) == 0 {
		return 0, nil, 0
	}
	rights = s.in[0].rights
	peek := m.flags&syscall.MSG_PEEK != 0
	if peek {
		rights = copies(rights)
	} else {
		s.in[0].rights = nil
	}
	if s.typ != syscall.SOCK_STREAM {
		first := s.in[0]
		n := copy(m.data, first.data)
		m.whole = len(first.data)
		if n < m.whole {
			m.result |= syscall.MSG_TRUNC
		}
		if m.wantName && s.typ == syscall.SOCK_DGRAM {
			m.name = encodeUnix(first.from)
		}
		if s.typ == syscall.SOCK_SEQPACKET {
			m.result |= 0x80 // MSG_EOR
		}
		if !peek {
			s.in = s.in[1:]
			s.took(max(len(first.data), 1))
		}
		return n, rights, 0
	}
	for i := 0; i < len(s.in) && n < len(m.data); i++ {
		if i > 0 && (s.in[i].rights != nil || rights != nil) {
			break // rights come with their own bytes
		}
		n += copy(m.data[n:], s.in[i].data)
	}
	if !peek {
		for rest := n; rest > 0; {
			part := min(rest, len(s.in[0].data))
			s.in[0].data = s.in[0].data[part:]
			rest -= part
			if len(s.in[0].data) == 0 {
				s.in = s.in[1:]
			}
		}
		s.took(n)
	}
	return n, rights, 0
}

// took tells the peer of room.
func (s *unixSocket) took(n int) {
	s.size -= n
	if s.peer != nil {
		s.peer.queue.Notify(waiter.EventOut)
	}
}

// atEnd says whether nothing more can come.
func (s *unixSocket) atEnd() bool {
	return s.noRead || s.typ != syscall.SOCK_DGRAM && (s.peer == nil || s.peer.noWrite || s.peer.closed)
}

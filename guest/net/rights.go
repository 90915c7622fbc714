package net

import (
	"encoding/binary"
	"syscall"
)

// right is an open file on its way to another socket (SCM_RIGHTS): a socket, or a
// descriptor of the kernel's that is nobody's until it arrives.
type right struct {
	socket *socket // nil for a descriptor
	fd     int
}

const maxRights = 253 // SCM_MAX_FD

// rightsOf takes what the control messages of a message pass on.
func rightsOf(control []byte) (all []right, e syscall.Errno) {
	e = eachControl(control, func(level, typ int, data []byte) syscall.Errno {
		if level != syscall.SOL_SOCKET || typ != syscall.SCM_RIGHTS {
			return 0
		}
		if len(data)%4 != 0 || len(data)/4+len(all) > maxRights {
			return syscall.EINVAL
		}
		for ; len(data) > 0; data = data[4:] {
			r, e := newRight(uintptr(binary.NativeEndian.Uint32(data)))
			if e != 0 {
				return e
			}
			all = append(all, r)
		}
		return 0
	})
	if e != 0 {
		drop(all)
		return nil, e
	}
	return all, 0
}

func newRight(fd uintptr) (right, syscall.Errno) {
	s, e := lookup(fd)
	switch e {
	case 0:
		s.refs.Add(1)
		return right{socket: s}, 0
	case syscall.ENOTSOCK:
		n, err := syscall.Dup(int(fd))
		if err != nil {
			return right{}, err.(syscall.Errno)
		}
		return right{fd: n}, 0
	}
	return right{}, e
}

// open makes it the receiver's.
func (r right) open() (int, syscall.Errno) {
	if r.socket == nil {
		return r.fd, 0
	}
	defer r.socket.release()
	return r.socket.open(0, false)
}

// drop gives up rights that do not arrive. No lock of this package may be held.
func drop(all []right) {
	for _, r := range all {
		if r.socket != nil {
			r.socket.release()
		} else {
			syscall.Close(r.fd)
		}
	}
}

// copies are rights to the same again.
func copies(all []right) (same []right) {
	for _, r := range all {
		if r.socket != nil {
			r.socket.refs.Add(1)
		} else if n, err := syscall.Dup(r.fd); err == nil {
			r.fd = n
		} else {
			continue
		}
		same = append(same, r)
	}
	return same
}

// deliver has m pass rights on, as many as it has room for.
func (m *message) deliver(all []right) {
	if len(all) == 0 {
		return
	}
	n := min(max(m.room-controlHeader, 0)/4, len(all))
	var fds []byte
	for i, r := range all[:n] {
		fd, e := r.open()
		if e != 0 {
			drop(all[i+1:])
			all, n = all[:i], i
			m.result |= syscall.MSG_CTRUNC
			break
		}
		fds = binary.NativeEndian.AppendUint32(fds, uint32(fd))
	}
	if n < len(all) {
		m.result |= syscall.MSG_CTRUNC
		drop(all[n:])
	}
	if n > 0 {
		m.control = appendControl(m.control, syscall.SOL_SOCKET, syscall.SCM_RIGHTS, fds)
		m.control = m.control[:min(len(m.control), m.room)]
	}
}

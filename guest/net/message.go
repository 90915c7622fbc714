package net

import (
	"syscall"
	"unsafe"
)

func (s *socket) receiveAt(p unsafe.Pointer, n uintptr, flags int, name, length unsafe.Pointer) int64 {
	b, copied, e := view(p, min(n, maxTransfer))
	if e != 0 {
		return -int64(e)
	}
	m := message{data: b, flags: flags, wantName: name != nil}
	got, e := s.receiveMessage(&m)
	if e != 0 {
		return -int64(e)
	}
	if copied {
		copyOut(p, b[:got])
	}
	if name != nil {
		if e := putName(m.name, name, length); e != 0 {
			return -int64(e)
		}
	}
	if flags&syscall.MSG_TRUNC != 0 {
		got = max(got, m.whole)
	}
	return int64(got)
}

func (s *socket) sendAt(p unsafe.Pointer, n uintptr, flags int, name unsafe.Pointer, length uintptr) int64 {
	b, _, e := view(p, min(n, maxTransfer))
	if e != 0 {
		return -int64(e)
	}
	m := message{data: b, flags: flags}
	if name != nil && length > 0 {
		if m.name, e = nameAt(name, length); e != 0 {
			return -int64(e)
		}
	}
	return result(s.sendMessage(&m))
}

func (s *socket) sendHeader(h *syscall.Msghdr, flags int) int64 {
	total, e := pieces(h.Iov, h.Iovlen)
	if e != 0 {
		return -int64(e)
	}
	m := message{flags: flags}
	if h.Iovlen == 1 {
		m.data, _, e = view(unsafe.Pointer(h.Iov.Base), total)
	} else {
		m.data = make([]byte, total)
		at := m.data
		for i := range h.Iovlen {
			v := (*syscall.Iovec)(unsafe.Add(unsafe.Pointer(h.Iov), uintptr(i)*unsafe.Sizeof(*h.Iov)))
			at = at[copy(at, unsafe.Slice(v.Base, v.Len)):]
		}
	}
	if e == 0 && h.Name != nil && h.Namelen > 0 {
		m.name, e = nameAt(unsafe.Pointer(h.Name), uintptr(h.Namelen))
	}
	if e == 0 && h.Control != nil && h.Controllen > 0 {
		m.control, e = copyIn(unsafe.Pointer(h.Control), uintptr(h.Controllen))
	}
	if e != 0 {
		return -int64(e)
	}
	return result(s.sendMessage(&m))
}

func (s *socket) receiveHeader(h *syscall.Msghdr, flags int) int64 {
	total, e := pieces(h.Iov, h.Iovlen)
	if e != 0 {
		return -int64(e)
	}
	m := message{flags: flags, wantName: h.Name != nil}
	if h.Control != nil {
		m.room = int(min(h.Controllen, maxTransfer))
	}
	var b []byte
	copied := true
	if h.Iovlen == 1 {
		b, copied, e = view(unsafe.Pointer(h.Iov.Base), total)
		if e != 0 {
			return -int64(e)
		}
	} else {
		b = make([]byte, total)
	}
	m.data = b
	got, e := s.receiveMessage(&m)
	if e != 0 {
		return -int64(e)
	}
	rest := b[:got]
	for i := range h.Iovlen {
		if !copied {
			break
		}
		v := (*syscall.Iovec)(unsafe.Add(unsafe.Pointer(h.Iov), uintptr(i)*unsafe.Sizeof(*h.Iov)))
		if v.Len > 0 {
			rest = rest[copy(unsafe.Slice(v.Base, v.Len), rest):]
		}
	}
	if h.Name != nil {
		room := min(int(h.Namelen), len(m.name))
		copyOut(unsafe.Pointer(h.Name), m.name[:max(room, 0)])
		h.Namelen = uint32(len(m.name))
	}
	h.Flags = int32(m.result)
	if len(m.control) > m.room {
		h.Flags |= syscall.MSG_CTRUNC
		m.control = m.control[:m.room]
	}
	copyOut(unsafe.Pointer(h.Control), m.control)
	h.Controllen = uint64(len(m.control))
	if flags&syscall.MSG_TRUNC != 0 {
		got = max(got, m.whole)
	}
	return int64(got)
}

// many is sendmmsg and recvmmsg: struct mmsghdr is a header and how much of it
// was done.
func (s *socket) many(receiving bool, p unsafe.Pointer, n uintptr, flags int) int64 {
	type mmsghdr struct {
		header syscall.Msghdr
		length uint32
		_      uint32
	}
	if n > 0 && p == nil {
		return -int64(syscall.EFAULT)
	}
	const waitForOne = 0x10000
	for i := range min(n, maxVectors) {
		h := (*mmsghdr)(unsafe.Add(p, i*unsafe.Sizeof(mmsghdr{})))
		var r int64
		if receiving {
			r = s.receiveHeader(&h.header, flags&^waitForOne)
		} else {
			r = s.sendHeader(&h.header, flags)
		}
		if r < 0 {
			if i > 0 {
				return int64(i)
			}
			return r
		}
		h = (*mmsghdr)(unsafe.Add(p, i*unsafe.Sizeof(mmsghdr{})))
		h.length = uint32(r)
		if flags&waitForOne != 0 {
			flags |= syscall.MSG_DONTWAIT
		}
	}
	return int64(min(n, maxVectors))
}

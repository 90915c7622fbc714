package net

import (
	"syscall"
	"unsafe"
)

// The caller's memory. What is read is bounded first.
const (
	maxTransfer = 1 << 30 // bytes of a call
	maxVectors  = 1024
)

func copyIn(p unsafe.Pointer, n uintptr) ([]byte, syscall.Errno) {
	if n > maxTransfer || n > 0 && p == nil {
		return nil, syscall.EFAULT
	}
	b := make([]byte, n)
	copy(b, unsafe.Slice((*byte)(p), n))
	return b, 0
}

// view returns the n bytes at p: themselves, or a copy where they are on the
// stack, of which nothing may be stored. A copy is to be copied back by whoever
// changes it.
func view(p unsafe.Pointer, n uintptr) (b []byte, copied bool, e syscall.Errno) {
	if n == 0 {
		return nil, false, 0
	}
	if p == nil || n > maxTransfer {
		return nil, false, syscall.EFAULT
	}
	if onStack(uintptr(p)) {
		b, e := copyIn(p, n)
		return b, true, e
	}
	return unsafe.Slice((*byte)(p), n), false, 0
}

func copyOut(p unsafe.Pointer, b []byte) {
	if len(b) > 0 {
		copy(unsafe.Slice((*byte)(p), len(b)), b)
	}
}

func nameAt(p unsafe.Pointer, n uintptr) ([]byte, syscall.Errno) {
	if int32(n) < 0 || n > maxName {
		return nil, syscall.EINVAL
	}
	return copyIn(p, n)
}

// putName writes a name and its length, as far as the length that is there.
func putName(name []byte, p, length unsafe.Pointer) syscall.Errno {
	if length == nil {
		return syscall.EFAULT
	}
	room := *(*int32)(length)
	if room < 0 {
		return syscall.EINVAL
	}
	*(*int32)(length) = int32(len(name))
	if p == nil && room > 0 && len(name) > 0 {
		return syscall.EFAULT
	}
	copyOut(p, name[:min(int(room), len(name))])
	return 0
}

// pathAt reads a path of at most PATH_MAX.
func pathAt(p unsafe.Pointer) string {
	if p == nil {
		return ""
	}
	var b []byte
	for i := range 4096 {
		c := *(*byte)(unsafe.Add(p, i))
		if c == 0 {
			break
		}
		b = append(b, c)
	}
	return string(b)
}

// pieces is how long the parts that v lists are together.
func pieces(v *syscall.Iovec, n uint64) (total uintptr, e syscall.Errno) {
	if n > maxVectors {
		return 0, syscall.EMSGSIZE
	}
	if n > 0 && v == nil {
		return 0, syscall.EFAULT
	}
	for i := range n {
		v := (*syscall.Iovec)(unsafe.Add(unsafe.Pointer(v), uintptr(i)*unsafe.Sizeof(*v)))
		if v.Len > maxTransfer || v.Len > 0 && v.Base == nil {
			return 0, syscall.EFAULT
		}
		total += uintptr(v.Len)
	}
	if total > maxTransfer {
		return 0, syscall.EINVAL
	}
	return total, 0
}

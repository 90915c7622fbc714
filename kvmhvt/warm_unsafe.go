package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Sizes in bytes of what is in files.
const (
	stateSize = int(unsafe.Sizeof(State{}))
	rangeSize = int(unsafe.Sizeof(Range{}))
)

// stateBytes returns a state as it lies in memory. Any bytes are one.
func stateBytes(s *State) []byte { return (*[stateSize]byte)(unsafe.Pointer(s))[:] }

func rangesBytes(r []Range) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r))), len(r)*rangeSize)
}

// newWarm copies state and ranges from the beginning of b, or returns nil if they are
// not there.
func newWarm(b []byte) *Warm {
	if len(b) < stateSize {
		return nil
	}
	w := raw.New[Warm]()
	w.State = raw.New[State]()
	copy(stateBytes(w.State), b)
	if n := w.State.Ranges; w.State.Format == stateFormat && n <= maxRanges && n*uint64(rangeSize) <= uint64(len(b)-stateSize) {
		w.Memory = raw.Slice[Range](int(n), int(n))
		copy(rangesBytes(w.Memory), b[stateSize:])
		return w
	}
	return nil
}

// maxRanges bounds the ranges of a file: each is a mapping of its own.
const maxRanges = 1024

// generalOf returns the general registers of s.
func generalOf(s *State) *regs { return (*regs)(unsafe.Pointer(&s.General)) }

const _ = -(unsafe.Sizeof(regs{}) ^ unsafe.Sizeof(State{}.General))

// msrs is struct kvm_msrs with room for two registers.
type msrs struct {
	n, _    uint32
	entries [2]struct {
		index, _ uint32
		value    uint64
	}
}

// removeSelf removes the name of the program's file, which succeeds a single time. The
// kernel says what it is.
func removeSelf() unix.Errno {
	self, name := raw.CString("/proc/self/exe"), raw.Slice[byte](4096, 4096) // PATH_MAX, with the NUL that readlink does not write
	_, errno := raw.Syscall6(unix.SYS_READLINK, uintptr(unsafe.Pointer(unsafe.SliceData(self))), uintptr(unsafe.Pointer(unsafe.SliceData(name))), uintptr(len(name)-1), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	_, errno = raw.Syscall6(unix.SYS_UNLINK, uintptr(unsafe.Pointer(unsafe.SliceData(name))), 0, 0, 0, 0, 0)
	return errno
}

// move puts the pages of from, which are mapped privately from a file, into the place
// of those at to, which has as many bytes.
func move(to, from []byte) unix.Errno {
	_, errno := raw.Syscall6(unix.SYS_MREMAP, uintptr(unsafe.Pointer(unsafe.SliceData(from))), uintptr(len(from)), uintptr(len(to)),
		unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, uintptr(unsafe.Pointer(unsafe.SliceData(to))), 0)
	return errno
}

// Package raw runs Go code before the Go runtime is initialised, with memory
// and system calls that need no runtime.
//
// The start of the runtime takes longer than the whole start of an spt guest:
// most of it is memory that is touched for the first time. So a program whose
// entry point is its own (go build -ldflags='-E main.entry') can try to do
// without: Try calls a Go function on the process's first stack, with a g of its
// own.
//
// What that function needs on its way must not allocate, panic, lock, start
// goroutines, use maps or channels, make system calls through packages syscall,
// unix or os, or use variables that a package sets when it is initialised. It
// takes its memory from here and makes its calls through here. It is the same
// code in an ordinary Go program: there Slice and New are make and new, and the
// calls are those of package unix, except that the scheduler does not learn of
// them, which is fine for calls that return immediately.
//
// The rest of it may use the runtime: whatever wants that uses the m of the
// current g, and this g's faults. The handler then undoes what was begun and goes
// on with the ordinary start, which finds the process as the kernel left it and
// does everything again. So only what is usual has to work early, and everything
// else, errors above all, is done once, by ordinary Go.
//
// This relies on facts of the Go runtime that another version may change:
// runtime.g has stackguard0 and m where start_amd64.s says, g is in R14 and at
// -8(FS), X15 is zero, and what wants the runtime uses g.m before it changes
// anything. TestRuntime and TestNeeds check them.
package raw

import (
	"strconv"
	"unsafe"
)

// arena is what there is before the runtime, in bytes: enough for any image,
// whose segments pass through 64 KiB each. The kernel gives the pages that are
// used, one after the other.
const arenaSize = 1 << 20

var arena [arenaSize / 8]uint64

// usual is how much of the arena a small guest's start takes, in bytes.
const usual = 56 << 10

// left is the unused part of the arena, nil in an ordinary program.
var left []uint64

// Begin makes Slice and New take their memory from the arena and Undo able to
// close what is opened. Only start calls it, once, and tests.
func Begin() {
	left = arena[:]
	populate(uintptr(unsafe.Pointer(&arena)), usual)
	opened = openedRoom[:0]
}

// Undo ends what Begin began: descriptors opened since are closed, and memory is
// the runtime's again. What was given out before must not be used any more.
func Undo() {
	clear(arena[:len(arena)-len(left)])
	left = nil
	for _, fd := range opened {
		Close(int(fd))
	}
	opened = nil
}

// Early reports whether Begin was called and Undo was not.
func Early() bool { return left != nil }

// Slice is make([]T, n, capacity).
//
// From the arena it is memory that the garbage collector does not look at, which
// is not running. When the arena is used up, the ordinary make follows, and what
// then happens is abandon's business.
func Slice[T any](n, capacity int) []T {
	const word = 8
	words := (unsafe.Sizeof(*(*T)(nil))*uintptr(capacity) + word - 1) / word
	if !Early() || capacity < n || capacity >= arenaSize || words > uintptr(len(left)) {
		return make([]T, n, capacity)
	}
	p := unsafe.Pointer(unsafe.SliceData(left))
	left = left[words:]
	return unsafe.Slice((*T)(p), capacity)[:n]
}

// New is new(T).
func New[T any]() *T { return &Slice[T](1, 1)[0] }

// Append is append, with Slice for more memory.
func Append[T any](s []T, v ...T) []T {
	if n := len(s) + len(v); n > cap(s) {
		larger := Slice[T](len(s), max(n, 2*cap(s), 4))
		copy(larger, s)
		s = larger
	}
	return append(s, v...)
}

// Clone returns a copy of s.
func Clone[T any](s []T) []T { return Append(Slice[T](0, len(s)), s...) }

// String returns b as a string without a copy. b must not change any more.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Bytes returns the bytes of s without a copy. They must not be written to.
func Bytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Join is strings.Join.
func Join(parts []string, separator string) string {
	n := 0
	for i, s := range parts {
		n += min(i, 1)*len(separator) + len(s)
	}
	b := Slice[byte](0, n)
	for i, s := range parts {
		if i > 0 {
			b = append(b, separator...)
		}
		b = append(b, s...)
	}
	return String(b)
}

// Concat returns the concatenation of parts.
func Concat(parts ...string) string { return Join(parts, "") }

// Decimal returns n in decimal digits.
func Decimal(n uint64) string { return String(strconv.AppendUint(Slice[byte](0, 20), n, 10)) }

// CString returns s with a NUL.
func CString(s string) []byte { return append(append(Slice[byte](0, len(s)+1), s...), 0) }

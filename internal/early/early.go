// Package early runs Go code before the Go runtime is initialised.
//
// The start of the runtime takes longer than the whole start of an spt guest:
// most of it is memory that is touched for the first time. So a program whose
// entry point is its own (go build -ldflags='-E main.entry') can try to do
// without: Try calls a Go function on the process's first stack, with a g of its
// own.
//
// What that function needs on its way must not allocate, panic, lock, start
// goroutines, use maps or channels, make system calls through packages syscall,
// unix or os, or use variables that a package sets when it is initialised.
// Package raw has memory and system calls for it. The rest of it may: whatever
// wants the runtime uses the m of the current g, and this g's faults. The
// handler then undoes what was begun and goes on with the ordinary start, which
// finds the process as the kernel left it and does everything again. So only
// what is usual has to work early, and everything else, errors above all, is
// done once, by ordinary Go.
//
// This relies on facts of the Go runtime that another version may change:
// runtime.g has stackguard0 and m where early_amd64.s says, g is in R14 and at
// -8(FS), X15 is zero, and what wants the runtime uses g.m before it changes
// anything. TestRuntime and TestNeeds check them.
package early

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Try is jumped to by an entry point: see early_amd64.s.
func Try()

// abandonPC returns the address of abandon, which leaves start.
func abandonPC() uintptr

// maxArgs bounds how many arguments are looked at early.
const maxArgs = 512

// begun says that start has got as far as to leave something to undo.
var begun bool

// start calls main with the arguments of the process. When it returns, or is left
// by a fault, undo follows.
//
//lint:ignore U1000 Try calls it
func start(argc int, argv **byte, main func(args []string)) {
	if argc > maxArgs || !standard() {
		return
	}
	begun = true
	raw.Begin()
	args := raw.Slice[string](argc, argc)
	for i, arg := range unsafe.Slice(argv, argc) {
		n := 0
		for *(*byte)(unsafe.Add(unsafe.Pointer(arg), n)) != 0 {
			n++
		}
		args[i] = unsafe.String(arg, n)
	}
	main(args)
}

// standard reports whether the standard descriptors are open. The Go runtime
// opens those that are not, so what follows must not be without it.
func standard() bool {
	for fd := range 3 {
		if _, err := raw.Fcntl(fd, unix.F_GETFD, 0); err != nil {
			return false
		}
	}
	return true
}

// undo makes the process what it was.
//
//lint:ignore U1000 Try calls it
//go:nosplit
func undo() {
	if begun {
		begun = false
		raw.Undo()
	}
	release()
}

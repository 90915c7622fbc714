// Package early runs Go code before the Go runtime is initialised.
//
// The runtime's start takes more than the whole start of an spt guest: most of
// it is memory that it touches for the first time. So a program whose entry
// point is its own (go build -ldflags='-E main.entry') can try to do without:
// Try calls a Go function on the process's first stack, with a g of its own.
//
// Such a function must not allocate, panic, take locks, use maps, channels,
// goroutines or finalizers, make system calls through packages syscall, unix or
// os, or use variables that a package initialises when it starts. Package raw
// has memory and system calls for it. It need not be free of the rest: whatever
// wants the runtime uses the m of the current g, and this g's faults. The
// handler undoes what was begun and goes on with the ordinary start, which
// finds the process as the kernel left it and does everything again. So only
// what is usual has to work early, and everything else, errors above all, is
// said once.
//
// What this relies on, and TestRuntime and TestNeeds check: the offsets of
// stackguard0 and m in runtime.g, that g is in R14 and at -8(FS), that X15 is
// zero, and that the runtime uses g.m before it changes anything.
package early

import (
	"unsafe"

	"gocat/internal/raw"
)

// Try is called by an entry point, not by Go: see early_amd64.s.
func Try()

func abandon()
func abandonPC() uintptr

// maxArgs bounds how many arguments are looked at early.
const maxArgs = 512

// start runs main with the arguments of the process. When it returns, or is left
// by a fault, undo follows.
func start(argc int, argv **byte, main func(args []string)) {
	if argc > maxArgs || !catch() {
		return
	}
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

// undo makes the process what it was.
func undo() {
	raw.Undo()
	release()
}

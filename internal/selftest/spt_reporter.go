package selftest

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
)

// sptLineSize is the size in bytes of the fault reporter's line.
const sptLineSize = 0x200

// reporterCall has the one write that only gocat's fault reporter may make: the
// guest makes it from its own code, or from the reporter's with other arguments.
func reporterCall(s Setting) (all []*Attack) {
	const reporter, lineSize = sptStart, sptLineSize // its system call instruction
	const group = "the fault reporter's own call"
	n := guests.N
	for _, size := range []uint64{0, 1, lineSize} {
		all = append(all, &Attack{Group: group, Name: fmt.Sprintf("write %d bytes of its line", size), Setting: s,
			Want: []Outcome{forbidden(unix.SYS_WRITE)},
			add:  func(p *guests.Probe) { p.Do(p.Syscall(unix.SYS_WRITE, n(2), n(sptLine), n(size))) }})
	}
	for _, c := range [][4]uint64{
		{unix.SYS_WRITE, 2, sptLine, lineSize + 1}, {unix.SYS_WRITE, 2, sptLine, 1 << 32}, {unix.SYS_WRITE, 2, sptLine + 1, 1},
		{unix.SYS_WRITE, 2, guests.Scratch, 8}, {unix.SYS_WRITE, 2, 1<<32 | sptLine, 8}, {unix.SYS_WRITE, 1<<32 | 2, sptLine, 8},
		{unix.SYS_WRITE, 0, sptLine, 8}, {unix.SYS_WRITEV, 2, sptLine, 1}, {unix.SYS_READ, 2, sptLine, 8}, {unix.SYS_GETPID, 0, 0, 0},
	} {
		all = append(all, &Attack{Group: group, Name: fmt.Sprintf("%s(%#x, %#x, %#x) from its code", callName(c[0]), c[1], c[2], c[3]), Setting: s,
			Want: []Outcome{forbidden(c[0])},
			add: func(p *guests.Probe) {
				p.Do(guests.Step{Code: n(reporter), AX: n(c[0]), DI: n(c[1]), SI: n(c[2]), DX: n(c[3])})
			}})
	}
	// What it does print it prints once, and is dead.
	all = append(all, &Attack{Group: group, Name: "print an empty line from its code and go on", Setting: s,
		Want: []Outcome{{Killed, sigsegv, "gocat: guest killed by SIGSEGV"}},
		add: func(p *guests.Probe) {
			p.Do(guests.Step{Code: n(reporter), AX: n(unix.SYS_WRITE), DI: n(2), SI: n(sptLine), DX: n(0)})
		}})
	return all
}

// reporterSurface has guests jump into gocat's own code with registers with which
// its write is allowed, from their own code and, if they have a handler of their
// faults, from there, on the signal stack. A guest that survives the write must
// die, by any signal.
func reporterSurface(s Setting) (all []*Attack) {
	const dense, end = 0xc0, 0x400 // what prints and ends comes first
	for at := uint64(0); at < end; at++ {
		if at >= dense && at%7 != 0 {
			continue
		}
		for _, handler := range []string{"no handler", "a handler", "its handler"} {
			signal := []uint64{0, uint64(unix.SIGSEGV), uint64(unix.SIGFPE), uint64(unix.SIGSYS), uint64(unix.SIGBUS)}[at%5]
			all = append(all, &Attack{
				Group: "jumps into gocat's own code", Name: fmt.Sprintf("to byte %#x with %s", at, handler), Setting: s,
				Want:    []Outcome{{Killed, sigsegv, "no more than the reporter's line before"}},
				options: []string{"--cpu-time=1"}, // it may spin
				judge:   printedOnce,
				add:     func(p *guests.Probe) { jumpIntoStub(p, at, signal, handler) },
			})
		}
	}
	return all
}

func jumpIntoStub(p *guests.Probe, at, signal uint64, handler string) {
	back := p.Code(slices.Concat(mov(rdi, cameBack), mov(rax, unix.SYS_EXIT_GROUP), syscallCode))
	jump := p.Code(slices.Concat(
		mov(rdi, sptLine), mov(rcx, sptLineSize), []byte{0xb0, 'G', 0xf3, 0xaa}, // mov al, 'G'; rep stosb
		mov(rax, back), []byte{0x50, 0x50, 0x50}, // push rax: where a RET goes
		mov(rdi, 2), mov(rsi, sptLine), mov(rdx, sptLineSize), mov(rbx, signal),
		mov(r10, sptStart+at), mov(rax, unix.SYS_WRITE), []byte{0x41, 0xff, 0xe2})) // jmp r10
	switch handler {
	case "a handler":
		p.Handler(back)
	case "its handler": // which goes back the second time
		times := p.Var()
		p.Handler(p.Code(slices.Concat(mov(rax, times), []byte{0xff, 0x00, 0x83, 0x38, 0x01, 0x74, 0x0c}, // inc dword [rax]; cmp dword [rax], 1; je
			mov(rax, back), []byte{0xff, 0xe0}, mov(rax, jump), []byte{0xff, 0xe0}))) // jmp back; jmp jump
		p.Do(p.Load8(guests.N(0)))
	}
	p.Do(p.Execute(guests.N(jump)))
}

// printedOnce judges a guest that may print the reporter's line once, whatever is
// in it, and after it what the reporter itself has to say.
func printedOnce(e *ending) (Outcome, error) {
	switch {
	case len(e.stderr) > 2*sptLineSize:
		return Outcome{}, fmt.Errorf("printed %d bytes on standard error", len(e.stderr))
	case e.stdout != "":
		return Outcome{}, errors.New("printed on standard output")
	case e.status > 128:
		return Outcome{Killed, e.status, ""}, nil
	case e.stderr != "":
		return Outcome{}, fmt.Errorf("went on after %d bytes on standard error, to status %d", len(e.stderr), e.status)
	}
	return Outcome{Nothing, e.status, ""}, nil
}

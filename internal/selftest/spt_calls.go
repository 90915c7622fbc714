package selftest

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/seccomp"
)

// Statuses of guests that a signal ends.
const (
	sigsys  = 128 + int(unix.SIGSYS)
	sigsegv = 128 + int(unix.SIGSEGV)
	sigill  = 128 + int(unix.SIGILL)
)

// forbidden is the end of a guest by system call nr.
func forbidden(nr uint64) Outcome {
	return Outcome{Killed, sigsys, "gocat: guest killed by SIGSYS: forbidden system call " + callName(nr) + "; rax"}
}

// callName is a system call's name in reports.
func callName(nr uint64) string {
	name := seccomp.SyscallName(uint32(nr))
	if _, known := seccomp.SyscallNumber(name); !known {
		return "unknown"
	}
	return name
}

// foreign is the end of a guest by a call of another interface.
func foreign(name string) Outcome {
	return Outcome{Killed, sigsys, "gocat: guest killed by SIGSYS: forbidden system call of the " + name + " interface; rax"}
}

// System calls of the kernel's uprobes, of which no filter is asked since Linux
// 6.14 and 6.18 (kernel/seccomp.c).
const (
	sysUretprobe = 335
	sysUprobe    = 336
)

// Numbers of system calls that are tried.
const (
	callNumbers  = 601
	int80Numbers = 471
)

// hostileArguments are tried with every system call. No set does harm to a host
// where nothing protects it: they name no process, file or magic number.
func hostileArguments(p *guests.Probe) map[string][6]uint64 {
	const all = ^uint64(0)
	path := p.Data([]byte("/proc/self/mem\x00"))
	return map[string][6]uint64{
		"zeros":    {},
		"ones":     {all, all, all, all, all, all},
		"pointers": {2, path, 64, 7, path, 8},
	}
}

// everyCall has every system call number with hostile arguments.
func everyCall(s Setting) (all []*Attack) {
	for nr := range uint64(callNumbers) {
		kinds := []string{"zeros", "ones", "pointers"}
		if s == Strict { // which differs in five calls
			kinds = kinds[nr%3:][:1]
		}
		for _, arguments := range kinds {
			all = append(all, &Attack{
				Group: "every system call", Name: fmt.Sprintf("%s (%d) with %s", callName(nr), nr, arguments), Setting: s,
				Want: wantOfCall(s, nr, arguments),
				add: func(p *guests.Probe) {
					p.Do(p.Syscall(nr, numbers(hostileArguments(p)[arguments])...))
				},
			})
		}
	}
	return all
}

// wantOfCall is what becomes of a call with hostile arguments.
func wantOfCall(s Setting, nr uint64, arguments string) []Outcome {
	want := []Outcome{forbidden(nr)}
	switch {
	case nr == unix.SYS_EXIT_GROUP:
		return []Outcome{{Nothing, map[string]int{"zeros": 0, "ones": 255, "pointers": 2}[arguments], ""}}
	case nr == unix.SYS_CLOCK_GETTIME && s == SPT && arguments == "zeros": // EFAULT
		return []Outcome{{Refused, cameBack, ""}}
	case nr == sysUretprobe:
		return append(want, Outcome{Killed, sigill, "SIGILL"})
	case nr == sysUprobe:
		return append(want, Outcome{Refused, cameBack, ""}, Outcome{Killed, sigill, "SIGILL"})
	}
	return want
}

func numbers(args [6]uint64) (v []guests.Value) {
	for _, a := range args {
		v = append(v, guests.N(a))
	}
	return v
}

// otherEntries has the other ways into the kernel, and numbers that only look
// like those of other calls.
func otherEntries(s Setting) (all []*Attack) {
	add := func(group, name string, want []Outcome, f func(*guests.Probe)) {
		all = append(all, &Attack{Group: group, Name: name, Setting: s, Want: want, add: f})
	}
	const bits = "numbers with high bits set"
	for _, nr := range []uint64{unix.SYS_READ, unix.SYS_WRITE, unix.SYS_GETPID, unix.SYS_EXECVE, unix.SYS_EXIT_GROUP} {
		for _, bit := range []uint64{1 << 29, 1 << 31, 1<<31 | 1<<29} {
			add(bits, fmt.Sprintf("%s with %#x", callName(nr), bit), []Outcome{forbidden(nr | bit)},
				func(p *guests.Probe) { p.Do(p.Syscall(nr|bit, guests.N(1), guests.N(guests.Scratch), guests.N(8))) })
		}
	}
	// The kernel looks at 32 bits of the number, so this is the call itself.
	for _, bit := range []uint64{1 << 32, 1 << 63} {
		add(bits, fmt.Sprintf("getpid with %#x", bit), []Outcome{forbidden(unix.SYS_GETPID)},
			func(p *guests.Probe) { p.Do(p.Syscall(unix.SYS_GETPID | bit)) })
	}
	add(bits, "all ones", []Outcome{forbidden(1<<32 - 1)}, func(p *guests.Probe) { p.Do(p.Syscall(^uint64(0))) })
	step := uint64(1)
	if s == Strict { // which does not differ here
		step = 25
	}
	for nr := uint64(0); nr < callNumbers; nr += step {
		add("x32 calls", fmt.Sprintf("x32 call %d", nr), []Outcome{foreign("x32")},
			func(p *guests.Probe) {
				p.Do(p.Syscall(0x40000000|nr, guests.N(1), guests.N(guests.Scratch), guests.N(8)))
			})
	}
	for nr := uint64(0); nr < int80Numbers; nr += step {
		// A kernel without the 32-bit ABI raises a fault.
		add("int 0x80", fmt.Sprintf("32-bit call %d", nr), []Outcome{foreign("i386"), {Killed, sigsegv, "SIGSEGV"}},
			func(p *guests.Probe) { p.Do(p.Int80(nr, guests.N(1), guests.N(guests.Scratch), guests.N(8))) })
	}
	dead := []Outcome{foreign("i386"), {Killed, sigsegv, "SIGSEGV"}, {Killed, sigill, "SIGILL"}}
	for _, nr := range []uint64{1, 4, 11, 20, 120, 252} {
		add("sysenter", fmt.Sprintf("sysenter with %d", nr), dead,
			func(p *guests.Probe) { execute(p, mov(rax, nr), mov(rbp, guests.Scratch+0x100), []byte{0x0f, 0x34}) })
	}
	for what, entry := range map[string][]byte{"int 0x80": {0xcd, 0x80}, "sysenter": {0x0f, 0x34}, "syscall": {0x0f, 0x05}} {
		for _, nr := range []byte{1, 4, 11, 20, 120, 252} {
			add("32-bit code", fmt.Sprintf("%s with %d", what, nr), dead, func(p *guests.Probe) {
				at := p.Code(slices.Concat([]byte{0xb8, nr, 0, 0, 0}, entry, []byte{0xf4}))
				// The kernel's 32-bit user code segment: push 0x23; push at; lretq
				execute(p, []byte{0x6a, 0x23}, mov(rax, at), []byte{0x50, 0x48, 0xcb})
			})
		}
	}
	for offset, nr := range map[uint64]uint64{0: unix.SYS_GETTIMEOFDAY, 0x400: unix.SYS_TIME, 0x800: unix.SYS_GETCPU} {
		for _, null := range []bool{false, true} {
			add("vsyscall page", fmt.Sprintf("%s, null pointer: %v", callName(nr), null),
				[]Outcome{forbidden(nr), {Killed, sigsegv, "SIGSEGV"}}, func(p *guests.Probe) {
					p.Do(guests.Step{Code: guests.N(0xffffffffff600000 + offset), DI: guests.N(map[bool]uint64{false: guests.Scratch}[null])})
				})
		}
	}
	for _, at := range []uint64{0xffffffffff600001, 0xffffffffff600c00, 0xffffffffff601000, 0xffffffffff5ff000} {
		add("vsyscall page", fmt.Sprintf("jump to %#x", at), []Outcome{{Killed, sigsegv, "SIGSEGV"}},
			func(p *guests.Probe) { p.Do(p.Execute(guests.N(at))) })
	}
	add("vsyscall page", "read it", []Outcome{{Killed, sigsegv, "SIGSEGV"}},
		func(p *guests.Probe) { p.Do(p.Load8(guests.N(0xffffffffff600000))) })
	return all
}

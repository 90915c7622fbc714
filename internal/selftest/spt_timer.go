package selftest

import (
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
)

// sptTimer has guests that ask for a timer, and whose handler, which leaves the
// signal by itself, tries what else it might do there.
func sptTimer(s Setting) (all []*Attack) {
	const words = guests.Scratch
	spin := []byte{0xeb, 0xfe}
	add := func(name string, handler, code []byte, want ...Outcome) {
		all = append(all, &Attack{Group: "the timer's signal", Name: name, Setting: s, Want: want, add: func(p *guests.Probe) {
			p.Timer(words)
			p.Handler(p.Code(handler))
			execute(p, code)
		}})
	}
	for name, nr := range map[string]uint64{
		"return by system call": unix.SYS_RT_SIGRETURN, "set a timer": unix.SYS_SETITIMER, "make a timer": unix.SYS_TIMER_CREATE,
		"set a handler": unix.SYS_RT_SIGACTION, "set a stack": unix.SYS_SIGALTSTACK, "set the mask": unix.SYS_RT_SIGPROCMASK,
	} {
		add(name, slices.Concat(mov(rax, nr), []byte{0x0f, 0x05}), spin, forbidden(nr))
	}
	dies := Outcome{Killed, sigsegv, ""} // a handler that is the faults' too runs out of stack
	add("halt", []byte{0xf4}, spin, dies)
	add("return to level 0", []byte{0x31, 0xc0, 0x50, 0x54, 0x9c, 0x6a, 0x10, 0x50, 0x48, 0xcf}, spin, dies)
	add("return to nowhere", []byte{0xc3}, spin, dies)
	add("be interrupted without a stack", slices.Concat(mov(rax, unix.SYS_GETPPID), []byte{0x0f, 0x05}),
		slices.Concat(mov(rsp, 0), spin), forbidden(unix.SYS_GETPPID))
	return all
}

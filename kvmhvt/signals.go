package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// current is the tender that the handlers act for: a process has one.
var current *tender

// endSignals are the signals that come only from outside and whose default action
// ends the process. For process 1 of a container the kernel does not take that
// action.
var endSignals = [...]unix.Signal{
	unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGABRT,
	unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM, unix.SIGPROF, unix.SIGXCPU,
}

// faults are the signals of a defect in the tender itself, or of what a filter
// around it traps.
var faults = [...]unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, unix.SIGSYS}

// catch installs the handlers. Signals that end a process stay ignored if they
// were, except those that Solo5's own tender always handles.
func (t *tender) catch() {
	handle(unix.SIGPIPE, sigIgn) // writing says so
	handle(unix.SIGXFSZ, sigIgn)
	for _, sig := range endSignals {
		solo5 := t.config.Solo5 && (sig == unix.SIGINT || sig == unix.SIGTERM)
		if solo5 || !ignored(sig) {
			handle(sig, handlerPC())
		}
	}
	for _, sig := range faults {
		handle(sig, handlerPC())
	}
	if t.cpu.timer != nil {
		handle(unix.SIGURG, tickPC())
	}
}

// tell tells the guest of a signal that asks it to end, for the first time, if it
// wants to know: in a word of its memory, at which it looks when it is interrupted
// and before it waits, and by ending its wait.
func (t *tender) tell(sig unix.Signal) bool {
	w := &t.services.waits
	if sig != unix.SIGTERM && sig != unix.SIGINT || w.asked == nil || t.cpu.timer == nil || t.config.Solo5 {
		return false
	}
	bit := uint32(1) << (uint(sig) - 1)
	if t.told&bit != 0 {
		return false
	}
	t.told |= bit
	store32(w.asked, 0, load32(w.asked, 0)|bit)
	timerfdSettime(w.timer, &soon)
	return true
}

var soon = unix.ItimerSpec{Value: unix.Timespec{Nsec: 1}}

// signalled is what the handler of signals calls, on a stack of its own. It ends
// the process, unless that is left to the guest.
//
//lint:ignore U1000 handler calls it
func signalled(sig uintptr, info *siginfo, context *ucontext) {
	t := current
	if unix.Signal(sig) == unix.SIGSYS && info.code > 0 && !t.confined {
		context.rax = ^uint64(unix.ENOSYS - 1) // its negative
		return
	}
	for _, s := range faults {
		if unix.Signal(sig) == s && info.code > 0 {
			t.defect(sig, info, context)
		}
	}
	if t.tell(unix.Signal(sig)) {
		return
	}
	if t.config.Solo5 {
		t.say.n = 0
		t.say.text(t.config.Prog).text(": Exiting on signal ").decimal(uint64(sig))
		t.flush()
	}
	if t.config.Verbose {
		t.count()
	}
	if t.config.Solo5 {
		raw.Exit(1)
	}
	raw.Exit(128 + int(sig))
}

// defect ends the process because its own code faulted, which no guest should
// bring about.
func (t *tender) defect(sig uintptr, info *siginfo, context *ucontext) {
	if t.say.n > 0 && unix.Signal(sig) == unix.SIGBUS {
		// The image has become shorter: the message goes without a symbol.
		t.flush()
		raw.Exit(1)
	}
	t.say.n = 0
	t.say.text(t.config.Prog).text(": defect in the tender: ")
	if unix.Signal(sig) == unix.SIGSYS {
		t.say.text("a seccomp filter around gocat forbids system call ").decimal(uint64(uint32(info.call)))
	} else {
		t.say.text(signalName(unix.Signal(sig))).text(" at address ").hex(info.addr)
	}
	t.say.text(", rip=").hex(context.rip)
	t.flush()
	raw.Exit(128 + int(sig))
}

func signalName(s unix.Signal) string {
	switch s {
	case unix.SIGSEGV:
		return "SIGSEGV"
	case unix.SIGBUS:
		return "SIGBUS"
	case unix.SIGILL:
		return "SIGILL"
	case unix.SIGFPE:
		return "SIGFPE"
	}
	return "SIGTRAP"
}

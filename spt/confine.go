package spt

import (
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/raw"
)

// Flags of rt_sigaction (asm/signal.h).
const (
	saSiginfo  = 0x4
	saOnStack  = 0x08000000
	saNoDefer  = 0x40000000
	saRestorer = 0x04000000
)

// blocked is the set of signals that wait while the reporter runs: those that it
// reports, so that a second one kills, and the one of a standard error that
// nobody reads. Signals that ask the guest to end do not wait, for a report may
// take for ever: standard error may be full.
func blocked() (set uint64) {
	for _, s := range reported {
		set |= 1 << (s - 1)
	}
	return set | 1<<(unix.SIGPIPE-1)
}

// reported lists the signals of faults and forbidden calls.
var reported = [...]unix.Signal{unix.SIGSYS, unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP}

// signals plans the handlers: the reporter for faults and forbidden calls, and,
// as process 1, which the kernel spares the default action, for the signals
// that ask it to end.
//
// A guest with a fault handler of its own gets the signals of its faults itself,
// on the reporter's stack, and does not return from the handler: it has no system
// call to do so.
func (s *sealed) signals(p *plan, handler uint64) {
	action := sigaction(handler, 0, blocked())
	stack := words(stackBase, 0, stackSize) // stack_t
	catch := func(action []byte, signals ...unix.Signal) {
		for _, sig := range signals {
			p.must("could not handle a signal", 0, unix.SYS_RT_SIGACTION, int(sig), action, 0, 8)
		}
	}
	p.must("could not give signal handlers a stack", 0, unix.SYS_SIGALTSTACK, stack, 0)
	if !s.QuietFaults {
		catch(action, reported[:]...)
	}
	if s.Image.Fault != 0 {
		catch(sigaction(s.Image.Fault, saNoDefer, 0), unix.SIGSEGV, unix.SIGFPE)
	}
	p.when(exact, 1, func() {
		catch(action, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	}, unix.SYS_GETPID)
}

// sigaction is a struct kernel_sigaction. The kernel wants a restorer: what a
// handler returns to that must not return.
func sigaction(handler, flags, mask uint64) []byte {
	return words(handler, saSiginfo|saOnStack|saRestorer|flags, handler, mask)
}

// confine plans the last steps: after the filter, only the guest's own calls
// are possible.
func (s *sealed) confine(p *isolation, filter []unix.SockFilter) {
	if s.Name != "" {
		p.try(unix.SYS_PRCTL, unix.PR_SET_NAME, raw.CString(s.Name))
	}
	p.must("could not set no_new_privs", 0, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	p.end()
	onStderr := func(d device.Device) bool { return d.FD == 2 }
	if s.QuietFaults && !slices.ContainsFunc(s.Devices, onStderr) {
		p.try(unix.SYS_CLOSE, 2)
	}
	p.program("could not install the seccomp filter", filter)
}

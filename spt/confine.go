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
func (s *sealed) signals(p *plan, handler uint64) {
	action := words(handler, saSiginfo|saOnStack|saRestorer, handler, blocked()) // struct kernel_sigaction
	stack := words(stackBase, 0, stackSize)                                      // stack_t
	catch := func(signals ...unix.Signal) {
		for _, sig := range signals {
			p.must("could not handle a signal", 0, unix.SYS_RT_SIGACTION, int(sig), action, 0, 8)
		}
	}
	p.must("could not give signal handlers a stack", 0, unix.SYS_SIGALTSTACK, stack, 0)
	if !s.QuietFaults {
		catch(reported[:]...)
	}
	p.when(exact, 1, func() {
		catch(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	}, unix.SYS_GETPID)
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

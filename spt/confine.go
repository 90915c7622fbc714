package spt

import (
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/plan"
	"gocat/internal/raw"
	"gocat/seccomp"
)

// Flags of rt_sigaction and of sigaltstack (asm/signal.h, linux/signal.h).
const (
	saSiginfo  = 0x4
	saRestart  = 0x10000000
	saOnStack  = 0x08000000
	saNoDefer  = 0x40000000
	saRestorer = 0x04000000

	saResetHand = 0x80000000

	ssAutodisarm = 1 << 31
)

// blocked is the set of signals that wait while the reporter runs: those that it
// reports, so that a second one kills, the one of a standard error that nobody
// reads, and the timer's, which would have the guest go on. Signals that ask the
// guest to end do not wait, for a report may take for ever: standard error may be
// full.
func blocked() (set uint64) {
	for _, s := range reported {
		set |= 1 << (s - 1)
	}
	return set | 1<<(unix.SIGPIPE-1) | 1<<(unix.SIGVTALRM-1)
}

// reported lists the signals of faults and forbidden calls.
var reported = [...]unix.Signal{unix.SIGSYS, unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP}

// refusals plans that calls trapped by a filter that gocat inherited fail with
// ENOSYS until the guest's own handlers are installed: until then they are gocat's
// calls, not the guest's.
func (s *sealed) refusals(p *plan.Plan, at stubEntries) {
	p.Try(unix.SYS_RT_SIGACTION, int(unix.SIGSYS), sigaction(stubBase+at.refused, 0, 0), 0, 8)
}

// signalStack plans the stack of signal handlers. Disarmed while it is used, it
// serves from its top wherever the guest's own is. A guest with a handler needs it
// again, and has no call to arm it with.
func (s *sealed) signalStack(p *plan.Plan) {
	flags := uint64(ssAutodisarm)
	if s.Image.Fault != 0 {
		flags = 0
	}
	p.Must("could not give signal handlers a stack", 0, unix.SYS_SIGALTSTACK, plan.Words(stackBase, flags, stackSize), 0)
}

// signals plans the handlers: the reporter for faults and forbidden calls, and,
// as process 1, which the kernel spares the default action, for the signals
// that ask it to end.
//
// A guest with a signal handler of its own has the signals of its faults, of its
// timer, and those from outside that it asks for, passed on by the stub, on the reporter's stack. It leaves the handler
// by a jump, or by the instruction IRETQ: it has no system call to return.
func (s *sealed) signals(p *plan.Plan, at stubEntries) {
	action := sigaction(stubBase+at.report, 0, blocked())
	catch := func(action []byte, signals ...unix.Signal) {
		for _, sig := range signals {
			p.Must("could not handle a signal", 0, unix.SYS_RT_SIGACTION, int(sig), action, 0, 8)
		}
	}
	if s.Image.Timer != 0 {
		catch(sigaction(stubBase+at.pass, saNoDefer|saRestart, 0), unix.SIGVTALRM)
	}
	// What asks a guest to end it is told once, and ends by the second time. For
	// process 1 the kernel does not do that, but a Go guest itself.
	if s.Image.Signals != 0 {
		catch(sigaction(stubBase+at.pass, saNoDefer|saResetHand, 0), unix.SIGTERM, unix.SIGINT)
	}
	p.When(plan.Exact, 1, func() {
		if s.Image.Signals != 0 {
			catch(sigaction(stubBase+at.pass, saNoDefer, 0), unix.SIGTERM, unix.SIGINT)
		} else {
			catch(action, unix.SIGTERM, unix.SIGINT)
		}
		catch(action, unix.SIGHUP, unix.SIGQUIT)
	}, unix.SYS_GETPID)
	p.Succeed("could not ask for its own number", holdsCall) // which the filter is going to answer
	if s.QuietFaults {
		catch(plan.Words(0, 0, 0, 0), unix.SIGSYS)
	} else {
		catch(action, reported[:]...)
	}
	if s.Image.Fault != 0 {
		catch(sigaction(stubBase+at.pass, saNoDefer, 0), unix.SIGSEGV, unix.SIGFPE)
	}
}

// sigaction is a struct kernel_sigaction. The kernel wants a restorer: what a
// handler returns to that must not return.
func sigaction(handler, flags, mask uint64) []byte {
	return plan.Words(handler, saSiginfo|saOnStack|saRestorer|flags, handler, mask)
}

// isolation returns what plans the layers. The devices are attached.
func (s *sealed) isolation(d *descriptors) *isolate.Setup {
	if !slices.ContainsFunc(d.devices, func(dev device.Device) bool { return dev.FD == 0 }) {
		d.free(0) // attach closed it
	}
	scratch := [2]int{d.take(), d.take()}
	d.free(scratch[0])
	d.free(scratch[1])
	written := append(raw.Slice[int](0, 2+len(d.devices)), stdout)
	if !s.QuietFaults {
		written = append(written, stderr)
	}
	largest := uint64(0)
	for _, dev := range d.devices {
		switch {
		case dev.Type == image.Block: // the policy bounds it
			largest = max(largest, dev.Capacity)
		case dev.Inherited && !slices.Contains(written, dev.FD):
			written = append(written, dev.FD)
		}
	}
	i := raw.New[isolate.Setup]()
	*i = isolate.Setup{Plan: d.Plan, Config: &s.Isolate, Scratch: scratch, Written: written, Largest: largest}
	return i
}

// confine plans the last steps: after the filter, only the guest's own calls
// are possible.
func (s *sealed) confine(p *isolate.Setup, at stubEntries, filter []unix.SockFilter) {
	if s.Name != "" {
		p.Try(unix.SYS_PRCTL, unix.PR_SET_NAME, raw.CString(s.Name))
	}
	p.Must("could not set no_new_privs", 0, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	p.Must("could not set no_new_privs: "+isolate.Answered, 1, unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	const failed = "could not install the seccomp filter"
	const answered = failed + ": " + isolate.Answered
	// The kernel fails a call without a program.
	p.When(plan.Exact, 0, func() { p.Must(answered, plan.Exact, plan.Last) }, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0)
	p.Must(failed, plan.Errno(unix.EFAULT), plan.Last)
	p.End()
	onStderr := func(d device.Device) bool { return d.FD == 2 }
	if s.QuietFaults && !slices.ContainsFunc(s.Devices, onStderr) {
		p.Try(unix.SYS_CLOSE, 2)
	}
	s.signals(p.Plan, at)
	s.timer(p.Plan)
	s.resume(p.Plan)
	if s.Unblock != 0 {
		p.Must("could not let signals through", 0, unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, plan.Words(s.Unblock), 0, 8)
	}
	p.Filter(failed, filter)
	p.Must(answered, plan.Errno(seccomp.Holds), holdsCall)
}

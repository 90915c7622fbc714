package kvmhvt

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
)

// Confine says what is to happen when a layer of confinement is not to be had.
type Confine uint8

// How much confinement is required.
const (
	ConfineRequired   Confine = iota // all, but for Landlock where the kernel has none
	ConfineBestEffort                // what works; the rest is reported
	ConfineNone                      // none: for debugging, and for tests in one process
)

// Layer is one layer of the tender's confinement.
type Layer struct {
	Layer isolate.Layer
	Err   error // nil when it holds
}

// Confinement is what confines the tender, in the order in which it was set up.
type Confinement []Layer

// own are the layers that Confine is about: Config.Isolate adds others.
const own isolate.Set = 1<<isolate.NoNewPrivs | 1<<isolate.Capabilities | 1<<isolate.Descriptors |
	1<<isolate.Landlock | 1<<isolate.Seccomp

// confine gives up what running the guest does not take, in all threads.
func (t *tender) confine(how Confine) (Confinement, error) {
	if how == ConfineNone {
		return nil, nil
	}
	poller := findRuntimePoller(append(t.descriptors(runtimePoller{}), t.machine.kvm, t.machine.vm))
	policy := t.policy(poller)
	filter, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(reachThreads(), t.limitCPU()); err != nil {
		return nil, err
	}
	c := &t.config.Isolate
	wanted := own | c.Wanted()
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	filtered := err != nil || mode != 0
	var done Confinement
	for _, l := range append(t.isolation(),
		step{isolate.NoNewPrivs, noNewPrivs},
		step{isolate.Capabilities, dropCapabilities},
		step{isolate.Descriptors, func() error { return closeOthers(t.descriptors(poller)) }},
		step{isolate.Undumpable, func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }},
		step{isolate.Landlock, landlock},
		step{isolate.Limits, t.limit},
		step{isolate.Seccomp, func() error {
			if err := t.dieWithParent(); err != nil {
				return err
			}
			return installFilter(filter)
		}},
	) {
		if !wanted.Has(l.layer) {
			done = append(done, Layer{l.layer, errors.New(c.Unwanted(l.layer))})
			continue
		}
		if filtered && isolate.Risky.Has(l.layer) && !own.Has(l.layer) && !t.must(l.layer) {
			done = append(done, Layer{l.layer, errors.New(isolate.Untried)})
			continue
		}
		err := l.do()
		var errno unix.Errno
		if errors.As(err, &errno) && !own.Has(l.layer) {
			err = errors.New(c.Host.Reason(l.layer, errno))
		}
		if err != nil && t.must(l.layer) {
			return nil, errors.New(c.Refusal(l.layer) + err.Error())
		}
		if err != nil && how == ConfineRequired && own.Has(l.layer) && !errors.Is(err, errNoLandlock) {
			return nil, fmt.Errorf("confine the tender: %v: %w", l.layer, err)
		}
		done = append(done, Layer{l.layer, err})
	}
	t.confined = true
	return done, nil
}

// descriptors lists what the tender keeps, ascending.
func (t *tender) descriptors(poller runtimePoller) []int {
	s := &t.services
	keep := []int{1, 2, s.console.fd, t.machine.vcpu, s.waits.epoll, s.waits.timer}
	keep = append(keep, poller.epolls...)
	keep = append(keep, poller.events...)
	for i := range t.config.Devices {
		keep = append(keep, t.config.Devices[i].FD)
	}
	for _, n := range s.nets {
		if n != nil {
			keep = append(keep, n.port.FD)
		}
	}
	if t.ring != nil {
		keep = append(keep, t.ring.kick)
	}
	if fd := t.config.Trace; fd != 0 {
		keep = append(keep, fd)
	}
	slices.Sort(keep)
	return slices.Compact(keep)
}

// closeOthers closes all descriptors but those in keep, which is ascending.
func closeOthers(keep []int) error {
	first := 0
	for _, fd := range append(keep, 1<<31-1) {
		if fd > first {
			if err := unix.CloseRange(uint(first), uint(fd-1), 0); err != nil {
				return fmt.Errorf("close_range: %w: Linux 5.9 or later is needed", err)
			}
		}
		first = fd + 1
	}
	return nil
}

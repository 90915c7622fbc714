package spt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/plan"
	"gocat/internal/raw"
	"gocat/seccomp"
)

// grants is what an spt guest is allowed to use.
type grants struct {
	epoll, timer int // descriptors
	devices      []device.Device
	strict       bool
	// gate is the address of the fault reporter's write. Forbidden calls are then
	// trapped for the reporter; with 0 they kill immediately.
	gate uint64
}

// Descriptors that every process has.
const (
	stdout = 1
	stderr = 2
)

// policy is the policy of an spt guest. It allows what the Solo5 bindings of
// versions 0.6 to 0.12 call, with the arguments that they never vary fixed, on
// the granted descriptors alone.
//
// A strict policy is for guests that neither set timers, nor read the clock,
// nor use thread-local storage: it leaves reading and writing the guest's own
// devices, writing on the console, waiting and exiting.
//
// With the fault reporter, the signal handler that names a forbidden call before
// the process dies, such calls are trapped for it and nothing more is allowed than
// the one write of its message. It never resumes the guest: it ends by a forbidden
// call of its own, which with SIGSYS blocked kills.
func (g *grants) policy() *seccomp.Policy {
	p := raw.New[seccomp.Policy]()
	p.Name, p.Deny = "spt", seccomp.Kill
	p.Rules = raw.Slice[seccomp.Rule](0, 12+2*len(g.devices))
	if g.strict {
		p.Name = "spt-strict"
	}
	g.allowNet(p, unix.SYS_READ, "receive from network device ")
	p.Allow(unix.SYS_WRITE, "print on the console", seccomp.FD(stdout))
	g.allowNet(p, unix.SYS_WRITE, "send to network device ")
	if g.gate != 0 {
		const size = 2 // of the system call instruction
		p.Deny = seccomp.Trap
		p.Allow(unix.SYS_WRITE, "let the fault reporter print its message, from its own code only",
			seccomp.FD(stderr), seccomp.Arg1.Is(lineBase), seccomp.Arg2.AtMost(lineSize), seccomp.IP.Is(g.gate+size))
	}
	g.allowBlock(p, unix.SYS_PREAD64, "read a block of block device ")
	g.allowBlock(p, unix.SYS_PWRITE64, "write a block of block device ")
	p.Allow(unix.SYS_EPOLL_PWAIT, "wait for its devices, the signal mask left alone",
		seccomp.FD(g.epoll), seccomp.Arg4.Is(0))
	if !g.strict {
		p.Allow(unix.SYS_TIMERFD_SETTIME, "set the deadline of a wait, as an absolute time",
			seccomp.FD(g.timer), seccomp.Arg1.Is(unix.TFD_TIMER_ABSTIME), seccomp.Arg3.Is(0))
		p.Allow(unix.SYS_CLOCK_GETTIME, "read the monotonic clock", seccomp.Arg0.Is(unix.CLOCK_MONOTONIC))
		p.Allow(unix.SYS_CLOCK_GETTIME, "read the wall clock", seccomp.Arg0.Is(unix.CLOCK_REALTIME))
		p.Allow(unix.SYS_ARCH_PRCTL, "set the base of thread-local storage", seccomp.Arg0.Is(abi.ArchSetFS))
	}
	p.Allow(unix.SYS_EXIT_GROUP, "exit")
	p.AnswerHolds(holdsCall, seccomp.IP.Is(planCall()))
	return p
}

// planCall is the address after the instruction that makes the plan's calls.
func planCall() uint64 {
	code, _ := stubCode()
	return stubBase + uint64(len(code)) + plan.CallEnd()
}

// holdsCall is the call by which the plan sees that the policy is in effect.
const holdsCall = unix.SYS_GETPID

// allowNet allows read or write of network devices.
func (g *grants) allowNet(p *seccomp.Policy, nr uint32, why string) {
	for i := range g.devices {
		if d := &g.devices[i]; d.Type == image.Net {
			p.Allow(nr, raw.Concat(why, d.Name), seccomp.FD(d.FD))
		}
	}
}

// allowBlock allows pread64 or pwrite64 of one whole block inside a block device.
// A device smaller than a block has none.
func (g *grants) allowBlock(p *seccomp.Policy, nr uint32, why string) {
	for i := range g.devices {
		if d := &g.devices[i]; d.Type == image.Block && d.Capacity >= uint64(d.BlockSize) {
			p.Allow(nr, raw.Concat(why, d.Name),
				seccomp.FD(d.FD), seccomp.Arg2.Is(uint64(d.BlockSize)), seccomp.Arg3.AtMost(d.Capacity-uint64(d.BlockSize)))
		}
	}
}

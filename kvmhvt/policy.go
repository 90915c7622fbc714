package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/seccomp"
)

// standIn is the first of the numbers that stand for descriptors that are not
// open yet.
const standIn = 1000

// Policy returns the system calls that the tender is left with while its guest
// runs. The descriptors that Run opens itself have stand-in numbers from 1000 up.
func Policy(c *Config) (*seccomp.Policy, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	g := grants{config: c, vcpu: standIn, epoll: standIn + 1, timer: standIn + 2, interrupts: c.Image.Timer != 0 && c.CPL == 3}
	for i := range c.Devices {
		d := &c.Devices[i]
		via := device.Plain
		if d.Kind == device.Stream || d.Kind == device.Packet || d.Kind == device.SeqPacket {
			via = device.Socket
		}
		g.add(d, d.FD, via)
	}
	return g.policy(), nil
}

// policy returns the policy for the tender's own descriptors.
func (t *tender) policy() *seccomp.Policy {
	s := &t.services
	g := raw.New[grants]()
	*g = grants{config: t.config, vcpu: t.machine.vcpu, epoll: s.waits.epoll, timer: s.waits.timer, interrupts: t.cpu.timer != nil}
	for i := range t.config.Devices {
		d := &t.config.Devices[i]
		if n := s.nets[d.Handle]; n != nil {
			g.add(d, n.port.FD, n.port.Via)
		} else {
			g.add(d, d.FD, device.Plain)
		}
	}
	return g.policy()
}

// grants is what a policy depends on.
type grants struct {
	config             *Config
	vcpu, epoll, timer int
	interrupts         bool
	nets, sockets      []grant
	blocks             []blockGrant
}

// grant is a device of the guest: the name in its manifest and its descriptor
// on the host.
type grant struct {
	name string
	fd   int
}

// blockGrant is a block device of so many bytes.
type blockGrant struct {
	grant
	capacity uint64
}

// add grants a device that is used through fd.
func (g *grants) add(d *device.Device, fd int, via device.Via) {
	n := grant{d.Name, fd}
	switch {
	case d.Type == image.Block:
		g.blocks = raw.Append(g.blocks, blockGrant{n, d.Capacity})
	case via == device.Socket:
		g.sockets = raw.Append(g.sockets, n)
	default:
		g.nets = raw.Append(g.nets, n)
	}
}

// policy is the policy of the tender while its guest runs: what serving the guest
// takes, on the granted descriptors alone.
//
// The tender checks a guest's block requests itself, and a request may span
// blocks, so the bounds on size and offset here are a second line of defence.
func (g *grants) policy() *seccomp.Policy {
	p := raw.New[seccomp.Policy]()
	p.Name, p.Deny = "hvt", seccomp.Kill
	p.Rules = raw.Slice[seccomp.Rule](0, 24+2*len(g.config.Devices))
	for i := range vcpuRequests {
		p.Allow(unix.SYS_IOCTL, vcpuRequests[i].why, seccomp.FD(g.vcpu), seccomp.Arg1.Is(vcpuRequests[i].request))
	}
	if g.interrupts {
		p.Allow(unix.SYS_IOCTL, "see whether the guest is between two instructions, before the timer interrupts it (KVM_GET_VCPU_EVENTS)",
			seccomp.FD(g.vcpu), seccomp.Arg1.Is(kvmGetVCPUEvents))
	}
	for _, n := range g.nets {
		p.Allow(unix.SYS_READ, raw.Concat("receive from network device ", n.name), seccomp.FD(n.fd))
	}
	if fd := g.config.Debug; fd != NoFD {
		for i := range debugRequests {
			p.Allow(unix.SYS_IOCTL, debugRequests[i].why, seccomp.FD(g.vcpu), seccomp.Arg1.Is(debugRequests[i].request))
		}
		if g.config.CPL == 0 {
			for _, prot := range [...]uint64{unix.PROT_READ, unix.PROT_READ | unix.PROT_WRITE} {
				p.Allow(unix.SYS_MPROTECT, "let the debugger write what the guest may only read, and never execute what can be written",
					seccomp.Arg1.AtMost(DebugData+2*image.PageSize), seccomp.Arg2.Is(prot))
			}
		}
		p.Allow(unix.SYS_READ, "obey the debugger", seccomp.FD(fd))
		p.Allow(unix.SYS_WRITE, "answer the debugger", seccomp.FD(fd))
	}
	p.Allow(unix.SYS_WRITE, "print on the console", seccomp.FD(stdout))
	p.Allow(unix.SYS_WRITE, "report errors", seccomp.FD(stderr))
	for _, n := range g.nets {
		p.Allow(unix.SYS_WRITE, raw.Concat("send to network device ", n.name), seccomp.FD(n.fd))
	}
	if fd := g.config.Console; fd != stdout && fd != stderr {
		p.Allow(unix.SYS_WRITE, "print on the console", seccomp.FD(fd))
	}
	if fd := g.config.Trace; fd != NoFD {
		p.Allow(unix.SYS_WRITE, "tell gocat trace what the guest does", seccomp.FD(fd))
	}
	for _, b := range g.blocks {
		p.Allow(unix.SYS_PREAD64, raw.Concat("read block device ", b.name),
			seccomp.FD(b.fd), seccomp.Arg2.AtMost(b.capacity), seccomp.Arg3.AtMost(b.capacity))
	}
	for _, b := range g.blocks {
		p.Allow(unix.SYS_PWRITE64, raw.Concat("write block device ", b.name),
			seccomp.FD(b.fd), seccomp.Arg2.AtMost(b.capacity), seccomp.Arg3.AtMost(b.capacity))
	}
	for _, s := range g.sockets {
		p.Allow(unix.SYS_RECVFROM, raw.Concat("receive from network device ", s.name, ", without waiting"),
			seccomp.FD(s.fd), seccomp.Arg3.Is(unix.MSG_DONTWAIT), seccomp.Arg4.Is(0))
		p.Allow(unix.SYS_SENDTO, raw.Concat("send to network device ", s.name, ", without waiting"),
			seccomp.FD(s.fd), seccomp.Arg3.Is(unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL), seccomp.Arg4.Is(0))
	}
	p.Allow(unix.SYS_EPOLL_PWAIT, "wait for the guest's devices, the signal mask left alone",
		seccomp.FD(g.epoll), seccomp.Arg4.Is(0))
	p.Allow(unix.SYS_PPOLL, "wait until one descriptor takes more output, or has input, the signal mask left alone",
		seccomp.Arg1.Is(1), seccomp.Arg3.Is(0))
	p.Allow(unix.SYS_TIMERFD_SETTIME, "set the deadline of a wait", seccomp.FD(g.timer), seccomp.Arg1.Is(0), seccomp.Arg3.Is(0))
	p.Allow(unix.SYS_CLOCK_GETTIME, "read the time", seccomp.Arg0.Is(unix.CLOCK_REALTIME))
	if g.config.Trace != NoFD {
		p.Allow(unix.SYS_CLOCK_GETTIME, "time the trace", seccomp.Arg0.Is(unix.CLOCK_MONOTONIC))
	}
	if g.interrupts {
		p.Allow(unix.SYS_RT_SIGRETURN, "go on after the timer's signal")
	} else if g.config.Debug != NoFD {
		p.Allow(unix.SYS_RT_SIGRETURN, "go on after the debugger's signal")
	}
	p.Allow(unix.SYS_EXIT_GROUP, "exit")
	return p
}

// Descriptors that every process has.
const (
	stdout = 1
	stderr = 2
)

// Requests of ioctl on the virtual CPU.
var vcpuRequests = [...]struct {
	request uint64
	why     string
}{
	{kvmRun, "run the guest (KVM_RUN)"},
	{kvmGetRegs, "read the guest's registers (KVM_GET_REGS)"},
	{kvmSetRegs, "set the guest's registers (KVM_SET_REGS)"},
	{kvmGetSregs, "read the guest's system registers (KVM_GET_SREGS)"},
	{kvmSetSregs, "set the guest's system registers (KVM_SET_SREGS)"},
}

// debugRequests are those that a debugger takes besides.
var debugRequests = [...]struct {
	request uint64
	why     string
}{
	{kvmSetGuestDebug, "stop the guest at breakpoints and after steps (KVM_SET_GUEST_DEBUG)"},
	{kvmGetXsave, "read the guest's FPU, SSE and AVX registers (KVM_GET_XSAVE)"},
	{kvmSetXsave, "set the guest's FPU, SSE and AVX registers (KVM_SET_XSAVE)"},
}

package kvmhvt

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/seccomp"
)

// standIn is the first of the numbers that stand for descriptors that are not
// open yet.
const standIn = 1000

// Policy returns the system calls that the tender is left with while its guest
// runs. The descriptors that Run opens itself have stand-in numbers from 1000
// up, and the process number is 0.
func Policy(c *Config) (*seccomp.Policy, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	p := policyInput{console: c.console(), vcpu: standIn, epoll: standIn + 1, timer: standIn + 2, kick: -1}
	if c.NetRing && hasNet(c.Devices) {
		p.kick = standIn + 3
	}
	p.trace, p.interrupts = c.Trace, c.Image.Timer != 0 && c.CPL == 3
	for i := range c.Devices {
		d := &c.Devices[i]
		via := device.Plain
		if d.Kind == device.Stream || d.Kind == device.Packet || d.Kind == device.SeqPacket {
			via = device.Socket
		}
		p.add(d, d.FD, via)
	}
	return p.policy(), nil
}

// policy returns the policy for the tender's own descriptors.
func (t *tender) policy(poller runtimePoller) *seccomp.Policy {
	s := &t.services
	p := policyInput{
		pid: unix.Getpid(), console: s.console.fd, vcpu: t.machine.vcpu,
		epoll: s.waits.epoll, timer: s.waits.timer, kick: -1, poller: poller, trace: t.config.Trace,
		interrupts: t.cpu.timer != nil,
	}
	if t.ring != nil {
		p.kick = t.ring.kick
	}
	for i := range t.config.Devices {
		d := &t.config.Devices[i]
		if n := s.nets[d.Handle]; n != nil {
			p.add(d, n.port.FD, n.port.Via)
		} else {
			p.add(d, d.FD, device.Plain)
		}
	}
	return p.policy()
}

// policyInput is what a policy depends on.
type policyInput struct {
	pid, console       int
	vcpu, epoll, timer int
	kick               int // the ring's eventfd, or -1
	trace              int // or 0
	interrupts         bool
	poller             runtimePoller
	nets, sockets      []seccomp.NetGrant
	blocks             []seccomp.BlockGrant
}

// add grants a device that is used through fd.
func (p *policyInput) add(d *device.Device, fd int, via device.Via) {
	switch {
	case d.Type == image.Block:
		p.blocks = append(p.blocks, seccomp.BlockGrant{Name: d.Name, FD: fd, BlockSize: uint64(d.BlockSize), Capacity: d.Capacity})
	case via == device.Socket:
		p.sockets = append(p.sockets, seccomp.NetGrant{Name: d.Name, FD: fd})
	default:
		p.nets = append(p.nets, seccomp.NetGrant{Name: d.Name, FD: fd})
	}
}

func (p *policyInput) policy() *seccomp.Policy {
	g := seccomp.HVTGrants{PID: p.pid, VCPUFD: p.vcpu, EpollFD: p.epoll, TimerFD: p.timer, Net: p.nets, Block: p.blocks, Interrupts: p.interrupts}
	if p.kick >= 0 {
		g.Read = append(g.Read, p.kick)
	}
	out := seccomp.HVT(g)
	allow := func(nr uint32, why string, conds ...seccomp.Cond) {
		out.Rules = append(out.Rules, seccomp.Rule{Nr: nr, Conds: conds, Why: why})
	}
	for _, s := range p.sockets {
		allow(unix.SYS_RECVFROM, "receive from network device "+s.Name+", without waiting",
			equal(seccomp.Arg0, s.FD), equal(seccomp.Arg3, unix.MSG_DONTWAIT), equal(seccomp.Arg4, 0))
		allow(unix.SYS_SENDTO, "send to network device "+s.Name+", without waiting",
			equal(seccomp.Arg0, s.FD), equal(seccomp.Arg3, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL), equal(seccomp.Arg4, 0))
	}
	if p.kick >= 0 {
		allow(unix.SYS_WRITE, "stop the network ring", equal(seccomp.Arg0, p.kick))
	}
	allow(unix.SYS_POLL, "wait until one descriptor takes more output, or has input", equal(seccomp.Arg1, 1))
	if p.console != 1 && p.console != 2 {
		allow(unix.SYS_WRITE, "print on the console", equal(seccomp.Arg0, p.console))
	}
	if p.trace != 0 {
		allow(unix.SYS_WRITE, "tell gocat trace what the guest does", equal(seccomp.Arg0, p.trace))
	}
	for _, fd := range p.poller.epolls {
		allow(unix.SYS_EPOLL_PWAIT, "wait in the Go runtime's own poller", equal(seccomp.Arg0, fd))
	}
	for _, fd := range p.poller.events {
		allow(unix.SYS_READ, "wake the Go runtime's own poller", equal(seccomp.Arg0, fd))
		allow(unix.SYS_WRITE, "wake the Go runtime's own poller", equal(seccomp.Arg0, fd))
	}
	return out
}

func equal(f seccomp.Field, v int) seccomp.Cond {
	return seccomp.Cond{Field: f, Op: seccomp.Equal, Value: uint64(v)}
}

// runtimePoller is what the Go runtime waits with, if anything made it: a
// standard descriptor that was non-blocking at the start is enough.
type runtimePoller struct {
	epolls, events []int
}

// findRuntimePoller looks for descriptors of the runtime's own: of the kinds
// that it makes, not the tender's, and close-on-exec, so that nothing that was
// inherited is taken for one.
func findRuntimePoller(own []int) (p runtimePoller) {
	// Descriptors are given out from the lowest number: what the runtime made
	// early is not behind a long run of numbers that are free.
	const longRun = 32
	var name [64]byte
	for fd, free := 3, 0; free < longRun; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			free++
			continue
		}
		free = 0
		if flags&unix.FD_CLOEXEC == 0 || slices.Contains(own, fd) {
			continue
		}
		n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), name[:])
		if err != nil {
			continue
		}
		switch string(name[:n]) {
		case "anon_inode:[eventpoll]":
			p.epolls = append(p.epolls, fd)
		case "anon_inode:[eventfd]":
			p.events = append(p.events, fd)
		}
	}
	return p
}

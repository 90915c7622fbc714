package seccomp

import (
	"math"

	"golang.org/x/sys/unix"
)

// HVTGrants is what the hvt tender keeps for running its guest.
type HVTGrants struct {
	PID              int // of the tender: the Go runtime signals its own threads
	VCPUFD           int // the virtual CPU, from KVM_CREATE_VCPU
	EpollFD, TimerFD int
	Net              []NetGrant
	Block            []BlockGrant
	Read             []int // further descriptors to read: eventfds, a signalfd
	Interrupts       bool  // a timer interrupts the guest
}

// HVT is the policy of the hvt tender while its guest runs, for all its threads
// (SECCOMP_FILTER_FLAG_TSYNC). It holds what tending takes, on the granted
// descriptors alone, and what the Go runtime asks of the kernel meanwhile:
// threads with exactly its own flags and memory that is never executable.
//
// The runtime's network poller is not among it: timers, os.File and the heap's
// scavenger make an epoll of its own, so the tender uses none of them by then
// (debug.SetGCPercent(-1) stills the scavenger).
//
// The tender checks a guest's block requests itself, and a request may span
// blocks, so the bounds on size and offset here are a second line of defence.
func HVT(g HVTGrants) *Policy {
	p := &Policy{Name: "hvt", Deny: Kill}
	for _, k := range vcpuRequests {
		p.allow(unix.SYS_IOCTL, k.why, fd(g.VCPUFD), equal(Arg1, k.request))
	}
	if g.Interrupts {
		p.allow(unix.SYS_IOCTL, "see whether the guest is between two instructions, before the timer interrupts it (KVM_GET_VCPU_EVENTS)",
			fd(g.VCPUFD), equal(Arg1, vcpuEvents))
	}
	for _, n := range g.Net {
		p.allow(unix.SYS_READ, "receive from network device "+n.Name, fd(n.FD))
	}
	for _, n := range g.Read {
		p.allow(unix.SYS_READ, "take a notification", fd(n))
	}
	p.allow(unix.SYS_WRITE, "print on the console", fd(stdout))
	p.allow(unix.SYS_WRITE, "report errors", fd(stderr))
	for _, n := range g.Net {
		p.allow(unix.SYS_WRITE, "send to network device "+n.Name, fd(n.FD))
	}
	for _, b := range g.Block {
		p.allow(unix.SYS_PREAD64, "read block device "+b.Name,
			fd(b.FD), atMost(Arg2, b.Capacity), atMost(Arg3, b.Capacity))
	}
	for _, b := range g.Block {
		p.allow(unix.SYS_PWRITE64, "write block device "+b.Name,
			fd(b.FD), atMost(Arg2, b.Capacity), atMost(Arg3, b.Capacity))
	}
	p.allow(unix.SYS_EPOLL_PWAIT, "wait for the guest's devices, the signal mask left alone",
		fd(g.EpollFD), equal(Arg4, 0))
	p.allow(unix.SYS_TIMERFD_SETTIME, "set the deadline of a wait", fd(g.TimerFD))
	p.allow(unix.SYS_CLOCK_GETTIME, "read clocks where the vdso cannot")
	p.allow(unix.SYS_EXIT_GROUP, "exit")
	p.allowRuntime(g.PID)
	return p
}

// Requests of ioctl on a virtual CPU (linux/kvm.h, for x86-64).
var vcpuRequests = [...]struct {
	request uint64
	why     string
}{
	{0xae80, "run the guest (KVM_RUN)"},
	{0x8090ae81, "read the guest's registers (KVM_GET_REGS)"},
	{0x4090ae82, "set the guest's registers (KVM_SET_REGS)"},
	{0x8138ae83, "read the guest's system registers (KVM_GET_SREGS)"},
	{0x4138ae84, "set the guest's system registers (KVM_SET_SREGS)"},
}

// vcpuEvents is KVM_GET_VCPU_EVENTS (linux/kvm.h, for x86-64).
const vcpuEvents = 0x8040ae9f

// threadFlags are the flags of clone(2) with which the Go runtime makes every
// thread (runtime/os_linux.go, and CLONE_SETTLS from its assembler).
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_SYSVSEM | unix.CLONE_THREAD | unix.CLONE_SETTLS

// Operations of futex(2) that the Go runtime uses (linux/futex.h): none of those
// that lock, requeue or inherit priorities.
const (
	futexWaitPrivate = 128
	futexWakePrivate = 129
)

// allowRuntime allows what the Go runtime of process pid calls of its own
// accord, at any time.
func (p *Policy) allowRuntime(pid int) {
	p.allow(unix.SYS_FUTEX, "park the Go runtime's threads", equal(Arg1, futexWaitPrivate))
	p.allow(unix.SYS_FUTEX, "wake the Go runtime's threads", equal(Arg1, futexWakePrivate))
	p.allow(unix.SYS_NANOSLEEP, "pause in the Go runtime's scheduler")
	p.allow(unix.SYS_SCHED_YIELD, "yield in the Go runtime's scheduler")
	p.allow(unix.SYS_RT_SIGRETURN, "return from a signal handler")
	p.allow(unix.SYS_RESTART_SYSCALL, "resume a wait after a stop")
	p.allow(unix.SYS_CLONE, "start a thread of the Go runtime, never a process", equal(Arg0, threadFlags))
	private := masked(Arg3, math.MaxUint32&^unix.MAP_FIXED, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS) // MAP_FIXED or not
	p.allow(unix.SYS_MMAP, "reserve anonymous memory", equal(Arg2, unix.PROT_NONE), private)
	p.allow(unix.SYS_MMAP, "map anonymous memory, never executable", equal(Arg2, unix.PROT_READ|unix.PROT_WRITE), private)
	p.allow(unix.SYS_MPROTECT, "close memory", equal(Arg2, unix.PROT_NONE))
	p.allow(unix.SYS_MPROTECT, "make memory read-only", equal(Arg2, unix.PROT_READ))
	p.allow(unix.SYS_MPROTECT, "open memory, never executable", equal(Arg2, unix.PROT_READ|unix.PROT_WRITE))
	p.allow(unix.SYS_MUNMAP, "return memory")
	for _, advice := range [...]uint64{unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE, unix.MADV_COLLAPSE} {
		p.allow(unix.SYS_MADVISE, "return memory, or advise on huge pages", equal(Arg2, advice))
	}
	p.allow(unix.SYS_RT_SIGPROCMASK, "set a thread's signal mask")
	p.allow(unix.SYS_SIGALTSTACK, "set a thread's signal stack")
	p.allow(unix.SYS_GETTID, "name a thread")
	p.allow(unix.SYS_GETPID, "name the process")
	p.allow(unix.SYS_TGKILL, "signal the tender's own threads, for preemption", equal(Arg0, uint64(pid)))
	p.allow(unix.SYS_PRCTL, "label memory (PR_SET_VMA)", equal(Arg0, unix.PR_SET_VMA))
}

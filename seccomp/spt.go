package seccomp

import (
	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// NetGrant is a network device of the guest: the name in its manifest and the
// descriptor behind it.
type NetGrant struct {
	Name string
	FD   int
}

// BlockGrant is a block device of the guest. It may be read and written one
// block of BlockSize bytes at a time, within Capacity bytes.
type BlockGrant struct {
	Name                string
	FD                  int
	BlockSize, Capacity uint64
}

// Reporter is the one system call of the fault reporter, the signal handler
// that names a forbidden call before the process dies.
type Reporter struct {
	IP     uint64 // address of the instruction after its system call instruction
	Buf    uint64 // address of its message
	MaxLen uint64 // size of the message's buffer in bytes
}

// SPTGrants is what an spt guest holds.
type SPTGrants struct {
	EpollFD, TimerFD int
	Net              []NetGrant
	Block            []BlockGrant
	Strict           bool      // see SPT
	Reporter         *Reporter // nil: a forbidden call kills at once
}

// Descriptors that every process has.
const (
	stdout = 1
	stderr = 2
)

// SPT is the policy of an spt guest. It allows what the Solo5 bindings of
// versions 0.6 to 0.12 call, with the arguments that they never vary fixed, on
// the granted descriptors alone.
//
// A strict policy is for guests that neither set timers, nor read the clock,
// nor use thread-local storage: it leaves reading and writing the guest's own
// devices, writing on the console, waiting and exiting.
//
// With a Reporter, forbidden calls are trapped for it to report and nothing
// more is allowed than the one write of its message. It never resumes the guest:
// it ends by a forbidden call of its own, which with SIGSYS blocked kills.
func SPT(g SPTGrants) *Policy {
	p := raw.New[Policy]()
	p.Name, p.Deny = "spt", Kill
	p.Rules = raw.Slice[Rule](0, 12+2*(len(g.Net)+len(g.Block)))
	if g.Strict {
		p.Name = "spt-strict"
	}
	for _, n := range g.Net {
		p.allow(unix.SYS_READ, raw.Concat("receive from network device ", n.Name), fd(n.FD))
	}
	p.allow(unix.SYS_WRITE, "print on the console", fd(stdout))
	for _, n := range g.Net {
		p.allow(unix.SYS_WRITE, raw.Concat("send to network device ", n.Name), fd(n.FD))
	}
	if r := g.Reporter; r != nil {
		p.Deny = Trap
		p.allow(unix.SYS_WRITE, "let the fault reporter print its message, from its own code only",
			fd(stderr), equal(Arg1, r.Buf), atMost(Arg2, r.MaxLen), equal(IP, r.IP))
	}
	for _, b := range g.Block {
		p.allowBlock(unix.SYS_PREAD64, raw.Concat("read a block of block device ", b.Name), b)
	}
	for _, b := range g.Block {
		p.allowBlock(unix.SYS_PWRITE64, raw.Concat("write a block of block device ", b.Name), b)
	}
	p.allow(unix.SYS_EPOLL_PWAIT, "wait for its devices, the signal mask left alone",
		fd(g.EpollFD), equal(Arg4, 0))
	if !g.Strict {
		p.allow(unix.SYS_TIMERFD_SETTIME, "set the deadline of a wait, as an absolute time",
			fd(g.TimerFD), equal(Arg1, unix.TFD_TIMER_ABSTIME), equal(Arg3, 0))
		p.allow(unix.SYS_CLOCK_GETTIME, "read the monotonic clock", equal(Arg0, unix.CLOCK_MONOTONIC))
		p.allow(unix.SYS_CLOCK_GETTIME, "read the wall clock", equal(Arg0, unix.CLOCK_REALTIME))
		p.allow(unix.SYS_ARCH_PRCTL, "set the base of thread-local storage", equal(Arg0, archSetFS))
	}
	p.allow(unix.SYS_EXIT_GROUP, "exit")
	return p
}

// archSetFS is ARCH_SET_FS of asm/prctl.h.
const archSetFS = 0x1002

func (p *Policy) allow(nr uint32, why string, conds ...Cond) {
	p.Rules = append(p.Rules, Rule{Nr: nr, Conds: raw.Clone(conds), Why: why})
}

// allowBlock allows pread64 or pwrite64 of one whole block inside the device.
// A device smaller than a block has none.
func (p *Policy) allowBlock(nr uint32, why string, b BlockGrant) {
	if b.Capacity < b.BlockSize {
		return
	}
	p.allow(nr, why, fd(b.FD), equal(Arg2, b.BlockSize), atMost(Arg3, b.Capacity-b.BlockSize))
}

func fd(n int) Cond                       { return equal(Arg0, uint64(n)) }
func equal(f Field, v uint64) Cond        { return Cond{Field: f, Op: Equal, Value: v} }
func atMost(f Field, v uint64) Cond       { return Cond{Field: f, Op: AtMost, Value: v} }
func masked(f Field, mask, v uint64) Cond { return Cond{Field: f, Op: Masked, Value: v, Mask: mask} }

package seccomp

import (
	"flag"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Policies like those of the backends, with conditions of every kind.

// sampleDisk is a block device: a descriptor, and bytes.
type sampleDisk struct {
	fd             int
	size, capacity uint64
}

// sampleReporter is a write that one instruction alone may make.
type sampleReporter struct{ ip, buf, maxLen uint64 }

// testReporter has addresses as they are in an spt image.
var testReporter = sampleReporter{ip: 0x10234, buf: 0x7fff_0000_2000, maxLen: 160}

// sample is what a guest is granted.
type sample struct {
	epoll, timer int
	net          []int
	disks        []sampleDisk
	strict       bool // without timer and clock
	reporter     *sampleReporter
}

// policy is like that of an spt guest.
func (s sample) policy() *Policy {
	p := &Policy{Name: "guest", Deny: Kill}
	if s.strict {
		p.Name = "strict"
	}
	for _, n := range s.net {
		p.Allow(unix.SYS_READ, "receive", FD(n))
	}
	p.Allow(unix.SYS_WRITE, "print", FD(1))
	for _, n := range s.net {
		p.Allow(unix.SYS_WRITE, "send", FD(n))
	}
	if r := s.reporter; r != nil {
		p.Deny = Trap
		p.Allow(unix.SYS_WRITE, "report", FD(2), Arg1.Is(r.buf), Arg2.AtMost(r.maxLen), IP.Is(r.ip))
	}
	for _, nr := range []uint32{unix.SYS_PREAD64, unix.SYS_PWRITE64} {
		for _, d := range s.disks {
			if d.capacity >= d.size {
				p.Allow(nr, "use a block", FD(d.fd), Arg2.Is(d.size), Arg3.AtMost(d.capacity-d.size))
			}
		}
	}
	p.Allow(unix.SYS_EPOLL_PWAIT, "wait", FD(s.epoll), Arg4.Is(0))
	if !s.strict {
		p.Allow(unix.SYS_TIMERFD_SETTIME, "set a deadline", FD(s.timer), Arg1.Is(unix.TFD_TIMER_ABSTIME), Arg3.Is(0))
		p.Allow(unix.SYS_CLOCK_GETTIME, "read the monotonic clock", Arg0.Is(unix.CLOCK_MONOTONIC))
		p.Allow(unix.SYS_CLOCK_GETTIME, "read the wall clock", Arg0.Is(unix.CLOCK_REALTIME))
	}
	p.Allow(unix.SYS_EXIT_GROUP, "exit")
	if r := s.reporter; r != nil {
		p.AnswerHolds(unix.SYS_GETPPID, IP.Masked(^uint64(0xff), r.ip&^0xff))
	}
	return p
}

// tenderPolicy is like that of a virtual machine's tender.
func tenderPolicy(net []int, disks []sampleDisk) *Policy {
	p := &Policy{Name: "tender", Deny: Kill}
	for _, request := range []uint64{0xae80, 0x8090ae81, 0x4090ae82} {
		p.Allow(unix.SYS_IOCTL, "run the guest", FD(100), Arg1.Is(request))
	}
	for _, n := range net {
		p.Allow(unix.SYS_READ, "receive", FD(n))
		p.Allow(unix.SYS_SENDTO, "send", FD(n), Arg3.Is(unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL), Arg4.Is(0))
	}
	for _, d := range disks {
		p.Allow(unix.SYS_PREAD64, "read", FD(d.fd), Arg2.AtMost(d.capacity), Arg3.AtMost(d.capacity))
	}
	p.Allow(unix.SYS_EXIT_GROUP, "exit")
	p.Allow(unix.SYS_CLONE, "start a thread", Arg0.Is(0xd0f00))
	const private = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	for _, prot := range []uint64{unix.PROT_NONE, unix.PROT_READ | unix.PROT_WRITE} {
		p.Allow(unix.SYS_MMAP, "map memory", Arg2.Is(prot), Arg3.Masked(1<<32-1&^unix.MAP_FIXED, private))
	}
	p.Allow(unix.SYS_MUNMAP, "return memory")
	p.Allow(unix.SYS_TGKILL, "signal itself", Arg0.Is(4321))
	return p
}

// testPolicies returns policies of both kinds, for several numbers of devices up
// to the most that a manifest holds, in every variant. Quick tests have those of few
// devices, which are the first ones.
func testPolicies() []*Policy {
	var all []*Policy
	counts := [][2]int{{0, 0}, {1, 0}, {0, 1}, {1, 1}, {31, 0}, {0, 31}, {31, 32}, {63, 0}, {0, 63}}
	if flag.Parsed() && testing.Short() { // TestKernel's children parse no flags, and have all
		counts = counts[:4]
	}
	for _, count := range counts {
		s := sample{epoll: 3, timer: 4}
		next := 5
		for range count[0] {
			s.net = append(s.net, next)
			next++
		}
		for i := range count[1] {
			size := uint64(512) << (i % 4)
			s.disks = append(s.disks, sampleDisk{next, size, size << (i % 48)})
			next++
		}
		for _, s.strict = range []bool{false, true} {
			for _, s.reporter = range []*sampleReporter{nil, &testReporter} {
				p := s.policy()
				p.Name = fmt.Sprintf("%s-%d-net-%d-block-%v", p.Name, count[0], count[1], p.Deny)
				all = append(all, p)
			}
		}
		p := tenderPolicy(s.net, s.disks)
		p.Name = fmt.Sprintf("%s-%d-net-%d-block", p.Name, count[0], count[1])
		all = append(all, p)
	}
	return all
}

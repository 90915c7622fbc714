package spt

import (
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/seccomp"
)

// asked is a system call of x86-64 as a filter sees it.
func asked(nr uint32, args ...uint64) seccomp.Call {
	c := seccomp.Call{Arch: unix.AUDIT_ARCH_X86_64, Nr: nr}
	copy(c.Args[:], args)
	return c
}

// TestPolicy states what a guest may do, apart from how the rules say it.
func TestPolicy(t *testing.T) {
	held := grants{
		epoll: 3, timer: 4, gate: stubBase,
		devices: []device.Device{
			{Type: image.Net, Name: "in", FD: 5},
			{Type: image.Net, Name: "out", FD: 6},
			{Type: image.Block, Name: "disk", FD: 7, BlockSize: 512, Capacity: 10 * 512},
			{Type: image.Block, Name: "small", FD: 8, BlockSize: 4096, Capacity: 512},
		},
	}
	const buf, any = 0x200000, 0xdead_beef_dead_beef
	tests := []struct {
		what            string
		call            seccomp.Call
		regular, strict bool
	}{
		{"receive", asked(unix.SYS_READ, 5, buf, 1500), true, true},
		{"receive from the other", asked(unix.SYS_READ, 6, buf, 1<<20), true, true},
		{"read the console", asked(unix.SYS_READ, 0, buf, 1), false, false},
		{"read the timer", asked(unix.SYS_READ, 4, buf, 8), false, false},
		{"read the disk as a stream", asked(unix.SYS_READ, 7, buf, 512), false, false},
		{"read a descriptor whose low half is granted", asked(unix.SYS_READ, 1<<32|5, buf, 1), false, false},
		{"print", asked(unix.SYS_WRITE, 1, buf, 5), true, true},
		{"send", asked(unix.SYS_WRITE, 6, buf, 60), true, true},
		{"write to stderr", asked(unix.SYS_WRITE, 2, buf, 1), false, false},
		{"read the first block", asked(unix.SYS_PREAD64, 7, buf, 512, 0), true, true},
		{"write the last block", asked(unix.SYS_PWRITE64, 7, buf, 512, 9*512), true, true},
		{"write past the last block", asked(unix.SYS_PWRITE64, 7, buf, 512, 9*512+1), false, false},
		{"read two blocks", asked(unix.SYS_PREAD64, 7, buf, 1024, 0), false, false},
		{"read at a negative offset", asked(unix.SYS_PREAD64, 7, buf, 512, 1<<64-512), false, false},
		{"read a device smaller than its block", asked(unix.SYS_PREAD64, 8, buf, 4096, 0), false, false},
		{"wait", asked(unix.SYS_EPOLL_PWAIT, 3, buf, 2, any, 0, any), true, true},
		{"wait under another signal mask", asked(unix.SYS_EPOLL_PWAIT, 3, buf, 2, any, buf, 8), false, false},
		{"set the timer", asked(unix.SYS_TIMERFD_SETTIME, 4, 1, buf, 0), true, false},
		{"set a relative time", asked(unix.SYS_TIMERFD_SETTIME, 4, 0, buf, 0), false, false},
		{"set the timer and read it", asked(unix.SYS_TIMERFD_SETTIME, 4, 1, buf, buf), false, false},
		{"read the wall clock", asked(unix.SYS_CLOCK_GETTIME, 0, buf), true, false},
		{"read the monotonic clock", asked(unix.SYS_CLOCK_GETTIME, 1, buf), true, false},
		{"read the processor time", asked(unix.SYS_CLOCK_GETTIME, 2, buf), false, false},
		{"set FS", asked(unix.SYS_ARCH_PRCTL, 0x1002, any), true, false},
		{"set GS", asked(unix.SYS_ARCH_PRCTL, 0x1001, any), false, false},
		{"exit", asked(unix.SYS_EXIT_GROUP, any), true, true},
		{"exit a thread", asked(unix.SYS_EXIT, 0), false, false},
		{"open", asked(unix.SYS_OPENAT, any, buf), false, false},
		{"allow itself to execute", asked(unix.SYS_MPROTECT, buf, 4096, 7), false, false},
		{"return from a signal", asked(unix.SYS_RT_SIGRETURN), false, false},
	}
	regular := held.policy()
	held.strict = true
	strict := held.policy()
	for _, test := range tests {
		for p, allowed := range map[*seccomp.Policy]bool{regular: test.regular, strict: test.strict} {
			want := seccomp.Trap
			if allowed {
				want = seccomp.Allow
			}
			if got := p.Decide(test.call); got != want {
				t.Errorf("%s: %s: %v, want %v", p.Name, test.what, got, want)
			}
			foreign := test.call
			foreign.Arch = unix.AUDIT_ARCH_I386
			x32 := test.call
			x32.Nr |= 0x40000000
			if p.Decide(foreign) != seccomp.Trap || p.Decide(x32) != seccomp.Trap {
				t.Errorf("%s: %s as a 32-bit or x32 call is not denied", p.Name, test.what)
			}
		}
	}
}

// TestReporterGrant asserts that it holds in its own code alone, and that
// without a reporter there is neither the grant nor a trap.
func TestReporterGrant(t *testing.T) {
	const ip = stubBase + 2
	report := func(fd, buf, size, from uint64) seccomp.Call {
		c := asked(unix.SYS_WRITE, fd, buf, size)
		c.IP = from
		return c
	}
	with := (&grants{epoll: 3, timer: 4, gate: stubBase}).policy()
	for _, c := range []seccomp.Call{report(2, lineBase, 0, ip), report(2, lineBase, lineSize, ip)} {
		if got := with.Decide(c); got != seccomp.Allow {
			t.Errorf("%v: %v, want allow", c, got)
		}
	}
	for _, c := range []seccomp.Call{
		report(3, lineBase, 1, ip),
		report(2, lineBase+1, 1, ip),
		report(2, lineBase, lineSize+1, ip),
		report(2, lineBase, 1, ip-2),
		report(2, lineBase, 1, ip|1<<32),
	} {
		if got := with.Decide(c); got != seccomp.Trap {
			t.Errorf("%v: %v, want trap", c, got)
		}
	}
	without := (&grants{epoll: 3, timer: 4}).policy()
	if got := without.Decide(report(2, lineBase, 1, ip)); got != seccomp.Kill {
		t.Errorf("without a reporter its write gets %v, want kill", got)
	}
}

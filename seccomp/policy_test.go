package seccomp

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func call(nr uint32, args ...uint64) Call {
	c := Call{Arch: unix.AUDIT_ARCH_X86_64, Nr: nr}
	copy(c.Args[:], args)
	return c
}

// TestSPT states what a guest may do, apart from how the rules say it.
func TestSPT(t *testing.T) {
	grants := SPTGrants{
		EpollFD: 3, TimerFD: 4,
		Net:      []NetGrant{{"in", 5}, {"out", 6}},
		Block:    []BlockGrant{{"disk", 7, 512, 10 * 512}, {"small", 8, 4096, 512}},
		Reporter: &testReporter,
	}
	const buf, any = 0x200000, 0xdead_beef_dead_beef
	tests := []struct {
		what            string
		call            Call
		regular, strict bool
	}{
		{"receive", call(unix.SYS_READ, 5, buf, 1500), true, true},
		{"receive from the other", call(unix.SYS_READ, 6, buf, 1<<20), true, true},
		{"read the console", call(unix.SYS_READ, 0, buf, 1), false, false},
		{"read the timer", call(unix.SYS_READ, 4, buf, 8), false, false},
		{"read the disk as a stream", call(unix.SYS_READ, 7, buf, 512), false, false},
		{"read a descriptor whose low half is granted", call(unix.SYS_READ, 1<<32|5, buf, 1), false, false},
		{"print", call(unix.SYS_WRITE, 1, buf, 5), true, true},
		{"send", call(unix.SYS_WRITE, 6, buf, 60), true, true},
		{"write to stderr", call(unix.SYS_WRITE, 2, buf, 1), false, false},
		{"read the first block", call(unix.SYS_PREAD64, 7, buf, 512, 0), true, true},
		{"write the last block", call(unix.SYS_PWRITE64, 7, buf, 512, 9*512), true, true},
		{"write past the last block", call(unix.SYS_PWRITE64, 7, buf, 512, 9*512+1), false, false},
		{"read two blocks", call(unix.SYS_PREAD64, 7, buf, 1024, 0), false, false},
		{"read at a negative offset", call(unix.SYS_PREAD64, 7, buf, 512, 1<<64-512), false, false},
		{"read a device smaller than its block", call(unix.SYS_PREAD64, 8, buf, 4096, 0), false, false},
		{"wait", call(unix.SYS_EPOLL_PWAIT, 3, buf, 2, any, 0, any), true, true},
		{"wait under another signal mask", call(unix.SYS_EPOLL_PWAIT, 3, buf, 2, any, buf, 8), false, false},
		{"set the timer", call(unix.SYS_TIMERFD_SETTIME, 4, 1, buf, 0), true, false},
		{"set a relative time", call(unix.SYS_TIMERFD_SETTIME, 4, 0, buf, 0), false, false},
		{"set the timer and read it", call(unix.SYS_TIMERFD_SETTIME, 4, 1, buf, buf), false, false},
		{"read the wall clock", call(unix.SYS_CLOCK_GETTIME, 0, buf), true, false},
		{"read the monotonic clock", call(unix.SYS_CLOCK_GETTIME, 1, buf), true, false},
		{"read the processor time", call(unix.SYS_CLOCK_GETTIME, 2, buf), false, false},
		{"set FS", call(unix.SYS_ARCH_PRCTL, 0x1002, any), true, false},
		{"set GS", call(unix.SYS_ARCH_PRCTL, 0x1001, any), false, false},
		{"exit", call(unix.SYS_EXIT_GROUP, any), true, true},
		{"exit a thread", call(unix.SYS_EXIT, 0), false, false},
		{"open", call(unix.SYS_OPENAT, any, buf), false, false},
		{"allow itself to execute", call(unix.SYS_MPROTECT, buf, 4096, 7), false, false},
		{"return from a signal", call(unix.SYS_RT_SIGRETURN), false, false},
	}
	regular := SPT(grants)
	grants.Strict = true
	strict := SPT(grants)
	for _, test := range tests {
		for p, allowed := range map[*Policy]bool{regular: test.regular, strict: test.strict} {
			want := Trap
			if allowed {
				want = Allow
			}
			if got := p.Decide(test.call); got != want {
				t.Errorf("%s: %s: %v, want %v", p.Name, test.what, got, want)
			}
			foreign := test.call
			foreign.Arch = unix.AUDIT_ARCH_I386
			x32 := test.call
			x32.Nr |= 0x40000000
			if p.Decide(foreign) != Kill || p.Decide(x32) != Kill {
				t.Errorf("%s: %s as a 32-bit or x32 call is not killed", p.Name, test.what)
			}
		}
	}
}

// TestReporter asserts that its grant holds in its own code alone, and that
// without a reporter there is neither the grant nor a trap.
func TestReporter(t *testing.T) {
	r := testReporter
	report := func(fd, buf, size, ip uint64) Call {
		c := call(unix.SYS_WRITE, fd, buf, size)
		c.IP = ip
		return c
	}
	with := SPT(SPTGrants{EpollFD: 3, TimerFD: 4, Reporter: &r})
	for _, c := range []Call{report(2, r.Buf, 0, r.IP), report(2, r.Buf, r.MaxLen, r.IP)} {
		if got := with.Decide(c); got != Allow {
			t.Errorf("%v: %v, want allow", c, got)
		}
	}
	for _, c := range []Call{
		report(3, r.Buf, 1, r.IP),
		report(2, r.Buf+1, 1, r.IP),
		report(2, r.Buf, r.MaxLen+1, r.IP),
		report(2, r.Buf, 1, r.IP-2),
		report(2, r.Buf, 1, r.IP|1<<32),
	} {
		if got := with.Decide(c); got != Trap {
			t.Errorf("%v: %v, want trap", c, got)
		}
	}
	without := SPT(SPTGrants{EpollFD: 3, TimerFD: 4})
	if got := without.Decide(report(2, r.Buf, 1, r.IP)); got != Kill {
		t.Errorf("without a reporter its write gets %v, want kill", got)
	}
}

// TestHVT states what the hvt tender may do, apart from how the rules say it.
func TestHVT(t *testing.T) {
	p := HVT(HVTGrants{
		PID: 4321, VCPUFD: 9, EpollFD: 3, TimerFD: 4, Read: []int{10},
		Net: []NetGrant{{"tap", 5}}, Block: []BlockGrant{{"disk", 7, 512, 10 * 512}}, Interrupts: true,
	})
	const buf = 0xc000000000
	for _, test := range []struct {
		what    string
		call    Call
		allowed bool
	}{
		{"run the guest", call(unix.SYS_IOCTL, 9, 0xae80, 0), true},
		{"run another descriptor", call(unix.SYS_IOCTL, 8, 0xae80, 0), false},
		{"see events", call(unix.SYS_IOCTL, 9, 0x8040ae9f, buf), true},
		{"set events", call(unix.SYS_IOCTL, 9, 0x4040aea0, buf), false},
		{"set MSRs", call(unix.SYS_IOCTL, 9, 0x4008ae89, buf), false},
		{"take a notification", call(unix.SYS_READ, 10, buf, 8), true},
		{"give a notification", call(unix.SYS_WRITE, 10, buf, 8), false},
		{"send", call(unix.SYS_WRITE, 5, buf, 60), true},
		{"report an error", call(unix.SYS_WRITE, 2, buf, 60), true},
		{"read two blocks", call(unix.SYS_PREAD64, 7, buf, 1024, 512), true},
		{"write far past the device", call(unix.SYS_PWRITE64, 7, buf, 512, 1<<40), false},
		{"start a runtime thread", call(unix.SYS_CLONE, 0xd0f00, buf), true},
		{"fork", call(unix.SYS_CLONE, 17), false},
		{"reserve memory", call(unix.SYS_MMAP, 0, 4096, 0, 0x22, 0xffffffff, 0), true},
		{"map memory", call(unix.SYS_MMAP, buf, 4096, 3, 0x32, 0xffffffff, 0), true},
		{"map a file", call(unix.SYS_MMAP, 0, 4096, 3, 2, 7, 0), false},
		{"map code", call(unix.SYS_MMAP, 0, 4096, 7, 0x22, 0xffffffff, 0), false},
		{"make code", call(unix.SYS_MPROTECT, buf, 4096, 5), false},
		{"preempt its own thread", call(unix.SYS_TGKILL, 4321, 4322, 23), true},
		{"signal another process", call(unix.SYS_TGKILL, 1, 1, 9), false},
		{"label memory", call(unix.SYS_PRCTL, unix.PR_SET_VMA, 0, buf, 4096, buf), true},
		{"become dumpable", call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1), false},
		{"open", call(unix.SYS_OPENAT, 0, buf), false},
		{"execute", call(unix.SYS_EXECVE, buf), false},
	} {
		want := Kill
		if test.allowed {
			want = Allow
		}
		if got := p.Decide(test.call); got != want {
			t.Errorf("%s: %v, want %v", test.what, got, want)
		}
	}
}

func TestAssembleRefuses(t *testing.T) {
	rule := func(r Rule) *Policy { return &Policy{Name: "bad", Deny: Kill, Rules: []Rule{r}} }
	for text, p := range map[string]*Policy{
		"denies by action 0x7fff0000":  {Name: "bad", Deny: Allow},
		"denies by action 0x0":         {Name: "bad"},
		"x32":                          rule(Rule{Nr: x32Bit | 1}),
		"unknown field 7":              rule(Rule{Conds: []Cond{{Field: IP + 1}}}),
		"unknown comparison 3":         rule(Rule{Conds: []Cond{{Op: Masked + 1}}}),
		"64 conditions are too many":   rule(Rule{Conds: make([]Cond, 64)}),
		"the kernel takes 4096: grant": SPT(SPTGrants{Net: make([]NetGrant, 500)}),
	} {
		prog, err := p.Assemble()
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one line with %q", err, text)
		}
		if prog != nil {
			t.Errorf("a program came with the error %v", err)
		}
	}
}

// TestEveryRuleSaysWhy also asserts that the policies speak of known calls only.
func TestEveryRuleSaysWhy(t *testing.T) {
	for _, p := range testPolicies() {
		for i := range p.Rules {
			if r := &p.Rules[i]; r.Why == "" || SyscallName(r.Nr) == "" {
				t.Errorf("policy %s: rule %v: why %q", p.Name, r, r.Why)
			}
		}
	}
}

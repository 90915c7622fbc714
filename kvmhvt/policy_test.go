package kvmhvt

import (
	"testing"

	"golang.org/x/sys/unix"

	"gocat/seccomp"
)

// call is a system call of x86-64.
func call(nr uint32, args ...uint64) seccomp.Call {
	c := seccomp.Call{Arch: unix.AUDIT_ARCH_X86_64, Nr: nr}
	copy(c.Args[:], args)
	return c
}

// TestPolicyAllows states what the hvt tender may do, apart from how the rules say it.
func TestPolicyAllows(t *testing.T) {
	in := grants{
		config: &Config{Console: 1, Trace: NoFD, Debug: NoFD, KVM: NoFD}, vcpu: 9, epoll: 3, timer: 4, interrupts: true,
		nets: []grant{{"tap", 5}}, blocks: []blockGrant{{grant{"disk", 7}, 10 * 512}},
	}
	p := in.policy()
	const buf = 0xc000000000
	for _, test := range []struct {
		what    string
		call    seccomp.Call
		allowed bool
	}{
		{"run the guest", call(unix.SYS_IOCTL, 9, 0xae80, 0), true},
		{"run another descriptor", call(unix.SYS_IOCTL, 8, 0xae80, 0), false},
		{"see events", call(unix.SYS_IOCTL, 9, 0x8040ae9f, buf), true},
		{"set events", call(unix.SYS_IOCTL, 9, 0x4040aea0, buf), false},
		{"set MSRs", call(unix.SYS_IOCTL, 9, 0x4008ae89, buf), false},
		{"wait", call(unix.SYS_EPOLL_PWAIT, 3, buf, 8, 0xffffffff, 0), true},
		{"wait with another signal mask", call(unix.SYS_EPOLL_PWAIT, 3, buf, 8, 0xffffffff, buf), false},
		{"wait for two descriptors", call(unix.SYS_PPOLL, buf, 2, 0, 0), false},
		{"set the timer as it was not", call(unix.SYS_TIMERFD_SETTIME, 4, 1, buf, 0), false},
		{"send", call(unix.SYS_WRITE, 5, buf, 60), true},
		{"report an error", call(unix.SYS_WRITE, 2, buf, 60), true},
		{"read two blocks", call(unix.SYS_PREAD64, 7, buf, 1024, 512), true},
		{"write far past the device", call(unix.SYS_PWRITE64, 7, buf, 512, 1<<40), false},
		{"start a thread", call(unix.SYS_CLONE, 0xd0f00, buf), false},
		{"fork", call(unix.SYS_CLONE, 17), false},
		{"map memory", call(unix.SYS_MMAP, buf, 4096, 3, 0x32, 0xffffffff, 0), false},
		{"make code", call(unix.SYS_MPROTECT, buf, 4096, 5), false},
		{"give memory back", call(unix.SYS_MADVISE, buf, 4096, 4), false},
		{"handle a signal", call(unix.SYS_RT_SIGACTION, 2, buf, 0, 8), false},
		{"signal itself", call(unix.SYS_TGKILL, 4321, 4322, 23), false},
		{"become dumpable", call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1), false},
		{"open", call(unix.SYS_OPENAT, 0, buf), false},
		{"execute", call(unix.SYS_EXECVE, buf), false},
	} {
		want := seccomp.Kill
		if test.allowed {
			want = seccomp.Allow
		}
		if got := p.Decide(test.call); got != want {
			t.Errorf("%s: %v, want %v", test.what, got, want)
		}
	}
}

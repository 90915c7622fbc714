package spt

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
	"gocat/seccomp"
)

// wellEquipped is a guest with two network devices, sockets on descriptors 3 and
// 9, and two block devices, of 8 and 16 blocks.
type wellEquipped struct {
	unikernel
	files []*os.File
}

func newWellEquipped(t *testing.T) *wellEquipped {
	t.Helper()
	a, _ := socketpair(t, unix.SOCK_DGRAM)
	b, _ := socketpair(t, unix.SOCK_DGRAM)
	small, large := testhost.Disk(t, 8*512), testhost.Disk(t, 16*512)
	return &wellEquipped{
		unikernel{
			Net:         []string{"a=@3", "b=@9"},
			Block:       []string{"small=" + small, "large=" + large},
			QuietFaults: true,
		},
		[]*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t), a, nil, nil, nil, nil, nil, b},
	}
}

// probe makes the guest carry out steps.
func (w *wellEquipped) probe(t *testing.T, steps func(*guests.Probe)) {
	t.Helper()
	p := guests.NewProbe(image.SPT,
		image.Entry{Name: "small", Type: image.Block}, image.Entry{Name: "a", Type: image.Net},
		image.Entry{Name: "large", Type: image.Block}, image.Entry{Name: "b", Type: image.Net})
	steps(p)
	w.Image = encode(t, p)
}

// comesBack is the exit status of a guest whose system call returned.
const comesBack = 77

// try has the guest make a system call and compares what became of it with the
// policy's decision.
func (w *wellEquipped) try(t *testing.T, policy *seccomp.Policy, nr uint32, args [6]uint64) (allowed bool) {
	t.Helper()
	w.probe(t, func(p *guests.Probe) {
		var values []guests.Value
		for _, a := range args {
			values = append(values, guests.N(a))
		}
		p.Do(p.Syscall(uint64(nr), values...), p.Exit(guests.N(comesBack)))
	})
	r := w.run(t, w.files...)
	action := policy.Decide(seccomp.Call{Arch: unix.AUDIT_ARCH_X86_64, Nr: nr, Args: args})
	want := 128 + int(unix.SIGSYS)
	if action == seccomp.Allow {
		want = comesBack
		if nr == unix.SYS_EXIT_GROUP {
			want = int(args[0] & 0xff)
		}
	}
	if r.Status != want {
		t.Errorf("%s(%#x) ends with status %d, want %d: the policy says %#x", seccomp.SyscallName(nr), args, r.Status, want, uint32(action))
	}
	return action == seccomp.Allow
}

// argumentsOf returns arguments that a rule allows and that do no harm.
func argumentsOf(r *seccomp.Rule) (args [6]uint64) {
	switch r.Nr {
	case unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_PWRITE64:
		args[1], args[2] = guests.Scratch, 16
	case unix.SYS_EPOLL_PWAIT:
		args[1], args[2], args[5] = guests.Scratch, 1, 8
	case unix.SYS_TIMERFD_SETTIME:
		args[2] = guests.Scratch
	case unix.SYS_CLOCK_GETTIME, unix.SYS_ARCH_PRCTL:
		args[1] = guests.Scratch
	}
	for _, c := range r.Conds {
		if c.Op == seccomp.Equal && c.Field <= seccomp.Arg5 {
			args[c.Field] = c.Value
		}
	}
	return args
}

// policies has what a guest may be left with.
func (w *wellEquipped) policies(t *testing.T, f func(t *testing.T, p *seccomp.Policy)) {
	w.probe(t, func(*guests.Probe) {})
	for name, set := range map[string]func(){
		"solo5":        func() { w.Strict, w.QuietFaults = false, true },
		"strict":       func() { w.Strict, w.QuietFaults = true, true },
		"with reports": func() { w.Strict, w.QuietFaults = false, false },
	} {
		set()
		p, err := Policy(w.sealable(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { f(t, p) })
	}
}

// TestGrantedCalls makes every granted call, and every call that differs from a
// granted one in one argument.
func TestGrantedCalls(t *testing.T) {
	w := newWellEquipped(t)
	w.policies(t, func(t *testing.T, p *seccomp.Policy) {
		killed := 0
		for i := range p.Rules {
			rule := &p.Rules[i]
			if slices.ContainsFunc(rule.Conds, func(c seccomp.Cond) bool { return c.Field == seccomp.IP }) {
				continue // the reporter's; see TestReporterGate
			}
			args := argumentsOf(rule)
			if !w.try(t, p, rule.Nr, args) {
				t.Errorf("rule %v does not allow %#x", rule, args)
			}
			for _, c := range rule.Conds {
				for _, v := range []uint64{c.Value - 1, c.Value + 1, c.Value | 1<<31, c.Value | 1<<32, c.Value | 1<<63,
					0, 1, 2, 3, ^uint64(0), ^c.Value, c.Value << 32} {
					changed := args
					changed[c.Field] = v
					if !w.try(t, p, rule.Nr, changed) {
						killed++
					}
				}
			}
		}
		if killed < 5*len(p.Rules) {
			t.Errorf("%d calls were killed, of %d rules", killed, len(p.Rules))
		}
		t.Logf("%d rules, %d altered calls killed", len(p.Rules), killed)
	})
}

// TestNotGranted has calls that are almost granted. Unlike TestGrantedCalls it
// does not ask the policy what to expect.
func TestNotGranted(t *testing.T) {
	const epoll, timer, small, large = 6, 7, 4, 5
	const scratch, high = guests.Scratch, 1 << 32
	type args = [6]uint64
	for _, c := range []struct {
		nr   uint64
		good args
		bad  []args
	}{
		{unix.SYS_READ, args{3, scratch, 16}, []args{{0, scratch, 16}, {1, scratch, 16}, {2, scratch, 16}, {8, scratch, 16},
			{small, scratch, 16}, {large, scratch, 16}, {epoll, scratch, 16}, {timer, scratch, 16}, {high | 3, scratch, 16}, {^uint64(0), scratch, 16}}},
		{unix.SYS_WRITE, args{9, scratch, 16}, []args{{0, scratch, 16}, {2, scratch, 16}, {8, scratch, 16}, {10, scratch, 16},
			{small, scratch, 16}, {large, scratch, 16}, {timer, scratch, 16}, {high | 1, scratch, 16}, {high | 9, scratch, 16}, {1 << 63, scratch, 16}}},
		{unix.SYS_PREAD64, args{small, scratch, 512, 7 * 512}, []args{{small, scratch, 512, 7*512 + 1}, {small, scratch, 512, 8 * 512},
			{small, scratch, 511, 0}, {small, scratch, 513, 0}, {small, scratch, 1024, 0}, {small, scratch, 0, 0}, {small, scratch, high | 512, 0},
			{small, scratch, 512, high}, {small, scratch, 512, ^uint64(0)}, {small, scratch, 512, 1 << 63}, {high | small, scratch, 512, 0},
			{3, scratch, 512, 0}, {1, scratch, 512, 0}, {epoll, scratch, 512, 0}}},
		{unix.SYS_PWRITE64, args{large, scratch, 512, 15 * 512}, []args{{large, scratch, 512, 15*512 + 1}, {small, scratch, 512, 8 * 512},
			{large, scratch, 512, 16 * 512}, {large, scratch, 513, 0}, {large, scratch, high | 512, 0}, {large, scratch, 512, high},
			{large, scratch, 512, ^uint64(511)}, {1, scratch, 512, 0}, {9, scratch, 512, 0}}},
		{unix.SYS_EPOLL_PWAIT, args{epoll, scratch, 1, 0, 0, 8}, []args{{epoll, scratch, 1, 0, scratch, 8}, {epoll, scratch, 1, 0, 1, 0},
			{epoll, scratch, 1, 0, high, 8}, {epoll, scratch, 1, 0, 1 << 63, 8}, {timer, scratch, 1}, {3, scratch, 1}, {high | epoll, scratch, 1}}},
		{unix.SYS_TIMERFD_SETTIME, args{timer, 1, scratch}, []args{{timer, 0, scratch}, {timer, 2, scratch}, {timer, 3, scratch},
			{timer, high | 1, scratch}, {timer, 1, scratch, scratch}, {timer, 1, scratch, high}, {epoll, 1, scratch}, {high | timer, 1, scratch}}},
		{unix.SYS_CLOCK_GETTIME, args{1, scratch}, []args{{2, scratch}, {3, scratch}, {4, scratch}, {7, scratch}, {11, scratch},
			{high, scratch}, {high | 1, scratch}, {^uint64(0), scratch}}},
		{unix.SYS_ARCH_PRCTL, args{abi.ArchSetFS, scratch}, []args{{0x1001, scratch}, {0x1003, scratch}, {0x1004, scratch}, {0x1012, 0},
			{0x1022, 0}, {0x2001, 0}, {0x5001, 0}, {high | abi.ArchSetFS, scratch}}},
	} {
		w := newWellEquipped(t)
		call := func(a args) testhost.Result {
			w.probe(t, func(p *guests.Probe) {
				p.Do(p.Syscall(c.nr, guests.N(a[0]), guests.N(a[1]), guests.N(a[2]), guests.N(a[3]), guests.N(a[4]), guests.N(a[5])))
				p.Do(p.Exit(guests.N(comesBack)))
			})
			return w.run(t, w.files...)
		}
		if r := call(c.good); r.Status != comesBack {
			t.Errorf("%s(%#x): %+v", seccomp.SyscallName(uint32(c.nr)), c.good, r)
		}
		for _, a := range c.bad {
			if r := call(a); r.Status != 159 {
				t.Errorf("%s(%#x): %+v", seccomp.SyscallName(uint32(c.nr)), a, r)
			}
		}
	}
}

// TestEveryCall makes every system call there is, and some that are not.
func TestEveryCall(t *testing.T) {
	w := newWellEquipped(t)
	w.policies(t, func(t *testing.T, p *seccomp.Policy) {
		if !w.QuietFaults {
			return // differs in what it prints
		}
		allowed := 0
		for nr := range uint32(601) {
			if nr == sysUretprobe || nr == sysUprobe {
				continue // see TestUprobeCalls
			}
			if w.try(t, p, nr, [6]uint64{}) {
				allowed++
			}
		}
		if p.Name == "spt" && allowed != 2 || p.Name == "spt-strict" && allowed != 1 { // exit_group, clock_gettime
			t.Errorf("%s: %d calls without arguments are allowed", p.Name, allowed)
		}
	})
}

// System calls of the kernel's uprobes (asm/unistd_64.h).
const (
	sysUretprobe = 335
	sysUprobe    = 336
)

// TestUprobeCalls has the two calls that no filter is asked about, since Linux
// 6.14 and 6.18 (kernel/seccomp.c). They are for the trampoline of a uprobe;
// elsewhere the one raises SIGILL and the other fails.
func TestUprobeCalls(t *testing.T) {
	for nr, statuses := range map[uint64][]int{sysUretprobe: {159, 132}, sysUprobe: {159, comesBack}} {
		u := probe(t, func(p *guests.Probe) {
			p.Do(p.Syscall(nr).Equals(guests.Errno(uint64(unix.ENXIO)), 1), p.Exit(guests.N(comesBack)))
		})
		if r := u.run(t); !slices.Contains(statuses, r.Status) {
			t.Errorf("call %d: %+v", nr, r)
		}
	}
}

// TestOtherEntries has the other ways into the kernel, which must not be ways
// around the filter.
func TestOtherEntries(t *testing.T) {
	// Arguments of write to standard output, in both ABIs' registers.
	write := func(nr uint64, p *guests.Probe) []byte {
		text := p.Data([]byte(alive))
		return slices.Concat(mov(rax, nr), mov(rdi, 1), mov(rsi, text), mov(rdx, 6),
			mov(rbx, 1), mov(rcx, text), mov(rbp, guests.Scratch+0x100))
	}
	int80, sysenter := []byte{0xcd, 0x80}, []byte{0x0f, 0x34}
	for name, c := range map[string]struct {
		nr    uint64
		entry []byte
	}{
		"int 0x80 write":       {4, int80},
		"int 0x80 exit":        {1, int80},
		"int 0x80 exit_group":  {252, int80},
		"int 0x80 64-bit nr":   {unix.SYS_WRITE, int80},
		"int 0x80 x32 nr":      {0x40000001, int80},
		"sysenter write":       {4, sysenter},
		"sysenter exit_group":  {252, sysenter},
		"x32 write":            {0x40000000 | unix.SYS_WRITE, syscallInstruction},
		"x32 exit_group":       {0x40000000 | unix.SYS_EXIT_GROUP, syscallInstruction},
		"x32 execve":           {0x40000000 | 520, syscallInstruction},
		"all bits":             {^uint64(0), syscallInstruction},
		"all lower bits":       {0xffffffff, syscallInstruction},
		"gettimeofday at page": {0, append(mov(rax, 0xffffffffff600000), 0xff, 0xd0)}, // call rax
		"time at page":         {0, append(mov(rax, 0xffffffffff600400), 0xff, 0xd0)},
		"getcpu at page":       {0, append(mov(rax, 0xffffffffff600800), 0xff, 0xd0)},
	} {
		for _, quiet := range []bool{false, true} {
			u := probe(t, func(p *guests.Probe) { execute(p, write(c.nr, p), c.entry) })
			u.QuietFaults = quiet
			r := u.run(t)
			if r.Stdout != "" || !slices.Contains([]int{159, 139, 132}, r.Status) {
				t.Errorf("%s: status %d, stdout %q, stderr %q", name, r.Status, r.Stdout, r.Stderr)
			}
		}
	}
	// The upper half of rax is not part of the number.
	u := probe(t, func(p *guests.Probe) { execute(p, write(1<<32|unix.SYS_WRITE, p), syscallInstruction) })
	check(t, u.run(t), 3, alive+alive, "")
}

// TestNoWayOut has what guests have tried to get at files, processes and memory.
func TestNoWayOut(t *testing.T) {
	path := func(p *guests.Probe, s string) uint64 { return p.Data([]byte(s + "\x00")) }
	for name, code := range map[string]func(p *guests.Probe) []byte{
		"open":     func(p *guests.Probe) []byte { return call(unix.SYS_OPEN, path(p, "/etc/passwd"), 0) },
		"execve":   func(p *guests.Probe) []byte { return call(unix.SYS_EXECVE, path(p, "/bin/sh"), 0, 0) },
		"exec":     func(p *guests.Probe) []byte { return call(unix.SYS_MMAP, 0, 4096, 7, 0x22, ^uint64(0), 0) },
		"mprotect": func(p *guests.Probe) []byte { return call(unix.SYS_MPROTECT, text, 4096, 7) },
		"remap":    func(p *guests.Probe) []byte { return call(unix.SYS_MREMAP, text, 4096, 8192, 1) },
		"brk":      func(p *guests.Probe) []byte { return call(unix.SYS_BRK, 0) },
		"fork":     func(p *guests.Probe) []byte { return call(unix.SYS_FORK) },
		"clone":    func(p *guests.Probe) []byte { return call(unix.SYS_CLONE, 0x11) },
		"clone3":   func(p *guests.Probe) []byte { return call(unix.SYS_CLONE3, guests.Scratch, 88) },
		"kill":     func(p *guests.Probe) []byte { return call(unix.SYS_KILL, 0, 0) },
		"ptrace":   func(p *guests.Probe) []byte { return call(unix.SYS_PTRACE, 0) },
		"socket":   func(p *guests.Probe) []byte { return call(unix.SYS_SOCKET, 1, 1, 0) },
		"io_uring": func(p *guests.Probe) []byte { return call(unix.SYS_IO_URING_SETUP, 1, guests.Scratch) },
		"action":   func(p *guests.Probe) []byte { return call(unix.SYS_RT_SIGACTION, 31, guests.Scratch, 0, 8) },
		"mask":     func(p *guests.Probe) []byte { return call(unix.SYS_RT_SIGPROCMASK, 0, guests.Scratch, 0, 8) },
		"altstack": func(p *guests.Probe) []byte { return call(unix.SYS_SIGALTSTACK, guests.Scratch, 0) },
		"return":   func(p *guests.Probe) []byte { return call(unix.SYS_RT_SIGRETURN) },
		"restart":  func(p *guests.Probe) []byte { return call(unix.SYS_RESTART_SYSCALL) },
		"seccomp":  func(p *guests.Probe) []byte { return call(unix.SYS_SECCOMP, 0, 0, 0) },
		"prctl":    func(p *guests.Probe) []byte { return call(unix.SYS_PRCTL, unix.PR_SET_NAME, text) },
		"get fs":   func(p *guests.Probe) []byte { return call(unix.SYS_ARCH_PRCTL, 0x1003, guests.Scratch) },
		"set gs":   func(p *guests.Probe) []byte { return call(unix.SYS_ARCH_PRCTL, 0x1001, guests.Scratch) },
		"dup":      func(p *guests.Probe) []byte { return call(unix.SYS_DUP, 1) },
		"close":    func(p *guests.Probe) []byte { return call(unix.SYS_CLOSE, 1) },
		"fcntl":    func(p *guests.Probe) []byte { return call(unix.SYS_FCNTL, 1, 0, 0) },
		"ioctl":    func(p *guests.Probe) []byte { return call(unix.SYS_IOCTL, 1, unix.TIOCSTI, text) },
		"writev":   func(p *guests.Probe) []byte { return call(unix.SYS_WRITEV, 1, guests.Scratch, 1) },
		"stdin":    func(p *guests.Probe) []byte { return call(unix.SYS_READ, 0, guests.Scratch, 1) },
		"console":  func(p *guests.Probe) []byte { return call(unix.SYS_READ, 1, guests.Scratch, 1) },
		"exit":     func(p *guests.Probe) []byte { return call(unix.SYS_EXIT, 0) },
	} {
		u := probe(t, func(p *guests.Probe) { execute(p, code(p)) })
		if r := u.run(t); r.Status != 159 || r.Stdout != "" || r.Stderr == "" {
			t.Errorf("%s: %s", name, fmt.Sprintf("%+v", r))
		}
	}
}

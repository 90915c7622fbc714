package seccomp

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// world is what a child under a guest's policy has: real devices, and memory to
// point calls at.
type world struct {
	net, peer, disk, epoll, timer int
	buf                           [4096]byte
	text                          [2]byte
	timerspec                     unix.ItimerSpec
}

func newWorld() *world {
	w := &world{text: [2]byte{'h', 'i'}}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	check(err)
	w.net, w.peer = pair[0], pair[1]
	w.disk, err = unix.MemfdCreate("disk", 0)
	check(err)
	check(unix.Ftruncate(w.disk, 4*512))
	w.epoll, err = unix.EpollCreate1(0)
	check(err)
	w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0)
	check(err)
	check(unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, w.timer, &unix.EpollEvent{Events: unix.EPOLLIN}))
	w.timerspec.Value.Nsec = 1 // of the monotonic clock: long past
	return w
}

func (w *world) grants() sample {
	return sample{epoll: w.epoll, timer: w.timer, net: []int{w.net}, disks: []sampleDisk{{w.disk, 512, 4 * 512}}}
}

// calls returns calls by name. The good ones are what a guest does.
func (w *world) calls() (good, bad map[string]Call) {
	buf := uint64(uintptr(unsafe.Pointer(&w.buf)))
	spec := uint64(uintptr(unsafe.Pointer(&w.timerspec)))
	text := uint64(uintptr(unsafe.Pointer(&w.text)))
	net, disk, epoll, timer := uint64(w.net), uint64(w.disk), uint64(w.epoll), uint64(w.timer)
	good = map[string]Call{
		"print":       call(unix.SYS_WRITE, 1, text, 2),
		"send":        call(unix.SYS_WRITE, net, buf, 64),
		"receive":     call(unix.SYS_READ, net, buf, 64),
		"write-block": call(unix.SYS_PWRITE64, disk, buf, 512, 3*512),
		"read-block":  call(unix.SYS_PREAD64, disk, buf, 512, 0),
		"set-timer":   call(unix.SYS_TIMERFD_SETTIME, timer, 1, spec, 0),
		"wait":        call(unix.SYS_EPOLL_PWAIT, epoll, buf, 2, 1<<64-1, 0, 1234567),
		"monotonic":   call(unix.SYS_CLOCK_GETTIME, 1, buf),
		"wall-clock":  call(unix.SYS_CLOCK_GETTIME, 0, buf),
	}
	bad = map[string]Call{
		"read-console":    call(unix.SYS_READ, 0, buf, 0),
		"high-descriptor": call(unix.SYS_READ, 1<<32|net, buf, 0),
		"exit-as-high":    call(unix.SYS_READ, unix.SYS_EXIT_GROUP<<32|uint64(w.peer), buf, 0),
		"write-stderr":    call(unix.SYS_WRITE, 2, buf, 0),
		"past-the-end":    call(unix.SYS_PWRITE64, disk, buf, 512, 3*512+1),
		"two-blocks":      call(unix.SYS_PREAD64, disk, buf, 1024, 0),
		"signal-mask":     call(unix.SYS_EPOLL_PWAIT, epoll, buf, 1, 0, buf, 8),
		"cpu-clock":       call(unix.SYS_CLOCK_GETTIME, 2, buf),
		"get-fs":          call(unix.SYS_ARCH_PRCTL, 0x1003, buf),
		"getpid":          call(unix.SYS_GETPID),
		"getpid-x32":      call(unix.SYS_GETPID | x32Bit),
		"no-such-call":    call(0x3fffffff),
		"minus-one":       call(1<<32 - 1),
	}
	return good, bad
}

// guestChild does all good calls, each of which must succeed, then the named one
// if any, and exits. A name ending in "+trap" takes the policy with a reporter.
func guestChild(arg string) {
	runtime.LockOSThread()
	w := newWorld()
	_, err := unix.Write(w.peer, make([]byte, 64))
	check(err)
	good, bad := w.calls()
	name, trap := strings.CutSuffix(arg, "+trap")
	last, known := bad[name]
	if !known && name != "" {
		panic("no call " + name)
	}
	grants := w.grants()
	if trap {
		grants.reporter = &testReporter
	}
	if trap {
		// As when the reporter resumes a guest: no one handles the signal, so
		// that the kernel kills instead of delivering it.
		mask := unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGSYS - 1)}}
		check(unix.PthreadSigmask(unix.SIG_BLOCK, &mask, nil))
	}
	var calls []Call
	for _, name := range []string{"receive", "send", "write-block", "read-block", "set-timer", "wait", "monotonic", "wall-clock", "print"} {
		calls = append(calls, good[name])
		delete(good, name)
	}
	if len(good) != 0 {
		panic(fmt.Sprint("good calls left: ", good))
	}
	if known {
		calls = append(calls, last)
	}
	got := make([]unix.Errno, len(calls))
	exit := call(unix.SYS_EXIT_GROUP, survived)
	if errno := install(loadable(grants.policy()), calls, got); errno != 0 {
		exit.Args[0] = 1
	}
	for _, errno := range got {
		if errno != 0 {
			exit.Args[0] = 2
		}
	}
	exit.make()
}

// TestKernelKills makes one forbidden call a child, under the real program.
func TestKernelKills(t *testing.T) {
	status, out := runChild(t, "guest", "")
	if status.ExitStatus() != survived || out != "hi" {
		t.Fatalf("a child that does what it may: status %#x, output %q", status, out)
	}
	_, bad := new(world).calls()
	for name := range bad {
		for _, suffix := range []string{"", "+trap"} {
			status, out := runChild(t, "guest", name+suffix)
			if !status.Signaled() || status.Signal() != unix.SIGSYS || out != "hi" {
				t.Errorf("%s%s: status %#x, output %q, want death by SIGSYS", name, suffix, status, out)
			}
		}
	}
}

// longest returns a policy whose program has exactly the 4096 instructions that
// the kernel takes, and that allows exiting.
func longest() *Policy {
	p := &Policy{Name: "longest", Deny: Kill}
	for n := range 816 {
		p.Allow(unix.SYS_READ, "fill the program", FD(n))
	}
	p.Allow(unix.SYS_GETPID, "fill the program")
	p.Allow(unix.SYS_GETTID, "fill the program")
	p.Allow(unix.SYS_GETUID, "fill the program")
	p.Allow(unix.SYS_EXIT_GROUP, "exit")
	return p
}

func longChild(string) {
	runtime.LockOSThread()
	errno := install(loadable(longest()), nil, nil)
	syscall.RawSyscall(unix.SYS_EXIT_GROUP, survived+uintptr(errno), 0, 0)
}

func TestLongestProgram(t *testing.T) {
	p := longest()
	if n := len(mustAssemble(t, p)); n != maxProgram {
		t.Fatalf("%d instructions, want %d", n, maxProgram)
	}
	if status, out := runChild(t, "long", ""); status.ExitStatus() != survived {
		t.Errorf("the kernel refuses the longest program: status %#x\n%s", status, out)
	}
	p.Allow(unix.SYS_GETPPID, "exceed the limit")
	if _, err := p.Assemble(); err == nil {
		t.Error("a longer program assembles")
	}
}

// i386Child calls getpid by int 0x80, under a policy that allows that number as
// an x86-64 call (writev) if arg is "filtered", and exits.
func i386Child(arg string) {
	runtime.LockOSThread()
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	check(err)
	copy(code, []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3}) // mov eax, 20; int 0x80; ret
	check(unix.Mprotect(code, unix.PROT_READ|unix.PROT_EXEC))
	start := &code[0]
	closure := &start // what a function value points at
	getpid := *(*func())(unsafe.Pointer(&closure))
	if arg == "filtered" {
		p := &Policy{Name: "i386", Deny: Kill}
		p.Allow(20, "getpid of i386")
		p.Allow(unix.SYS_EXIT_GROUP, "exit")
		if errno := install(loadable(p), nil, nil); errno != 0 {
			panic(errno)
		}
	}
	getpid()
	syscall.RawSyscall(unix.SYS_EXIT_GROUP, survived, 0, 0)
}

func TestKernelKillsI386(t *testing.T) {
	if status, _ := runChild(t, "i386", "free"); status.ExitStatus() != survived {
		testhost.Skip(t, "the kernel has no 32-bit calls (CONFIG_IA32_EMULATION)")
	}
	if status, _ := runChild(t, "i386", "filtered"); !status.Signaled() || status.Signal() != unix.SIGSYS {
		t.Errorf("status %#x, want death by SIGSYS", status)
	}
}

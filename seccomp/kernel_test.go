package seccomp

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childEnv tells a test binary that it is a child, and what to do: the name of
// one of the functions in children and its argument.
const childEnv = "GOCAT_SECCOMP_CHILD"

// children run under a filter and do not return.
var children = map[string]func(arg string){
	"sweep": sweepChild,
	"guest": guestChild,
	"i386":  i386Child,
	"long":  longChild,
}

// TestKernel compares policies with the kernel's decisions on every boundary call.
func TestKernel(t *testing.T) {
	t.Parallel()
	for i := range sweepPolicies(0) {
		status, out := runChild(t, "sweep", strconv.Itoa(i))
		if status.ExitStatus() != survived {
			t.Errorf("policy %d: status %#x\n%s", i, status, out)
		} else {
			t.Log(strings.TrimSpace(out))
		}
	}
}

// survived is the exit status of a child whose filter let it live.
const survived = 42

func TestMain(m *testing.M) {
	if name, arg, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		children[name](arg)
		panic("child " + name + " returned")
	}
	os.Exit(m.Run())
}

// runChild returns how the child ended and what it printed.
func runChild(t *testing.T, name, arg string) (syscall.WaitStatus, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	// A filtered thread may neither be signalled nor wait for a processor.
	cmd.Env = append(os.Environ(), childEnv+"="+name+" "+arg, "GOMAXPROCS=4", "GODEBUG=asyncpreemptoff=1")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.Sys().(syscall.WaitStatus), string(out)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// install puts the calling thread under the program and makes calls under it.
// Neither it nor what it calls gives the scheduler a chance to make calls of its
// own meanwhile.
//
//go:nosplit
func install(fprog *unix.SockFprog, calls []Call, got []unix.Errno) unix.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(fprog)))
	if errno != 0 {
		return errno
	}
	for i := range calls {
		got[i] = calls[i].make()
	}
	return 0
}

//go:nosplit
func (c *Call) make() unix.Errno {
	a := &c.Args
	_, _, errno := syscall.RawSyscall6(uintptr(c.Nr), uintptr(a[0]), uintptr(a[1]), uintptr(a[2]), uintptr(a[3]), uintptr(a[4]), uintptr(a[5]))
	return errno
}

// loadable assembles the policy and prepares the process for it.
func loadable(p *Policy) *unix.SockFprog {
	prog, err := p.Assemble()
	check(err)
	check(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	return &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
}

// syscallSite returns the instruction pointer of calls by make, as the
// kernel shows it of a thread that sits in one.
func syscallSite() uint64 {
	var pipe [2]int
	check(unix.Pipe2(pipe[:], 0))
	tid := make(chan int)
	go func() {
		runtime.LockOSThread()
		tid <- unix.Gettid()
		var b byte
		read := call(unix.SYS_READ, uint64(pipe[0]), uint64(uintptr(unsafe.Pointer(&b))), 1)
		read.make()
	}()
	path := fmt.Sprintf("/proc/self/task/%d/syscall", <-tid)
	for {
		line, err := os.ReadFile(path)
		check(err)
		// number, six arguments, stack pointer, instruction pointer
		fields := strings.Fields(string(line))
		if len(fields) == 9 && fields[0] == "0" && fields[1] == fmt.Sprintf("%#x", pipe[0]) {
			ip, err := strconv.ParseUint(fields[8], 0, 64)
			check(err)
			unix.Close(pipe[1])
			return ip
		}
		time.Sleep(time.Millisecond)
	}
}

// Error numbers that stand for the actions of a swept program.
const (
	saidAllow = 3001 + iota
	saidTrap
	saidKill
	saidHolds
)

// sweepPolicies are the policies whose decisions are compared with the kernel's.
// Reporters are at the address from which the sweep makes its calls, or not.
func sweepPolicies(site uint64) []*Policy {
	here := sampleReporter{ip: site, buf: 0x5000, maxLen: 160}
	elsewhere := sampleReporter{ip: site + 2, buf: 0x5000, maxLen: 160}
	all := []*Policy{
		sample{epoll: 3, timer: 4, net: []int{5}, reporter: &here}.policy(),
		sample{epoll: 3, timer: 4, net: []int{5}, reporter: &elsewhere, strict: true}.policy(),
	}
	for _, p := range testPolicies() {
		if p.Deny == Trap || !strings.HasPrefix(p.Name, "strict") {
			all = append(all, p)
		}
	}
	return all
}

// uprobe is a system call newer than package unix. Linux lets it and uretprobe
// past every filter (6.14 and later); outside the kernel's own trampolines they
// do nothing but fail or raise SIGILL.
const uprobe = 336

// sweepChild makes every boundary call of a policy under its program, with each
// action replaced by an error number of its own so that no call has an effect,
// and compares the error numbers with the policy's decisions.
func sweepChild(arg string) {
	debug.SetGCPercent(-1)
	index, err := strconv.Atoi(arg)
	check(err)
	site := syscallSite()
	p := sweepPolicies(site)[index]
	fprog := loadable(p)
	said := map[Action]unix.Errno{Allow: saidAllow, Trap: saidTrap, Kill: saidKill, fail | Action(Holds): saidHolds}
	for i, in := range unsafe.Slice(fprog.Filter, fprog.Len) {
		if in.Code == opReturn {
			unsafe.Slice(fprog.Filter, fprog.Len)[i].K = unix.SECCOMP_RET_ERRNO | uint32(said[Action(in.K)])
		}
	}
	var calls []Call
	var want []unix.Errno
	for c := range p.boundaryCalls() {
		if c.Arch == unix.AUDIT_ARCH_X86_64 && c.Nr != unix.SYS_URETPROBE && c.Nr != uprobe {
			c.IP = site // the kernel reports no other
			calls = append(calls, c)
			want = append(want, said[p.Decide(c)])
		}
	}
	got := make([]unix.Errno, len(calls))
	var done atomic.Bool
	go func() {
		runtime.LockOSThread()
		check(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		if errno := install(fprog, calls, got); errno != 0 {
			panic(errno)
		}
		done.Store(true)
		for done.Load() { // this thread can make no call any more, not even to exit
		}
	}()
	for !done.Load() {
		time.Sleep(time.Millisecond)
	}
	count := map[unix.Errno]int{}
	for i := range got {
		count[want[i]]++
		if got[i] != want[i] {
			fmt.Printf("policy %s: the kernel says %d where the rules say %d: %v\n", p.Name, got[i], want[i], calls[i])
			os.Exit(1)
		}
	}
	fmt.Printf("%s: %d instructions; %d calls allowed, %d trapped, %d killed\n",
		p.Name, fprog.Len, count[saidAllow], count[saidTrap], count[saidKill])
	if count[saidAllow] == 0 || count[said[p.Deny]] == 0 {
		os.Exit(1)
	}
	os.Exit(survived)
}

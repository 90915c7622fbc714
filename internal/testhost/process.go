package testhost

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processTimeout is how long a process may take before a test gives up on it: long, as
// tests also run in an emulated machine, and on a host that is busy.
const processTimeout = 3 * time.Minute

// Command is a program to start with exactly the given descriptors, arguments
// and environment.
type Command struct {
	Path  string
	Args  []string   // after argv[0], which is Path
	Files []*os.File // descriptors 0, 1, ...; nil is a closed one
	Env   []string
	Attr  *syscall.SysProcAttr
}

// Process is a started Command. It is killed when its test ends.
type Process struct {
	Pid int
	t   testing.TB
	end chan unix.WaitStatus
}

// Start starts c.
func (c *Command) Start(t testing.TB) *Process {
	t.Helper()
	p, err := os.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &os.ProcAttr{
		Files: c.Files, Env: append([]string{}, c.Env...), Sys: c.Attr,
	})
	if err != nil {
		t.Fatalf("start %s: %v", c.Path, err)
	}
	end := make(chan unix.WaitStatus, 1)
	go func() {
		s, err := p.Wait()
		if err != nil {
			panic(err)
		}
		end <- unix.WaitStatus(s.Sys().(syscall.WaitStatus))
	}()
	t.Cleanup(func() { p.Kill() })
	return &Process{p.Pid, t, end}
}

// Wait returns how the process ended. The test fails if it does not end.
func (p *Process) Wait() unix.WaitStatus {
	p.t.Helper()
	select {
	case s := <-p.end:
		p.end <- s
		return s
	case <-time.After(processTimeout):
		p.t.Fatalf("process %d still runs after %v", p.Pid, processTimeout)
		return 0
	}
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool { return len(p.end) == 0 }

// Signal sends a signal to the process.
func (p *Process) Signal(s unix.Signal) {
	p.t.Helper()
	if err := unix.Kill(p.Pid, s); err != nil {
		p.t.Fatalf("kill %d: %v", p.Pid, err)
	}
}

// Status is a wait status as a shell shows it: 128 more than a signal.
func Status(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// Result is what is left of a process.
type Result struct {
	Status         int // as a shell shows it
	Stdout, Stderr string
}

// Run runs c to its end. Where Files has no descriptor 0, 1 or 2, it reads
// /dev/null and its output is captured.
func (c *Command) Run(t testing.TB) Result {
	t.Helper()
	run := *c
	run.Files = append([]*os.File{}, c.Files...)
	var captured [3]*os.File
	for n := len(run.Files); n < 3; n++ {
		if n == 0 {
			run.Files = append(run.Files, Null(t))
			continue
		}
		captured[n] = Memfd(t)
		run.Files = append(run.Files, captured[n])
	}
	r := Result{Status: Status(run.Start(t).Wait())}
	r.Stdout, r.Stderr = Contents(t, captured[1]), Contents(t, captured[2])
	return r
}

// Contents reads all of a file, wherever its offset is; of none it is "".
func Contents(t testing.TB, f *os.File) string {
	t.Helper()
	if f == nil {
		return ""
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Memfd makes a file without a name, closed when t ends.
func Memfd(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatalf("memfd_create: %v", err)
	}
	return File(t, fd)
}

// File makes an os.File of a descriptor, closed when t ends. The descriptor
// stays blocking or not as it is.
func File(t testing.TB, fd int) *os.File {
	t.Helper()
	f := os.NewFile(uintptr(fd), "test")
	t.Cleanup(func() { f.Close() })
	return f
}

// Null opens /dev/null for reading and writing, closed when t ends.
func Null(t testing.TB) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Fill fills a pipe. Its end stays blocking.
func Fill(t testing.TB, w *os.File) {
	t.Helper()
	fd := int(w.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 4096)
	for {
		if _, err := unix.Write(fd, page); err == unix.EAGAIN {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
}

// Pipe makes a pipe whose ends block, closed when t ends.
func Pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatalf("pipe2: %v", err)
	}
	return File(t, fds[0]), File(t, fds[1])
}

// WaitAsleep waits until the process sleeps in a system call that a guest made, not the Go program that it was before.
func (p *Process) WaitAsleep() {
	p.t.Helper()
	p.WaitAsleepIn(0x100000, 0x400000) // a Go program's text begins here
}

// WaitIdle waits until every thread of the process sleeps under a seccomp filter:
// a guest then waits, in a process of its own or its tender's. Unlike WaitAsleep
// it needs no more than anybody may read of a process.
func (p *Process) WaitIdle() {
	p.t.Helper()
	if err := Idle(p.Pid); err != nil {
		p.t.Fatal(err)
	}
}

// Idle is WaitIdle for a child that is no Process. Its error is that the child has
// ended or never waits.
func Idle(pid int) error {
	for start := time.Now(); time.Since(start) < processTimeout; time.Sleep(time.Millisecond) {
		if Ended(pid) {
			return fmt.Errorf("process %d has ended", pid)
		}
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil {
			panic(err) // of the pattern
		}
		idle := len(threads) > 0
		for _, thread := range threads {
			b, err := os.ReadFile(thread)
			if err == nil && strings.HasPrefix(string(b), "Name:\tkvm-nx-lpage") {
				continue // KVM's own, which some kernels show here
			}
			idle = idle && err == nil && strings.Contains(string(b), "\nState:\tS ") && strings.Contains(string(b), "\nSeccomp:\t2\n")
		}
		if idle {
			return nil
		}
	}
	return fmt.Errorf("process %d still does not wait", pid)
}

// Ended reports whether a child has ended, whose status is still to be had. One of
// whose threads executes a program looks like it in /proc.
func Ended(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0 || err == unix.ECHILD
}

// WaitAsleepIn waits until the process sleeps in a system call that code in
// [lowest, limit) made.
func (p *Process) WaitAsleepIn(lowest, limit uint64) {
	p.t.Helper()
	for start := time.Now(); time.Since(start) < processTimeout; time.Sleep(time.Millisecond) {
		// Number, six arguments, stack pointer, program counter; or "running".
		b, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid) + "/syscall")
		if err != nil {
			p.t.Fatal(err)
		}
		words := strings.Fields(string(b))
		if len(words) != 9 {
			continue
		}
		if pc, err := strconv.ParseUint(words[8], 0, 64); err == nil && pc >= lowest && pc < limit {
			return
		}
	}
	p.t.Fatalf("process %d is still not asleep", p.Pid)
}

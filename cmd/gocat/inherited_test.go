package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/plan"
)

// A filter around gocat that traps a call makes it fail: the message is gocat's,
// about gocat, and no guest is blamed.
func TestTrapped(t *testing.T) {
	t.Parallel()
	refused := unix.ENOSYS.Error()
	for nr, want := range map[uint32]string{
		unix.SYS_MEMFD_CREATE:            refused,
		unix.SYS_EVENTFD2:                "could not make an event descriptor: " + refused,
		unix.SYS_EPOLL_CREATE1:           "could not make an epoll descriptor: " + refused,
		unix.SYS_TIMERFD_CREATE:          "could not make a timer: " + refused,
		unix.SYS_MMAP:                    "could not map 512 MB of guest memory: " + refused + ": mmap, which a seccomp filter around gocat may refuse; ",
		unix.SYS_MUNMAP:                  refused,
		unix.SYS_PRCTL:                   "could not set no_new_privs: " + refused,
		unix.SYS_SECCOMP:                 "could not install the seccomp filter: " + refused,
		unix.SYS_GETPID:                  "could not ask for its own number: " + refused,
		unix.SYS_EXECVEAT:                "could not start the guest: " + refused,
		unix.SYS_CLOSE_RANGE:             "", // descriptors are closed one by one
		unix.SYS_CAPSET:                  "", // layers that are optional
		unix.SYS_PRLIMIT64:               "",
		unix.SYS_LANDLOCK_ADD_RULE:       "",
		unix.SYS_SCHED_GETAFFINITY:       "",
		unix.SYS_LANDLOCK_CREATE_RULESET: "",
	} {
		c := call{args: []string{"run", "--backend=spt"}, stdin: strings.NewReader("hello\n")}
		r := c.filtered(t, nr, unix.SECCOMP_RET_TRAP)
		if want == "" {
			if r.status != 0 || r.stdout != "hello\n" || r.stderr != "" {
				t.Errorf("call %d trapped: %+v", nr, r)
			}
			continue
		}
		if r.status != 125 || r.stdout != "" || !strings.HasPrefix(r.stderr, "gocat: ") || strings.Contains(r.stderr, "guest killed") ||
			!strings.Contains(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("call %d trapped: %+v", nr, r)
		}
	}
	for _, option := range []string{"--require=capabilities", "--require=limits", "--require=landlock", "--require=undumpable"} {
		nr := map[string]uint32{"capabilities": unix.SYS_CAPSET, "limits": unix.SYS_PRLIMIT64, "landlock": unix.SYS_LANDLOCK_CREATE_RULESET, "undumpable": unix.SYS_PRCTL}
		c := call{args: []string{"run", "--backend=spt", option}, stdin: strings.NewReader("")}
		r := c.filtered(t, nr[option[len("--require="):]], unix.SECCOMP_RET_TRAP)
		if r.status != 125 || !strings.HasPrefix(r.stderr, "gocat: ") || strings.Count(r.stderr, "\n") != 1 || strings.Contains(r.stderr, "guest killed") {
			t.Errorf("%s: %+v", option, r)
		}
	}
}

// An interval timer whose signal gocat was started with ignored does not end the
// guest; one whose signal was not is the caller's way to do so.
func TestInheritedTimers(t *testing.T) {
	spin := exiting(7)
	loop := []byte{0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0xff, 0xc9, 0x75, 0xfb} // mov rcx, n; dec rcx; jnz
	binary.LittleEndian.PutUint64(loop[2:], 1<<29)
	spin.Segments[0].Data = append(loop, spin.Segments[0].Data...)
	image := kernel(t, spin)
	for which, signal := range []unix.Signal{unix.SIGALRM, unix.SIGVTALRM, unix.SIGPROF} {
		for _, ignored := range []uint64{0, 1} { // SIG_DFL, SIG_IGN
			p := plan.New()
			p.Must("sigaction", 0, unix.SYS_RT_SIGACTION, int(signal), plan.Words(ignored, 0, 0, 0), 0, 8)
			p.Must("setitimer", 0, unix.SYS_SETITIMER, which, plan.Words(0, 20_000, 0, 20_000), 0) // microseconds
			p.ExecPath("execve", program, p.Strings([]string{program, "run", "--backend=spt", image}))
			e, err := p.Executable()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "timer")
			f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
			if err != nil {
				t.Fatal(err)
			}
			err = e.Write(plan.To(int(f.Fd())))
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			want := result{status: 7}
			if ignored == 0 {
				want.status = 128 + int(signal)
			}
			r := call{program: path}.run(t)
			if r.status != want.status || r.stdout != "" || r.stderr != "" {
				t.Errorf("%v, ignored %d: %+v, want status %d", signal, ignored, r, want.status)
			}
		}
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/guest"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// backends runs a test for both, hvt where the host has KVM.
func backends(t *testing.T, test func(t *testing.T, backend string)) {
	for _, b := range []string{"spt", "hvt"} {
		t.Run(b, func(t *testing.T) {
			if b == "hvt" {
				needKVM(t)
			}
			test(t, b)
		})
	}
}

// probe writes the image of a probe for a target.
func probe(t testing.TB, target image.Target, steps func(*guest.Probe), devices ...image.Entry) string {
	t.Helper()
	p := guest.NewProbe(target, devices...)
	steps(p)
	b, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "probe."+target.String(), b)
}

// traceLine is what every line of a trace looks like.
var traceLine = regexp.MustCompile(`^ *\d+\.\d{6} (((ring|setup) )?[a-z0-9_ -]+\(.*\)( = .+)?(  <.+>)?|signal SIG[A-Z0-9]+.*|exited with status \d+|killed by SIG[A-Z]+, status \d+)$`)

// wantLines fails t unless text is lines of a trace, of which some, in this
// order, contain each of want.
func wantLines(t testing.TB, text string, want ...string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !traceLine.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("no line of a trace: %q", line)
		}
		if len(want) > 0 && strings.Contains(line, want[0]) {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		t.Errorf("no line with %q in its place in\n%s", want[0], text)
	}
}

// traceCalls are the calls of the bundled cat.
var traceCalls = map[string]struct{ read, write, poll, exit string }{
	"spt": {"read(stdin, ", "write(standard output, 6 bytes) = OK, 6 bytes", "epoll_pwait(for ever)", "exit_group(status 0)"},
	"hvt": {"net_read(stdin, ", "puts(6 bytes) = OK, 6 bytes", "poll(for ever)", "halt(status 0)"},
}

// The guest's input and output are its own, and the trace is on standard error.
func TestTrace(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		r := call{args: []string{"trace", "--backend=" + backend}, stdin: strings.NewReader("hello\n")}.run(t)
		if r.status != 0 || r.stdout != "hello\n" {
			t.Errorf("status %d, %q", r.status, r.stdout)
		}
		c := traceCalls[backend]
		wantLines(t, r.stderr, c.read+"1048576 bytes) = OK, 6 bytes", c.write, c.read+"1048576 bytes) = OK, 0 bytes", c.exit, "exited with status 0")

		path := filepath.Join(t.TempDir(), "out")
		r = call{args: []string{"trace", "--guest=simple", "--net-mtu=stdin=1500", "--backend=" + backend, "-o", path}, stdin: strings.NewReader("hello\n")}.run(t).wantSuccess(t)
		b, err := os.ReadFile(path)
		if err != nil || r.stdout != "hello\n" {
			t.Errorf("%v, %q", err, r.stdout)
		}
		wantLines(t, string(b), c.read+"1500 bytes) = OK, 6 bytes", c.exit)
	})
}

// A guest that waits shows where it does, and what came of it.
func TestTraceWait(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		p := startTrace(t, "--backend="+backend)
		p.until(t, traceCalls[backend].poll)
		p.stdin.Write([]byte("hello\n"))
		p.until(t, " = OK, stdin ready\n")
		p.stdin.Close()
		p.until(t, "exited with status 0\n")
		if s := p.wait(); s != 0 {
			t.Errorf("status %d", s)
		}
	})
}

// A guest whose input has ended and is told AGAIN asks for ever.
func TestTraceEOFLoop(t *testing.T) {
	needKVM(t)
	p := startTrace(t, "--backend=hvt", "--eof=again")
	p.stdin.Close()
	for range 50 {
		p.until(t, "poll(for ever) = OK, stdin ready\n")
		p.until(t, "net_read(stdin, 1048576 bytes) = AGAIN\n")
	}
	p.cmd.Process.Signal(unix.SIGTERM)
	p.until(t, "exited with status 143\n")
	if s := p.wait(); s != 143 {
		t.Errorf("status %d", s)
	}
}

// traced is a gocat trace of the bundled cat, or of another guest, that runs.
type traced struct {
	cmd   *exec.Cmd
	stdin *os.File
	err   *bufio.Reader
	seen  string
	ended bool
}

func startTrace(t testing.TB, args ...string) *traced {
	t.Helper()
	p := &traced{cmd: exec.Command(program, append([]string{"trace"}, args...)...)}
	in, w := testhost.Pipe(t)
	r, errs := testhost.Pipe(t)
	p.cmd.Stdin, p.stdin, p.cmd.Stderr, p.err = in, w, errs, bufio.NewReader(r)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !p.ended {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
	})
	in.Close()
	errs.Close()
	return p
}

// until reads the trace until it contains want, past what was seen before.
func (p *traced) until(t testing.TB, want string) {
	t.Helper()
	stuck := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	defer stuck.Stop()
	for !strings.Contains(p.seen, want) {
		c, err := p.err.ReadByte()
		if err != nil {
			t.Fatalf("no %q in %q", want, p.seen)
		}
		p.seen += string(c)
	}
	_, p.seen, _ = strings.Cut(p.seen, want)
}

func (p *traced) wait() int {
	p.ended = true
	p.cmd.Wait()
	return testhost.Status(unix.WaitStatus(p.cmd.ProcessState.Sys().(syscall.WaitStatus)))
}

// child is the process of the guest or of its tender.
func (p *traced) child(t testing.TB) int {
	t.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, d := range dirs {
		b, err := os.ReadFile(d)
		if err != nil {
			continue // it has ended
		}
		stat := string(b)
		var state string
		var parent int
		fmt.Sscan(stat[strings.LastIndexByte(stat, ')')+1:], &state, &parent)
		if parent == p.cmd.Process.Pid {
			pid, _, _ := strings.Cut(stat, " ")
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("process %d has no child", p.cmd.Process.Pid)
	return 0
}

// A trace that is killed leaves no guest behind, whatever that does.
func TestTraceKilled(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		for _, spins := range []bool{false, true} {
			args := []string{"--backend=" + backend}
			ready := traceCalls[backend].poll
			if spins {
				target := map[string]image.Target{"spt": image.SPT, "hvt": image.HVT}[backend]
				args = []string{probe(t, target, func(p *guest.Probe) {
					p.Do(p.Puts("ready\n"), p.Execute(guest.N(p.Code([]byte{0xeb, 0xfe})))) // jmp .
				})}
				ready = "= OK, 6 bytes"
			}
			p := startTrace(t, args...)
			p.until(t, ready)
			fd, err := unix.PidfdOpen(p.child(t), 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			p.cmd.Process.Kill()
			p.wait()
			// A pidfd can be read once its process has ended.
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000); n != 1 {
				unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
				t.Errorf("spins %v: the guest's process still runs: %v", spins, err)
			}
		}
	})
}

// Signals that ask gocat to end do so to the guest, whose status is passed on.
func TestTraceSignals(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
			p := startTrace(t, "--backend="+backend)
			p.until(t, traceCalls[backend].poll)
			p.cmd.Process.Signal(sig)
			p.until(t, "status "+strconv.Itoa(128+int(sig))+"\n")
			if s := p.wait(); s != 128+int(sig) {
				t.Errorf("%v: status %d", sig, s)
			}
		}
	})
}

// The guest's process is confined as without a trace, spt or the tender of hvt.
func TestTraceConfined(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		p := startTrace(t, "--backend="+backend)
		p.until(t, traceCalls[backend].poll)
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.child(t)))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("no %q in\n%s", want, b)
			}
		}
		if backend == "hvt" && !strings.Contains(string(b), "\nCapEff:\t0000000000000000\n") {
			t.Errorf("capabilities in\n%s", b)
		}
	})
}

// What the filter forbids kills under a trace as well, and the call is shown:
// whether the fault reporter tells of it or the kernel kills at once.
func TestTraceForbidden(t *testing.T) {
	forbidden := exiting(0)
	forbidden.Segments[0].Data = []byte{0xb8, 39, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05} // getpid(7)
	int80 := exiting(0)
	int80.Segments[0].Data = []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80} // mov $20,%eax; int $0x80
	x32 := exiting(0)
	x32.Segments[0].Data = []byte{0xb8, 0, 0, 0, 0x40, 0x0f, 0x05}
	// By the stub's own instruction, which is no way past the trace.
	stub := exiting(0)
	stub.Segments[0].Data = []byte{0xb8, 39, 0, 0, 0, 0xb9, 0, 0, 1, 0, 0xff, 0xe1} // mov $39,%eax; mov $0x10000,%ecx; jmp *%rcx
	fault := exiting(0)
	fault.Segments[0].Data = []byte{0x31, 0xc0, 0xff, 0x20} // xor %eax,%eax; jmp *(%rax)
	for _, test := range []struct {
		name   string
		spec   image.Spec
		args   []string
		status int
		lines  []string
	}{
		{"reported", forbidden, nil, 159, []string{"getpid(0x7) = forbidden", "signal SIGSYS", "write(standard error, ", "getppid(0x2, ", "killed by SIGSYS, status 159"}},
		{"quiet", forbidden, []string{"--quiet-faults"}, 159, []string{"getpid(0x7) = forbidden", "killed by SIGSYS, status 159"}},
		{"32-bit", int80, nil, 159, []string{"32-bit call 20(0x0, 0x0, 0x0, 0x0, 0x11000) = forbidden", "killed by SIGSYS"}},
		{"x32", x32, nil, 159, []string{" call 1073741824(0x11000) = forbidden", "killed by SIGSYS"}},
		{"stub", stub, nil, 159, []string{"getpid(0x11000) = forbidden  <gocat's own code>", "killed by SIGSYS"}},
		{"fault", fault, nil, 139, []string{"signal SIGSEGV, at address 0x0", "write(standard error, ", "killed by SIGSEGV, status 139"}},
		{"status", exiting(63), nil, 63, []string{"exit_group(status 63)", "exited with status 63"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "trace")
			kernel := kernel(t, test.spec)
			r := gocat(t, append(append([]string{"trace", "-o", path}, test.args...), kernel)...)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			plain := gocat(t, append(append([]string{"run"}, test.args...), kernel)...)
			if r.status != test.status || r != plain {
				t.Errorf("%+v, and without a trace %+v", r, plain)
			}
			wantLines(t, string(b), test.lines...)
		})
	}
}

// Every line is a JSON object, also when the guest is killed.
func TestTraceJSON(t *testing.T) {
	type event struct {
		Event, Call, Result string
		Time                *float64
		Args                map[string]any
		Bytes, Status       *int64
	}
	events := func(t *testing.T, text string) (all []event) {
		t.Helper()
		for l := range strings.Lines(text) {
			var e event
			d := json.NewDecoder(strings.NewReader(l))
			if err := d.Decode(&e); err != nil || e.Event == "" || e.Time == nil {
				t.Fatalf("%v in %q", err, l)
			}
			all = append(all, e)
		}
		return all
	}
	backends(t, func(t *testing.T, backend string) {
		r := call{args: []string{"trace", "--format=json", "--backend", backend}, stdin: strings.NewReader("hello\n")}.run(t)
		found := false
		all := events(t, r.stderr)
		for _, e := range all {
			found = found || strings.HasSuffix(e.Call, "read") && e.Args["device"] == "stdin" && e.Args["size"] == 1048576.0 && e.Result == "OK" && *e.Bytes == 6
		}
		last := all[len(all)-1]
		if !found || last.Event != "end" || last.Status == nil || *last.Status != 0 {
			t.Errorf("%s", r.stderr)
		}
	})
	forbidden := exiting(0)
	forbidden.Segments[0].Data = []byte{0xb8, 39, 0, 0, 0, 0x0f, 0x05} // getpid
	all := events(t, gocat(t, "trace", "--quiet-faults", "--format=json", kernel(t, forbidden)).stderr)
	if len(all) != 2 || all[0].Call != "getpid" || all[0].Result != "forbidden" || *all[1].Status != 159 {
		t.Errorf("%+v", all)
	}
}

// Not one of 100000 calls is lost.
func TestTraceNothingLost(t *testing.T) {
	const calls = 100000
	backends(t, func(t *testing.T, backend string) {
		var path, name string
		loop := []byte{0x53, 0xbb, calls & 255, calls >> 8 & 255, calls >> 16, 0} // push %rbx; mov $calls,%ebx
		end := []byte{0xff, 0xcb, 0x75, 0, 0x5b, 0xc3}                            // dec %ebx; jnz; pop %rbx; ret
		body := []byte{0xb8, 228, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 0, 0, byte(guest.Scratch >> 16), 0, 0x0f, 0x05}
		target := image.SPT
		name = "clock_gettime(monotonic) = OK, "
		if backend == "hvt" {
			target, name = image.HVT, "walltime() = OK, "
			body = []byte{0xb8, 0, 0, byte(guest.Scratch >> 16), 0, 0x66, 0xba, 1, 5, 0xef} // mov $scratch,%eax; mov $0x501,%dx; out %eax,(%dx)
			body[2] = byte(guest.Scratch >> 8 & 255)
		} else {
			body[12] = byte(guest.Scratch >> 8 & 255)
		}
		end[3] = byte(-(len(body) + 4))
		path = probe(t, target, func(p *guest.Probe) {
			p.Do(p.Execute(guest.N(p.Code(append(append(loop, body...), end...)))))
		})
		r := gocat(t, "trace", path)
		if got := strings.Count(r.stderr, name); r.status != 0 || got != calls || strings.Count(r.stderr, "\n") != calls+2 {
			t.Errorf("status %d, %d lines, %d calls, want %d", r.status, strings.Count(r.stderr, "\n"), got, calls)
		}
	})
}

func TestTraceSummary(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		r := call{args: []string{"trace", "--summary", "--backend=" + backend}, stdin: strings.NewReader("hello\n")}.run(t)
		if r.status != 0 || r.stdout != "hello\n" || !regexp.MustCompile(`read +stdin +[2-9] +\d+ +0 +6 `).MatchString(r.stderr) || !strings.Contains(r.stderr, "all ") {
			t.Errorf("%+v", r)
		}
		var calls, bytes int
		r = call{args: []string{"trace", "--summary", "--format=json", "--backend=" + backend}, stdin: strings.NewReader("hello\n")}.run(t)
		for l := range strings.Lines(r.stderr) {
			var row struct{ Calls, Bytes int }
			if err := json.Unmarshal([]byte(l), &row); err != nil {
				t.Fatalf("%v in %q", err, l)
			}
			calls += row.Calls
			bytes += row.Bytes
		}
		if calls < 4 || bytes != 12 { // it reads twice, writes and exits
			t.Errorf("%d calls, %d bytes: %s", calls, bytes, r.stderr)
		}
	})
}

// A hostile hvt guest: handles that are no device's, memory that is not its own,
// console output that looks like a trace.
func TestTraceHostile(t *testing.T) {
	needKVM(t)
	const forged = "  0.000001 halt(status 0)\n"
	path := probe(t, image.HVT, func(p *guest.Probe) {
		p.Do(p.Puts(forged))
		for _, handle := range []uint64{0, 2, 63, 64, 1 << 63} {
			p.Hypercall(7, guest.Scratch, guest.N(handle), guest.N(guest.Scratch), guest.N(16))
		}
		p.Hypercall(5, guest.Scratch, guest.N(1), guest.N(1<<63), guest.N(guest.Scratch), guest.N(1<<63))
		p.Hypercall(7, guest.Scratch, guest.N(1), guest.N(1<<40), guest.N(^uint64(0)))
	}, image.Entry{Name: "console", Type: image.Net})
	out := filepath.Join(t.TempDir(), "trace")
	r := gocat(t, "trace", "-o", out, "--net:console=@0", path)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if r.status != 1 || r.stdout != forged || !strings.Contains(r.stderr, "Invalid guest access") {
		t.Errorf("%+v", r)
	}
	if strings.Contains(string(b), "halt") {
		t.Errorf("forged:\n%s", b)
	}
	wantLines(t, string(b), "puts(26 bytes)", "net_read(handle 0, 16 bytes) = EINVAL", "net_read(handle 2, ", "net_read(handle 63, ", "net_read(handle 64, ",
		"net_read(handle 9223372036854775808, 16 bytes) = EINVAL", "block_read(console, 9223372036854775808 bytes, at 9223372036854775808) = EINVAL",
		"net_read(console, 18446744073709551615 bytes) = guest ended", "exited with status 1")
}

// A hostile spt guest: pointers to nowhere, where the trace looks as well, times
// out of range, and its calls by way of the stub's instruction.
func TestTraceHostileSPT(t *testing.T) {
	nowhere, epoll, timer := guest.N(^uint64(7)), guest.Boot32(32), guest.Boot32(36)
	path := probe(t, image.SPT, func(p *guest.Probe) {
		p.Do(p.Syscall(unix.SYS_TIMERFD_SETTIME, timer, guest.N(1), nowhere, guest.N(0)).Equals(guest.Errno(uint64(unix.EFAULT)), 2),
			p.Store64(guest.N(guest.Scratch+16), guest.N(1<<63-1)), p.Store64(guest.N(guest.Scratch+24), guest.N(999999999)),
			p.Syscall(unix.SYS_TIMERFD_SETTIME, timer, guest.N(1), guest.N(guest.Scratch), guest.N(0)).Equals(guest.N(0), 3),
			p.Syscall(unix.SYS_EPOLL_PWAIT, epoll, nowhere, guest.N(1<<31-1), guest.N(0), guest.N(0)).Differs(guest.N(0), 4),
			p.Syscall(unix.SYS_EPOLL_PWAIT, epoll, guest.N(guest.Scratch), guest.N(1000), guest.N(1), guest.N(0)).Equals(guest.N(1), 5),
			p.Syscall(unix.SYS_CLOCK_GETTIME, guest.N(1), nowhere).Equals(guest.Errno(uint64(unix.EFAULT)), 6),
			p.Syscall(unix.SYS_WRITE, guest.N(1), nowhere, guest.N(^uint64(0))).Equals(guest.Errno(uint64(unix.EFAULT)), 7))
		read := p.Syscall(unix.SYS_READ, guest.N(0), guest.N(guest.Scratch), guest.N(5))
		read.Code, read.AX = guest.N(0x10000), guest.N(unix.SYS_READ)
		p.Do(read, p.Exit(guest.N(9)))
	}, image.Entry{Name: "in", Type: image.Net})
	r := gocat(t, "trace", "--net:in=@0", path)
	if r.status != 9 || r.stdout != "" {
		t.Errorf("status %d, %q, %s", r.status, r.stdout, r.stderr)
	}
	wantLines(t, r.stderr, "0xfffffffffffffff8) = EFAULT", "timerfd_settime(in ", "epoll_pwait(timeout 0s) = E", "epoll_pwait(timeout 1ms) = OK, in ready",
		"clock_gettime(monotonic) = EFAULT", "write(standard output, 18446744073709551615 bytes) = EFAULT",
		"read(in, 5 bytes) = OK, 0 bytes  <gocat's own code>", "exit_group(status 9)")
}

// What a guest does before its first instruction is gocat's, and shown on request.
func TestTraceSetup(t *testing.T) {
	path := kernel(t, exiting(5))
	r := gocat(t, "trace", path)
	if strings.Count(r.stderr, "\n") != 2 {
		t.Errorf("%s", r.stderr)
	}
	wantLines(t, r.stderr, "exit_group(status 5)", "exited with status 5")
	r = gocat(t, "trace", "--setup", path)
	wantLines(t, r.stderr, "setup munmap(", "setup mmap(", "setup prctl(", "setup seccomp(0x1, 0x0, ", "exit_group(status 5)")
	_, after, _ := strings.Cut(r.stderr, "setup seccomp(")
	if r.status != 5 || strings.Contains(after, "setup") {
		t.Errorf("status %d: %s", r.status, r.stderr)
	}
}

func TestTraceErrors(t *testing.T) {
	null := call{args: []string{"trace", "--eof=again"}}.run(t)
	null.wantError(t, "gocat", "--eof=again")
	gocat(t, "trace", "--format=xml").wantError(t, "gocat", "want text or json")
	gocat(t, "trace", "-o", "/nowhere/trace").wantError(t, "gocat", "/nowhere/trace")
	gocat(t, "trace", "nowhere.spt").wantError(t, "gocat", "could not open")
	gocat(t, "trace", "--net:stdin=@63").wantError(t, "gocat", "descriptor 63 is not open")
	gocat(t, "tend").wantError(t, "gocat", "gocat trace uses this command")
	backends(t, func(t *testing.T, backend string) {
		r := gocat(t, "trace", "-o", "/dev/full", "--backend="+backend)
		r.wantError(t, "gocat", "no space left on device")
		// No descriptor of gocat's own is taken for one of the caller's.
		for fd := 3; fd < 12; fd++ {
			device := "--net:stdin=@" + strconv.Itoa(fd)
			if gocat(t, "run", "--backend="+backend, device).status == 0 {
				continue // the test itself inherited it
			}
			gocat(t, "trace", "--backend="+backend, device).wantError(t, "gocat", "descriptor "+strconv.Itoa(fd))
		}
	})
	call{args: []string{"trace"}}.without(t, unix.SYS_PTRACE).wantError(t, "gocat", "ptrace: operation not permitted: ")
	needKVM(t)
	gocat(t, "trace", "--setup", "--backend=hvt").wantError(t, "gocat", "--setup")
	gocat(t, "trace", "--x-exec-heap", "--backend=hvt").wantError(t, "gocat", "--x-exec-heap")
}

// The policy names the trace's descriptor when there is one, and only then.
func TestTracePolicy(t *testing.T) {
	const why = "tell gocat trace what the guest does"
	if r := gocat(t, "policy", "--backend=hvt", "--trace").wantSuccess(t); strings.Count(r.stdout, why) != 1 {
		t.Errorf("%s", r.stdout)
	}
	if r := gocat(t, "policy", "--backend=hvt").wantSuccess(t); strings.Contains(r.stdout, why) {
		t.Errorf("%s", r.stdout)
	}
}

// Solo5's own guests have symbols.
func TestTraceSymbols(t *testing.T) {
	tests := filepath.Join(testhost.Solo5(t), "tests")
	backends(t, func(t *testing.T, backend string) {
		out := filepath.Join(t.TempDir(), "trace")
		r := gocat(t, "trace", "-o", out, filepath.Join(tests, "test_hello", "test_hello."+backend), "Hello_Solo5")
		b, err := os.ReadFile(out)
		if err != nil || r.status != 0 || !strings.Contains(r.stdout, "SUCCESS") {
			t.Fatalf("%v, %+v", err, r)
		}
		exit := map[string]string{"spt": "exit_group(status 0)  <", "hvt": "halt(status 0)  <platform_exit+0x"}[backend]
		wantLines(t, string(b), "24 bytes) = OK, 24 bytes  <platform_puts+0x", exit)
	})
}

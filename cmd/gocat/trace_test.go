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

	"gocat/internal/guests"
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
func probe(t testing.TB, target image.Target, steps func(*guests.Probe), devices ...image.Entry) string {
	t.Helper()
	p := guests.NewProbe(target, devices...)
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

// A trace that is killed leaves no guest running, whatever the guest does.
func TestTraceKilled(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		for _, spins := range []bool{false, true} {
			args := []string{"--backend=" + backend}
			ready := traceCalls[backend].poll
			if spins {
				target := map[string]image.Target{"spt": image.SPT, "hvt": image.HVT}[backend]
				args = []string{probe(t, target, func(p *guests.Probe) {
					p.Do(p.Puts("ready\n"), p.Execute(guests.N(p.Code([]byte{0xeb, 0xfe})))) // jmp .
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
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000); n != 1 {
				unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
				t.Errorf("spins %v: the guest's process still runs: %v", spins, err)
			}
		}
	})
}

// Signals that ask gocat to end do so to the guest, whose status is passed on.
func TestTraceSignals(t *testing.T) {
	t.Parallel()
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

func TestTraceErrors(t *testing.T) {
	null := call{args: []string{"trace", "--eof=again"}}.run(t)
	null.wantError(t, "gocat", "--eof=again")
	gocat(t, "trace", "--format=xml").wantError(t, "gocat", "want text or json")
	gocat(t, "trace", "-o", "/nowhere/trace").wantError(t, "gocat", "/nowhere/trace")
	gocat(t, "trace", "nowhere.spt").wantError(t, "gocat", "could not open")
	gocat(t, "trace", "--net:stdin=@63").wantError(t, "gocat", "descriptor 63 is not open")
	gocat(t, "tend").wantError(t, "gocat", "gocat uses this command itself")
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

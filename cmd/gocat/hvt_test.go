package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// needKVM skips t on a host that cannot run hvt guests.
func needKVM(t testing.TB) {
	t.Helper()
	if err := kvmhvt.Available(); err != nil {
		testhost.Skip(t, err.Error())
	}
}

// connection is a socket of the given type from which data and then an end can
// be read: its peer has shut down, and is still open to read.
func connection(t testing.TB, typ int, data []byte) *os.File {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := testhost.File(t, fds[1])
	go func() {
		for rest := data; len(rest) > 0; {
			n, err := peer.Write(rest[:min(len(rest), 60000)])
			if err != nil {
				return // the test sees what is missing
			}
			rest = rest[n:]
		}
		unix.Shutdown(int(peer.Fd()), unix.SHUT_WR)
	}()
	return testhost.File(t, fds[0])
}

func TestCatHVT(t *testing.T) {
	t.Parallel()
	needKVM(t)
	data := random(3<<20 + 17)
	open := func(path string) *os.File {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, args := range [][]string{
		nil, {"--guest=simple"}, {"--eof=zero", "--"}, {"--no-net-ring", "--mem=2"}, {"--net-ring"}, {"--net-ring", "--mem=4096", "--cpl=0"}, {"--mem=4096"}, {"--mem=3"}, {"--mem=1"},
		{"--cpl=0"}, {"--confine=none"}, {"--confine", "available"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			for name, input := range map[string]struct {
				stdin io.Reader
				want  []byte
			}{
				"pipe":      {bytes.NewReader(data), data},
				"file":      {open(file(t, "data", data)), data},
				"/dev/null": {open(os.DevNull), nil},
				"stream":    {connection(t, unix.SOCK_STREAM, data), data},
				"seqpacket": {connection(t, unix.SOCK_SEQPACKET, data), data},
				"closed":    {connection(t, unix.SOCK_STREAM, nil), nil},
			} {
				got := call{args: append([]string{"run", "--backend=hvt"}, args...), stdin: input.stdin}.run(t).wantSuccess(t).stdout
				if got != string(input.want) {
					t.Errorf("%s: %d bytes in, %d out", name, len(input.want), len(got))
				}
			}
		})
	}
}

func TestTerminalHVT(t *testing.T) {
	needKVM(t)
	master, slave := testhost.RawPTY(t)
	testhost.SetCanonical(t, slave)
	if _, err := master.WriteString("typed\nunfinished\x04\x04"); err != nil {
		t.Fatal(err)
	}
	r := call{args: []string{"run", "--backend=hvt"}, stdin: slave}.run(t).wantSuccess(t)
	if r.stdout != "typed\nunfinished" {
		t.Errorf("%q", r.stdout)
	}
}

// endless starts a guest whose input is at its end and that is never told so.
// What it prints goes to output.
func endless(t testing.TB, name string, args []string, stdin *os.File) (cmd *exec.Cmd, output *bytes.Buffer) {
	t.Helper()
	output = new(bytes.Buffer)
	cmd = exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, output
}

// killed waits for the filter, which is in place when the guest runs, lets a guest
// that is busy for ever run for a while, and sends it a signal. It returns the exit
// status, and fails t if the process ended before or does not end then. For one that
// waits there is waitIdle first.
func killed(t testing.TB, cmd *exec.Cmd, sig unix.Signal) int {
	t.Helper()
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(status)
		if err != nil || testhost.Ended(cmd.Process.Pid) || time.Since(start) > time.Minute {
			t.Fatalf("the guest has not started: %v", err)
		}
		if strings.Contains(string(b), "\nSeccomp:\t2\n") {
			break
		}
	}
	time.Sleep(200 * time.Millisecond)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("the guest ended by itself: %v", err)
	default:
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatalf("a minute after %v it still runs", sig)
	}
	return cmd.ProcessState.ExitCode()
}

// With --eof=again, as in Solo5's own tender, the end of the input is none.
func TestEndlessHVT(t *testing.T) {
	t.Parallel()
	needKVM(t)
	r, w := testhost.Pipe(t)
	w.Close()
	for name, stdin := range map[string]*os.File{"/dev/null": testhost.Null(t), "pipe": r, "socket": connection(t, unix.SOCK_STREAM, nil)} {
		for _, variant := range []string{"advanced", "simple"} {
			for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
				cmd, output := endless(t, program, []string{"run", "--backend=hvt", "--eof=again", "--guest=" + variant}, stdin)
				if status := killed(t, cmd, sig); status != 128+int(sig) || output.Len() != 0 {
					t.Errorf("%s, %s, %v: status %d, output %q", name, variant, sig, status, output)
				}
			}
		}
	}
}

// An empty datagram is an end only when the user says so.
func TestDatagramHVT(t *testing.T) {
	needKVM(t)
	for _, eof := range []string{"auto", "zero"} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		peer := testhost.File(t, fds[1])
		for _, datagram := range []string{"one", "", "two"} {
			if _, err := unix.Write(int(peer.Fd()), []byte(datagram)); err != nil {
				t.Fatal(err)
			}
		}
		cmd, output := endless(t, program, []string{"run", "--backend=hvt", "--eof=" + eof}, testhost.File(t, fds[0]))
		status, want := 0, "one"
		if eof == "auto" {
			want = "onetwo"
			waitIdle(t, cmd)
			status = killed(t, cmd, unix.SIGTERM) - (128 + int(unix.SIGTERM))
		} else if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if status != 0 || output.String() != want {
			t.Errorf("--eof=%s: %q", eof, output)
		}
	}
}

func TestDropInHVT(t *testing.T) {
	t.Parallel()
	needKVM(t)
	hvt := links + "/solo5-hvt"
	path := t.TempDir() + "/cat.hvt"
	gocat(t, "guest", "--backend=hvt", "-o", path).wantSuccess(t)
	for _, options := range [][]string{{"--mem=2"}, {"--no-net-ring", "--"}} {
		args := append(append([]string{"--net:stdin=@0", "--net-mac:stdin=02:00:00:00:00:01"}, options...), path, "--solo5:quiet")
		r := call{program: hvt, args: args, stdin: strings.NewReader("hello\n")}.run(t).wantSuccess(t)
		if want := "INF [netif] Plugging into stdin with mac 02:00:00:00:00:01 mtu 1500\nhello\n"; r.stdout != want {
			t.Errorf("%q, want %q", r.stdout, want)
		}
	}
	in, _ := testhost.Pipe(t)
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT} {
		cmd, output := endless(t, hvt, []string{"--net:stdin=@0", path, "--solo5:quiet", "-l", "netif:quiet"}, in)
		waitIdle(t, cmd)
		status, want := killed(t, cmd, sig), fmt.Sprintf("solo5-hvt: Exiting on signal %d\n", int(sig))
		if status != 1 || output.String() != want {
			t.Errorf("%v: status %d, output %q", sig, status, output)
		}
	}
	// Also where they were ignored, as a shell's background jobs have SIGINT.
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		args := []string{"-c", `trap "" INT TERM; exec "$0" "$@"`, hvt, "--net:stdin=@0", path, "--solo5:quiet", "-l", "netif:quiet"}
		cmd, output := endless(t, "/bin/sh", args, in)
		waitIdle(t, cmd)
		status, want := killed(t, cmd, sig), fmt.Sprintf("solo5-hvt: Exiting on signal %d\n", int(sig))
		if status != 1 || output.String() != want {
			t.Errorf("%v, ignored: status %d, output %q", sig, status, output)
		}
	}
	for _, option := range []string{"--eof=again", "--cpl=0", "--confine=none", "-v", "--x-exec-heap"} {
		r := call{program: hvt, args: []string{option, path}}.run(t)
		if r.status != 1 || !strings.HasPrefix(r.stderr, "solo5-hvt: Invalid option: `"+option+"'\nusage: solo5-hvt ") {
			t.Errorf("%s: status %d, stderr %q", option, r.status, r.stderr)
		}
	}
}

func TestVerboseHVT(t *testing.T) {
	needKVM(t)
	layers := []string{"no_new_privs", "capabilities", "descriptors", "landlock", "seccomp"}
	for args, want := range map[string][]string{
		"-v": layers, "--verbose --confine=required": layers, "-v --confine=available": layers, "-v --confine=none": nil,
	} {
		r := call{args: append([]string{"run", "--backend=hvt"}, strings.Fields(args)...), stdin: strings.NewReader("hello\n")}.run(t)
		lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
		if r.status != 0 || r.stdout != "hello\n" || want == nil && len(lines) != 1 {
			t.Fatalf("%s: %+v", args, r)
		}
		for _, layer := range want {
			line := "gocat: confinement: " + layer + ": "
			on := func(have string) bool { // Landlock alone may be missing in a kernel, or be an early version
				return have == line+"on" || layer == "landlock" && (strings.HasPrefix(have, line+"on, as version ") || have == line+"off: not in this kernel")
			}
			if !slices.ContainsFunc(lines, on) {
				t.Errorf("%s: no line %q on", args, line)
			}
		}
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "gocat: ") || !strings.Contains(last, " hypercalls, ") || !strings.HasSuffix(last, "; 6 bytes in, 6 bytes out") {
			t.Errorf("%s: %q", args, last)
		}
	}
}

// Where no seccomp filter can be installed, a tender starts only if it may do
// without.
func TestConfineHVT(t *testing.T) {
	needKVM(t)
	run := func(confine string) result {
		return call{args: []string{"run", "--backend=hvt", "-v", "--confine=" + confine}, stdin: strings.NewReader("hello\n")}.without(t, unix.SYS_SECCOMP)
	}
	run("required").wantError(t, "gocat", "confine the tender: seccomp: ")
	r := run("available")
	if r.status != 0 || r.stdout != "hello\n" || !strings.Contains(r.stderr, "confinement: seccomp: off: ") || !strings.Contains(r.stderr, "confinement: capabilities: on\n") {
		t.Errorf("available: %+v", r)
	}
	if r := run("none"); r.status != 0 || r.stdout != "hello\n" || strings.Contains(r.stderr, "confinement") {
		t.Errorf("none: %+v", r)
	}
}

// without runs c under a filter that refuses the system call nr, with EPERM.
func (c call) without(t testing.TB, nr uint32) (r result) {
	t.Helper()
	return c.filtered(t, nr, unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))
}

// filtered runs c under a filter that returns action for the system call nr.
func (c call) filtered(t testing.TB, nr, action uint32) (r result) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET, K: action},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the filter ends with the thread
		if c.kvm {
			everyoneKVM(t)
		}
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
		}
		if err != nil {
			t.Errorf("seccomp: %v", err)
			return
		}
		r = c.run(t)
	}()
	<-done
	return r
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/tender"
	"gocat/internal/testhost"
)

// Every layer is reported, on or off with a reason, those that nobody asked for in
// one line.
func TestIsolateReported(t *testing.T) {
	for _, backend := range []string{"spt", "hvt"} {
		t.Run(backend, func(t *testing.T) {
			if backend == "hvt" {
				needKVM(t)
			}
			r := call{args: []string{"run", "-v", "--backend=" + backend}, stdin: strings.NewReader("hello\n")}.run(t)
			if r.status != 0 || r.stdout != "hello\n" {
				t.Fatalf("%+v", r)
			}
			var names []string
			for line := range strings.Lines(r.stderr) {
				rest, ok := strings.CutPrefix(line, "gocat: confinement: ")
				if !ok {
					continue
				}
				name, state, _ := strings.Cut(strings.TrimSuffix(rest, "\n"), ": ")
				if name == "not asked for" {
					list, _ := strings.CutSuffix(state, " (see --isolate and --require)")
					names = append(names, strings.Split(list, ", ")...)
					continue
				}
				reason, off := strings.CutPrefix(state, "off: ")
				if state != "on" && !strings.HasPrefix(state, "on, as version ") && (!off || reason == "") {
					t.Errorf("%q", line)
				}
				names = append(names, name)
			}
			for l := isolate.Layer(0); ; l++ {
				if _, err := isolate.ParseLayer(l.String()); err != nil {
					break
				}
				if !slices.Contains(names, l.String()) {
					t.Errorf("%v is not reported", l)
				}
			}
		})
	}
	r := call{args: []string{"run", "-v", "--isolate=none"}, stdin: strings.NewReader("")}.run(t)
	if !strings.Contains(r.stderr, "gocat: confinement: not asked for: capabilities, bounding-set, ") || strings.Contains(r.stderr, "root: ") {
		t.Errorf("%+v", r)
	}
}

// What must hold and does not keeps the guest from starting, with one line that
// says why.
func TestIsolateRefused(t *testing.T) {
	testhost.NeedRoot(t, "to look at others' processes")
	if err := os.Chmod(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	filtered := "the seccomp filter that gocat inherited"
	for _, test := range []struct {
		option string
		nobody bool
		deny   uint32 // a call that an inherited filter forbids
		spt    string // the reason; "" if it runs
		hvt    string
	}{
		{"--require=net-ns", true, unix.SYS_UNSHARE, "--require: net-ns does not hold: it takes CAP_SYS_ADMIN or a user namespace; or " + filtered + " forbids it", "--require: net-ns does not hold: it takes CAP_SYS_ADMIN"},
		{"--require=user-ns", true, unix.SYS_UNSHARE, "--require: user-ns does not hold: " + filtered + " forbids it", "--require: user-ns does not hold: " + filtered + " forbids it"},
		{"--isolate=full", false, unix.SYS_CHROOT, "--isolate=full: root does not hold: ", "--isolate=full: root does not hold: "},
		{"--isolate=full", false, unix.SYS_CAPSET, "--isolate=full: capabilities does not hold: " + filtered, "--isolate=full: capabilities does not hold: "},
		{"--require=landlock,limits", false, unix.SYS_LANDLOCK_RESTRICT_SELF, "--require: landlock does not hold: " + filtered, "--require: landlock does not hold: "},
		{"--require=limits", false, unix.SYS_PRLIMIT64, "--require: limits does not hold: " + filtered, "--require: limits does not hold: " + filtered},
		{"--user=1", false, unix.SYS_SETRESUID, "--user: user does not hold: it takes CAP_SETUID and CAP_SETGID; or " + filtered, "--user: user does not hold: it takes CAP_SETUID"},
		{"--user=1", true, unix.SYS_GETPPID, "--user: user does not hold: it takes CAP_SETUID", "--user: user does not hold: it takes CAP_SETUID"},
		{"--isolate=auto", true, unix.SYS_UNSHARE, "", ""},
		{"--isolate=auto", false, unix.SYS_CHROOT, "", ""},
		{"--isolate=auto", false, unix.SYS_PRLIMIT64, "", ""},
		{"--isolate=none", false, unix.SYS_UNSHARE, "", ""},
	} {
		for backend, want := range map[string]string{"spt": test.spt, "hvt": test.hvt} {
			t.Run(backend+" "+test.option, func(t *testing.T) {
				c := call{args: []string{"run", test.option, "--backend=" + backend}, stdin: strings.NewReader("hello\n"), nobody: test.nobody, kvm: backend == "hvt", dir: "/"}
				r := c.without(t, test.deny)
				if want == "" {
					if r.wantSuccess(t); r.stdout != "hello\n" {
						t.Errorf("%+v", r)
					}
					return
				}
				r.wantError(t, "gocat", want)
			})
		}
	}
	for args, want := range map[string]string{
		"--require=pid-ns": "--require: pid-ns: only a child", "--require=nonsense": "is no layer: want some of no_new_privs, ",
		"--isolate=some": `--isolate: "some": want auto, full or none`, "--user=nosuchuser": `--user: "nosuchuser": there is no such name in /etc/passwd`, "--user=1x": `--user: "1x": want UID`,
		"--user=1:4294967295": "--user: ", "--cpu-time=0": "--cpu-time: ",
		"--backend=hvt --confine=none --require=root": "--confine=none leaves out all layers",
	} {
		gocat(t, append([]string{"run"}, strings.Fields(args)...)...).wantError(t, "gocat", want)
	}
}

// A filter that kills for what --isolate=auto would do does not kill the guest.
func TestIsolateKilled(t *testing.T) {
	backends := []string{"spt"}
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) == nil {
		backends = append(backends, "hvt")
	}
	untried := map[string]string{"spt": "landlock", "hvt": "root"}
	for _, nr := range []uint32{unix.SYS_UNSHARE, unix.SYS_CHROOT, unix.SYS_CHDIR, unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_RESTRICT_SELF} {
		for _, backend := range backends {
			if backend == "hvt" && nr >= unix.SYS_LANDLOCK_CREATE_RULESET {
				continue // which the tender does not go without
			}
			for _, option := range []string{"--isolate=auto", "-v"} {
				c := call{args: []string{"run", option, "--backend=" + backend}, stdin: strings.NewReader("hello\n")}
				r := c.filtered(t, nr, unix.SECCOMP_RET_KILL_PROCESS)
				if r.status != 0 || r.stdout != "hello\n" || option == "-v" && !strings.Contains(r.stderr, untried[backend]+": off: not tried: the seccomp filter") {
					t.Errorf("%s %s without call %d: %+v", backend, option, nr, r)
				}
			}
		}
	}
}

// A user who may have no namespaces is told so.
func TestNoUserNamespaces(t *testing.T) {
	testhost.NeedRoot(t, "to look at others' processes")
	run := func(args string) result {
		// In a user namespace the limit is one of its own.
		shell := "echo 0 > /proc/sys/user/max_user_namespaces && exec " + program + " run " + args
		cmd := exec.Command("sh", "-c", shell)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		}
		var stdout, stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("hello\n"), &stdout, &stderr
		if err := cmd.Run(); cmd.ProcessState == nil {
			testhost.Skip(t, "no user namespaces: "+err.Error())
		}
		return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), tender.NotStarted}
	}
	run("--require=user-ns").wantError(t, "gocat", "--require: user-ns does not hold: user.max_user_namespaces is 0")
}

// A guest that uses more processor time than it may is killed.
func TestCPUTime(t *testing.T) {
	t.Parallel()
	spin := exiting(0)
	spin.Segments[0].Data = []byte{0xeb, 0xfe} // jmp .
	r := gocat(t, "run", "--cpu-time=1", kernel(t, spin))
	if r.status != 128+int(unix.SIGXCPU) {
		t.Errorf("%+v", r)
	}
}

// A tender that gocat trace supervises dies with it, also as another user, by
// which the kernel forgets that it was to.
func TestSupervisedTenderDies(t *testing.T) {
	testhost.NeedRoot(t, "to look at others' processes")
	needKVM(t)
	in, _ := testhost.Pipe(t)
	cmd := exec.Command(program, "trace", "--backend=hvt", "--isolate=full", "--user=1234")
	cmd.Stdin = in
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := stderr.Read(make([]byte, 1)); err != nil { // the guest's first call
		t.Fatal(err)
	}
	var child string
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		child += strings.TrimSpace(string(b))
	}
	if _, err := os.Stat("/proc/" + child + "/status"); err != nil || child == "" {
		t.Fatalf("no tender: %q, %v", child, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile("/proc/" + child + "/status")
		if err != nil || strings.Contains(string(b), "State:\tZ") {
			return
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("the tender still runs: %s", b)
		}
	}
}

// The plan has room for all layers, with their reports, and all devices.
func TestIsolateManyDevices(t *testing.T) {
	testhost.NeedRoot(t, "to look at others' processes")
	var devices []image.Entry
	args := []string{"run", "--isolate=full", "-v"}
	disk := file(t, "disk", make([]byte, 4096))
	for n := range image.MaxEntries - 1 {
		name := fmt.Sprintf("storage%d", n)
		devices = append(devices, imageBlock(name))
		args = append(args, "--block="+name+"="+disk)
	}
	r := gocat(t, append(args, kernel(t, exiting(7, devices...)))...)
	if r.status != 7 || !strings.Contains(r.stderr, "confinement: net-ns: on\n") {
		t.Errorf("%+v", r)
	}
}

// A sealed guest refuses to start as gocat run does, wherever it is started.
func TestIsolateSealed(t *testing.T) {
	sealed := filepath.Join(t.TempDir(), "sealed")
	gocat(t, "seal", "-v", "--require=landlock", "-o", sealed).wantSuccess(t)
	c := call{program: sealed, stdin: strings.NewReader("hello\n")}
	r := c.run(t)
	if r.status != 0 || r.stdout != "hello\n" || !strings.Contains(r.stderr, "gocat: confinement: landlock: on\n") {
		t.Errorf("%+v", r)
	}
	r = c.without(t, unix.SYS_LANDLOCK_RESTRICT_SELF)
	if r.status != tender.NotStarted || r.stdout != "" || !strings.HasSuffix(r.stderr, "\ngocat: --require: landlock does not hold: not permitted (EPERM)\n") {
		t.Errorf("%+v", r)
	}
}

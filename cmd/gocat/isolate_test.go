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

	"gocat/internal/isolate"
	"gocat/internal/testhost"
)

// running is a cat that waits on a pipe, with its confinement in place.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	dir    string // in /proc
}

// idle starts gocat run with the given options, as nobody if asked to.
func idle(t *testing.T, nobody bool, args ...string) *running {
	t.Helper()
	return idleProgram(t, nobody, program, append([]string{"run"}, args...)...)
}

func idleProgram(t *testing.T, nobody bool, name string, args ...string) *running {
	t.Helper()
	in, _ := testhost.Pipe(t)
	_, out := testhost.Pipe(t)
	r := &running{t, exec.Command(name, args...), new(bytes.Buffer), ""}
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr, r.cmd.Dir = in, out, r.stderr, "/"
	if nobody {
		needRoot(t)
		if err := os.Chmod(filepath.Dir(program), 0o755); err != nil {
			t.Fatal(err)
		}
		r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill(); r.cmd.Wait() })
	r.dir = fmt.Sprintf("/proc/%d/", r.cmd.Process.Pid)
	for start := time.Now(); !strings.Contains(r.read("status"), "\nSeccomp:\t2\n"); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute || strings.Contains(r.read("status"), "State:\tZ") {
			r.cmd.Process.Kill()
			r.cmd.Wait()
			t.Fatalf("the guest has not started: %s", r.stderr)
		}
	}
	return r
}

func (r *running) read(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(r.dir + name)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// threads lists the directories in /proc of the process's threads.
func (r *running) threads() []string {
	r.t.Helper()
	all, err := filepath.Glob(r.dir + "task/*")
	if err != nil || len(all) == 0 {
		r.t.Fatalf("no threads: %v", err)
	}
	return all
}

// wantStatus fails the test if the status of a thread lacks a line.
func (r *running) wantStatus(lines ...string) {
	r.t.Helper()
	for _, thread := range r.threads() {
		b, err := os.ReadFile(thread + "/status")
		if err != nil {
			r.t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(b), "\n"+line+"\n") {
				r.t.Errorf("%s lacks %q:\n%s", thread, line, b)
			}
		}
	}
}

// wantNamespaces fails the test if other namespaces than those named differ from
// the caller's, in any thread.
func (r *running) wantNamespaces(own ...string) {
	r.t.Helper()
	for _, ns := range []string{"user", "mnt", "net", "ipc", "uts", "cgroup", "pid", "time"} {
		ours, err := os.Readlink("/proc/thread-self/ns/" + ns)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, thread := range r.threads() {
			theirs, err := os.Readlink(thread + "/ns/" + ns)
			if err != nil {
				r.t.Fatal(err)
			}
			if (ours != theirs) != slices.Contains(own, ns) {
				r.t.Errorf("%s/ns/%s is %s, that of the test %s", thread, ns, theirs, ours)
			}
		}
	}
}

// root lists the names in the root directory of each thread.
func (r *running) root() (names []string) {
	r.t.Helper()
	for _, thread := range r.threads() {
		entries, err := os.ReadDir(thread + "/root/")
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		// What the working directory is called: it is the root, too.
		if cwd, err := os.ReadDir(thread + "/cwd/"); err != nil || len(cwd) != len(entries) {
			r.t.Errorf("%s: %d names in /, %d in the working directory: %v", thread, len(entries), len(cwd), err)
		}
	}
	return names
}

// wantLimits fails the test if a limit differs.
func (r *running) wantLimits(limits map[string]string) {
	r.t.Helper()
	have := r.read("limits")
	for name, want := range limits {
		_, line, _ := strings.Cut(have, "\n"+name)
		if fields := strings.Fields(line); len(fields) < 2 || fields[0] != want || fields[1] != want {
			r.t.Errorf("%s: want %s:\n%s", name, want, have)
		}
	}
}

// undumpable reports whether the process's files in /proc are root's.
func (r *running) undumpable() bool {
	r.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(r.dir+"environ", &st); err != nil {
		r.t.Fatal(err)
	}
	return st.Uid == 0
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		testhost.Skip(t, "not root, so cannot look at others' processes")
	}
}

// everyoneKVM lets every user open /dev/kvm, as far as this goroutine and what
// it starts see.
func everyoneKVM(t testing.TB) {
	t.Helper()
	needKVM(t)
	dir := t.TempDir()
	testhost.Tmpfs(t, dir)
	var st unix.Stat_t
	if err := unix.Stat("/dev/kvm", &st); err != nil {
		t.Fatal(err)
	}
	node := dir + "/kvm"
	if err := unix.Mknod(node, unix.S_IFCHR, int(st.Rdev)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(node, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(node, "/dev/kvm", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
}

const noCaps = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000"

// By default a guest has the layers that cost little, under Solo5's names too.
func TestIsolateAuto(t *testing.T) {
	needRoot(t)
	sealed := t.TempDir() + "/sealed"
	gocat(t, "seal", "-o", sealed).wantSuccess(t)
	image := t.TempDir() + "/cat.spt"
	gocat(t, "guest", "-o", image).wantSuccess(t)
	for name, r := range map[string]*running{
		"root": idle(t, false), "nobody": idle(t, true), "sealed": idleProgram(t, false, sealed),
		"solo5-spt": idleProgram(t, false, links+"/solo5-spt", "--net:stdin=@0", image),
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.wantStatus(noCaps, "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Threads:\t1")
			r.wantNamespaces("user", "uts", "cgroup")
			for _, name := range r.root() {
				if strings.Trim(name, "0123456789") != "" {
					t.Errorf("%s is in the root directory", name)
				}
			}
			r.wantLimits(map[string]string{"Max core file size": "0", "Max processes": "0", "Max open files": "0", "Max address space": "0"})
			if !r.undumpable() {
				t.Error("dumpable")
			}
		})
	}
	t.Run("hvt", func(t *testing.T) {
		everyoneKVM(t)
		for _, nobody := range []bool{false, true} {
			r := idle(t, nobody, "--backend=hvt")
			r.wantStatus(noCaps, "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2")
			r.wantNamespaces()
			r.wantLimits(map[string]string{"Max core file size": "0", "Max open files": "1"})
			if !r.undumpable() {
				t.Error("dumpable")
			}
			if nobody { // has no user namespace, so no CAP_SYS_CHROOT
				continue
			}
			if names := r.root(); slices.Contains(names, "etc") {
				t.Errorf("the root directory has %q", names)
			}
		}
	})
}

func TestIsolateFull(t *testing.T) {
	needRoot(t)
	for _, backend := range []string{"spt", "hvt"} {
		for _, who := range []string{"root", "nobody", "--user=1234:5678"} {
			t.Run(backend+" "+who, func(t *testing.T) {
				if backend == "hvt" {
					everyoneKVM(t)
				}
				args := []string{"--isolate=full", "--backend=" + backend}
				if strings.HasPrefix(who, "-") {
					args = append(args, who)
				}
				r := idle(t, who == "nobody", args...)
				r.wantStatus(noCaps, "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2")
				own := []string{"mnt", "net", "ipc", "uts", "cgroup"}
				if backend == "spt" || who == "nobody" {
					own = append(own, "user")
				}
				r.wantNamespaces(own...)
				if names := r.root(); len(names) != 0 {
					t.Errorf("the root directory has %q", names)
				}
				if strings.HasPrefix(who, "-") {
					r.wantStatus("Uid:\t1234\t1234\t1234\t1234", "Gid:\t5678\t5678\t5678\t5678", "Groups:\t ")
				}
				if who == "nobody" && !r.undumpable() {
					t.Error("dumpable")
				}
			})
		}
	}
}

// A cat works the same, whatever holds it.
func TestIsolatedCat(t *testing.T) {
	data := random(1<<20 + 3)
	backends := []string{"spt"}
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) == nil {
		backends = append(backends, "hvt")
	}
	for _, backend := range backends {
		for _, mode := range []string{"none", "auto", "full"} {
			args := []string{"run", "--backend=" + backend, "--isolate=" + mode}
			r := call{args: args, stdin: bytes.NewReader(data)}.run(t)
			if mode == "full" && r.status == 1 && os.Geteuid() != 0 {
				continue // no user namespaces, which TestIsolateRefused is about
			}
			if r.wantSuccess(t); r.stdout != string(data) {
				t.Errorf("%q: %d bytes in, %d out", args, len(data), len(r.stdout))
			}
		}
	}
	// Files may grow where standard output is one.
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, "run")
	cmd.Stdin, cmd.Stdout = bytes.NewReader(data), out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out.Name()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes in, %d in the file: %v", len(data), len(got), err)
	}
}

// Every layer is reported, on or off with a reason.
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
				reason, off := strings.CutPrefix(state, "off: ")
				if state != "on" && (!off || reason == "") {
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
	if !strings.Contains(r.stderr, "gocat: confinement: root: off: not part of --isolate=none\n") {
		t.Errorf("%+v", r)
	}
}

// What must hold and does not keeps the guest from starting, with one line that
// says why.
func TestIsolateRefused(t *testing.T) {
	needRoot(t)
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
		"--isolate=some": `--isolate: "some": want auto, full or none`, "--user=root": `--user: "root": want UID`,
		"--user=1:4294967295": "--user: ", "--cpu-time=0": "--cpu-time: ",
		"--backend=hvt --confine=none --require=root": "--confine=none leaves out all layers",
		"--backend=hvt --require=user-ns --user=1":    "--require=user-ns and --user",
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
	for _, nr := range []uint32{unix.SYS_UNSHARE, unix.SYS_CHROOT, unix.SYS_CHDIR, unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_RESTRICT_SELF} {
		for _, backend := range backends {
			if backend == "hvt" && nr >= unix.SYS_LANDLOCK_CREATE_RULESET {
				continue // which the tender does not go without
			}
			for _, option := range []string{"--isolate=auto", "-v"} {
				c := call{args: []string{"run", option, "--backend=" + backend}, stdin: strings.NewReader("hello\n")}
				r := c.filtered(t, nr, unix.SECCOMP_RET_KILL_PROCESS)
				if r.status != 0 || r.stdout != "hello\n" || option == "-v" && !strings.Contains(r.stderr, "root: off: not tried: the seccomp filter") {
					t.Errorf("%s %s without call %d: %+v", backend, option, nr, r)
				}
			}
		}
	}
}

// A user who may have no namespaces is told so.
func TestNoUserNamespaces(t *testing.T) {
	needRoot(t)
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
		return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	}
	run("--require=user-ns").wantError(t, "gocat", "--require: user-ns does not hold: user.max_user_namespaces is 0")
	r := run("-v")
	if r.status != 0 || r.stdout != "hello\n" || !strings.Contains(r.stderr, "gocat: confinement: user-ns: off: user.max_user_namespaces is 0\n") {
		t.Errorf("%+v", r)
	}
}

// A guest that uses more processor time than it may is killed.
func TestCPUTime(t *testing.T) {
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
	needRoot(t)
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

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

	"golang.org/x/sys/unix"

	"gocat/internal/tender"
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
		testhost.NeedRoot(t, "to look at others' processes")
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
	waitIdle(t, r.cmd)
	return r
}

// waitIdle waits until every thread of a process sleeps under a filter: then the
// guest runs, has nothing to do, and gocat has said what it had to say. It fails t
// if the process ends.
func waitIdle(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := testhost.Idle(cmd.Process.Pid); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the guest does not wait: %v: %v", err, cmd.Stderr)
	}
}

func (r *running) read(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(r.dir + name)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// threads lists the directories in /proc of the process's threads, without one of
// KVM's that some kernels show there: it never runs the process's code.
func (r *running) threads() []string {
	r.t.Helper()
	all, err := filepath.Glob(r.dir + "task/*")
	if err != nil || len(all) == 0 {
		r.t.Fatalf("no threads: %v", err)
	}
	return slices.DeleteFunc(all, func(thread string) bool {
		name, _ := os.ReadFile(thread + "/comm")
		return strings.HasPrefix(string(name), "kvm-nx-lpage")
	})
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
	testhost.NeedRoot(t, "to look at others' processes")
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
			r.wantNamespaces()
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
	testhost.NeedRoot(t, "to look at others' processes")
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
				r.wantNamespaces("user", "mnt", "net", "ipc", "uts", "cgroup")
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

// Another user has none of the caller's capabilities, whatever is left out.
func TestUserWithoutIsolation(t *testing.T) {
	testhost.NeedRoot(t, "to look at others' processes")
	for _, backend := range []string{"spt", "hvt"} {
		t.Run(backend, func(t *testing.T) {
			if backend == "hvt" {
				needKVM(t)
			}
			r := idle(t, false, "--isolate=none", "--user=1234:5678", "--backend="+backend)
			r.wantStatus(noCaps, "CapAmb:\t0000000000000000", "Uid:\t1234\t1234\t1234\t1234", "Groups:\t ")
		})
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
			if mode == "full" && r.status == tender.NotStarted && os.Geteuid() != 0 {
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

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// controlGroup makes a control group of version 2, for this goroutine and what
// it starts to see, with the controllers that the host has for it.
func controlGroup(t *testing.T) (dir string, limits bool) {
	t.Helper()
	testhost.NeedRoot(t, "to mount control groups")
	top := t.TempDir()
	testhost.Tmpfs(t, top)
	if err := unix.Mount("cgroup2", top, "cgroup2", 0, ""); err != nil {
		testhost.Skip(t, "no control groups of version 2: "+err.Error())
	}
	t.Cleanup(func() { unix.Unmount(top, unix.MNT_DETACH) })
	// Where memory and processor time are still controlled by version 1, this fails.
	limits = os.WriteFile(top+"/cgroup.subtree_control", []byte("+memory +cpu"), 0) == nil
	dir = filepath.Join(top, "gocat-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	return dir, limits
}

// A guest is in the group that it was told to enter, whatever else holds it.
func TestControlGroup(t *testing.T) {
	dir, limits := controlGroup(t)
	settings := ""
	if limits {
		settings = ",memory=64,cpu=50"
	}
	for _, backend := range []string{"spt", "hvt"} { // not in goroutines of their own: the mount is this one's
		if backend == "hvt" {
			needKVM(t)
		}
		for _, options := range [][]string{{"-v"}, {"--isolate=none"}, {"--isolate=full", "--user=1234"}} {
			args := append(options, "--backend="+backend, "--cgroup="+dir+settings)
			r := idle(t, false, args...)
			procs, err := os.ReadFile(dir + "/cgroup.procs")
			if want := strconv.Itoa(r.cmd.Process.Pid) + "\n"; err != nil || string(procs) != want {
				t.Errorf("%q: in the group: %q, %v; want %q", args, procs, err, want)
			}
			memory, _ := os.ReadFile(dir + "/memory.max")
			cpu, _ := os.ReadFile(dir + "/cpu.max")
			if limits && (string(memory) != "67108864\n" || string(cpu) != "50000 100000\n") {
				t.Errorf("%q: limits %q and %q", args, memory, cpu)
			}
			// Not killed: an hvt tender says what holds when all does.
			r.cmd.Process.Signal(unix.SIGTERM)
			r.cmd.Wait()
			if options[0] == "-v" && !strings.Contains(r.stderr.String(), "confinement: cgroup: on\n") {
				t.Errorf("%q: %q", args, r.stderr)
			}
		}
	}
}

// What is written where, also by a sealed guest, and what keeps a guest from
// starting.
func TestControlGroupFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"memory.max": "67108864\n", "cpu.max": "150000 100000\n", "cgroup.procs": "0\n"}
	option := "--cgroup=" + dir + ",memory=64,cpu=150"
	sealed := filepath.Join(t.TempDir(), "sealed")
	gocat(t, "seal", option, "-o", sealed).wantSuccess(t)
	for _, c := range []call{
		{args: []string{"run", option}},
		{args: []string{"run", "--backend=hvt", option}, kvm: true},
		{program: sealed},
	} {
		for name := range files {
			if err := os.WriteFile(dir+"/"+name, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c.run(t).wantSuccess(t)
		for name, want := range files {
			if got, err := os.ReadFile(dir + "/" + name); err != nil || string(got) != want {
				t.Errorf("%q: %s has %q, %v; want %q", c.args, name, got, err, want)
			}
		}
	}
	if os.Geteuid() == 0 {
		c := call{args: []string{"run", option}, nobody: true, dir: "/"}
		if err := os.Chmod(filepath.Dir(program), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		c.run(t).wantError(t, "gocat", "--cgroup: cgroup does not hold: the control group is not delegated to this user")
	}
	if err := os.Remove(dir + "/memory.max"); err != nil {
		t.Fatal(err)
	}
	for _, backend := range []string{"spt", "hvt"} {
		if backend == "hvt" {
			needKVM(t)
		}
		gocat(t, "run", "--backend="+backend, option).wantError(t, "gocat", "--cgroup: cgroup does not hold: there is no such control group of version 2, or it has no controller")
	}
	for _, v := range []string{"", ",cpu=1", "/x,", "/x,cpu", "/x,cpu=0", "/x,cpu=1,cpu=1", "/x,memory=-1", "/x,memory=1M", "/x,pids=1", "/x,memory=4294967296"} {
		gocat(t, "run", "--cgroup="+v).wantError(t, "gocat", "want DIR[,memory=MB][,cpu=PERCENT]")
	}
	for _, layer := range []string{"cgroup", "user"} {
		gocat(t, "run", "--require="+layer).wantError(t, "gocat", "--require: "+layer+": --"+layer+"=... asks for it")
	}
}

package main

import (
	"errors"
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

// What keeps a guest from starting, also a sealed one: it is never in less than
// the group that was asked for, and never waits.
func TestNoControlGroup(t *testing.T) {
	group, limits := controlGroup(t)
	plain := func(t *testing.T, make func(dir, name string) error) string {
		dir := t.TempDir()
		for _, name := range []string{"memory.max", "cpu.max", "cgroup.procs"} {
			if err := make(dir, name); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	touched := filepath.Join(t.TempDir(), "touched")
	dirs := map[string]struct{ dir, want string }{
		"plain files": {plain(t, func(dir, name string) error { return os.WriteFile(dir+"/"+name, nil, 0o666) }), "control groups of version 2"},
		"FIFOs":       {plain(t, func(dir, name string) error { return unix.Mkfifo(dir+"/"+name, 0o666) }), "control groups of version 2"},
		"links out": {plain(t, func(dir, name string) error {
			return errors.Join(os.WriteFile(touched, nil, 0o666), os.Symlink(touched, dir+"/"+name))
		}), "control groups of version 2"},
		"links in":   {plain(t, func(dir, name string) error { return os.Symlink(group+"/"+name, dir+"/"+name) }), "control groups of version 2"},
		"a file":     {touched, "control groups of version 2"},
		"nothing":    {group + "/none", "there is no such control group"},
		"version 1":  {versionOne(t), "control groups of version 2"},
		"proc":       {"/proc/self", "control groups of version 2"},
		"a FIFO":     {filepath.Join(plain(t, func(dir, name string) error { return unix.Mkfifo(dir+"/"+name, 0o666) }), "cpu.max"), "control groups of version 2"},
		"bound over": {boundOver(t, group), "control groups of version 2"},
	}
	for name, d := range dirs {
		for _, settings := range []string{"", ",memory=64,cpu=150"} {
			if name == "bound over" && settings != "" && !limits {
				continue // such files are missing
			}
			option := "--cgroup=" + d.dir + settings
			sealed := filepath.Join(t.TempDir(), "sealed")
			gocat(t, "seal", option, "-o", sealed).wantSuccess(t)
			for _, c := range []call{
				{args: []string{"run", option}},
				{args: []string{"run", "--isolate=none", option}},
				{args: []string{"run", "--backend=hvt", option}, kvm: true},
				{program: sealed},
			} {
				r := c.run(t)
				if r.status != 125 || !strings.Contains(r.stderr, d.want) || strings.Count(r.stderr, "\n") != 1 {
					t.Errorf("%s, %q: %+v; want %q", name, c.args, r, d.want)
				}
			}
		}
	}
	if b, err := os.ReadFile(touched); err != nil || len(b) != 0 {
		t.Errorf("a file behind a link was written: %q, %v", b, err)
	}
	if procs, err := os.ReadFile(group + "/cgroup.procs"); err != nil || len(procs) != 0 {
		t.Errorf("in the group: %q, %v", procs, err)
	}
	if !limits { // then it has no such files
		for _, backend := range []string{"spt", "hvt"} {
			if backend == "hvt" {
				needKVM(t)
			}
			gocat(t, "run", "--backend="+backend, "--cgroup="+group+",memory=64").wantError(t, "gocat",
				"--cgroup: cgroup does not hold: there is no such control group of version 2, or it has no controller")
		}
	}
	c := call{args: []string{"run", "--cgroup=" + group}, nobody: true, dir: "/"}
	letIn(group)
	os.Chmod(filepath.Dir(program), 0o755)
	c.run(t).wantError(t, "gocat", "--cgroup: cgroup does not hold: the control group is not delegated to this user")
}

// versionOne mounts a hierarchy of version 1, or what looks like it.
func versionOne(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("cgroup", dir, "cgroup", 0, "none,name=gocat-test"); err != nil {
		testhost.Skip(t, "no control groups of version 1: "+err.Error())
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// boundOver is a group whose files have others mounted over them.
func boundOver(t *testing.T, group string) string {
	t.Helper()
	dir := group + "/bound"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"memory.max", "cpu.max", "cgroup.procs"} {
		if _, err := os.Stat(dir + "/" + name); err != nil {
			continue
		}
		if err := unix.Mount(file, dir+"/"+name, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir+"/"+name, unix.MNT_DETACH) })
	}
	return dir
}

// A directory is the one that it was when the guest was sealed.
func TestControlGroupRelative(t *testing.T) {
	dir, _ := controlGroup(t)
	sealed := filepath.Join(t.TempDir(), "sealed")
	call{args: []string{"seal", "--cgroup=" + filepath.Base(dir), "-o", sealed}, dir: filepath.Dir(dir)}.run(t).wantSuccess(t)
	call{program: sealed, dir: "/"}.run(t).wantSuccess(t)
}

func TestControlGroupOption(t *testing.T) {
	for _, v := range []string{"", ",cpu=1", "/x,", "/x,cpu", "/x,cpu=0", "/x,cpu=1,cpu=1", "/x,memory=-1", "/x,memory=1M", "/x,pids=1", "/x,memory=4294967296"} {
		gocat(t, "run", "--cgroup="+v).wantError(t, "gocat", "want DIR[,memory=MB][,cpu=PERCENT]")
	}
	for _, layer := range []string{"cgroup", "user"} {
		gocat(t, "run", "--require="+layer).wantError(t, "gocat", "--require: "+layer+": --"+layer+"=... asks for it")
	}
}

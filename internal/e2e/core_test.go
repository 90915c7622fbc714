package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// dumped runs a guest that leaves a core file and returns the file's path.
func dumped(t *testing.T, image string, status int, options []string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	r := command(slices.Concat([]string{"run", "--mem=16", "--dumpcore=" + dir}, options, []string{image}, args)...).Run(t)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || r.Status != status {
		t.Fatalf("%v, files %v; %+v", err, files, r)
	}
	name := files[0].Name()
	if !regexp.MustCompile(`^core\.solo5\.[a-z]+\.[0-9]+$`).MatchString(name) || !strings.Contains(r.Stderr, "KiB: "+filepath.Join(dir, name)+"\n") {
		t.Errorf("the file is %s; %+v", name, r)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
	return filepath.Join(dir, name)
}

// debugCore has GDB carry out commands on a core file.
func debugCore(t *testing.T, image, core string, commands ...string) string {
	t.Helper()
	args := []string{"-k", "5", "120", "gdb", "-q", "-nx", "-batch", "-iex", "set auto-load python-scripts off", "-ex", "set width 0", "-ex", "set debuginfod enabled off"}
	for _, c := range commands {
		args = append(args, "-ex", c)
	}
	out, err := exec.Command("timeout", append(args, image, core)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "warning") {
		t.Errorf("gdb: %v\n%s", err, out)
	}
	return string(out)
}

// TestCore reads core files with GDB and readelf.
func TestCore(t *testing.T) {
	eachDebugged(t, func(t *testing.T, path string, options []string) {
		core := dumped(t, path, 255, options, "a")
		out := debugCore(t, path, core, "backtrace", "print counter", "print scale", "print b->size", "info registers rip")
		wantMatch(t, out, `quit \(status=`, `work \(`, `begin \(`, `= 55\n`, `= 1\.5\n`)
		if out, err := exec.Command("readelf", "-a", core).CombinedOutput(); err != nil || strings.Contains(strings.ToLower(string(out)), "warning") {
			t.Errorf("readelf: %v\n%s", err, out)
		}
		var st unix.Stat_t
		if err := unix.Stat(core, &st); err != nil || st.Blocks*512 > 1<<20 {
			t.Errorf("%v, the file takes %d KiB", err, st.Blocks/2)
		}
	})
}

// TestCoreFault has the registers of the fault, not those of its report.
func TestCoreFault(t *testing.T) {
	path := cGuest(t, image.SPT)
	core := dumped(t, path, 139, nil, "f")
	wantMatch(t, debugCore(t, path, core, "backtrace", "print counter", "print where"),
		`terminated with signal SIGSEGV`, `fault \(where=`, `work \(`, `= 55\n`, `0x8`)
	if err := kvmhvt.Available(); err == nil {
		path := cGuest(t, image.HVT)
		core := dumped(t, path, 1, nil, "f")
		wantMatch(t, debugCore(t, path, core, "backtrace", "print counter", "print where"),
			`terminated with signal SIGSEGV`, `fault \(where=`, `work \(`, `= 55\n`, `0x8`)
	}
	path = probe(t, func(p *guests.Probe) { p.Do(p.Syscall(unix.SYS_GETPID)) })
	core = dumped(t, path, 159, nil)
	wantMatch(t, debugCore(t, path, core, "info registers rip"), `terminated with signal SIGSYS`, `rip `)
}

// TestCoreQuit has a guest that spins leave a core file for SIGQUIT.
func TestCoreQuit(t *testing.T) {
	eachDebugged(t, func(t *testing.T, path string, options []string) {
		dir, stdout, stderr := t.TempDir(), testhost.Memfd(t), testhost.Memfd(t)
		c := command(slices.Concat([]string{"run", "--mem=16", "--dumpcore=" + dir}, options, []string{path, "s"})...)
		c.Files = []*os.File{testhost.Null(t), stdout, stderr}
		p := c.Start(t)
		waitFor(t, "the guest's output", func() bool { return testhost.Contents(t, stdout) == "counted\n" })
		p.Signal(unix.SIGQUIT)
		if s := testhost.Status(p.Wait()); s != 128+int(unix.SIGQUIT) {
			t.Errorf("status %d", s)
		}
		said := testhost.Contents(t, stderr)
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 1 || !strings.Contains(said, "dumped the guest's core") || strings.Count(said, "\n") != 1 {
			t.Fatalf("%v, files %v, standard error %q", err, files, said)
		}
		wantMatch(t, debugCore(t, path, filepath.Join(dir, files[0].Name()), "backtrace", "print counter"),
			`terminated with signal SIGQUIT`, `spin \(`, `work \(`, `= 55\n`)
	})
}

// TestCoreRefused shows that a core file that cannot be written leaves no file,
// and does not change the guest's status.
func TestCoreRefused(t *testing.T) {
	path := cGuest(t, image.SPT)
	run := func(status int, want string, args ...string) {
		t.Helper()
		r := command(append(append([]string{"run", "--mem=16"}, args...), path, "m")...).Run(t)
		if r.Status != status || !strings.Contains(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%q: %+v; want status %d and %q", args, r, status, want)
		}
	}
	dir := t.TempDir()
	run(125, "could not open the directory", "--dumpcore="+filepath.Join(dir, "none"))
	run(255, "too large", "--dumpcore="+dir+",max=1")
	run(125, "want", "--dumpcore="+dir+",max=0")
	testhost.NeedRoot(t, "to mount a file system")
	small := t.TempDir()
	testhost.Tmpfs(t, small)
	if err := unix.Mount("", small, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	run(255, "no space left", "--dumpcore="+small)
	for _, d := range []string{dir, small} {
		files, err := os.ReadDir(d)
		if err != nil || len(files) > 0 {
			t.Errorf("%v, left %v", err, files)
		}
	}
}

// TestDump dumps guests that run, which then go on.
func TestDump(t *testing.T) {
	testhost.NeedRoot(t, "to look into a guest")
	eachDebugged(t, func(t *testing.T, path string, options []string) {
		stdout := testhost.Memfd(t)
		c := command(slices.Concat([]string{"run", "--mem=16"}, options, []string{path, "s"})...)
		c.Files = []*os.File{testhost.Null(t), stdout, stdout}
		p := c.Start(t)
		waitFor(t, "the guest's output", func() bool { return testhost.Contents(t, stdout) == "counted\n" })
		var seen []string
		for range 2 {
			core := filepath.Join(t.TempDir(), "core")
			if r := command("dump", "-o", core, fmt.Sprint(p.Pid)).Run(t); r != (testhost.Result{}) {
				t.Fatalf("%+v", r)
			}
			out := debugCore(t, path, core, "backtrace", "print scale", "print $mxcsr", "print seen")
			wantMatch(t, out, `spin \(`, `work \(`, `begin \(`, `= 1\.5\n`, `= \[ IM DM ZM OM UM PM \]\n`, `= `)
			seen = append(seen, out[strings.LastIndex(out, "= "):])
		}
		if seen[0] == seen[1] {
			t.Error("the guest stopped for good")
		}
		p.Signal(unix.SIGTERM)
		if s := testhost.Status(p.Wait()); s != 128+int(unix.SIGTERM) {
			t.Errorf("status %d", s)
		}
	})
	for pid, want := range map[string]string{fmt.Sprint(os.Getpid()): "is no guest", "1": "is no guest", "999999999": "is no guest", "x": "want the number", "0": "want the number"} {
		core := filepath.Join(t.TempDir(), "core")
		r := command("dump", "-o", core, pid).Run(t)
		if _, err := os.Stat(core); err == nil || r.Status != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: %v, %+v", pid, err, r)
		}
	}
}

// TestDumpOften dumps guests again and again while they work, which they do to the
// end as if nobody had looked: one that copies, in calls and waiting for them.
func TestDumpOften(t *testing.T) {
	testhost.NeedRoot(t, "to look into a guest")
	for _, backend := range []string{"spt", "hvt"} {
		t.Run(backend, func(t *testing.T) {
			needKVM(t, backend)
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer feed.Close()
			stdout, stderr := testhost.Memfd(t), testhost.Memfd(t)
			c := command("run", "--backend="+backend)
			c.Files = []*os.File{in, stdout, stderr}
			p := c.Start(t)
			in.Close()
			want := ""
			for n := range 20 {
				line := fmt.Sprintln("line", n)
				want += line
				if _, err := feed.WriteString(line); err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					waitFor(t, "the first line", func() bool { return testhost.Contents(t, stdout) == want })
				}
				core := filepath.Join(t.TempDir(), "core")
				if r := command("dump", "-o", core, fmt.Sprint(p.Pid)).Run(t); r != (testhost.Result{}) {
					t.Fatalf("%+v", r)
				}
			}
			feed.Close()
			if s := testhost.Status(p.Wait()); s != 0 || testhost.Contents(t, stdout) != want || testhost.Contents(t, stderr) != "" {
				t.Errorf("status %d, output %q, said %q", s, testhost.Contents(t, stdout), testhost.Contents(t, stderr))
			}
		})
	}
}

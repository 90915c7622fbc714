package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// through runs c with input in a pipe, and returns its end.
func through(t *testing.T, c testhost.Command, input string) testhost.Result {
	t.Helper()
	r, w := testhost.Pipe(t)
	if _, err := w.WriteString(input); err != nil {
		t.Fatal(err)
	}
	w.Close()
	c.Files = append([]*os.File{r, testhost.Memfd(t), testhost.Memfd(t)}, c.Files...)
	result := c.Run(t)
	result.Stdout, result.Stderr = testhost.Contents(t, c.Files[1]), testhost.Contents(t, c.Files[2])
	return result
}

// TestHosts has callers and hosts of many kinds.
func TestHosts(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces and taps")
	var junk []*os.File
	for range 197 {
		junk = append(junk, testhost.Null(t))
	}
	for name, change := range map[string]func(c *testhost.Command){
		"plain":           func(c *testhost.Command) {},
		"no environment":  func(c *testhost.Command) { c.Env = nil },
		"junk inherited":  func(c *testhost.Command) { c.Files = junk },
		"process 1":       func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID} },
		"no network":      func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET} },
		"user namespace":  func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER} },
		"unprivileged":    func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Credential: nobody()} },
		"session of one":  func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Setsid: true} },
		"few descriptors": func(c *testhost.Command) { script(c, "ulimit -n 16") },
		"large stack":     func(c *testhost.Command) { script(c, "ulimit -s unlimited") },
		"locked memory":   func(c *testhost.Command) { script(c, "ulimit -l 0") },
		"no core":         func(c *testhost.Command) { script(c, "ulimit -c 0") },
		"no memfd exec 1": func(c *testhost.Command) {
			script(c, "echo 1 > /proc/sys/vm/memfd_noexec")
			c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
		},
	} {
		for _, args := range [][]string{{"run"}, {"run", "--mem=2"}, {"run", "--mem=65536", "--guest=simple"}} {
			c := command(args...)
			change(c)
			check(t, name, through(t, *c, "through"), testhost.Result{Stdout: "through"})
		}
	}
}

// script has a shell do something before it becomes c.
func script(c *testhost.Command, first string) {
	c.Args = append([]string{"-c", first + ` && exec "$0" "$@"`, c.Path}, c.Args...)
	c.Path = "/bin/sh"
}

// notStarted is the status of gocat run when no guest was started.
const notStarted = 125

func nobody() *syscall.Credential { return &syscall.Credential{Uid: 65534, Gid: 65534} }

// TestNoProc has the program alone in its root directory.
func TestNoProc(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces and taps")
	root := t.TempDir()
	b, err := os.ReadFile(gocat)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/gocat", b, 0o755); err != nil {
		t.Fatal(err)
	}
	c := command("run")
	c.Path, c.Attr = "/gocat", &syscall.SysProcAttr{Chroot: root}
	check(t, "chroot", through(t, *c, "through"), testhost.Result{Stdout: "through"})
}

// TestRefusals has hosts on which no guest can run: one line says why.
func TestRefusals(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces and taps")
	for name, c := range map[string]struct {
		change func(*testhost.Command)
		want   []string
	}{
		"no memfd exec 2": {func(c *testhost.Command) {
			script(c, "echo 2 > /proc/sys/vm/memfd_noexec")
			c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
		}, []string{"vm.memfd_noexec is 2", "gocat seal"}},
		"no descriptors left": {func(c *testhost.Command) { script(c, "ulimit -n 3") }, []string{"too many open files"}},
		"too few for a guest": {func(c *testhost.Command) { script(c, "ulimit -n 4") }, []string{"could not make a timer: too many open files"}},
		"address space": {func(c *testhost.Command) {
			c.Args = append(c.Args, "--mem=65536")
			script(c, "ulimit -v 10000000")
		}, []string{"could not map 65536 MB of guest memory"}},
		"file size":      {func(c *testhost.Command) { script(c, "ulimit -f 1") }, []string{"write: file too large"}},
		"part of a file": {func(c *testhost.Command) { script(c, "ulimit -f 50") }, []string{"write: file too large"}},
	} {
		cmd := command("run")
		c.change(cmd)
		r := through(t, *cmd, "through")
		if r.Status != notStarted || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 || !strings.HasPrefix(r.Stderr, "gocat: ") {
			t.Errorf("%s: %+v", name, r)
		}
		for _, want := range c.want {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("%s: %q is not in %q", name, want, r.Stderr)
			}
		}
	}
}

// TestProcessOne has gocat as the only process of a container.
func TestProcessOne(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces and taps")
	for way, c := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGKILL} {
				r, _ := testhost.Pipe(t)
				c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
				c.Files = []*os.File{r, testhost.Null(t), testhost.Null(t)}
				p := c.Start(t)
				p.WaitIdle()
				p.Signal(s)
				if got := testhost.Status(p.Wait()); got != 128+int(s) {
					t.Errorf("status %d after %v", got, s)
				}
			}
		})
	}
}

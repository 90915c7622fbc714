package spt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// feedAndRun runs c with input on descriptor 0, and returns its result.
func feedAndRun(t *testing.T, c testhost.Command, input string) testhost.Result {
	t.Helper()
	r, w := testhost.Pipe(t)
	if _, err := w.WriteString(input); err != nil {
		t.Fatal(err)
	}
	w.Close()
	c.Files = []*os.File{r, testhost.Memfd(t), testhost.Memfd(t)}
	result := c.Run(t)
	result.Stdout, result.Stderr = testhost.Contents(t, c.Files[1]), testhost.Contents(t, c.Files[2])
	return result
}

// TestEmptyRoot has a root directory that holds the sealed executable and
// nothing else: no /proc, no /dev.
func TestEmptyRoot(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces")
	for name, u := range cats(t) {
		path := u.seal(t)
		c := testhost.Command{
			Path: "/" + filepath.Base(path),
			Attr: &syscall.SysProcAttr{Chroot: filepath.Dir(path)},
		}
		r := feedAndRun(t, c, "through")
		if r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestNoProc has Run without /proc.
func TestNoProc(t *testing.T) {
	u := cat(t, guests.Advanced)
	c := u.command(t)
	testhost.Tmpfs(t, "/proc")
	r := feedAndRun(t, *c, "through")
	if r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
		t.Errorf("%+v", r)
	}
}

// TestProcessOne has guests that are process 1 of a namespace, for which the
// kernel has no default actions.
func TestProcessOne(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces")
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	for _, quiet := range []bool{false, true} {
		for _, run := range []bool{false, true} {
			start := func(u *unikernel) *testhost.Command {
				u.QuietFaults = quiet
				c := &testhost.Command{Path: u.seal(t), Attr: attr}
				if run {
					c = u.command(t)
					c.Attr = attr
				}
				return c
			}
			c := start(cat(t, guests.Advanced))
			if r := feedAndRun(t, *c, "through"); r.Status != 0 || r.Stdout != "through" {
				t.Errorf("%+v", r)
			}
			for _, status := range []uint64{0, 1, 2, 63, 64, 255} {
				c := start(probe(t, func(p *guests.Probe) { p.Do(p.Exit(guests.N(status))) }))
				check(t, c.Run(t), int(status), "", "")
			}
			for i, f := range guestFaults {
				if i%5 != 0 && f.signal != unix.SIGSYS {
					continue
				}
				c := start(probe(t, func(p *guests.Probe) { p.Do(f.step(p), p.Puts(alive)) }))
				r := c.Run(t)
				if r.Status != 128+int(f.signal) || r.Stdout != "" || quiet != (r.Stderr == "") {
					t.Errorf("%s, quiet %v: %+v", f.name, quiet, r)
				}
			}
			for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGKILL} {
				c := start(cat(t, guests.Advanced))
				r, _ := testhost.Pipe(t)
				c.Files = []*os.File{r, testhost.Null(t), testhost.Memfd(t)}
				p := c.Start(t)
				p.WaitAsleep()
				// What has no handler is ignored.
				p.Signal(unix.SIGUSR1)
				p.Signal(unix.SIGALRM)
				p.WaitAsleep()
				p.Signal(s)
				if got := testhost.Status(p.Wait()); got != 128+int(s) || testhost.Contents(t, c.Files[2]) != "" {
					t.Errorf("%v: status %d, stderr %q", s, got, testhost.Contents(t, c.Files[2]))
				}
			}
		}
	}
}

// TestProcessOneBusy has process 1 that never makes a system call, and one whose
// stack pointer is anywhere.
func TestProcessOneBusy(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces")
	for _, sp := range []uint64{0, guests.Scratch + 0x100, stackBase + 64, stackBase + stackSize, 1 << 63} {
		u := probe(t, func(p *guests.Probe) {
			execute(p, call(unix.SYS_WRITE, 1, p.Data([]byte(alive)), 1), mov(rsp, sp), []byte{0xeb, 0xfe}) // jmp itself
		})
		stdout := testhost.Memfd(t)
		c := testhost.Command{
			Path:  u.seal(t),
			Attr:  &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID},
			Files: []*os.File{testhost.Null(t), stdout, testhost.Null(t)},
		}
		p := c.Start(t)
		for testhost.Contents(t, stdout) == "" && p.Running() {
		}
		p.Signal(unix.SIGTERM)
		if s := testhost.Status(p.Wait()); s != 143 && s != 139 || len(testhost.Contents(t, stdout)) != 1 {
			t.Errorf("rsp %#x: status %d", sp, s)
		}
	}
}

// TestUnprivileged has a user that owns neither the image nor the pipes.
func TestUnprivileged(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces")
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	dir := publicDir(t)
	program := filepath.Join(dir, "program")
	copyFile(t, program, cat(t, guests.Simple).command(t).Path)
	for name, u := range cats(t) {
		path := filepath.Join(dir, "sealed")
		copyFile(t, path, u.seal(t))
		if r := feedAndRun(t, testhost.Command{Path: path, Attr: attr}, "through"); r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
			t.Errorf("%s: %+v", name, r)
		}
		c := u.command(t)
		c.Path, c.Attr = program, attr
		if r := feedAndRun(t, *c, "through"); r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
			t.Errorf("%s by Run: %+v", name, r)
		}
	}
	c := probe(t, func(p *guests.Probe) { p.Do(syscall1(forbidden)(p), p.Puts(alive)) }).command(t)
	c.Path, c.Attr = program, attr
	if r := c.Run(t); r.Status != 159 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, forbiddenLine) {
		t.Errorf("%+v", r)
	}
}

// copyFile copies an executable.
func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(to)
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestNamespaces has a guest in new namespaces of every kind, as in a container
// of its own user.
func TestNamespaces(t *testing.T) {
	u := cat(t, guests.Advanced)
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	c := *u.command(t)
	c.Attr = attr
	if r := feedAndRun(t, c, "through"); r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
		t.Errorf("%+v", r)
	}
	c = testhost.Command{Path: u.seal(t), Attr: attr}
	if r := feedAndRun(t, c, "through"); r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
		t.Errorf("%+v", r)
	}
}

// TestMemfdNoexec has hosts that restrict executable memfds (sysctl(2)
// vm.memfd_noexec, which is one of a pid namespace).
func TestMemfdNoexec(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces")
	if _, err := os.Stat(noexecSysctl); err != nil {
		testhost.Skip(t, "no vm.memfd_noexec before Linux 6.3")
	}
	for noexec := range 3 {
		u := cat(t, guests.Advanced)
		u.Noexec = noexec
		c := *u.command(t)
		c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
		r := feedAndRun(t, c, "through")
		if noexec < 2 {
			if r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
				t.Errorf("vm.memfd_noexec %d: %+v", noexec, r)
			}
			continue
		}
		if r.Status != 1 || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 ||
			!strings.Contains(r.Stderr, "vm.memfd_noexec is 2") {
			t.Errorf("vm.memfd_noexec %d: %+v", noexec, r)
		}
	}
}

const noexecSysctl = "/proc/sys/vm/memfd_noexec"

// limited is c under a limit of the shell's ulimit.
func limited(c testhost.Command, limit string) testhost.Command {
	c.Args = append([]string{"-c", "ulimit " + limit + " && exec \"$0\" \"$@\"", c.Path}, c.Args...)
	c.Path = "/bin/sh"
	return c
}

func TestLimits(t *testing.T) {
	u := cat(t, guests.Advanced)
	u.Memory = 512 << 20
	sealed := testhost.Command{Path: u.seal(t)}
	for limit, want := range map[string]string{
		"-n 8":         "", // descriptors
		"-n 7":         "",
		"-n 6":         "gocat: network device 'stdin': could not copy its descriptor: ",
		"-n 5":         "gocat: could not make an event descriptor: too many open files\n",
		"-n 4":         "gocat: could not make a timer: too many open files\n",
		"-n 3":         "gocat: could not make an epoll descriptor: too many open files\n",
		"-v 100000":    "gocat: could not map 512 MB of guest memory: cannot allocate memory\n", // address space in KiB
		"-d 100000":    "gocat: could not map 512 MB of guest memory: cannot allocate memory\n", // data in KiB
		"-v 600000":    "",
		"-s unlimited": "", // stack: another layout of the address space
		"-s 64":        "",
		"-c 0":         "",
		"-l 0":         "",
		"-f 1":         "", // size of files
	} {
		r := feedAndRun(t, limited(sealed, limit), "through")
		if want == "" {
			if r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
				t.Errorf("%s: %+v", limit, r)
			}
		} else if r.Status != 1 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%s: %+v, want %q", limit, r, want)
		}
	}
	for _, limit := range []string{"-n 16", "-s unlimited", "-s 64", "-l 0"} {
		if r := feedAndRun(t, limited(*u.command(t), limit), "through"); r.Status != 0 || r.Stdout != "through" || r.Stderr != "" {
			t.Errorf("Run with %s: %+v", limit, r)
		}
	}
}

// TestMemory has guests from the smallest to 64 GB, which write to the first and
// the last page that are theirs and read what lies beyond.
func TestMemory(t *testing.T) {
	sizes := []uint64{heap, heap + 4096, 2 << 20, 3 << 20, 512 << 20, 4<<30 - 4096, 4 << 30, 5 << 30, 64 << 30, 1 << 44}
	for _, size := range sizes {
		u := probe(t, func(p *guests.Probe) {
			p.Do(p.Move(guests.Boot(bootMemSize)).Equals(guests.N(size), 10))
			p.Do(p.Move(guests.Boot(bootKernelEnd)).Equals(guests.N(heap), 11))
			for _, at := range []uint64{memBase + 0x6000, guests.Scratch, max(heap, size/2&^7) - 8, size - 8} {
				p.Do(p.Store64(guests.N(at), guests.N(at^size)))
				p.Do(p.Move(guests.At(at)).Equals(guests.N(at^size), 12))
			}
			p.Do(p.Load8(guests.N(size)), p.Puts(alive))
		})
		u.Memory = size
		r := u.run(t)
		if want := fmt.Sprintf("memory fault at address %#x; rip", size); r.Status != 139 || r.Stdout != "" || !strings.Contains(r.Stderr, want) {
			t.Errorf("%#x bytes: %+v, want %q", size, r, want)
		}
		r = u.command(t).Run(t)
		if r.Status != 139 || r.Stdout != "" {
			t.Errorf("%#x bytes by Run: %+v", size, r)
		}
	}
	u := probe(t, func(*guests.Probe) {})
	c := u.sealable(t)
	c.Memory = heap - 4096
	var small *image.MemoryError
	if err := Seal(c, &strings.Builder{}); !errors.As(err, &small) || small.Need != 2<<20 {
		t.Errorf("memory smaller than the image: %v", err)
	}
}

// TestBecomesTheGuest has what Run keeps of the process: its number and name.
func TestBecomesTheGuest(t *testing.T) {
	for _, name := range []string{"cat", "a-name-of-more-than-fifteen-bytes", "name with spaces"} {
		u := cat(t, guests.Advanced)
		u.Name = name
		c := u.command(t)
		r, _ := testhost.Pipe(t)
		c.Files = []*os.File{r, testhost.Null(t), testhost.Null(t)}
		p := c.Start(t)
		p.WaitAsleep()
		read := func(file string) string {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Pid, file))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if got, want := read("comm"), name[:min(15, len(name))]+"\n"; got != want {
			t.Errorf("comm %q, want %q", got, want)
		}
		status := read("status")
		for _, want := range []string{"Threads:\t1\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
			if !strings.Contains(status, want) {
				t.Errorf("no %q in /proc/PID/status", want)
			}
		}
		if cmdline := read("cmdline"); cmdline != "" {
			t.Errorf("command line %q, of a stack that is gone", cmdline)
		}
		if environ := read("environ"); environ != "" {
			t.Errorf("environment %q", environ)
		}
	}
}

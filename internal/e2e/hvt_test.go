package e2e

import (
	"bytes"
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

// TestShellHVT has what users type, for virtual machines.
func TestShellHVT(t *testing.T) {
	needKVM(t, "hvt")
	for script, want := range map[string]testhost.Result{
		"echo hi | gocat run --backend=hvt":                                                                             {Stdout: "hi\n"},
		"echo hi | gocat run --backend=hvt --guest simple":                                                              {Stdout: "hi\n"},
		"echo hi | gocat run --backend=hvt --net-ring --mem=2":                                                          {Stdout: "hi\n"},
		"echo hi | gocat run --backend=hvt --mem=4096":                                                                  {Stdout: "hi\n"},
		"gocat run --backend=hvt < /dev/null":                                                                           {},
		"echo hi > f; gocat run --backend=hvt < f; gocat run --backend=hvt < f":                                         {Stdout: "hi\nhi\n"},
		"(echo a; sleep 0.1; echo b) | gocat run --backend=hvt":                                                         {Stdout: "a\nb\n"},
		"echo hi | gocat run --backend=hvt | gocat run | gocat run --backend=hvt":                                       {Stdout: "hi\n"},
		"echo a > f; echo b | gocat run --backend=hvt >> f; cat f":                                                      {Stdout: "a\nb\n"},
		"echo hi | gocat run --backend=hvt >&-":                                                                         {},
		"echo hi | gocat run --backend=hvt 2>&-":                                                                        {Stdout: "hi\n"},
		"gocat run --backend=hvt <&-":                                                                                   {},
		"yes | gocat run --backend=hvt | head -n 1":                                                                     {Stdout: "y\n"},
		"yes | (gocat run --backend=hvt; echo $? >&2) | head -n 1":                                                      {Stdout: "y\n", Stderr: "141\n"},
		"yes | gocat run --backend=hvt > /dev/full":                                                                     {Status: 1, Stderr: "gocat: Could not write to the console: no space left on device\n"},
		"mkfifo f; (echo hi > f) & gocat run --backend=hvt < f":                                                         {Stdout: "hi\n"},
		"exec 7<<E; gocat run --backend=hvt --net stdin=@7 <&7\nhi\nE\n":                                                {Stdout: "hi\n"},
		"gocat guest --backend=hvt -o cat.hvt; echo hi | gocat run --net:stdin=@0 cat.hvt --solo5:quiet -l netif:quiet": {Stdout: "hi\n"},
	} {
		check(t, script, shell(t, script), want)
	}
}

// TestHostsHVT has callers and hosts of many kinds.
func TestHostsHVT(t *testing.T) {
	needKVM(t, "hvt")
	testhost.NeedRoot(t, "to make namespaces and taps")
	var junk []*os.File
	for range 197 {
		junk = append(junk, testhost.Null(t))
	}
	for name, change := range map[string]func(c *testhost.Command){
		"no environment":  func(c *testhost.Command) { c.Env = nil },
		"junk inherited":  func(c *testhost.Command) { c.Files = junk },
		"process 1":       func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID} },
		"no network":      func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET} },
		"user namespace":  func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER} },
		"session of one":  func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Setsid: true} },
		"few descriptors": func(c *testhost.Command) { script(c, "ulimit -n 16") },
		"large stack":     func(c *testhost.Command) { script(c, "ulimit -s unlimited") },
		"locked memory":   func(c *testhost.Command) { script(c, "ulimit -l 0") },
		"no core":         func(c *testhost.Command) { script(c, "ulimit -c 0") },
		"one processor":   func(c *testhost.Command) { c.Env = append(c.Env, "GOMAXPROCS=1") },
		"Go's own debugging": func(c *testhost.Command) {
			c.Env = append(c.Env, "GOGC=1", "GOMEMLIMIT=1MiB", "GODEBUG=asyncpreemptoff=1,gcstoptheworld=1")
		},
	} {
		c := command("run", "--backend=hvt")
		change(c)
		check(t, name, through(t, *c, "through"), testhost.Result{Stdout: "through"})
	}
}

// TestNoProcHVT has nothing but the program and KVM in its root directory.
func TestNoProcHVT(t *testing.T) {
	needKVM(t, "hvt")
	testhost.NeedRoot(t, "to make namespaces and taps")
	root := t.TempDir()
	b, err := os.ReadFile(gocat)
	if err != nil {
		t.Fatal(err)
	}
	var kvm unix.Stat_t
	if err := unix.Stat("/dev/kvm", &kvm); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/gocat", b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+"/dev", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(root+"/dev/kvm", unix.S_IFCHR|0o600, int(kvm.Rdev)); err != nil {
		testhost.Skip(t, "cannot make devices: "+err.Error())
	}
	c := command("run", "--backend=hvt")
	c.Path, c.Attr = "/gocat", &syscall.SysProcAttr{Chroot: root}
	check(t, "chroot", through(t, *c, "through"), testhost.Result{Stdout: "through"})
}

// TestRefusalsHVT has hosts on which no virtual machine can run: one line says
// why.
func TestRefusalsHVT(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces and taps")
	hide := func(command string) func(*testhost.Command) {
		return func(c *testhost.Command) {
			script(c, "mount --make-rprivate / && "+command)
			c.Attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
		}
	}
	for name, c := range map[string]struct {
		kvm    bool // must be there
		change func(*testhost.Command)
		want   string
	}{
		"none":      {false, hide("mount -t tmpfs none /dev"), "KVM: open /dev/kvm: no such file or directory: load the module kvm_intel or kvm_amd"},
		"another":   {true, hide("mount --bind /dev/null /dev/kvm"), "KVM: get API version: inappropriate ioctl for device: /dev/kvm is not KVM's device"},
		"forbidden": {true, func(c *testhost.Command) { c.Attr = &syscall.SysProcAttr{Credential: nobody()} }, "KVM: open /dev/kvm: permission denied: join the group"},
		"address space": {true, func(c *testhost.Command) {
			c.Args = append(c.Args, "--mem=4096")
			script(c, "ulimit -v 4000000")
		}, "guest memory of 4096 MB: cannot allocate memory: give less with --mem"},
		"descriptors":      {true, func(c *testhost.Command) { script(c, "ulimit -n 5") }, "too many open files"},
		"no address space": {true, func(c *testhost.Command) { script(c, "ulimit -v 300000") }, "the limit on address space (ulimit -v) is too small"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.kvm {
				needKVM(t, "hvt")
			}
			if name == "forbidden" {
				var st unix.Stat_t
				if err := unix.Stat("/dev/kvm", &st); err != nil || st.Mode&0o006 == 0o006 {
					testhost.Skip(t, "everybody may use /dev/kvm")
				}
			}
			cmd := command("run", "--backend=hvt")
			c.change(cmd)
			r := through(t, *cmd, "through")
			if r.Status != notStarted || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 || !strings.HasPrefix(r.Stderr, "gocat: ") || !strings.Contains(r.Stderr, c.want) {
				t.Errorf("%+v; want status %d and %q", r, notStarted, c.want)
			}
		})
	}
}

// TestStatusHVT has a guest's end as its caller sees it.
func TestStatusHVT(t *testing.T) {
	needKVM(t, "hvt")
	for _, status := range []uint64{0, 1, 2, 63, 64, 127, 128, 159, 255} {
		path := probeFor(t, image.HVT, func(p *guests.Probe) { p.Do(p.Puts("done\n"), p.Exit(guests.N(status))) })
		check(t, "exit", command("run", path).Run(t), testhost.Result{Status: int(status), Stdout: "done\n"})
	}
	for name, end := range map[string]struct {
		steps func(*guests.Probe)
		line  string
	}{
		"read":         {func(p *guests.Probe) { p.Do(p.Load8(guests.N(16))) }, "gocat: guest fault #PF at 0x10, error code 0x4, and the guest has no handler: rip=0x1"},
		"write text":   {func(p *guests.Probe) { p.Do(p.Store8(guests.N(image.MinAddr), guests.N(0))) }, "gocat: KVM: host/guest translation fault: write to 0x100000, rip=0x1"},
		"execute data": {func(p *guests.Probe) { p.Do(p.Execute(guests.N(guests.Scratch))) }, "gocat: KVM: host/guest translation fault: execute 0x"},
		"hypercall":    {func(p *guests.Probe) { p.Do(p.Out32(guests.N(0x500), guests.N(0))) }, "gocat: Invalid guest hypercall: num=0"},
		"port":         {func(p *guests.Probe) { p.Do(p.Out32(guests.N(0x80), guests.N(0))) }, "gocat: Invalid guest port access: port=0x80"},
	} {
		path := probeFor(t, image.HVT, func(p *guests.Probe) { end.steps(p); p.Do(p.Puts("alive")) })
		r := command("run", path).Run(t)
		if r.Status != 1 || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 || !strings.HasPrefix(r.Stderr, end.line) {
			t.Errorf("%s: %+v, want %q", name, r, end.line)
		}
	}
}

// TestReplacedHVT has a kernel file that is overwritten and cut off under a
// running guest.
func TestReplacedHVT(t *testing.T) {
	needKVM(t, "hvt")
	path := filepath.Join(t.TempDir(), "cat.hvt")
	if r := command("guest", "--backend=hvt", "-o", path).Run(t); r.Status != 0 {
		t.Fatalf("gocat guest: %+v", r)
	}
	c := command("run", "--net=stdin=@0", path, "--solo5:quiet", "-l", "netif:quiet")
	in, w := testhost.Pipe(t)
	out, errs := testhost.Memfd(t), testhost.Memfd(t)
	c.Files = []*os.File{in, out, errs}
	p := c.Start(t)
	p.WaitIdle()
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xcc}, 64<<10), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	w.WriteString("still here")
	w.Close()
	if s := p.Wait(); s != 0 || testhost.Contents(t, out) != "still here" {
		t.Errorf("status %#x, stdout %q, stderr %q", s, testhost.Contents(t, out), testhost.Contents(t, errs))
	}
}

// TestFlagsHVT has descriptors that cannot be opened again, which the caller
// continues to use: unlike an spt guest, a tender leaves also these as they
// were.
func TestFlagsHVT(t *testing.T) {
	needKVM(t, "hvt")
	for name, open := range map[string]func() (stdin, peer *os.File){
		"stream":    func() (*os.File, *os.File) { return socketpair(t, unix.SOCK_STREAM) },
		"seqpacket": func() (*os.File, *os.File) { return socketpair(t, unix.SOCK_SEQPACKET) },
		"datagrams": func() (*os.File, *os.File) { return socketpair(t, unix.SOCK_DGRAM) },
		"pty":       func() (*os.File, *os.File) { return testhost.RawPTY(t) },
	} {
		for _, nonblocking := range []bool{false, true} {
			for _, end := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
				stdin, peer := open()
				if err := unix.SetNonblock(int(stdin.Fd()), nonblocking); err != nil {
					t.Fatal(err)
				}
				before := testhost.SharedState(t, stdin)
				same := func(when string) {
					t.Helper()
					if now := testhost.SharedState(t, stdin); now != before {
						t.Errorf("%s: %+v before, %+v %s", name, before, now, when)
					}
				}
				out, console := testhost.Pipe(t)
				c := command("run", "--backend=hvt")
				c.Files = []*os.File{stdin, console, testhost.Null(t)}
				p := c.Start(t)
				p.WaitIdle()
				same("while it runs")
				if _, err := unix.Write(int(peer.Fd()), []byte("through")); err != nil {
					t.Fatal(err)
				}
				testhost.Expect(t, out, "through")
				p.Signal(end)
				if got := testhost.Status(p.Wait()); got != 128+int(end) {
					t.Errorf("%s: status %d after %v", name, got, end)
				}
				same("afterwards")
			}
		}
	}
}

// socketpair makes two connected sockets that block.
func socketpair(t *testing.T, typ int) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return testhost.File(t, fds[0]), testhost.File(t, fds[1])
}

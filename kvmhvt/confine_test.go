package kvmhvt

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/guest"
	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/seccomp"
)

// Guests that never end by themselves.

func sleeper(t testing.TB) string {
	p := guest.NewProbe(image.HVT)
	p.Do(p.Puts("ready\n"))
	p.Hypercall(hcPoll, scratch, guest.N(^uint64(0)))
	return probe(t, p)
}

func spinner(t testing.TB) string {
	p := guest.NewProbe(image.HVT)
	p.Do(p.Puts("ready\n"), p.Execute(guest.N(p.Code([]byte{0xeb, 0xfe})))) // jmp .
	return probe(t, p)
}

func babbler(t testing.TB) string {
	p := guest.NewProbe(image.HVT)
	p.Do(p.Puts("ready\n"))
	p.Hypercall(hcPuts, scratch, guest.N(image.MinAddr), guest.N(1<<20))
	return probe(t, p)
}

// start starts a tender and waits until its guest is ready.
func start(t *testing.T, args ...string) (cmd *exec.Cmd, errs *bytes.Buffer) {
	t.Helper()
	cmd, errs = tenderCommand(t, args...), new(bytes.Buffer)
	cmd.Stderr = errs
	r, w := must2(t)(os.Pipe())
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); r.Close() })
	w.Close()
	line := make([]byte, 6)
	if n, err := r.Read(line); string(line[:n]) != "ready\n" {
		t.Fatalf("guest did not start: %q, %v", line[:n], err)
	}
	return cmd, errs
}

// wait waits for the end of cmd, at most for limit.
func wait(t *testing.T, cmd *exec.Cmd, limit time.Duration) {
	t.Helper()
	started := time.Now()
	timer := time.AfterFunc(10*limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	if d := time.Since(started); d > limit {
		t.Errorf("it took %v to end", d)
	}
}

func TestSignals(t *testing.T) {
	for name, img := range map[string]func(testing.TB) string{"poll": sleeper, "loop": spinner, "full pipe": babbler} {
		for _, cpl := range []string{"3", "0"} {
			for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
				t.Run(fmt.Sprintf("%s/cpl%s/%v", name, cpl, sig), func(t *testing.T) {
					cmd, errs := start(t, "--cpl="+cpl, img(t))
					cmd.Process.Signal(sig)
					wait(t, cmd, time.Second)
					want := fmt.Sprintf("tender: Exiting on signal %d\n", int(sig))
					if exitStatus(cmd) != 1 || errs.String() != want {
						t.Errorf("status %d, %q", exitStatus(cmd), errs)
					}
				})
			}
		}
	}
}

// TestWaitingIsFree shows that a guest in poll takes no processor time and that
// signals that are not for it do no harm.
func TestWaitingIsFree(t *testing.T) {
	cmd, errs := start(t, sleeper(t))
	before := processorTime(t, cmd.Process.Pid)
	for range 5 {
		for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT, unix.SIGWINCH, unix.SIGURG} {
			cmd.Process.Signal(sig)
			time.Sleep(20 * time.Millisecond)
		}
	}
	time.Sleep(600 * time.Millisecond)
	if used := processorTime(t, cmd.Process.Pid) - before; used > 5 {
		t.Errorf("a waiting guest used %d hundredths of a second in one", used)
	}
	cmd.Process.Signal(unix.SIGTERM)
	wait(t, cmd, time.Second)
	if exitStatus(cmd) != 1 {
		t.Errorf("status %d, %q", exitStatus(cmd), errs)
	}
}

// processorTime is what a process has used, in clock ticks: hundredths of a
// second.
func processorTime(t *testing.T, pid int) (ticks int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var user, system int
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return user + system
}

// TestConfined looks at a tender from outside while its guest runs.
func TestConfined(t *testing.T) {
	secret := must(t)(os.Open("/etc/passwd"))
	defer secret.Close()
	cmd := tenderCommand(t, sleeper(t))
	r, w := must2(t)(os.Pipe())
	defer r.Close()
	cmd.Stdout, cmd.ExtraFiles = w, []*os.File{secret, secret}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	if n, err := r.Read(make([]byte, 6)); n != 6 {
		t.Fatal(err)
	}
	dir := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
	tasks, err := filepath.Glob(dir + "/task/*/status")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads: %v", len(tasks), err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "Seccomp_filters:\t1\n", "CapEff:\t0000000000000000\n",
			"CapPrm:\t0000000000000000\n", "CapInh:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s lacks %q", task, want)
			}
		}
	}
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, _ := os.Readlink(dir + "/fd/" + fd.Name())
		switch {
		case fd.Name() == "1" || fd.Name() == "2":
		case strings.HasPrefix(link, "anon_inode:"): // processor, wait set, timer, the runtime's poller
			if strings.Contains(link, "kvm-vm") {
				t.Errorf("descriptor %s is still %s", fd.Name(), link)
			}
		default:
			t.Errorf("descriptor %s is still %s", fd.Name(), link)
		}
	}
}

// TestLayers shows that each layer is reported, and that a call outside the
// policy kills.
func TestLayers(t *testing.T) {
	r := runTender(t, "--verbose", sleepless(t))
	for _, layer := range []string{"no_new_privs", "capabilities", "descriptors", "seccomp"} {
		if !strings.Contains(r.stderr, "layer "+layer+": <nil>\n") {
			t.Errorf("%s does not hold: %q", layer, r.stderr)
		}
	}
	if !strings.Contains(r.stderr, "layer landlock: ") || r.status != 0 {
		t.Errorf("%+v", r)
	}
	if r := runTender(t, "--break-out", sleepless(t)); r.status != 128+int(unix.SIGSYS) {
		t.Errorf("a forbidden call: %+v", r)
	}
}

// sleepless is a guest that ends at once.
func sleepless(t testing.TB) string { return probe(t, guest.NewProbe(image.HVT)) }

// TestRepeated starts many tenders, since a policy that lacks a call of the Go
// runtime's kills some of them at random.
func TestRepeated(t *testing.T) {
	img := sleepless(t)
	for i := range 100 {
		if r := runTender(t, img); r.status != 0 {
			t.Fatalf("run %d: %+v", i, r)
		}
	}
}

func TestPolicy(t *testing.T) {
	img := &image.Image{Target: image.HVT, Version: 2}
	c := &Config{Image: img, File: bytes.NewReader(nil), CPL: 3, NetRing: true, Console: 5, Devices: []device.Device{
		{Handle: 1, Name: "pipe", Type: image.Net, Kind: device.Pipe, FD: 10},
		{Handle: 2, Name: "socket", Type: image.Net, Kind: device.Stream, FD: 11},
		{Handle: 3, Name: "disk", Type: image.Block, Kind: device.Disk, FD: 12, Capacity: 1 << 20, BlockSize: 512},
	}}
	p, err := Policy(c)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := p.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	if err := seccomp.Check(p, prog); err != nil {
		t.Error(err)
	}
	call := func(nr uint32, args ...uint64) seccomp.Call {
		c := seccomp.Call{Nr: nr, Arch: unix.AUDIT_ARCH_X86_64}
		copy(c.Args[:], args)
		return c
	}
	for _, tt := range []struct {
		call seccomp.Call
		want seccomp.Action
	}{
		{call(unix.SYS_READ, 10), seccomp.Allow},
		{call(unix.SYS_READ, 11), seccomp.Kill},
		{call(unix.SYS_RECVFROM, 11, 0, 0, unix.MSG_DONTWAIT), seccomp.Allow},
		{call(unix.SYS_RECVFROM, 11, 0, 0, 0), seccomp.Kill},
		{call(unix.SYS_PREAD64, 12, 0, 512, 0), seccomp.Allow},
		{call(unix.SYS_WRITE, 12), seccomp.Kill},
		{call(unix.SYS_WRITE, 5), seccomp.Allow},
		{call(unix.SYS_IOCTL, standIn, kvmRun), seccomp.Allow},
		{call(unix.SYS_IOCTL, standIn, kvmSetUserMemory), seccomp.Kill},
		{call(unix.SYS_OPENAT, 0), seccomp.Kill},
		{call(unix.SYS_EXECVE, 0), seccomp.Kill},
	} {
		if got := p.Decide(tt.call); got != tt.want {
			t.Errorf("%+v: %v", tt.call, got)
		}
	}
}

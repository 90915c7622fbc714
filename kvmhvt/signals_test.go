package kvmhvt

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/seccomp"
)

// Guests that never end by themselves.

func sleeper(t testing.TB) string {
	p := guests.NewProbe(image.HVT)
	p.Do(p.Puts("ready\n"))
	p.Hypercall(hcPoll, scratch, guests.N(^uint64(0)))
	return probe(t, p)
}

func spinner(t testing.TB) string {
	p := guests.NewProbe(image.HVT)
	p.Do(p.Puts("ready\n"), p.Execute(guests.N(p.Code([]byte{0xeb, 0xfe})))) // jmp .
	return probe(t, p)
}

func babbler(t testing.TB) string {
	p := guests.NewProbe(image.HVT)
	p.Do(p.Puts("ready\n"))
	p.Hypercall(hcPuts, scratch, guests.N(image.MinAddr), guests.N(8<<20)) // more than a pipe takes
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

// wait waits for the end of cmd, which has nothing else to end it. The limit is for
// a host that is busy, and an emulated one.
func wait(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	timer := time.AfterFunc(2*time.Minute, func() {
		t.Error("it does not end")
		cmd.Process.Kill()
	})
	cmd.Wait()
	timer.Stop()
}

func TestSignals(t *testing.T) {
	for name, img := range map[string]func(testing.TB) string{"poll": sleeper, "loop": spinner, "full pipe": babbler} {
		for _, cpl := range []string{"3", "0"} {
			for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
				t.Run(fmt.Sprintf("%s/cpl%s/%v", name, cpl, sig), func(t *testing.T) {
					cmd, errs := start(t, "--cpl="+cpl, img(t))
					cmd.Process.Signal(sig)
					wait(t, cmd)
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
	// The signals themselves take up to six in an emulated processor.
	if used := processorTime(t, cmd.Process.Pid) - before; used > 20 {
		t.Errorf("a waiting guest used %d hundredths of a second in one", used)
	}
	cmd.Process.Signal(unix.SIGTERM)
	wait(t, cmd)
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

// sleepless is a guest that ends immediately.
func sleepless(t testing.TB) string { return probe(t, guests.NewProbe(image.HVT)) }

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
	img := &image.Image{Target: image.HVT, Version: 2, Manifest: image.Manifest{{Type: image.Reserved}, {Type: image.Net}, {Type: image.Net}, {Type: image.Block}}}
	c := &Config{CPL: 3, NetRing: true, Console: 5, Trace: NoFD, Debug: NoFD, KVM: NoFD, Failure: 1, Guest: device.Guest{Image: img, File: bytes.NewReader(nil), Memory: 2 << 20, Devices: []device.Device{
		{Handle: 1, Name: "pipe", Type: image.Net, Kind: device.Pipe, FD: 10},
		{Handle: 2, Name: "socket", Type: image.Net, Kind: device.Stream, FD: 11},
		{Handle: 3, Name: "disk", Type: image.Block, Kind: device.Disk, FD: 12, Capacity: 1 << 20, BlockSize: 512},
	}}}
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
		{call(unix.SYS_IOCTL, standIn, kvmSetUserMemoryRegion), seccomp.Kill},
		{call(unix.SYS_OPENAT, 0), seccomp.Kill},
		{call(unix.SYS_EXECVE, 0), seccomp.Kill},
	} {
		if got := p.Decide(tt.call); got != tt.want {
			t.Errorf("%+v: %v", tt.call, got)
		}
	}
}

//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0
package kvmhvt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/guest"
	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// The test binary is also a tender: a process of its own for each guest, since
// Run confines its process for good.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "tend" {
		unix.Exit(tend(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// tend is a minimal tender: [OPTION ...] IMAGE [ARGS ...].
func tend(args []string) int {
	c := &Config{Memory: 16 << 20, CPL: 3}
	var o device.Options
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "tender:", err)
		return 1
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "--") {
		name, value, _ := strings.Cut(args[0], "=")
		var err error
		switch {
		case name == "--mem":
			c.Memory, err = strconv.ParseUint(value, 10, 64)
			c.Memory <<= 20
		case name == "--cpl":
			c.CPL, err = strconv.Atoi(value)
		case name == "--eof":
			c.EOF, err = device.ParseEOF(value)
		case name == "--ring":
			c.NetRing = true
		case name == "--unconfined":
			c.Confine = ConfineNone
		case name == "--best-effort":
			c.Confine = ConfineBestEffort
		case name == "--deny":
			err = deny(value)
		case name == "--require":
			err = c.Isolate.SetRequire(value)
		case name == "--user":
			err = c.Isolate.SetUser(value)
		case name == "--tamper":
			c.Started = tamper
		case name == "--break-out":
			c.Started = func(Confinement, Timer) { unix.Getppid() }
		case name == "--verbose":
			c.Started = func(done Confinement, _ Timer) {
				for _, l := range done {
					fmt.Fprintf(os.Stderr, "layer %v: %v\n", l.Layer, l.Err)
				}
			}
		case strings.HasPrefix(name, "--net:"):
			err = o.SetNet(args[0][len("--net:"):])
		case strings.HasPrefix(name, "--block:"):
			err = o.SetBlock(args[0][len("--block:"):])
		case strings.HasPrefix(name, "--block-sector-size:"):
			err = o.SetBlockSectorSize(args[0][len("--block-sector-size:"):])
		default:
			err = errors.New("unknown option " + name)
		}
		if err != nil {
			return fail(err)
		}
		args = args[1:]
	}
	// Not by the os package, which would make the runtime's poller.
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(fmt.Errorf("open %s: %w", args[0], err))
	}
	b := make([]byte, 64<<20)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return fail(err)
	}
	b = b[:n]
	file := bytes.NewReader(b)
	c.File, c.ELF = file, b
	if c.Image, err = image.Parse(file); err != nil {
		return fail(err)
	}
	c.Manifest = c.Image.Manifest
	set, err := device.Attach(c.Manifest, &o)
	if err != nil {
		return fail(err)
	}
	c.Devices = set.Devices
	c.Args = strings.Join(args[1:], " ")
	e, err := Run(c)
	if err != nil {
		return fail(err)
	}
	if e.Reason != "" {
		fmt.Fprintln(os.Stderr, "tender:", e.Reason)
	}
	return e.Status
}

// tamper is what a guest might do that has taken over a tender without a seccomp
// filter. It prints the result of each attempt.
func tamper(Confinement, Timer) {
	say := func(name string, err error) { unix.Write(2, []byte(fmt.Sprintf("%s: %v\n", name, err))) }
	_, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
	say("open", err)
	say("unshare uts", unix.Unshare(unix.CLONE_NEWUTS))
	say("chroot", unix.Chroot("/"))
	_, err = unix.Mmap(-1, 0, 1<<30, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	say("mmap", err)
	say("securebits", unix.Prctl(unix.PR_SET_SECUREBITS, 0, 0, 0, 0))
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	say(fmt.Sprintf("dumpable %d", dumpable), err)
	bounding, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN, 0, 0, 0)
	say(fmt.Sprintf("bounding %d", bounding), err)
	say("setuid", unix.Setresuid(-1, 0, -1))
	fd, err := unix.Dup(1) // 0 is closed and the one descriptor allowed
	say(fmt.Sprintf("dup %d", fd), err)
	_, err = unix.Dup(1)
	say("dup", err)
}

// deny makes a system call fail with EPERM from now on, as in a container.
func deny(number string) error {
	nr, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return err
	}
	if err := noNewPrivs(); err != nil {
		return err
	}
	return installFilter([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(nr), Jf: 1},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	})
}

// needKVM skips where guests cannot run.
func needKVM(t testing.TB) {
	t.Helper()
	if err := Available(); err != nil {
		testhost.Skip(t, err.Error())
	}
}

// tenderCommand is a command that runs a guest in a process of its own.
func tenderCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	needKVM(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tend := []string{"tend"}
	if !confine {
		tend = append(tend, "--unconfined")
	}
	cmd := exec.Command(self, append(tend, args...)...)
	return cmd
}

// result is how a tender's process ended.
type result struct {
	status         int // 128 + signal when one killed it
	stdout, stderr string
}

// runTender runs a guest to its end, with at most a minute's patience.
func runTender(t testing.TB, args ...string) result {
	t.Helper()
	return runCommand(t, tenderCommand(t, args...))
}

func runCommand(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	cmd.Wait()
	return result{exitStatus(cmd), out.String(), errs.String()}
}

func exitStatus(cmd *exec.Cmd) int {
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// write writes an image to a file.
func write(t testing.TB, b []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "guest.hvt")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// probe writes the image of a probe.
func probe(t testing.TB, p *guest.Probe) string {
	t.Helper()
	b, err := p.Image()
	return write(t, b, err)
}

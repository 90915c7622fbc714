package helper

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
	"gocat/internal/usernet"
)

// What would somebody try who had taken over the process that serves a network?
// gocat-net check has processes that are confined in the same way try it, each one
// thing, and prints what became of them. Who asked judges: gocat selftest, gocat
// doctor and tests.

// attacks are what must not work: the filter kills who tries. Those that are let
// are there to show that it is the attempt that kills.
var attacks = map[string]func() error{
	"open a file":       func() error { _, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0); return err },
	"open itself":       func() error { _, err := unix.Openat(unix.AT_FDCWD, ".", unix.O_RDONLY, 0); return err },
	"execute":           func() error { return unix.Exec("/bin/sh", []string{"sh"}, nil) },
	"fork":              func() error { _, _, e := unix.RawSyscall(unix.SYS_FORK, 0, 0, 0); return errOf(e) },
	"signal another":    func() error { return unix.Kill(os.Getppid(), 0) },
	"trace":             func() error { return unix.PtraceAttach(1) },
	"read a process":    func() error { _, err := unix.ProcessVMReadv(1, nil, nil, 0); return err },
	"listen":            func() error { return unix.Listen(0, 1) },
	"take a port":       func() error { return unix.Bind(0, &unix.SockaddrInet4{}) },
	"make a namespace":  func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"enter a namespace": func() error { return unix.Setns(0, 0) },
	"change the root":   func() error { return unix.Chroot(".") },
	"become another":    func() error { return unix.Setresuid(1, 1, 1) },
	"take capabilities": func() error {
		return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &unix.CapUserData{})
	},
	"load a program": func() error { _, _, e := unix.RawSyscall(unix.SYS_BPF, 0, 0, 0); return errOf(e) },
	"use io_uring":   func() error { _, _, e := unix.RawSyscall(unix.SYS_IO_URING_SETUP, 1, 0, 0); return errOf(e) },
	"make a file":    func() error { _, err := unix.MemfdCreate("x", 0); return err },
	"mount":          func() error { return unix.Mount("none", "/", "tmpfs", 0, "") },
	"raise a limit":  func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 10, Max: 1 << 20}) },
	usernet.Nothing:  func() error { return nil },
	usernet.Socket:   makeSocket,
}

func makeSocket() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func errOf(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// check has every attack tried, by processes that serve networks with these
// options, and prints usernet.Checked for each.
func check(spec string) error {
	if _, err := usernet.Parse(spec); err != nil {
		return err
	}
	names := []string{}
	for name := range attacks {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c, err := tried(name, spec)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Println(c)
	}
	return nil
}

// tried starts a process as one that serves is started, and returns what became of it.
func tried(name, spec string) (c usernet.Checked, err error) {
	attempts, together := separate(false)
	for _, sys := range attempts {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = []string{"gocat-net", "attack", name, spec, together}
		cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{}, "/", sys
		var out []byte
		out, err = cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			together = reason(isolate.ThisHost(""), isolate.UserNS, errnoOf(err)).Error()
			continue
		}
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		c = usernet.Checked{Name: name, Status: status.ExitStatus()}
		if status.Signaled() {
			c.Status = 128 + int(status.Signal())
		}
		for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
			c.Layers = append(c.Layers, lines.Text())
		}
		return c, nil
	}
	return c, err
}

// attack confines this process, says how, and tries one thing.
func attack(name, spec, together string) error {
	do := attacks[name]
	c, err := usernet.Parse(spec)
	if err != nil || do == nil {
		return errors.New("no such attack")
	}
	layers, err := confineSelf(&c, together, 0)
	if err != nil {
		return err
	}
	os.Stdout.WriteString(strings.Join(layers, "\n") + "\n")
	if do() != nil {
		os.Exit(usernet.Refused)
	}
	os.Exit(usernet.Let)
	return nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runnerArg makes the executable run the plan's jobs and return.
const runnerArg = "run-jobs"

// initMain is the virtual machine's first process. It prepares the system, waits
// for the process that runs the jobs and all orphans, and turns the machine off.
func initMain() {
	defer powerOff()
	b, err := os.ReadFile(planPath)
	var p plan
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		fmt.Println("init:", err)
		return
	}
	if err := setUp(&p); err != nil {
		p.report(reportError, err)
		return
	}
	runner, err := syscall.ForkExec("/init", []string{"/init", runnerArg},
		&syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		p.report(reportError, "start /init:", err)
		return
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == runner && status != 0 {
			p.report(reportError, fmt.Sprintf("wait for jobs: error %v, status %#x", err, status))
		}
		if err != nil || pid == runner {
			return
		}
	}
}

// report writes a report on a line of its own.
func (p *plan) report(kind string, what ...any) {
	s := strings.TrimSpace(fmt.Sprintln(what...))
	fmt.Printf("\n%s %s %s\n", p.Marker, kind, strings.ReplaceAll(s, "\n", "; "))
}

func powerOff() {
	unix.IoctlSetInt(1, unix.TCSBRK, 1) // wait until the console's output is out
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("power off:", err)
	os.Exit(1) // and the kernel panics
}

// ownRoot mounts the RAM disk once more, over itself. The kernel changes no root by
// pivot_root, as container runtimes do, that is mounted on nothing.
func ownRoot() error {
	const dir = "/root"
	if err := unix.Mount("/", dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	return unix.Chroot(".")
}

// setUp mounts what programs expect, loads the modules and starts the loopback.
// Control groups are those of version 2 alone.
func setUp(p *plan) error {
	if err := ownRoot(); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	for _, m := range []struct{ fs, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"},
		{"devpts", "/dev/pts"}, {"tmpfs", "/dev/shm"}, {"cgroup2", "/sys/fs/cgroup"},
		{"securityfs", "/sys/kernel/security"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		data := ""
		if m.fs == "tmpfs" {
			data = "mode=1777"
		}
		if err := unix.Mount(m.fs, m.dir, m.fs, 0, data); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	for _, l := range [][2]string{
		{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"},
	} {
		if err := os.Symlink(l[0], l[1]); err != nil {
			return err
		}
	}
	for _, name := range p.Modules {
		if err := loadModule(name); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return loopback()
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// loopback turns the interface lo on.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// runJobs runs the jobs of a plan, one after the other.
func runJobs(path string) int {
	b, err := os.ReadFile(path)
	var p plan
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		fmt.Println("init:", err)
		return 1
	}
	kmsg, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		p.report(reportError, "open /dev/kmsg:", err)
		return 1
	}
	unix.Seek(kmsg, 0, unix.SEEK_END) // what the boot said is of no interest
	for i, j := range p.Jobs {
		p.report(reportStart, i)
		start := time.Now()
		status, err := j.run()
		if err != nil {
			p.report(reportError, err)
		}
		showWarnings(kmsg)
		p.report(reportEnd, i, status, fmt.Sprintf("%.1f", time.Since(start).Seconds()))
	}
	p.report(reportDone)
	return 0
}

// run returns a job's exit status, or -1 when a signal ended it or, with an
// error, when it could not be started.
func (j *job) run() (int, error) {
	for _, v := range j.Env {
		name, value, _ := strings.Cut(v, "=")
		os.Setenv(name, value) // its PATH is the one to find it in
	}
	cmd := exec.Command(j.Args[0], j.Args[1:]...)
	cmd.Dir = j.Dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

// showWarnings shows the kernel's new messages that are at least warnings. Each
// read returns one, as "PRIORITY,NUMBER,TIME,FLAGS;TEXT\n" and more lines that
// begin with a space (Documentation/ABI/testing/dev-kmsg).
func showWarnings(kmsg int) {
	buf := make([]byte, 8192)
	for {
		n, err := unix.Read(kmsg, buf)
		if err == unix.EPIPE { // messages were lost to newer ones
			continue
		}
		if err != nil || n == 0 {
			return
		}
		prefix, text, _ := strings.Cut(string(buf[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		var priority int
		if _, err := fmt.Sscanf(prefix, "%d,", &priority); err == nil && priority&7 <= 4 {
			fmt.Println("kernel:", text)
		}
	}
}

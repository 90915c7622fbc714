package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeCommand PID PROGRAM ARG ... runs a program in the place of a process.
const becomeCommand = "become"

func init() {
	if len(os.Args) > 1 && os.Args[1] == becomeCommand {
		goruntime.LockOSThread()
	}
}

// become runs a program with what the kernel has for process pid, and ends with it. It
// returns on error. What it cannot have as that process has is an error.
func become(pid string, args []string) error {
	proc := "/proc/" + pid
	status, err := fields(proc + "/status")
	if err != nil {
		return err
	}
	score, err := os.ReadFile(proc + "/oom_score_adj")
	if err != nil {
		return err
	}
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err == nil && string(own) != string(score) {
		err = os.WriteFile("/proc/self/oom_score_adj", score, 0)
	}
	if err != nil {
		return err
	}
	if err := limits(proc); err != nil {
		return err
	}
	if !sameFile(proc+"/ns/user", "/proc/self/ns/user") { // which takes a program of one thread
		self, err := os.Executable()
		if err != nil {
			return err
		}
		words := append([]string{"nsenter", "--user=" + proc + "/ns/user", "--", self}, os.Args[1:]...)
		path, err := exec.LookPath(words[0])
		if err != nil {
			return err
		}
		return syscall.Exec(path, words, os.Environ())
	}
	if err := enter(proc); err != nil {
		return err
	}
	return as(status, args)
}

// fields reads /proc/PID/status.
func fields(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		all[key] = strings.TrimSpace(value)
	}
	return all, nil
}

// limits takes over the limits of setrlimit, which /proc lists in the order of their
// numbers, below a heading: a name of 25 characters, the soft and the hard limit.
func limits(proc string) error {
	text, err := os.ReadFile(proc + "/limits")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for which, line := range lines[1:] {
		var values [2]uint64
		for i, word := range strings.Fields(line[25:])[:2] {
			if values[i], err = strconv.ParseUint(word, 10, 64); word == "unlimited" {
				values[i] = unix.RLIM_INFINITY
			} else if err != nil {
				return err
			}
		}
		if err := syscall.Setrlimit(which, &syscall.Rlimit{Cur: values[0], Max: values[1]}); err != nil {
			return fmt.Errorf("limit %d: %w", which, err)
		}
	}
	return nil
}

// enter joins the namespaces of a process, with its root and working directory.
func enter(proc string) error {
	open := func(name string, flags int) int {
		fd, err := unix.Open(proc+"/"+name, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		return fd
	}
	root, cwd := open("root", unix.O_PATH), open("cwd", unix.O_PATH)
	namespaces := []string{"user", "cgroup", "ipc", "uts", "net", "pid", "mnt"}
	fds := make([]int, len(namespaces))
	for i, name := range namespaces {
		fds[i] = open("ns/"+name, unix.O_RDONLY)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for i, name := range namespaces {
		if sameFile(proc+"/ns/"+name, "/proc/thread-self/ns/"+name) {
			continue
		}
		if err := unix.Setns(fds[i], 0); err != nil {
			return fmt.Errorf("%s namespace: %w", name, err)
		}
	}
	return errors.Join(unix.Fchdir(root), unix.Chroot("."), unix.Fchdir(cwd))
}

func sameFile(a, b string) bool {
	one, err := os.Readlink(a)
	other, err2 := os.Readlink(b)
	return err == nil && err2 == nil && one == other
}

// as executes a program in a child, which is in the process namespace, with the user
// and capabilities of the process whose status is given.
func as(status map[string]string, args []string) error {
	var ids []int
	for _, key := range []string{"Uid", "Gid"} {
		id, err := strconv.Atoi(strings.Fields(status[key])[0])
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	var groups []int
	for _, g := range strings.Fields(status["Groups"]) {
		id, err := strconv.Atoi(g)
		if err != nil {
			return err
		}
		groups = append(groups, id)
	}
	sets := map[string]uint64{}
	for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"} {
		v, err := strconv.ParseUint(status[key], 16, 64)
		if err != nil {
			return fmt.Errorf("%s %q: %w", key, status[key], err)
		}
		sets[key] = v
	}
	umask, err := strconv.ParseUint(status["Umask"], 8, 32)
	if err != nil {
		return err
	}
	unix.Umask(int(umask))
	if sets["NoNewPrivs"] != 0 {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	for n := range 64 {
		if sets["CapBnd"]>>n&1 == 0 {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil && err != unix.EINVAL {
				return err
			}
		}
	}
	for _, step := range []struct {
		name string
		call func() error
	}{
		{"keep capabilities", func() error { return unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0) }},
		{"groups", func() error { return unix.Setgroups(groups) }},
		{"group", func() error { return unix.Setresgid(ids[1], ids[1], ids[1]) }},
		{"user", func() error { return unix.Setresuid(ids[0], ids[0], ids[0]) }},
	} {
		if err := step.call(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	var data [2]unix.CapUserData
	for i := range data {
		part := func(key string) uint32 { return uint32(sets[key] >> (32 * i) & math.MaxUint32) }
		data[i] = unix.CapUserData{Effective: part("CapEff"), Permitted: part("CapPrm"), Inheritable: part("CapInh")}
	}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	for n := range 64 {
		if sets["CapAmb"]>>n&1 != 0 {
			if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
				return fmt.Errorf("ambient capability %d: %w", n, err)
			}
		}
	}
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if err == nil {
			os.Exit(ws.ExitStatus())
		}
		if err != unix.EINTR {
			return err
		}
	}
}

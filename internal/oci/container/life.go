package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/oci/control"
	"gocat/internal/oci/state"
	"gocat/internal/tender"
)

// Start has a created container's init become the guest.
func Start(c *state.Container) error {
	unlock, err := c.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	switch status := c.Status(); status {
	case state.Created:
	case state.Stopped:
		return errors.New("cannot start a container that has stopped")
	case state.Running, state.Paused:
		return errors.New("cannot start an already running container")
	default:
		return fmt.Errorf("cannot start a container in the %s state", status)
	}
	if err := release(c); err != nil {
		return err
	}
	if c.Pids != nil {
		if err := control.SetPids(&c.Cgroup, *c.Pids); err != nil {
			return fmt.Errorf("linux.resources.pids: %w", err)
		}
	}
	notify(c.Pid)
	if c.Hooks == nil {
		return nil
	}
	err = runHooks("poststart", c.Hooks.Poststart, Report(c, state.Running))
	if err != nil { // then the specification has it stopped
		if kill := Kill(c, unix.SIGKILL, false); kill != state.ErrNotRunning {
			err = errors.Join(err, kill)
		}
	}
	return err
}

// release has init go on, with its networks if it has none yet.
func release(c *state.Container) error {
	if c.Network == nil {
		return c.Release([]byte{'s'})
	}
	answer, taps, err := network(c, c.Pid, c.Network)
	if err != nil {
		return err
	}
	word, err := json.Marshal(answer)
	if err == nil {
		err = c.Release(word, taps...)
	}
	for _, t := range taps {
		t.Close()
	}
	return err
}

// notify tells the service manager that the guest runs, which a guest cannot do.
func notify(pid int) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	unix.Sendto(fd, fmt.Appendf(nil, "MAINPID=%d\nREADY=1", pid), 0, &unix.SockaddrUnix{Name: path})
}

// Kill sends a container's process a signal, or all processes of its control group.
func Kill(c *state.Container, sig unix.Signal, all bool) error {
	status := c.Status()
	if all {
		return killAll(c, sig)
	}
	if status == state.Stopped || status == state.Creating {
		return state.ErrNotRunning
	}
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		return state.ErrNotRunning
	}
	defer unix.Close(fd)
	if birth, alive := state.Process(c.Pid); !alive || birth != c.Birth {
		return state.ErrNotRunning
	}
	if status == state.Created && ends(sig) {
		sig = unix.SIGKILL // it would wait for the guest
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err == unix.ESRCH {
		return state.ErrNotRunning
	} else if err != nil {
		return fmt.Errorf("signal %d: %w", sig, err)
	}
	if status == state.Paused && sig == unix.SIGKILL {
		group, err := control.Open(&c.Cgroup, nil)
		if err != nil {
			return err
		}
		return group.Freeze(false)
	}
	return nil
}

// ends reports whether the signal asks a process to end.
func ends(sig unix.Signal) bool { return sig > 0 && tender.Ending>>(sig-1)&1 != 0 }

// block blocks in the calling thread the signals that ask a process to end, so that
// they wait for the guest, which is the first to have handlers: the kernel drops what
// the first process of a namespace neither handles nor blocks.
func block() error {
	var set unix.Sigset_t
	set.Val[0] = tender.Ending
	return os.NewSyscallError("rt_sigprocmask", unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil))
}

func killAll(c *state.Container, sig unix.Signal) error {
	group, err := control.Open(&c.Cgroup, nil)
	if err != nil {
		return err
	}
	pids, err := group.Pids()
	if err != nil {
		return err
	}
	if birth, alive := state.Process(c.Pid); len(pids) == 0 && alive && birth == c.Birth && c.Pid != 0 {
		pids = []int{c.Pid}
	}
	if ends(sig) && c.Status() == state.Created {
		sig = unix.SIGKILL
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal %d: %w", sig, err)
		}
	}
	if sig == unix.SIGKILL && c.Status() == state.Paused {
		return group.Freeze(false)
	}
	return nil
}

// ParseSignal reads a signal's number or name, with SIG or without.
func ParseSignal(s string) (unix.Signal, error) {
	var n int
	if _, err := fmt.Sscanf(s, "%d", &n); err == nil && fmt.Sprint(n) == s {
		if n >= 0 && n <= 64 {
			return unix.Signal(n), nil
		}
	} else {
		name := strings.ToUpper(s)
		if !strings.HasPrefix(name, "SIG") {
			name = "SIG" + name
		}
		if sig := unix.SignalNum(name); sig != 0 {
			return sig, nil
		}
	}
	return 0, fmt.Errorf("unknown signal %.40q", s)
}

// Delete removes a container that has stopped, or with force any. It is gone even if a
// hook fails, of which warn is told.
func Delete(c *state.Container, force bool, warn func(text string)) error {
	unlock, err := c.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	// Another may have changed it, or deleted it, meanwhile.
	fresh, err := c.Again()
	if err != nil {
		return err
	}
	c = fresh
	if status := c.Status(); status != state.Stopped && status != state.Creating && !force {
		if status != state.Created {
			return fmt.Errorf("cannot delete container %s that is not stopped: %s", c.ID, status)
		}
	}
	if err := destroy(c); err != nil {
		return err
	}
	if c.Hooks != nil {
		for i := range c.Hooks.Poststop {
			if err := runHooks("poststop", c.Hooks.Poststop[i:i+1], Report(c, state.Stopped)); err != nil {
				warn(err.Error())
			}
		}
	}
	return nil
}

// patience is how long killed processes may take to end.
const patience = 30 * time.Second

// destroy ends a container's processes and removes all that there is of it. It may
// have been created in part, or destroyed.
func destroy(c *state.Container) error {
	group, err := control.Open(&c.Cgroup, nil)
	if err != nil {
		return err
	}
	for deadline, wait := time.Now().Add(patience), time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		pids, err := group.Pids()
		if err != nil {
			return err
		}
		birth, alive := state.Process(c.Pid)
		if alive = c.Pid != 0 && alive && birth == c.Birth; alive {
			pids = append(pids, c.Pid)
		}
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot delete container %s: process %d does not end", c.ID, pids[0])
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		if c.Status() == state.Paused {
			if err := group.Freeze(false); err != nil {
				return err
			}
		}
		time.Sleep(wait)
	}
	if err := group.Remove(); err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	return c.Remove()
}

// Freeze pauses a container, or resumes it.
func Freeze(c *state.Container, frozen bool) error {
	unlock, err := c.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	switch status := c.Status(); {
	case frozen && status != state.Running && status != state.Created:
		return state.ErrNotRunning
	case !frozen && status != state.Paused:
		return errors.New("container not paused")
	}
	group, err := control.Open(&c.Cgroup, nil)
	if err != nil {
		return err
	}
	return group.Freeze(frozen)
}

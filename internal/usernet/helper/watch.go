package helper

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/confine"
)

// A guest that is idle is ended by a process of its own: the one that serves its network
// reaches no other, and gocat-net start must end before the guest begins.

// Descriptors that gocat-net watch begins with.
const (
	endFD   = 3 // can be read when the guest is idle, or its network has gone
	guestFD = 4 // of the guest's process
)

// graceTime is how long a guest may take to end that was asked to.
const graceTime = 10 * time.Second

// watch starts it, for this process's parent, and returns what the network tells it
// through.
func watch() (end int, err error) {
	guest, err := unix.PidfdOpen(os.Getppid(), 0)
	if err != nil {
		return -1, fmt.Errorf("idle=: pidfd_open: %w", err)
	}
	defer unix.Close(guest)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("pipe", err)
	}
	defer unix.Close(pipe[0])
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return -1, err
	}
	defer null.Close()
	n := null.Fd()
	_, err = syscall.ForkExec("/proc/self/exe", []string{"gocat-net", "watch"}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{n, n, n, uintptr(pipe[0]), uintptr(guest)}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return -1, fmt.Errorf("idle=: could not start a process: %w", err)
	}
	return pipe[1], nil
}

// watchGuest is that process. A guest whose network has gone is of no use either.
func watchGuest() error {
	if err := (confine.Helper{Calls: []string{"pidfd_send_signal", "ppoll"}}).Confine(); err != nil {
		return err
	}
	b := make([]byte, 1)
	for {
		if _, err := unix.Read(endFD, b); err != unix.EINTR {
			break
		}
	}
	unix.PidfdSendSignal(guestFD, unix.SIGTERM, nil, 0)
	poll := []unix.PollFd{{Fd: guestFD, Events: unix.POLLIN}}
	for end := time.Now().Add(graceTime); ; {
		n, err := unix.Poll(poll, int(max(time.Until(end), 0)/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		if n == 0 {
			unix.PidfdSendSignal(guestFD, unix.SIGKILL, nil, 0)
		}
		return nil
	}
}

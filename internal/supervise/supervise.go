// Package supervise runs a guest in a child process that ends with the caller,
// and passes on the signals that the caller gets.
package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Start starts a program whose descriptors are this process's, and which is
// killed when the calling thread ends, which must be locked. If traced, that
// thread traces it, and it is stopped before its first instruction.
func Start(path string, args, env []string, traced bool) (pid int, err error) {
	return StartWith([]uintptr{0, 1, 2}, path, args, env, traced)
}

// StartWith is Start, except that the first descriptors are copies of those
// given.
func StartWith(files []uintptr, path string, args, env []string, traced bool) (pid int, err error) {
	pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
		Files: files, Env: env,
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Ptrace: traced},
	})
	switch {
	case err == nil:
		return pid, nil
	case traced && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS)):
		return 0, fmt.Errorf("ptrace: %w: a container's seccomp filter or kernel.yama.ptrace_scope=3 forbids it, and without it nothing can look into an spt guest", err)
	}
	return 0, fmt.Errorf("could not start the guest's process, %s: %w", path, err)
}

// Process is the guest's.
type Process struct {
	held    chan syscall.Signal // gets signals instead of the guest, while it is not nil
	quit    func()              // is called for SIGQUIT instead, if it is not nil
	mu      sync.Mutex          // of held and quit
	pidfd   atomic.Int32        // 0 before there is one
	signals chan os.Signal
}

// Forward, called before Adopt, keeps the signals that ask a process to end for the
// guest, unless they are ignored. A later one ends this process, whatever it waits for.
func (p *Process) Forward() {
	p.signals = make(chan os.Signal, 4)
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		if !signal.Ignored(sig) {
			signal.Notify(p.signals, sig)
		}
	}
}

// Adopt takes the guest's process, so that signals reach it from now on.
func (p *Process) Adopt(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it is gone already
	}
	p.pidfd.Store(int32(fd))
	go func() {
		var first time.Time
		for sig := range p.signals {
			number := sig.(syscall.Signal)
			switch {
			case first.IsZero():
				first = time.Now()
			case time.Since(first) > repeated:
				os.Exit(128 + int(number)) // the guest is killed with this process
			}
			p.pass(number)
		}
	}()
}

// Hold returns a channel that gets the signals until Release is called.
func (p *Process) Hold() <-chan syscall.Signal {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = make(chan syscall.Signal, 1)
	return p.held
}

// Release lets the guest have the signals again.
func (p *Process) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = nil
}

// OnQuit has quit called for a SIGQUIT that the guest would get.
func (p *Process) OnQuit(quit func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quit = quit
}

func (p *Process) pass(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.held != nil:
	case sig == syscall.SIGQUIT && p.quit != nil:
		p.quit()
		return
	default:
		p.Signal(sig)
		return
	}
	select {
	case p.held <- sig:
	default: // one is enough
	}
}

// repeated is how long after a signal another one does not mean that the first
// was of no use: timeout(1) sends two in a row.
const repeated = time.Second

// Signal sends the guest a signal, unless it has ended or not begun.
func (p *Process) Signal(sig syscall.Signal) {
	if fd := p.pidfd.Load(); fd != 0 {
		unix.PidfdSendSignal(int(fd), sig, nil, 0)
	}
}

// Kill kills the guest.
func (p *Process) Kill() { p.Signal(unix.SIGKILL) }

// Status is the exit status for a process that ended so: 128 more than the
// number of a signal that killed it.
func Status(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// Package serve runs a sealed guest only while somebody uses it: its user network is
// kept, with the published ports, and a connection to one of them starts the guest.
package serve

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/usernet"
)

// Times.
const (
	early      = time.Second            // a guest that fails so soon is not started again at once,
	firstPause = 100 * time.Millisecond // but after this time, then twice as long, and so on
	lastPause  = 10 * time.Second
	grace      = 10 * time.Second // for a guest that was asked to end
)

// server is what serves one guest.
type server struct {
	path    string // of the sealed guest, as it was opened: what replaces it is not looked at
	args    []string
	env     []string
	network int // the network's socket
	said    chan byte
	signals chan os.Signal
	say     func(string)
	pause   time.Duration // before the next start
}

// errNetwork means that gocat-net has ended, and the ports with it.
var errNetwork = errors.New("the user network's process has ended, and the guest with it")

// Run serves the sealed guest in file until a signal asks it to end. Each network that
// user describes is that of all guests, one after the other; say is told what they do.
func Run(file *os.File, guest Guest, say func(string)) error {
	// Guests are killed when the thread that started them ends: it is the one that waits.
	runtime.LockOSThread()
	// Not where the guest's own descriptors are put.
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, device.FirstPassed+1)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	defer unix.Close(fd)
	s := &server{
		path: fmt.Sprintf("/proc/self/fd/%d", fd), args: []string{file.Name()}, env: []string{guest.setting(device.FirstPassed)},
		said: make(chan byte), signals: make(chan os.Signal, 4), say: say,
	}
	signal.Notify(s.signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	if s.network, err = usernet.Keep(&guest.User); err != nil {
		return fmt.Errorf("net '%s': %w", guest.User.Name, err)
	}
	unix.SetNonblock(s.network, false)
	go s.listen()
	defer s.close()
	for {
		if ended, err := s.one(guest.Name); ended || err != nil {
			return err
		}
	}
}

// close ends the network, and waits until the ports are free.
func (s *server) close() {
	unix.Shutdown(s.network, unix.SHUT_WR)
	for late := time.After(grace); ; {
		select {
		case _, ok := <-s.said:
			if ok {
				continue
			}
		case <-late:
		}
		unix.Close(s.network)
		return
	}
}

// listen passes on what the network says, and ends with it.
func (s *server) listen() {
	defer close(s.said)
	b := make([]byte, 1)
	for {
		n, err := unix.Read(s.network, b)
		switch {
		case err == unix.EINTR:
		case err != nil || n != 1:
			return
		default:
			s.said <- b[0]
		}
	}
}

// one waits until a guest is wanted, and runs it. It reports whether this process was
// asked to end.
func (s *server) one(name string) (ended bool, err error) {
	frames, err := usernet.Frames(s.network)
	if err != nil {
		return false, errNetwork
	}
	for wanted := false; !wanted; {
		select {
		case <-s.signals:
			unix.Close(frames)
			return true, nil
		case said, ok := <-s.said:
			if !ok {
				unix.Close(frames)
				return false, errNetwork
			}
			wanted = said == usernet.Wanted
		}
	}
	start := time.Now()
	pid, err := syscall.ForkExec(s.path, s.args, &syscall.ProcAttr{
		Env: s.env, Files: []uintptr{0, 1, 2, uintptr(frames)}, Sys: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
	})
	unix.Close(frames)
	if err != nil {
		return false, fmt.Errorf("could not start %s: %w", s.args[0], err)
	}
	status, asked, err := s.attend(pid)
	if err != nil || asked == stopped {
		return asked == stopped, err
	}
	if asked == nothing && status != 0 {
		s.pause = min(max(2*s.pause, firstPause), lastPause)
		if lived := time.Since(start); lived > early {
			s.pause = firstPause
		}
		s.say(fmt.Sprintf("%s ended with status %d: it is not started again for %v", name, status, s.pause))
		return s.wait(s.pause)
	}
	s.pause = 0
	return false, nil
}

// What a guest was asked to end for.
const (
	nothing = iota
	idle
	stopped
)

// attend waits until a guest has ended, which it is asked to where it is idle, or this
// process is to end.
func (s *server) attend(pid int) (status, asked int, err error) {
	end := make(chan unix.WaitStatus, 1)
	go func() {
		var ws unix.WaitStatus
		for {
			if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
				end <- ws
				return
			}
		}
	}()
	var late <-chan time.Time
	ask := func(why int) {
		// The process is this one's child and not yet waited for: the number is its own.
		unix.Kill(pid, unix.SIGTERM)
		asked = max(asked, why)
		if late == nil {
			late = time.After(grace)
		}
	}
	said := s.said
	for {
		select {
		case ws := <-end:
			if ws.Signaled() {
				return 128 + int(ws.Signal()), asked, err
			}
			return ws.ExitStatus(), asked, err
		case what, ok := <-said:
			switch {
			case !ok:
				said, err = nil, errNetwork
				unix.Kill(pid, unix.SIGKILL)
			case what == usernet.Idle:
				ask(idle)
			}
		case <-s.signals:
			ask(stopped)
		case <-late:
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// wait waits before the next start, and reports whether this process was asked to end.
func (s *server) wait(d time.Duration) (ended bool, err error) {
	select {
	case <-s.signals:
		return true, nil
	case <-time.After(d):
		return false, nil
	}
}

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
	grace      = 10 * time.Second // for who was asked to end
)

// server is what serves one guest. One thread does everything, since a connection waits
// for it: it polls for what comes next.
type server struct {
	path    string // of the sealed guest, as it was opened: what replaces it is not looked at
	args    []string
	env     []string
	null    int // the guest's standard input
	network int // the network's socket
	asked   int // a pipe with a byte for each signal that asks this process to end
	say     func(string)
	pause   time.Duration // before the next start
}

// errNetwork means that gocat-net has ended, and the ports with it.
var errNetwork = errors.New("the user network's process has ended, and the guest with it")

// Run serves the sealed guest in file until a signal asks it to end; say is told of
// guests that fail.
func Run(file *os.File, guest Guest, say func(string)) error {
	// Guests are killed when the thread that started them ends.
	runtime.LockOSThread()
	// Not where the guest's own descriptors are put.
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, device.FirstPassed+1)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	defer unix.Close(fd)
	s := &server{path: fmt.Sprintf("/proc/self/fd/%d", fd), args: []string{file.Name()}, env: []string{guest.setting(device.FirstPassed)}, say: say}
	if s.null, err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("%s: %w", os.DevNull, err)
	}
	defer unix.Close(s.null)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe", err)
	}
	s.asked = pipe[0]
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		for range signals {
			unix.Write(pipe[1], []byte{0})
		}
	}()
	if s.network, err = usernet.Keep(&guest.User); err != nil {
		return fmt.Errorf("net '%s': %w", guest.User.Name, err)
	}
	unix.SetNonblock(s.network, false)
	defer s.close()
	for {
		if ended, err := s.one(guest.Name); ended || err != nil {
			return err
		}
	}
}

// close ends the network, and waits until its ports are free.
func (s *server) close() {
	unix.Shutdown(s.network, unix.SHUT_WR)
	for end := time.Now().Add(grace); wait(max(time.Until(end), 0), s.network) == 0; {
		if _, ok := readByte(s.network); !ok {
			break
		}
	}
	unix.Close(s.network)
}

// one waits until a guest is wanted, and runs it. It reports whether this process was
// asked to end.
func (s *server) one(name string) (ended bool, err error) {
	frames, err := usernet.Frames(s.network)
	if err != nil {
		return false, errNetwork
	}
	for wanted := false; !wanted; {
		said, ok := byte(0), false
		if wait(forever, s.network, s.asked) == 1 {
			unix.Close(frames)
			return true, nil
		}
		if said, ok = readByte(s.network); !ok {
			unix.Close(frames)
			return false, errNetwork
		}
		wanted = said == usernet.Wanted
	}
	start, process := time.Now(), -1
	pid, err := syscall.ForkExec(s.path, s.args, &syscall.ProcAttr{
		Env: s.env, Files: []uintptr{uintptr(s.null), 1, 2, uintptr(frames)},
		// What a terminal sends is for this process, which passes it on.
		Sys: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, PidFD: &process, Setpgid: true},
	})
	unix.Close(frames)
	if err == nil && process < 0 {
		err = unix.ENOSYS
	}
	if err != nil {
		return false, fmt.Errorf("could not start %s: %w", s.args[0], err)
	}
	status, asked, err := s.attend(pid, process)
	unix.Close(process)
	if err != nil || asked == stopped {
		return asked == stopped, err
	}
	if asked == idle || status == 0 {
		s.pause = 0
		return false, nil
	}
	s.pause = min(max(2*s.pause, firstPause), lastPause)
	if time.Since(start) > early {
		s.pause = firstPause
	}
	s.say(fmt.Sprintf("%s ended with status %d: it is not started again for %v", name, status, s.pause))
	return wait(s.pause, s.asked) == 0, nil
}

// What a guest was asked to end for.
const (
	nothing = iota
	idle
	stopped
)

// attend waits until a guest has ended, which it is asked to where it is idle, or this
// process is to end. The process is this one's child and nobody else waits for it.
func (s *server) attend(pid, process int) (status, asked int, err error) {
	network, left := s.network, forever
	var late time.Time // when it is killed, once it was asked
	ask := func(why int) {
		unix.PidfdSendSignal(process, unix.SIGTERM, nil, 0)
		asked = max(asked, why)
		if late.IsZero() {
			late = time.Now().Add(grace)
		}
	}
	for {
		if !late.IsZero() {
			left = max(time.Until(late), 0)
		}
		switch wait(left, process, network, s.asked) {
		case 0:
			var ws unix.WaitStatus
			for {
				if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
					break
				}
			}
			if ws.Signaled() {
				return 128 + int(ws.Signal()), asked, err
			}
			return ws.ExitStatus(), asked, err
		case 1:
			if said, ok := readByte(network); !ok {
				network, err = -1, errNetwork
				unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0)
			} else if said == usernet.Idle {
				ask(idle)
			}
		case 2:
			readByte(s.asked)
			ask(stopped)
		default:
			unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0)
			late = time.Now().Add(grace)
		}
	}
}

// forever is no time.
const forever = time.Duration(-1)

// wait waits until there is something at one of the descriptors, and returns which of
// them, or -1 after a time. One that is negative has nothing.
func wait(d time.Duration, fds ...int) int {
	poll := make([]unix.PollFd, len(fds))
	for i, fd := range fds {
		poll[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	milliseconds := -1
	end := time.Now().Add(d)
	for {
		if d != forever {
			milliseconds = int(max(time.Until(end)+time.Millisecond-1, 0) / time.Millisecond)
		}
		n, err := unix.Poll(poll, milliseconds)
		if err == unix.EINTR {
			continue
		}
		for i := range poll {
			if n > 0 && poll[i].Revents != 0 {
				return i
			}
		}
		return -1
	}
}

// readByte reads a message of one byte, and reports false if there will be none.
func readByte(fd int) (b byte, ok bool) {
	var buf [1]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err != unix.EINTR {
			return buf[0], err == nil && n == 1
		}
	}
}

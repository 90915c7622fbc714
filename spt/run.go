package spt

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/raw"
)

// Run replaces the process by the guest: same process number, no supervisor,
// the guest's exit status. It returns only on error, with nothing started.
// Descriptors that are neither standard nor a device's are closed.
func Run(c *Config) error {
	e, err := NewExecutable(c)
	if err != nil {
		return err
	}
	defer raw.Close(e.FD)
	return fmt.Errorf("could not start the guest: %w", execveat(e.FD, c.Name))
}

// Executable is a sealed guest that is ready to be started by a process whose
// descriptors are those of the caller.
type Executable struct {
	FD           int             // of the executable, close-on-exec; the caller's to close
	Devices      []device.Device // with the descriptors of the guest
	Epoll, Timer int             // the guest's descriptors
	TimerData    uint64          // what waiting on Epoll gives for Timer; for a device it is the handle
	Stub         uint64          // guest address of the page of gocat's own code
}

// NewExecutable seals the guest into a file in memory, and lets the descriptors
// of devices survive execve.
func NewExecutable(c *Config) (Executable, error) {
	s, err := newSealed(c)
	if err != nil {
		return Executable{}, err
	}
	fd, err := memfd(c.Name)
	if err != nil {
		return Executable{}, err
	}
	if err := s.prepare(fd); err != nil {
		raw.Close(fd)
		return Executable{}, err
	}
	return Executable{fd, s.fds.devices, s.fds.epoll, s.fds.timer, timerData, stubBase}, nil
}

// prepare writes the guest to fd.
func (s *sealed) prepare(fd int) error {
	if err := s.write(writeFD(fd)); err != nil {
		if errors.Is(err, unix.EFBIG) {
			return fmt.Errorf("could not seal the guest in memory: %w: the limit on the size of files (ulimit -f) holds there too", err)
		}
		return err
	}
	for _, d := range s.Config.Devices {
		if !d.Inherited {
			if _, err := raw.Fcntl(d.FD, unix.F_SETFD, 0); err != nil {
				return os.NewSyscallError("fcntl", err)
			}
		}
	}
	return nil
}

// memfd makes an anonymous file that can be executed.
func memfd(name string) (int, error) {
	name = name[:min(len(name), 249)] // the kernel takes no longer one, and files have them
	flags := unix.MFD_CLOEXEC | unix.MFD_EXEC
	fd, err := raw.MemfdCreate(name, flags)
	if err == unix.EINVAL { // before Linux 6.3 all of them can be
		fd, err = raw.MemfdCreate(name, flags&^unix.MFD_EXEC)
	}
	if err == unix.EACCES {
		return -1, fmt.Errorf("memfd_create: %w: this host forbids executable memfds (vm.memfd_noexec is 2); use gocat seal and run its output", err)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	return fd, nil
}

// writeFD returns an output to descriptor fd, which it does not own.
func writeFD(fd int) output {
	return func(pieces [][]byte) error {
		// The kernel takes at most 1024 pieces at once, which a guest's few dozen
		// segments do not reach. What it leaves is written piece by piece.
		n, err := raw.Writev(fd, pieces)
		n = max(n, 0)
		for _, b := range pieces {
			done := min(n, len(b))
			n -= done
			for b = b[done:]; err == nil && len(b) > 0; b = b[max(done, 0):] {
				done, err = raw.Write(fd, b)
			}
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		return nil
	}
}

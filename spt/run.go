package spt

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/plan"
	"gocat/internal/raw"
)

// Run replaces the process by the guest: same process number, no supervisor,
// the guest's exit status. It returns only on error, with nothing started.
// Descriptors that are neither standard nor a device's are closed.
func Run(c *Config) error {
	e, err := newExecutable(c, direct(c))
	if err != nil {
		return err
	}
	defer raw.Close(e.FD)
	return fmt.Errorf("could not start the guest: %w", plan.Become(e.FD, c.Name))
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
func NewExecutable(c *Config) (Executable, error) { return newExecutable(c, noFile) }

// newExecutable is NewExecutable with the image's descriptor, if the guest is to
// read its segments from that.
func newExecutable(c *Config, file int) (Executable, error) {
	s, err := newSealed(c, file)
	if err != nil {
		return Executable{}, err
	}
	fd, err := plan.Memfd(raw.Concat("gocat:", c.Name))
	if err != nil {
		return Executable{}, err
	}
	if err := s.prepare(fd); err != nil {
		raw.Close(fd)
		return Executable{}, err
	}
	return Executable{fd, s.fds.devices, s.fds.epoll, s.fds.timer, timerData, stubBase}, nil
}

// NewSealed is NewExecutable for the executable that Seal writes: it attaches its
// devices itself.
func NewSealed(c *Config) (Executable, error) {
	return NewExecutable(c.unopened())
}

// prepare writes the guest to fd.
func (s *sealed) prepare(fd int) error {
	if err := s.executable.Write(plan.To(fd)); err != nil {
		if errors.Is(err, unix.EFBIG) {
			return fmt.Errorf("could not seal the guest in memory: %w: the limit on the size of files (ulimit -f) holds there too", err)
		}
		return err
	}
	if s.file != noFile {
		if _, err := raw.Fcntl(s.file, unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	for _, d := range s.Config.Devices {
		if !d.Inherited && d.FD >= 0 {
			if _, err := raw.Fcntl(d.FD, unix.F_SETFD, 0); err != nil {
				return os.NewSyscallError("fcntl", err)
			}
		}
	}
	return nil
}

package spt

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Run replaces the process by the guest: same process number, no supervisor,
// the guest's exit status. It returns only on error, with nothing started.
// Descriptors that are neither standard nor a device's are closed.
func Run(c *Config) error {
	s, err := newSealed(c)
	if err != nil {
		return err
	}
	fd, err := memfd(c.Name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := s.write(fdWriter(fd)); err != nil {
		return err
	}
	for _, d := range c.Devices {
		if !d.Inherited {
			if _, err := unix.FcntlInt(uintptr(d.FD), unix.F_SETFD, 0); err != nil {
				return os.NewSyscallError("fcntl", err)
			}
		}
	}
	return fmt.Errorf("could not start the guest: %w", execveat(fd, c.Name))
}

// memfd makes an anonymous file that can be executed.
func memfd(name string) (int, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_EXEC
	fd, err := unix.MemfdCreate(name, flags)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all of them can be
		fd, err = unix.MemfdCreate(name, flags&^unix.MFD_EXEC)
	}
	if errors.Is(err, unix.EACCES) {
		return -1, fmt.Errorf("memfd_create: %w: this host forbids executable memfds (vm.memfd_noexec is 2); use gocat seal and run its output", err)
	}
	return fd, os.NewSyscallError("memfd_create", err)
}

// fdWriter is an io.Writer on a descriptor that it does not own.
type fdWriter int

func (w fdWriter) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := unix.Write(int(w), b[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, os.NewSyscallError("write", err)
		}
		n += k
	}
	return n, nil
}

// writev writes all of b. The kernel takes at most 1024 pieces at once, which a
// guest's few dozen segments do not reach; what it does not take is written
// piece by piece.
func (w fdWriter) writev(b [][]byte) error {
	n, err := unix.Writev(int(w), b)
	if err != nil {
		return os.NewSyscallError("writev", err)
	}
	for _, piece := range b {
		done := min(n, len(piece))
		n -= done
		if _, err := w.Write(piece[done:]); err != nil {
			return err
		}
	}
	return nil
}

package plan

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// ErrNoExec means that the host lets no anonymous file be executed.
var ErrNoExec = errors.New("this host forbids executable memfds (vm.memfd_noexec is 2)")

// Memfd makes an anonymous file that can be executed.
func Memfd(name string) (int, error) {
	name = name[:min(len(name), 249)] // the kernel takes no longer one, and files have them
	flags := unix.MFD_CLOEXEC | unix.MFD_EXEC
	fd, err := raw.MemfdCreate(name, flags)
	if err == unix.EINVAL { // before Linux 6.3 all of them can be
		fd, err = raw.MemfdCreate(name, flags&^unix.MFD_EXEC)
	}
	if err == unix.EACCES {
		return -1, fmt.Errorf("memfd_create: %w: %w", err, ErrNoExec)
	}
	if err != nil {
		if err == unix.EPERM || err == unix.ENOSYS {
			return -1, fmt.Errorf("memfd_create: %w: a seccomp filter around gocat refuses it; use gocat seal and run its output", err)
		}
		return -1, os.NewSyscallError("memfd_create", err)
	}
	return fd, nil
}

// To returns an output to descriptor fd, which it does not own.
func To(fd int) Output {
	return func(pieces [][]byte) error {
		// The kernel takes at most 1024 pieces per call, which a guest's few
		// dozen segments do not reach. What it leaves is written piece by piece.
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
